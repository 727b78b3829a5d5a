//! Prompts: questions that people ask, with the tools that answer them.

use rmcp::model::{GetPromptResult, JsonObject, Prompt, PromptArgument, PromptMessage, Role};
use serde_json::Value;

/// A question with gaps, `{mac}`.
struct PromptRow {
    name: &'static str,
    title: &'static str,
    /// Its gaps, whether each must be filled, and what it takes.
    gaps: &'static [(&'static str, bool, &'static str)],
    text: &'static str,
    /// Said of each gap that is filled, and nothing of the others.
    if_given: &'static [(&'static str, &'static str)],
}

const PROMPTS: [PromptRow; 4] = [
    PromptRow {
        name: "what_can_i_run",
        title: "What can I run on this Mac?",
        gaps: &[
            (
                "mac",
                false,
                "A Mac, m4max-40/64 or its name with memory; this machine where it is left out",
            ),
            ("use", false, "What for: chat, code, agents, long documents"),
        ],
        text: "Call recommend. From its rows that fit, pick two or three and say of each: decode tokens/s and time to \
               first token with their intervals, peak memory against the limit, the longest safe context, and how sure \
               it is.",
        if_given: &[("mac", "The Mac is {mac}."), ("use", "It is meant for {use}.")],
    },
    PromptRow {
        name: "which_mac_to_buy",
        title: "Which Mac should I buy?",
        gaps: &[
            ("model", true, "The model, with its quantization"),
            ("budget", false, "USD at most"),
            ("needs", false, "Context, tokens/s, users"),
        ],
        text: "Call compare_buy for {model}. Say which configuration is the cheapest that surely meets the needs, which \
               is the best value, and what the next cheaper one lacks; give prices with their date, and intervals.",
        if_given: &[("budget", "Budget: {budget} USD."), ("needs", "Needs: {needs}.")],
    },
    PromptRow {
        name: "why_is_it_slow",
        title: "Why is my model slower than it should be?",
        gaps: &[
            ("model", true, "The model, with its quantization"),
            ("mac", true, "The Mac it ran on"),
            ("tokens_per_s", true, "Measured tokens per second"),
            ("engine", false, "The program that ran it, with its version"),
        ],
        text: "Call why for {model} on {mac} with measured {tokens_per_s}. Say the first causes with their factors, and \
               for each the test that would settle it, cheapest first.",
        if_given: &[("engine", "It ran in {engine}.")],
    },
    PromptRow {
        name: "will_it_hold",
        title: "Will this deployment hold?",
        gaps: &[("plan", true, "The plan: Macs, models, contexts, what must hold")],
        text: "Write this plan as the TOML that check takes, call check with it, and say what holds, what does not, with \
               which probability, and the smallest change that would help: {plan}",
        if_given: &[],
    },
];

/// All prompts.
pub(super) fn all() -> Vec<Prompt> {
    PROMPTS.iter().map(PromptRow::prompt).collect()
}

/// A prompt with its gaps filled.
///
/// # Errors
/// A name that is not known, a gap that must be filled, or what is no text.
pub(super) fn make(name: &str, given: &JsonObject) -> Result<GetPromptResult, String> {
    let question = PROMPTS.iter().find(|q| q.name == name).ok_or_else(|| {
        let names: Vec<&str> = PROMPTS.iter().map(|q| q.name).collect();
        format!("there is no such prompt; there are {}", names.join(", "))
    })?;
    let text = question.filled(given)?;
    let message = PromptMessage::new_text(Role::User, text);
    Ok(GetPromptResult::new(vec![message]).with_description(question.title))
}

impl PromptRow {
    fn prompt(&self) -> Prompt {
        let argument = |(name, required, said): &(&str, bool, &str)| {
            PromptArgument::new(*name).with_description(*said).with_required(*required)
        };
        let arguments = self.gaps.iter().map(argument).collect();
        Prompt::new(self.name, Some(self.title), Some(arguments)).with_title(self.title)
    }

    fn filled(&self, given: &JsonObject) -> Result<String, String> {
        let mut values: Vec<(&str, &str)> = Vec::new();
        for (name, required, said) in self.gaps {
            match given.get(*name) {
                Some(Value::String(text)) => values.push((name, text)),
                None | Some(Value::Null) if *required => {
                    return Err(format!("{name} is missing: {said}"));
                }
                None | Some(Value::Null) => {}
                Some(_) => return Err(format!("{name}: expected a text")),
            }
        }
        let has = |gap: &str| values.iter().any(|(name, _)| *name == gap);
        let beside = self.if_given.iter().filter(|(gap, _)| has(gap)).map(|(_, text)| *text);
        let parts: Vec<String> =
            std::iter::once(self.text).chain(beside).map(|text| fill(text, &values)).collect();
        Ok(parts.join(" "))
    }
}

/// A text with its gaps filled in one pass, so that a value which looks like a gap stays as it is.
fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let Some((name, behind)) = after.split_once('}') else { break };
        out.push_str(values.iter().find(|(gap, _)| *gap == name).map_or("", |(_, value)| value));
        rest = behind;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn gaps_are_filled_once_and_only_where_something_was_said() {
        let given = json!({ "model": "{budget}", "needs": "20 tok/s" });
        let given = given.as_object().expect("an object");
        let made = make("which_mac_to_buy", given).expect("made");
        let text = serde_json::to_string(&made.messages).expect("JSON");
        assert!(
            text.contains("compare_buy for {budget}.") && text.contains("Needs: 20 tok/s."),
            "{text}"
        );
        assert!(!text.contains("Budget:"), "{text}");
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        let none = JsonObject::new();
        assert!(make("why_is_it_slow", &none).expect_err("gaps").starts_with("model is missing"));
        assert!(make("other", &none).expect_err("unknown").contains("will_it_hold"));
    }

    #[test]
    fn every_gap_of_a_text_is_declared() {
        for q in &PROMPTS {
            let texts = std::iter::once(q.text).chain(q.if_given.iter().map(|(_, text)| *text));
            for gap in texts.flat_map(|t| t.split('{').skip(1)).filter_map(|t| t.split('}').next())
            {
                assert!(q.gaps.iter().any(|(name, _, _)| *name == gap), "{}: {gap}", q.name);
            }
        }
    }
}
