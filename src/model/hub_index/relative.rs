//! The model of the catalog that a repository of the index is a copy of, by what the index says.

use super::{IndexedRepo, find};
use crate::model::catalog::{Models, Summary};
use crate::model::names::{foreign_word, key};

/// Steps from a repository to what it derives from that are followed.
const STEPS: usize = 4;
/// Share by which parameter counts of the same model differ: heads, towers and prediction layers that one has.
const SAME: f64 = 0.03;
/// Share by which they differ for a few added tokens, or norms that were counted apart.
const HARDLY: f64 = 1e-4;

/// A model of the catalog that a repository has the configuration of, as far as the index can tell.
#[derive(Clone, Debug)]
pub struct Relative<'c> {
    /// The model.
    pub model: &'c Summary,
    /// The suffix that says the repository's format, where its name or the index tell one.
    pub suffix: Option<String>,
    /// Why it is taken for a copy.
    pub reason: &'static str,
}

impl IndexedRepo {
    /// The model that this one has the configuration of: one that it derives from, else one that its name begins with,
    /// of the same type and, where it is not packed by another tool, of the same number of parameters.
    #[must_use]
    pub fn relative<'c>(&self, models: &'c Models) -> Option<Relative<'c>> {
        let short = self.repo.rsplit_once('/').map_or(self.repo.as_str(), |(_, name)| name);
        let packed = foreign_word(short).or_else(|| match self.format.as_str() {
            "awq" | "gptq" | "autoround" => Some(self.format.clone()),
            _ => None,
        });
        let same = |model: &&Summary| {
            let sizes = self.params.zip(model.published_params);
            let alike = sizes.is_some_and(|(a, b)| (a as f64 / b as f64 - 1.0).abs() <= SAME);
            model.model_type == self.model_type && (packed.is_some() || alike)
        };
        let derived = self.origin(models).filter(same).map(|m| (m, "which it derives from"));
        let named =
            || Some((named_after(short, models).filter(same)?, "whose name and type it has"));
        let sized = || Some((self.as_large(models)?, "of the same type and number of parameters"));
        let nearly = || {
            Some((
                self.nearly_as_large(models)?,
                "of the same type and hardly another number of parameters",
            ))
        };
        let (model, reason) = derived.or_else(named).or_else(sized).or_else(nearly)?;
        Some(Relative { model, suffix: packed, reason })
    }

    /// The model of the catalog of the same type with exactly as many parameters.
    fn as_large<'c>(&self, models: &'c Models) -> Option<&'c Summary> {
        let same =
            |m: &&Summary| m.published_params == self.params && m.model_type == self.model_type;
        self.params.and_then(|_| models.models().iter().find(same))
    }

    /// The model of the catalog of the same type whose number of parameters is nearest, where only a few tokens or the
    /// norms can make the difference.
    fn nearly_as_large<'c>(&self, models: &'c Models) -> Option<&'c Summary> {
        let own = self.params?;
        let apart = |m: &Summary| m.published_params.map_or(u64::MAX, |n| n.abs_diff(own));
        let same = models.models().iter().filter(|m| m.model_type == self.model_type);
        let nearest = same.min_by_key(|m| apart(m))?;
        (apart(nearest) as f64 <= HARDLY * own as f64).then_some(nearest)
    }

    /// The model of the catalog that a chain of derivations leads to.
    fn origin<'c>(&self, models: &'c Models) -> Option<&'c Summary> {
        let mut base = self.base.clone();
        for _ in 0..STEPS {
            if base.is_empty() {
                return None;
            }
            if let Some(model) = models.get(&base).or_else(|| Some(models.copy(&base)?.1)) {
                return Some(model);
            }
            base.clone_from(&find(&base)?.base);
        }
        None
    }
}

/// The model with the longest name that `name` begins with.
fn named_after<'c>(name: &str, models: &'c Models) -> Option<&'c Summary> {
    let name = key(name);
    let begins = |m: &&Summary| {
        let rest = name.strip_prefix(&key(m.short_name()));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    models.models().iter().filter(begins).max_by_key(|m| m.short_name().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relative(repo: &str) -> Option<(String, Option<String>)> {
        let models = Models::built_in().unwrap();
        let found = find(repo)?.relative(&models)?;
        Some((found.model.id.clone(), found.suffix))
    }

    #[test]
    fn copies_are_told_by_descent_or_by_name_and_type() {
        let qwen = |suffix: &str| Some(("Qwen/Qwen3.8-27B".to_owned(), Some(suffix.to_owned())));
        assert_eq!(relative("philbert440/Qwen3.8-27B-W4A16-AWQ"), qwen("w4a16"));
        assert_eq!(relative("lribeiro/Qwen3.8-27B-FP8-Pessoa"), qwen("fp8"));
        assert_eq!(relative("RadixArk/Qwen3.8-27B-NVFP4-BF16-LMHead"), qwen("fp4"));
        // Another type and another size: a draft model that is named after its target.
        assert_eq!(relative("z-lab/Qwen3.8-27B-DFlash2"), None);
        assert_eq!(relative("thinkingmachines/Inkling"), None);
    }
}
