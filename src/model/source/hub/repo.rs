//! Repository names of the hub.

use super::error::HubError;
use std::fmt;

/// A repository and a revision of it. Displays as `org/name` or `org/name@revision`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoRef {
    organization: String,
    name: String,
    revision: Option<String>,
}

/// The hub's limit for a part of a repository name.
const MAX_PART: usize = 96;

/// Whether a revision is a commit: the hub names commits by 40 hexadecimal digits.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit())
}

impl RepoRef {
    /// Reads `org/name`, `org/name@revision` or the rest of a web address, `org/name/tree/revision`.
    ///
    /// # Errors
    /// When it has another form, or characters that the hub does not allow.
    pub fn parse(text: &str) -> Result<Self, HubError> {
        let bad = |problem| {
            let name = text.chars().take(100).flat_map(char::escape_debug).collect();
            Err(HubError::BadName { name, problem })
        };
        let text = text.trim().trim_end_matches('/');
        let (path, mut revision) = match text.split_once('@') {
            Some((path, revision)) => (path, Some(revision)),
            None => (text, None),
        };
        let mut parts = path.splitn(4, '/');
        let (Some(organization), Some(name)) = (parts.next(), parts.next()) else {
            return bad("the organization is missing");
        };
        match (parts.next(), parts.next(), revision) {
            (None, None, _) => {}
            (Some("tree" | "commit"), Some(rest), None) => revision = Some(rest),
            (Some("blob" | "resolve"), Some(rest), None) => {
                revision = Some(rest.split_once('/').map_or(rest, |(revision, _)| revision));
            }
            _ => return bad("it has too many parts"),
        }
        for part in [organization, name] {
            if part.is_empty() || part.len() > MAX_PART {
                return bad("organization and name have 1 to 96 characters each");
            }
            if !part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')) {
                return bad("only letters, digits, '-', '_' and '.' are allowed");
            }
            if part.starts_with(['.', '-']) || part.ends_with(['.', '-']) || part.contains("..") {
                return bad("a part must not begin or end with '.' or '-', nor contain '..'");
            }
        }
        if let Some(revision) = revision {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
            if revision.is_empty() || revision.len() > 200 || !revision.chars().all(allowed) {
                return bad("a revision has 1 to 200 letters, digits, '-', '_', '.' and '/'");
            }
            let part_is_bad = |p: &str| p.is_empty() || p.starts_with('.');
            if revision.split('/').any(part_is_bad) || revision.contains("..") {
                return bad("the revision looks like a path");
            }
        }
        Ok(Self {
            organization: organization.to_owned(),
            name: name.to_owned(),
            revision: revision.map(str::to_owned),
        })
    }

    /// The organization or user.
    #[must_use]
    pub fn organization(&self) -> &str {
        &self.organization
    }

    /// The name inside the organization.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `org/name`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.organization, self.name)
    }

    /// The branch, tag or commit: `main` unless another one was named.
    #[must_use]
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }
}

impl fmt::Display for RepoRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.organization, self.name)?;
        match &self.revision {
            Some(revision) => write!(f, "@{revision}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_and_web_addresses_parse() {
        for (text, shown) in [
            ("Qwen/Qwen3-32B", "Qwen/Qwen3-32B"),
            (" Qwen/Qwen3-32B/ ", "Qwen/Qwen3-32B"),
            ("Qwen/Qwen3-32B@main", "Qwen/Qwen3-32B@main"),
            ("a/b.c_d@refs/pr/12", "a/b.c_d@refs/pr/12"),
            ("a/b/tree/refs/pr/1", "a/b@refs/pr/1"),
            ("a/b/blob/main/config.json", "a/b@main"),
        ] {
            assert_eq!(RepoRef::parse(text).map(|r| r.to_string()), Ok(shown.to_owned()), "{text}");
        }
        assert_eq!(RepoRef::parse("a/b").map(|r| r.revision().to_owned()), Ok("main".to_owned()));
    }

    #[test]
    fn nothing_that_could_leave_the_path_is_accepted() {
        for text in [
            "",
            "a",
            "/b",
            "a/",
            "a/b/c",
            "../b",
            "a/..",
            "a/b@../c",
            "a/b@",
            "a/b@/x",
            "a/b@x//y",
            "a b/c",
            "a/b?x=1",
            "a/b#f",
            "a/b%2f",
            "ä/b",
            ".a/b",
            "a/-b",
            "a/b@x y",
            "a/b/tree/../../x",
            "a/b@.git",
            "a/b\n",
            "a\u{0}/b",
            "a/b@c@d",
        ] {
            let parsed = RepoRef::parse(text);
            // Surrounding white space is trimmed, which makes one of these valid.
            assert!(parsed.is_err() || text == "a/b\n", "{text:?} {parsed:?}");
        }
        let long = format!("a/{}", "b".repeat(97));
        assert!(RepoRef::parse(&long).is_err());
    }
}
