//! How a conversation grows: the tokens of every turn, and what of its prompt the turn before has left in a kept cache.

use super::spec::SessionSpec;

/// The tokens of a turn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TurnTokens {
    /// Tokens of the whole prompt.
    pub prompt: u32,
    /// Tokens of it that are in the kept cache of the turn before.
    pub cached: u32,
    /// Tokens generated.
    pub output: u32,
    /// Seconds of tools after them.
    pub tools_s: f64,
}

impl TurnTokens {
    /// Tokens in the cache at the end of the turn.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.prompt.saturating_add(self.output)
    }
}

/// The turns of a session, one after the other and beyond the last one like it, without end.
///
/// The prompt of a turn is that of the turn before, its output without the thinking text that the template removes, what
/// the tools have added, and what the user adds. The kept cache of the turn before holds its prompt and its output; where
/// thinking text is removed, the prompts part at the beginning of that output.
pub fn turns(spec: &SessionSpec) -> impl Iterator<Item = TurnTokens> + '_ {
    let mut history = spec.system;
    let mut kept = 0;
    (0..).map(move |number: usize| {
        let last = (spec.turns as usize).saturating_sub(1);
        let turn = spec.turn(number.min(last));
        let [added, output, thinking, tool] =
            [turn.prompt, turn.output, turn.thinking, turn.tool].map(Option::unwrap_or_default);
        let prompt = history.saturating_add(added);
        let this = TurnTokens {
            prompt,
            cached: kept.min(prompt.saturating_sub(1)),
            output,
            tools_s: turn.tools_s.unwrap_or_default(),
        };
        history = prompt.saturating_add(output - thinking.min(output)).saturating_add(tool);
        kept = if thinking > 0 { prompt } else { prompt.saturating_add(output) };
        this
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str, n: usize) -> Vec<[u32; 3]> {
        let spec: SessionSpec = text.parse().expect("a session");
        turns(&spec).take(n).map(|t| [t.prompt, t.cached, t.output]).collect()
    }

    #[test]
    fn depth_grows_by_prompt_output_and_tool() {
        let found = first("turns=2,system=6000,prompt=300,output=500,tool=1500", 3);
        assert_eq!(found, [[6300, 0, 500], [8600, 6800, 500], [10_900, 9100, 500]]);
    }

    /// What a template removes is not read again as it was: behind it everything is.
    #[test]
    fn thinking_text_breaks_the_prefix_where_it_begins() {
        let found = first("turns=2,system=1000,prompt=100,output=500,thinking=400", 2);
        assert_eq!(found, [[1100, 0, 500], [1300, 1100, 500]]);
    }
}
