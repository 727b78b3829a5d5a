//! Settings for access to the hub.

use super::super::cache::{CacheRoots, hugging_face_home};
use super::super::read_text;
use crate::http::shown;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The hub.
pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// How the hub is reached. `Debug` hides the token.
#[derive(Clone, PartialEq, Eq)]
pub struct HubOptions {
    /// Address of the hub or a mirror. It may hold a password, which is shown nowhere.
    pub endpoint: String,
    /// Access token. It is sent to the endpoint's own host only, and only over HTTPS or to this machine.
    pub token: Option<String>,
    /// Refuse every request.
    pub offline: bool,
    /// Folders of this machine that are searched first.
    pub caches: CacheRoots,
    /// Folder in which what was read is kept; `None` keeps nothing.
    pub store: Option<PathBuf>,
    /// Time for a connection to be made.
    pub connect_timeout: Duration,
    /// Time for the next bytes to arrive.
    pub read_timeout: Duration,
    /// Time for one whole file.
    pub file_timeout: Duration,
    /// Pause before the first repetition; it doubles for the second and last one.
    pub backoff: Duration,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            endpoint: DEFAULT_ENDPOINT.to_owned(),
            token: None,
            offline: false,
            caches: CacheRoots::default(),
            store: None,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(20),
            file_timeout: Duration::from_secs(120),
            backoff: Duration::from_millis(500),
        }
    }
}

impl fmt::Debug for HubOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubOptions")
            .field("endpoint", &shown(&self.endpoint))
            .field("token", &self.token.as_ref().map(|_| "hidden"))
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

impl HubOptions {
    /// Settings by environment and home folder, as the `hf` tool has them: `HF_ENDPOINT`; `HF_HUB_OFFLINE`; the token
    /// in `HF_TOKEN`, else in the file that `HF_TOKEN_PATH` names, else in `token` of Hugging Face's folder.
    #[must_use]
    pub fn from_env(var: &dyn Fn(&str) -> Option<OsString>, home: Option<&Path>) -> Self {
        let text = |name: &str| {
            let value = var(name)?.into_string().ok()?;
            Some(value.trim().to_owned()).filter(|v| !v.is_empty())
        };
        let file = || {
            let stated = text("HF_TOKEN_PATH").map(Into::into);
            let path = stated.or_else(|| hugging_face_home(var, home).map(|h| h.join("token")))?;
            read_text(&path, 10_000, "token").ok().map(|t| t.trim().to_owned())
        };
        // What is no token (line breaks, other characters) would be no valid header either.
        let is_token = |t: &String| !t.is_empty() && t.bytes().all(|b| b.is_ascii_graphic());
        let offline = text("HF_HUB_OFFLINE").is_some_and(|v| {
            matches!(v.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
        });
        Self {
            endpoint: text("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned()),
            token: text("HF_TOKEN").or_else(file).filter(is_token),
            offline,
            caches: CacheRoots::from_env(var, home),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_decides() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".cache/huggingface");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("token"), "hf_file\n").unwrap();
        let with = |pairs: &[(&str, &str)]| {
            let find = |n: &str| pairs.iter().find(|(k, _)| *k == n).map(|(_, v)| (*v).into());
            HubOptions::from_env(&find, Some(home.path()))
        };
        assert_eq!(with(&[]).token.as_deref(), Some("hf_file"));
        assert_eq!(with(&[]).endpoint, DEFAULT_ENDPOINT);
        assert_eq!(with(&[("HF_TOKEN", " hf_env ")]).token.as_deref(), Some("hf_env"));
        assert_eq!(with(&[("HF_TOKEN", "two\nlines")]).token, None);
        assert_eq!(with(&[("HF_TOKEN_PATH", "/absent")]).token, None);
        assert_eq!(with(&[("HF_ENDPOINT", "https://m")]).endpoint, "https://m");
        assert!(with(&[("HF_HUB_OFFLINE", "1")]).offline);
        assert!(!with(&[("HF_HUB_OFFLINE", "0")]).offline);
        assert!(!format!("{:?}", with(&[])).contains("hf_file"));
        let secret = with(&[("HF_ENDPOINT", "https://user:secret@mirror.example")]);
        assert!(!format!("{secret:?}").contains("secret"));
    }
}
