//! Short names that are copied like numbers.

use std::fmt;

/// A name of up to [`Label::LONGEST`] bytes of ASCII.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    bytes: [u8; Self::LONGEST],
    length: u8,
}

impl Label {
    /// Most bytes of a name.
    pub const LONGEST: usize = 32;

    /// The label of a name; `None` where it is empty, too long, or has anything but letters, digits and `-_.+`.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"-_.+".contains(&c);
        if name.is_empty() || name.len() > Self::LONGEST || !name.bytes().all(plain) {
            return None;
        }
        let mut bytes = [0; Self::LONGEST];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Some(Self { bytes, length: name.len() as u8 })
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_or_refused() {
        let kept = |text: &str| Label::new(text).map(|l| l.as_str().to_owned());
        assert_eq!(kept("osaurus-0.3"), Some("osaurus-0.3".to_owned()));
        assert_eq!(kept(&"x".repeat(32)), Some("x".repeat(32)));
        for text in ["", "a b", "naïve", "a\u{1b}[31m", &"x".repeat(33)] {
            assert_eq!(kept(text), None, "{text}");
        }
    }
}
