//! Where the report goes: a file of its own in a folder, named after the model and the Mac.

use super::inquiry::Inquiry;
use std::path::{Path, PathBuf};

/// Longest part of a name.
const LONGEST: usize = 60;

/// A path in a folder that no file has yet.
pub(super) fn path(inquiry: &Inquiry, folder: &Path) -> PathBuf {
    let model = inquiry.model.as_deref().unwrap_or_default();
    let mac = inquiry.machine.mac.as_deref().unwrap_or("this");
    let stem = format!("mlxplan-{}-{}", plain(model), plain(mac));
    let named = |n: u32| match n {
        1 => format!("{stem}.html"),
        n => format!("{stem}-{n}.html"),
    };
    let mut all = (1..).map(|n| folder.join(named(n)));
    all.find(|path| !path.exists()).unwrap_or_else(|| folder.join(named(1)))
}

/// The last part of a name in letters that every file system has.
fn plain(name: &str) -> String {
    let last = name.trim_end_matches('/').rsplit('/').next().unwrap_or(name);
    // The memory of a Mac stands behind its last slash.
    let whole = if last.chars().all(|c| c.is_ascii_digit()) { name } else { last };
    let letter = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name: String = whole.chars().map(letter).take(LONGEST).collect();
    name.trim_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn names_are_those_of_files() {
        assert_eq!(plain("m4max-40/128"), "m4max-40-128");
        assert_eq!(plain("hf:Qwen/Qwen3-32B"), "Qwen3-32B");
        assert_eq!(plain("../../etc/passwd/"), "passwd");
        assert_eq!(plain("gemma3:27b\u{1b}[m"), "gemma3-27b--m");
    }
}
