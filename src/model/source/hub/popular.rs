//! The most downloaded repositories of the hub, page by page.

use super::error::HubError;
use super::http::Http;
use super::options::HubOptions;
use reqwest::{StatusCode, Url};
use serde::Deserialize;

/// Longest page of the list, in bytes.
const MAX_PAGE_BYTES: u64 = 10_000_000;
/// Most repositories of one page, the hub's own limit.
pub const PAGE: usize = 100;

/// A repository of the list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ListedRepo {
    /// Its name.
    pub id: String,
    /// Downloads of the last 30 days.
    #[serde(default)]
    pub downloads: u64,
    /// When it was created, ISO.
    #[serde(default, rename = "createdAt")]
    pub created: Option<String>,
    /// Parameters, where the hub counted them.
    #[serde(default)]
    pub safetensors: Option<CountedParameters>,
}

/// What the hub counted in the safetensors files.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CountedParameters {
    /// All of them.
    #[serde(default)]
    pub total: Option<u64>,
}

/// One page of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PopularPage {
    /// The repositories, most downloaded first.
    pub repos: Vec<ListedRepo>,
    /// Where the next page is; `None` at the end.
    pub next: Option<String>,
}

/// Asks for a page of the most downloaded text-generation repositories: the first, or the one at `next`.
///
/// # Errors
/// When the run is offline or the hub does not answer as it should; a first page without repositories is no answer.
pub fn page(options: &HubOptions, next: Option<&str>) -> Result<PopularPage, HubError> {
    const WHAT: &str = "the list of popular models";
    if options.offline {
        return Err(HubError::Offline(WHAT.to_owned()));
    }
    let http = Http::new(options)?;
    let mut url = http.url(&["api", "models"]);
    match next {
        Some(next) => url = same_host(&url, next).ok_or_else(|| bad(&http, WHAT))?,
        None => {
            url.query_pairs_mut()
                .append_pair("pipeline_tag", "text-generation")
                .append_pair("sort", "downloads")
                .append_pair("direction", "-1")
                .append_pair("limit", &PAGE.to_string())
                .append_pair("expand[]", "downloads")
                .append_pair("expand[]", "createdAt")
                .append_pair("expand[]", "safetensors");
        }
    }
    let answer = http.get(&url, None, WHAT)?;
    if answer.status != StatusCode::OK {
        let status = answer.status.as_u16();
        return Err(HubError::Status { host: http.host(), status, what: WHAT.to_owned() });
    }
    let following = answer.next_page();
    let body = answer.body(MAX_PAGE_BYTES)?;
    let repos: Vec<ListedRepo> = serde_json::from_slice(&body).map_err(|_| bad(&http, WHAT))?;
    if repos.is_empty() && next.is_none() {
        return Err(bad(&http, WHAT));
    }
    Ok(PopularPage { repos, next: following })
}

fn bad(http: &Http, what: &str) -> HubError {
    let problem = "it is no list of repositories".to_owned();
    HubError::BadAnswer { host: http.host(), what: what.to_owned(), problem }
}

/// The next page's address, which must be on the same host.
fn same_host(endpoint: &Url, next: &str) -> Option<Url> {
    let url = endpoint.join(next).ok()?;
    (url.origin() == endpoint.origin()).then_some(url)
}
