//! Prompts: nine kinds of work, and fillers of a wanted length.
//!
//! Every prompt begins with words that no other prompt has, so that no prefix cache can help, on this run or a later
//! one.

use fastrand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

/// A kind of work.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum PromptKind {
    /// A short question.
    Question,
    /// An explanation.
    Explain,
    /// A summary of a text.
    Summarize,
    /// Program code.
    Code,
    /// A calculation in steps.
    Reason,
    /// A story.
    Story,
    /// A translation.
    Translate,
    /// Fields taken out of a text.
    Extract,
    /// A plan with points.
    Plan,
}

impl PromptKind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::Question,
        Self::Explain,
        Self::Summarize,
        Self::Code,
        Self::Reason,
        Self::Story,
        Self::Translate,
        Self::Extract,
        Self::Plan,
    ];

    /// Name on the command line and in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Question => "question",
            Self::Explain => "explain",
            Self::Summarize => "summarize",
            Self::Code => "code",
            Self::Reason => "reason",
            Self::Story => "story",
            Self::Translate => "translate",
            Self::Extract => "extract",
            Self::Plan => "plan",
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Question => "Why does the sky look red at sunset and blue at noon?",
            Self::Explain => {
                "Explain to a student how a compiler turns a loop into machine code. Go through parsing, the \
                 intermediate form, optimization and register allocation, with a small example for each."
            }
            Self::Summarize => {
                "Summarize the following note in three sentences. The harbour authority met on Tuesday to settle how \
                 the old ferry quay is to be used. The fishing cooperative wants cold storage there, because its \
                 present hall floods in spring. The rowing club asks for a slipway, and offers to pay a third of it. \
                 Two members doubted that the piles would carry a building and proposed a survey first. It was \
                 agreed to order the survey, to keep the quay closed to lorries until June, and to meet again when \
                 the figures are in. The treasurer pointed out that the reserve covers the survey, but no more."
            }
            Self::Code => {
                "Write a function in Rust that merges overlapping intervals given as a vector of pairs, with a \
                 doc comment and tests for empty input, touching intervals and nested intervals."
            }
            Self::Reason => {
                "A tank is filled by two pipes in 6 and 9 hours, and emptied by a drain in 12 hours. All three are \
                 opened on the empty tank, and the drain is closed after 3 hours. When is the tank full? Show each \
                 step of the calculation."
            }
            Self::Story => {
                "Tell a story about a lighthouse keeper who finds a letter that was written to her a hundred years \
                 ago. Let it begin with the weather and end with a decision."
            }
            Self::Translate => {
                "Translate into French, keeping the tone: 'We are sorry to say that the parcel you sent us on the \
                 third of May arrived with a broken seal. The instruments inside are unharmed, yet two of the manuals \
                 are missing. Would you kindly send them again, to the same address, at our expense?'"
            }
            Self::Extract => {
                "Give back a JSON object with the keys name, date, amount_eur and items. Text: 'On 14 March 2024 \
                 Ines Albrecht bought four oak chairs and a bench from us, for 1,180 euros in all, of which she paid \
                 half at once.'"
            }
            Self::Plan => {
                "Plan the move of a small library with 8,000 books to a building two streets away. List the steps \
                 week by week, who does what, what can go wrong, and how readers are told."
            }
        }
    }
}

impl FromStr for PromptKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        let kind = Self::ALL.into_iter().find(|k| k.name() == text);
        kind.ok_or_else(|| format!("unknown kind of prompt '{text}'; known: {}", known()))
    }
}

/// Words of which fillers are made: short, common, and mostly one token each.
const WORDS: [&str; 64] = [
    "river", "stone", "green", "light", "house", "water", "paper", "field", "morning", "letter",
    "bridge", "winter", "garden", "window", "table", "silver", "road", "music", "shadow", "market",
    "friend", "summer", "circle", "engine", "forest", "glass", "island", "ladder", "metal",
    "number", "ocean", "planet", "quiet", "rain", "salt", "tower", "uncle", "valley", "wheel",
    "yellow", "animal", "bottle", "candle", "doctor", "evening", "flower", "gold", "hammer",
    "iron", "jacket", "kitchen", "lemon", "mirror", "needle", "orange", "pencil", "quarter",
    "rabbit", "street", "ticket", "under", "village", "wagon", "young",
];

/// Makes prompts that differ from all earlier ones.
#[derive(Clone, Debug)]
pub struct Prompts {
    rng: Rng,
}

impl Prompts {
    /// A source that no earlier run has used: seeded by the clock and the process.
    #[must_use]
    pub fn unique() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seed = now.as_nanos() as u64 ^ (u64::from(std::process::id()) << 40);
        Self { rng: Rng::with_seed(seed) }
    }

    /// A source that always gives the same prompts.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed) }
    }

    /// A few random words and a number, to stand at the beginning.
    fn nonce(&mut self) -> String {
        let number = self.rng.u32(10_000..1_000_000);
        format!("{number} {}", self.filler(3))
    }

    /// A prompt of a kind.
    pub fn of_kind(&mut self, kind: PromptKind) -> String {
        self.made_unique(kind.text())
    }

    /// A given text with a beginning of its own.
    pub fn made_unique(&mut self, text: &str) -> String {
        format!("Reference {}.\n{text}", self.nonce())
    }

    /// So many random words.
    pub fn filler(&mut self, words: u32) -> String {
        let chosen = (0..words).map(|_| WORDS[self.rng.usize(..WORDS.len())]);
        chosen.collect::<Vec<_>>().join(" ")
    }

    /// A long text of about so many words, with a request at its end that makes the model write.
    pub fn long(&mut self, words: u32) -> String {
        let filler = self.filler(words);
        self.made_unique(&format!("{filler}\nContinue this list of words without end:"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_prompts_begin_alike() {
        let mut prompts = Prompts::with_seed(1);
        let beginnings: BTreeSet<String> = (0..500)
            .map(|_| prompts.of_kind(PromptKind::Code).chars().take(18).collect())
            .collect();
        assert!(beginnings.len() > 495, "{}", beginnings.len());
        assert_ne!(Prompts::unique().long(5), Prompts::unique().long(5));
    }

    #[test]
    fn fillers_have_their_length() {
        let mut prompts = Prompts::with_seed(2);
        assert_eq!(prompts.filler(1000).split(' ').count(), 1000);
        assert_eq!(prompts.filler(0), "");
    }

    #[test]
    fn kinds_have_names() {
        for kind in PromptKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert!("poem".parse::<PromptKind>().unwrap_err().contains("story"));
    }
}
