//! How many of the hub's most downloaded repositories are known here, for `docs/coverage.md`.

use super::{INDEX, IndexedRepo};
use crate::model::catalog::Models;
use crate::model::names::{NameError, NameNote, NameSpec, Resolution, Resolver};

/// What a name leads to, without the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// A model of the catalog.
    Known,
    /// A model with the configuration of one: same type and parameters, or derived from it.
    Copy,
    /// No model of its own, which is said: a draft model, a projector, an encoder.
    Part,
    /// What the index knows, and how to go on.
    Indexed,
}

/// What the name of a repository leads to.
#[must_use]
pub fn reach(repo: &IndexedRepo, models: &Models, resolver: &Resolver<'_>) -> Reach {
    let copied = |notes: &[NameNote]| {
        notes
            .iter()
            .any(|n| matches!(n, NameNote::SameConfiguration { .. } | NameNote::ReadAs { .. }))
    };
    match resolver.resolve(&NameSpec::parse(&repo.repo), None) {
        Ok(Resolution::One(found)) if copied(&found.notes) => Reach::Copy,
        Ok(_) => Reach::Known,
        Err(
            NameError::Part { .. }
            | NameError::OnlyOneProgram { .. }
            | NameError::NotALanguageModel { .. },
        ) => Reach::Part,
        Err(_) if repo.relative(models).is_some() => Reach::Copy,
        Err(_) => Reach::Indexed,
    }
}

/// The `count` most downloaded repositories of which `kept` is true.
pub fn most_downloaded(
    count: usize,
    kept: impl Fn(&IndexedRepo) -> bool,
) -> Vec<&'static IndexedRepo> {
    let mut all: Vec<&IndexedRepo> = INDEX.iter().filter(|row| kept(row)).collect();
    all.sort_by_key(|row| std::cmp::Reverse(row.downloads.unwrap_or(0)));
    all.truncate(count);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    /// The page, and what every list reaches.
    fn page() -> (String, Vec<[usize; 4]>) {
        let models = Models::built_in().unwrap();
        let resolver = Resolver::new(&models);
        let lists: [(&str, Vec<&IndexedRepo>); 3] = [
            ("100 most downloaded MLX repositories", most_downloaded(100, |r| r.format == "mlx")),
            (
                "100 most downloaded releases since July 2026 (no MLX conversions)",
                most_downloaded(100, |r| r.released.as_str() >= "2026-07-01" && r.format != "mlx"),
            ),
            ("400 most downloaded repositories of the index", most_downloaded(400, |_| true)),
        ];
        let mut text = HEAD.to_owned();
        let mut all = Vec::new();
        let mut open = String::new();
        for (title, repos) in &lists {
            let mut counts = [0; 4];
            for repo in repos {
                let reached = reach(repo, &models, &resolver);
                counts[reached as usize] += 1;
                if reached == Reach::Indexed && repos.len() == 100 {
                    let _ = writeln!(open, "- `{}` ({})", repo.repo, repo.model_type);
                }
            }
            let [known, copy, part, indexed] = counts;
            let _ = writeln!(text, "| {title} | {known} | {copy} | {part} | {indexed} |");
            all.push(counts);
        }
        let known = models.models().len();
        let _ = write!(
            text,
            "\nThe catalog holds {known} models.\n\nOf the two lists of 100 these are not known offline:\n\n{open}"
        );
        (text, all)
    }

    const HEAD: &str = "# Coverage of names\n\n<!-- Written by a test: MLXPLAN_WRITE_DOCS=1 cargo test --lib coverage -->\n
What the names of repositories lead to without the network, by the embedded index of the hub (PyPI llmfit 1.1.17, MIT
license; state of September to October 2026). *Known*: a model of the catalog in the format that the name says. *Copy*:
the configuration of one, by the same type and parameter count or by descent, which the answer says. *Part*: no model of
its own (a draft model, an encoder), which the error says. *Index*: the error says type, parameters and date, and online
the repository is read.

The count is generous: what counts is a name that gets an answer, not a model that runs. A known model in a format that the
engine refuses counts as known (the refusal names the engine that loads it), and a part counts although nothing is predicted
for it. The test asks that the first three columns hold at least 95 of the 100 MLX repositories and 70 of the 100 releases.\n\n| repositories | known | copy | part | index only |\n|---|---|---|---|---|\n";

    #[test]
    fn the_page_says_what_is_reached_and_that_is_enough() {
        let (text, counts) = page();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/coverage.md");
        if std::env::var_os("MLXPLAN_WRITE_DOCS").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(path).unwrap_or_default(),
            text,
            "{path} is out of date"
        );
        let resolved = |list: usize| counts[list][..3].iter().sum::<usize>();
        assert!(resolved(0) >= 95, "{counts:?}");
        assert!(resolved(1) >= 70, "{counts:?}");
    }
}
