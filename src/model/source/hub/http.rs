//! HTTP as far as the hub needs it: small files whole, and the beginning of large ones.
//!
//! Redirects are followed by hand, so that the access token goes to the hub's own host only and a range survives the
//! way to the file server. Every answer is bounded in size and time.

use super::error::HubError;
use super::options::HubOptions;
use super::repo::is_commit;
use crate::http::{ReadProblem, chain, client, is_local, is_loopback, read, shown};
use reqwest::blocking::{Client, Response};
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_RANGE, LINK, LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::{StatusCode, Url};
use std::time::{Duration, Instant};

const MAX_REDIRECTS: usize = 5;
const MAX_RETRIES: u32 = 2;
/// A server that asks for a longer pause is not waited for.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// A client for one endpoint.
pub(super) struct Http {
    client: Client,
    endpoint: Url,
    options: HubOptions,
}

/// An answer whose body has not been read.
pub(super) struct HubAnswer {
    pub status: StatusCode,
    /// `X-Repo-Commit` of the first hop that had it.
    pub commit: Option<String>,
    /// `X-Error-Code` of the hub.
    pub error_code: Option<String>,
    response: Response,
    deadline: Instant,
    what: String,
}

impl Http {
    pub fn new(options: &HubOptions) -> Result<Self, HubError> {
        let bad = || HubError::BadEndpoint(shown(&options.endpoint));
        let endpoint = Url::parse(&options.endpoint).map_err(|_| bad())?;
        if !matches!(endpoint.scheme(), "http" | "https") || endpoint.host_str().is_none() {
            return Err(bad());
        }
        let builder = client(options.connect_timeout, options.read_timeout, is_loopback(&endpoint));
        let client = builder.build().map_err(|e| HubError::Setup(chain(&e)))?;
        Ok(Self { client, endpoint, options: options.clone() })
    }

    /// The endpoint's address with path segments added; each is percent-encoded.
    pub fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// Name of the endpoint's host.
    pub fn host(&self) -> String {
        host(&self.endpoint)
    }

    /// Requests a file, or a range of it (first and last byte). Repeats at most twice when the server is busy or in
    /// trouble; redirects, repetitions and the body have one deadline together. `what` names the file in errors.
    pub fn get(
        &self,
        url: &Url,
        range: Option<(u64, u64)>,
        what: &str,
    ) -> Result<HubAnswer, HubError> {
        let deadline = Instant::now() + self.options.file_timeout;
        let mut attempt = 0;
        loop {
            let answer = self.follow(url, range, what, deadline)?;
            let status = answer.status;
            let busy = status == StatusCode::TOO_MANY_REQUESTS;
            if !busy && !status.is_server_error() {
                return Ok(answer);
            }
            let asked = answer.pause().unwrap_or_default();
            if attempt == MAX_RETRIES || asked > MAX_PAUSE {
                let host = self.host();
                return Err(match busy {
                    true => HubError::RateLimited(host),
                    false => {
                        HubError::Status { host, status: status.as_u16(), what: what.to_owned() }
                    }
                });
            }
            let pause = asked.max(self.options.backoff * 2_u32.pow(attempt));
            if pause >= deadline.saturating_duration_since(Instant::now()) {
                return Err(answer.timeout());
            }
            std::thread::sleep(pause);
            attempt += 1;
        }
    }

    fn follow(
        &self,
        start: &Url,
        range: Option<(u64, u64)>,
        what: &str,
        deadline: Instant,
    ) -> Result<HubAnswer, HubError> {
        let mut url = start.clone();
        let mut commit = None;
        for _ in 0..=MAX_REDIRECTS {
            // A compressed answer would make byte ranges and size limits meaningless.
            let mut request = self.client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
            if let Some((first, last)) = range {
                request = request.header(RANGE, format!("bytes={first}-{last}"));
            }
            if let Some(token) = self.options.token.as_ref().filter(|_| self.is_trusted(&url)) {
                request = request.header(AUTHORIZATION, format!("Bearer {token}"));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(HubError::Timeout { host: host(&url), what: what.to_owned() });
            }
            if left < self.options.read_timeout {
                request = request.timeout(left);
            }
            let response = request.send().map_err(|e| classify(&e, &url, what))?;
            commit = commit.or_else(|| header(&response, "x-repo-commit").filter(|c| is_commit(c)));
            if !response.status().is_redirection() {
                return Ok(HubAnswer {
                    status: response.status(),
                    commit,
                    error_code: header(&response, "x-error-code"),
                    response,
                    deadline,
                    what: what.to_owned(),
                });
            }
            let wrong = |problem: String| HubError::Redirect {
                host: host(&url),
                what: what.to_owned(),
                problem,
            };
            let target = header(&response, LOCATION.as_str())
                .and_then(|location| url.join(&location).ok())
                .ok_or_else(|| wrong("the new address is missing or invalid".to_owned()))?;
            let downgrade = url.scheme() == "https" && target.scheme() != "https";
            if downgrade || !matches!(target.scheme(), "http" | "https") {
                return Err(wrong(format!("to {}, which is not safe", host(&target))));
            }
            if !self.may_lead_to(&target) {
                return Err(wrong(format!(
                    "to {}, which is on this machine or its own network",
                    host(&target)
                )));
            }
            url = target;
        }
        let problem = format!("more than {MAX_REDIRECTS} times");
        Err(HubError::Redirect { host: host(start), what: what.to_owned(), problem })
    }

    /// Whether a redirect may lead to an address: not to this machine and its network, unless the endpoint is there.
    fn may_lead_to(&self, target: &Url) -> bool {
        target.origin() == self.endpoint.origin() || !is_local(target) || is_local(&self.endpoint)
    }

    /// Whether the token may be sent to an address.
    fn is_trusted(&self, url: &Url) -> bool {
        url.origin() == self.endpoint.origin() && (url.scheme() == "https" || is_loopback(url))
    }
}

impl HubAnswer {
    /// Reads the whole body, of at most `limit` bytes.
    pub fn body(mut self, limit: u64) -> Result<Vec<u8>, HubError> {
        let mut bytes = Vec::new();
        // One byte more shows that the body is too long.
        self.read_up_to(&mut bytes, limit.saturating_add(1))?;
        match bytes.len() as u64 > limit {
            true => Err(HubError::TooLong { what: self.what, limit }),
            false => Ok(bytes),
        }
    }

    /// Reads until `bytes` has the given length or the body ends.
    pub fn read_up_to(&mut self, bytes: &mut Vec<u8>, length: u64) -> Result<(), HubError> {
        let mut buffer = [0_u8; 16 * 1024];
        loop {
            let missing = length.saturating_sub(bytes.len() as u64).min(buffer.len() as u64);
            let Some(space) = buffer.get_mut(..missing as usize).filter(|s| !s.is_empty()) else {
                return Ok(());
            };
            match read(&mut self.response, space, self.deadline) {
                Ok(0) => return Ok(()),
                Ok(n) => bytes.extend(space.iter().take(n)),
                Err(ReadProblem::Deadline | ReadProblem::Silent) => return Err(self.timeout()),
                Err(ReadProblem::Broken(text)) => {
                    let host = host(self.response.url());
                    let problem = format!("it broke while {} was read ({text})", self.what);
                    return Err(HubError::Connection { host, problem });
                }
            }
        }
    }

    fn timeout(&self) -> HubError {
        HubError::Timeout { host: host(self.response.url()), what: self.what.clone() }
    }

    /// First byte and total length by `Content-Range: bytes 0-99/1234`; the length may be unknown (`*`).
    pub fn content_range(&self) -> Option<(u64, Option<u64>)> {
        let text = header(&self.response, CONTENT_RANGE.as_str())?;
        let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let first = range.split_once('-')?.0.trim().parse().ok()?;
        match total.trim() {
            "*" => Some((first, None)),
            total => Some((first, Some(total.parse().ok()?))),
        }
    }

    /// `Content-Length`.
    pub fn length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// An error about this answer.
    pub fn wrong(&self, problem: impl Into<String>) -> HubError {
        HubError::BadAnswer {
            host: host(self.response.url()),
            what: self.what.clone(),
            problem: problem.into(),
        }
    }

    /// Where a list goes on, by `Link: <address>; rel="next"`.
    pub fn next_page(&self) -> Option<String> {
        let links = header(&self.response, LINK.as_str())?;
        let next = links.split(',').find(|link| link.contains("rel=\"next\""))?;
        Some(next.split_once('<')?.1.split_once('>')?.0.to_owned())
    }

    fn pause(&self) -> Option<Duration> {
        header(&self.response, RETRY_AFTER.as_str())?.parse().ok().map(Duration::from_secs)
    }
}

fn header(response: &Response, name: &str) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or("the server").to_owned()
}

fn classify(error: &reqwest::Error, url: &Url, what: &str) -> HubError {
    let text = chain(error);
    if error.is_timeout() {
        HubError::Timeout { host: host(url), what: what.to_owned() }
    } else if text.contains("dns error") || text.contains("failed to lookup address") {
        HubError::Dns(host(url))
    } else {
        HubError::Connection { host: host(url), problem: text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_goes_to_the_endpoint_over_safe_connections_only() {
        let trusted = |endpoint: &str, url: &str| {
            let options = HubOptions { endpoint: endpoint.to_owned(), ..HubOptions::default() };
            let url = Url::parse(url).expect("a valid address");
            Http::new(&options).map(|http| http.is_trusted(&url))
        };
        let hub = "https://huggingface.co";
        assert_eq!(trusted(hub, "https://huggingface.co/a/b"), Ok(true));
        for url in [
            "http://huggingface.co/a",
            "https://huggingface.co.evil.com/a",
            "https://cdn.huggingface.co/a",
            "https://huggingface.co:8443/a",
            "https://huggingface.co@evil.com/a",
        ] {
            assert_eq!(trusted(hub, url), Ok(false), "{url}");
        }
        assert_eq!(trusted("http://mirror.example", "http://mirror.example/a"), Ok(false));
        assert_eq!(trusted("http://localhost:80", "http://localhost/a"), Ok(true));
    }

    #[test]
    fn redirects_leave_the_own_network_alone() {
        let leads = |endpoint: &str, url: &str| {
            let options = HubOptions { endpoint: endpoint.to_owned(), ..HubOptions::default() };
            let url = Url::parse(url).expect("a valid address");
            Http::new(&options).map(|http| http.may_lead_to(&url))
        };
        let public = "https://1.1.1.1";
        for url in [
            "http://169.254.169.254/latest",
            "http://127.0.0.1:80/",
            "https://10.0.0.1/",
            "http://[::1]/",
        ] {
            assert_eq!(leads(public, url), Ok(false), "{url}");
        }
        assert_eq!(leads(public, "https://1.0.0.1/"), Ok(true));
        assert_eq!(leads("http://192.168.1.2:8080", "http://192.168.1.3/"), Ok(true));
    }

    #[test]
    fn path_segments_are_encoded() {
        let options = HubOptions { endpoint: "https://m/sub/".to_owned(), ..HubOptions::default() };
        let url =
            Http::new(&options).map(|http| http.url(&["o", "n", "resolve", "refs/pr/1", "f"]));
        assert_eq!(url.as_ref().map(Url::as_str), Ok("https://m/sub/o/n/resolve/refs%2Fpr%2F1/f"));
    }
}
