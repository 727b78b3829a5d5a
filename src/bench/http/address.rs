//! Addresses that may be measured.

use super::error::HttpError;
use reqwest::Url;
use std::fmt;

/// Scheme, host and port of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    base: Url,
}

impl Address {
    /// Reads an address such as `http://localhost:1234` or `127.0.0.1:8080/v1`.
    ///
    /// # Errors
    /// When it is no HTTP address, carries a password, or names another machine and `allow_remote` is not set.
    pub fn parse(text: &str, allow_remote: bool) -> Result<Self, HttpError> {
        let full = match text.contains("://") {
            true => text.to_owned(),
            false => format!("http://{text}"),
        };
        // The text itself is not repeated where it may hold a password.
        let bad = |problem: &str| HttpError::Address { problem: problem.to_owned() };
        let mut base = Url::parse(&full).map_err(|e| bad(&e.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(bad("only http and https servers can be measured"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(bad("it has a user name or password, which would be stored with the \
                            results; put the key into the environment variable MLXPLAN_API_KEY"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(bad("leave out everything behind '?' or '#'"));
        }
        let path = base.path().trim_end_matches('/');
        let path = path.strip_suffix("/v1").unwrap_or(path).to_owned();
        base.set_path(&path);
        let address = Self { base };
        match address.is_loopback() || allow_remote {
            true => Ok(address),
            false => Err(HttpError::Remote(address.host().to_owned())),
        }
    }

    /// Whether the server runs on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        crate::http::is_loopback(&self.base)
    }

    /// Whether a key may be sent there: encrypted, or not leaving this machine.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.base.scheme() == "https" || self.is_loopback()
    }

    /// Name or number of the host.
    #[must_use]
    pub fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.base.port_or_known_default().unwrap_or_default()
    }

    /// The address of a path on this server; `path` starts with `/`.
    pub(super) fn join(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        Address::parse(text, false).map(|a| a.to_string()).map_err(|e| e.to_string())
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        assert_eq!(shown("http://localhost:1234/v1/"), Ok("http://localhost:1234".to_owned()));
        assert_eq!(shown("127.0.0.1:8080"), Ok("http://127.0.0.1:8080".to_owned()));
        assert_eq!(shown("http://[::1]:9/sub/v1"), Ok("http://[::1]:9/sub".to_owned()));
        let address = Address::parse("http://127.0.0.1:1/sub", false).unwrap();
        assert_eq!(address.join("/v1/models").as_str(), "http://127.0.0.1:1/sub/v1/models");
        assert_eq!(address.port(), 1);
    }

    #[test]
    fn only_this_machine_unless_allowed() {
        for remote in [
            "http://192.168.1.5:11434",
            "https://api.example.com/v1",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "http://0.0.0.0:80",
        ] {
            assert!(matches!(Address::parse(remote, false), Err(HttpError::Remote(_))), "{remote}");
            assert!(Address::parse(remote, true).is_ok(), "{remote}");
        }
        let plain = Address::parse("http://192.168.1.5", true).unwrap();
        assert!(!plain.is_private());
        assert!(Address::parse("https://192.168.1.5", true).unwrap().is_private());
    }

    #[test]
    fn passwords_are_refused_and_not_repeated() {
        let error = shown("http://me:hunter2@localhost:1").unwrap_err();
        assert!(error.contains("MLXPLAN_API_KEY") && !error.contains("hunter2"), "{error}");
        assert!(shown("ftp://localhost").is_err());
        assert!(shown("http://localhost/?key=1").is_err());
        assert!(shown("").is_err());
    }
}
