//! What an address says about where it leads, and what of it may be shown.

use reqwest::Url;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs};

/// An address as it may be shown: without user name, password, query and fragment, which may be secrets. What is no
/// address is shown without what stands before its last `@`.
pub(crate) fn shown(text: &str) -> String {
    if let Ok(mut url) = Url::parse(text)
        && url.has_host()
    {
        // Neither can fail for an address with a host.
        let _ = (url.set_username(""), url.set_password(None));
        url.set_query(None);
        url.set_fragment(None);
        return url.to_string();
    }
    match text.rsplit_once('@') {
        Some((_, rest)) => format!("…@{rest}"),
        None => text.to_owned(),
    }
}

/// Whether an address names this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host == "localhost" || literal(host).is_some_and(|ip| ip.is_loopback())
}

/// Whether an address leads to this machine or its own network: by number, by the name `localhost`, or by a name that
/// stands for such a number. A name that cannot be looked up here, as behind a proxy, is taken for a public one.
pub(crate) fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    if let Some(ip) = literal(host) {
        return is_private(ip);
    }
    if host == "localhost" || host.ends_with(".localhost") {
        return true;
    }
    let port = url.port_or_known_default().unwrap_or(443);
    (host, port).to_socket_addrs().is_ok_and(|mut all| all.any(|a| is_private(a.ip())))
}

fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Numbers that the public network does not route.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_private_v4(ip),
        IpAddr::V6(ip) => is_private_v6(ip),
    }
}

fn is_private_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || shared
        || a == 0
        || a >= 240
}

fn is_private_v6(ip: Ipv6Addr) -> bool {
    let [a, b, .., y, z] = ip.segments();
    let last = || {
        let [h, i] = y.to_be_bytes();
        let [j, k] = z.to_be_bytes();
        Ipv4Addr::new(h, i, j, k)
    };
    // Numbers of version 4 as such, and as translated at the edge of a network.
    let embedded = ip.to_ipv4_mapped().or_else(|| (a == 0x64 && b == 0xff9b).then(last));
    ip.is_loopback()
        || ip.is_unspecified()
        || ip.is_multicast()
        || ip.is_unique_local()
        || ip.is_unicast_link_local()
        || embedded.is_some_and(is_private_v4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        for (text, safe) in [
            ("https://user:pw@host:1/a?token=x#y", "https://host:1/a"),
            ("https://host/a", "https://host/a"),
            ("user:pw@host", "…@host"),
            ("http://user:p w@", "…@"),
            ("huggingface.co", "huggingface.co"),
        ] {
            assert_eq!(shown(text), safe);
        }
    }

    #[test]
    fn local_numbers_are_known() {
        let local = |text: &str| is_local(&Url::parse(text).unwrap());
        for host in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "[::1]",
            "[fe80::1]",
            "[fd00::1]",
            "[::ffff:10.0.0.1]",
            "[64:ff9b::a00:1]",
            "localhost",
            "a.localhost",
            "0x7f.1",
            "2130706433",
            "255.255.255.255",
        ] {
            assert!(local(&format!("http://{host}/")), "{host}");
        }
        for host in ["1.1.1.1", "[2606:4700::1]", "172.32.0.1", "[64:ff9b::101:101]"] {
            assert!(!local(&format!("http://{host}/")), "{host}");
        }
    }
}
