//! The test programs of mlxplan: those that `tests` holds.

use crate::project::Project;
use anyhow::{Context, Result};

/// The program that needs a feature, which has the same name.
const NEEDS_FEATURE: &str = "browser";

/// The names of all test programs that these features allow.
pub fn all(project: &Project, features: &[&str]) -> Result<Vec<String>> {
    let folder = project.shell.current_dir().join("tests");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let is_program =
            path.extension().is_some_and(|e| e == "rs") || path.join("main.rs").exists();
        if let Some(name) = path.file_stem().and_then(|name| name.to_str())
            && is_program
            && (name != NEEDS_FEATURE || features.contains(&name))
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::all;
    use crate::project::Project;

    #[test]
    fn a_program_is_left_out_only_where_it_needs_a_feature() {
        let project = Project::open(false).expect("found");
        let names = all(&project, &[]).expect("read");
        assert!(["cli", "conformance", "readme"].iter().all(|n| names.iter().any(|m| m == n)));
        let more = all(&project, &["mlx", "browser"]).expect("read");
        assert_eq!(more.len(), names.len() + 1);
        assert!(!more.iter().any(|n| n == "common" || n == "data"), "{more:?}");
    }
}
