//! Prediction heads (multi-token prediction): layers of a checkpoint that predict tokens further ahead.

use super::{DraftFacts, longest};
use crate::model::Config;

/// Keys that count prediction heads, over the families that have them.
const KEYS: [&str; 3] = ["mtp_num_hidden_layers", "num_nextn_predict_layers", "num_mtp_modules"];

/// The prediction heads of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PredictionHeads {
    /// How many; each is about one layer of the model.
    pub count: u32,
}

/// The prediction heads of a model by its configuration, or by what is known of its repository; `None` for none.
#[must_use]
pub fn heads(config: Option<&Config>, repo: &str) -> Option<PredictionHeads> {
    let stated = config.and_then(stated);
    let known = || Some(longest(&DraftFacts::embedded().ok()?.heads, |h| &h.models, repo)?.count);
    let count = stated.or_else(known)?;
    (count > 0).then_some(PredictionHeads { count })
}

fn stated(config: &Config) -> Option<u32> {
    let count = |c: &Config| {
        let number = KEYS.iter().find_map(|key| c.get(key)?.as_u64());
        number.and_then(|n| u32::try_from(n).ok())
    };
    let text = || config.opt_object("text_config").ok().flatten();
    count(config).or_else(|| count(&text()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(value: serde_json::Value, repo: &str) -> Option<u32> {
        let config = value.as_object().map(|keys| Config::new(keys.clone()));
        heads(config.as_ref(), repo).map(|h| h.count)
    }

    #[test]
    fn configurations_and_facts_tell_of_heads() {
        assert_eq!(of(json!({ "num_nextn_predict_layers": 1 }), "x/y"), Some(1));
        assert_eq!(of(json!({ "text_config": { "mtp_num_hidden_layers": 2 } }), "x/y"), Some(2));
        assert_eq!(of(json!({ "num_nextn_predict_layers": 0 }), "Qwen/Qwen3.5-4B"), None);
        assert_eq!(of(json!({}), "Qwen/Qwen3.5-4B"), Some(1));
        assert_eq!(of(json!({}), "Qwen/Qwen3-4B"), None);
    }
}
