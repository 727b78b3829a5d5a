//! Modules that a block of another tool says it left in 16 bit. Engines never read this, because the tensors decide; for
//! a configuration alone it is all there is.

use crate::model::Config;
use serde_json::Value;

/// Patterns of modules that stay as they are.
#[derive(Default)]
pub(super) struct Hints {
    patterns: Vec<Pattern>,
}

enum Pattern {
    /// Parts of a path, of which `*` stands for any.
    Parts(Vec<String>),
    Regex(regex_lite::Regex),
}

/// Keys under which tools list them.
const KEYS: [&str; 4] = ["modules_to_not_convert", "ignore", "exclude_modules", "ignored_layers"];
/// Most entries that are read: the longest list known has some 3000.
const MAX_ENTRIES: usize = 20_000;

impl Hints {
    /// The hints of a block.
    pub fn of(block: Option<&Config>) -> Self {
        let Some(block) = block else { return Self::default() };
        let nested = block.opt_object("quantization").ok().flatten();
        let lists = [Some(block), nested.as_ref()].into_iter().flatten().flat_map(|b| {
            KEYS.iter().filter_map(|key| b.get(key).and_then(Value::as_array).cloned())
        });
        let entries = lists.flatten().take(MAX_ENTRIES);
        let pattern = |entry: Value| {
            let text = entry.as_str()?;
            match text.strip_prefix("re:") {
                Some(regex) => regex_lite::Regex::new(regex).ok().map(Pattern::Regex),
                None => Some(Pattern::Parts(parts(text))),
            }
        };
        Self { patterns: entries.filter_map(pattern).collect() }
    }

    /// Whether the module at `path`, as mlx-lm names it, is left out.
    pub fn leave_out(&self, path: &str) -> bool {
        let own = parts(path);
        let on_the_hub = path.replace(".switch_mlp.", ".experts.0.");
        self.patterns.iter().any(|pattern| match pattern {
            Pattern::Regex(regex) => regex.is_match(&on_the_hub),
            Pattern::Parts(wanted) if wanted.is_empty() => false,
            Pattern::Parts(wanted) => own
                .windows(wanted.len())
                .any(|run| run.iter().zip(wanted).all(|(a, b)| b == "*" || a == b)),
        })
    }
}

/// The parts of a path behind the wrappers, with experts under one name.
fn parts(path: &str) -> Vec<String> {
    super::stored::canonical(path).split('.').filter(|p| !p.is_empty()).map(str::to_owned).collect()
}
