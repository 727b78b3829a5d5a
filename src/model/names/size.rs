//! Size classes: `32B`, `30B-A3B`, `0.6B`, `E4B`, `8x22B`.
//!
//! The class of a model is read off its own name first, because names round generously (Qwen3-0.6B has 0.75 billion
//! parameters, Falcon3-7B has 7.46): the largest word of the form `7B` or `350M` is the total, `A3B` what is active
//! per token, `E4B` Google's effective size, and `17B-16E` (Llama 4) is an active size. A name without a total (phi-4,
//! Mistral-Nemo, granite-4.0-h-small) falls back on the published parameter count: it belongs to every class from 6 %
//! below to 2 % above it, because names round down more often than up (phi-4, "14B", has 14.66 billion).

use std::fmt;
use std::ops::RangeInclusive;

/// Parameter count over class, for models whose name states no size.
const COUNT_OVER_CLASS: RangeInclusive<f64> = 0.98..=1.06;

/// A size class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SizeClass {
    /// The number in the class, in millions of parameters.
    pub millions: u64,
    /// What the number counts.
    pub kind: SizeKind,
    /// Millions of parameters active per token, for classes such as `30B-A3B`.
    pub active_millions: Option<u64>,
}

/// What a class's number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SizeKind {
    /// All parameters: `32B`.
    Total,
    /// Effective parameters, as Google counts them for Gemma 3n and 4: `E4B`.
    Effective,
    /// Parameters per expert, times the given number: `8x22B`.
    PerExpert(u32),
}

impl fmt::Display for SizeClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            SizeKind::Total => {}
            SizeKind::Effective => f.write_str("E")?,
            SizeKind::PerExpert(n) => write!(f, "{n}x")?,
        }
        number(f, self.millions)?;
        match self.active_millions {
            None => Ok(()),
            Some(active) => f.write_str("-A").and_then(|()| number(f, active)),
        }
    }
}

fn number(f: &mut fmt::Formatter<'_>, millions: u64) -> fmt::Result {
    match millions {
        m if m >= 1_000_000 && m % 100_000 == 0 => write!(f, "{}T", m as f64 / 1e6),
        m if m % 100 == 0 || m > 1000 => write!(f, "{}B", m as f64 / 1e3),
        m => write!(f, "{m}M"),
    }
}

/// One size word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Size(SizeKind, u64),
    Active(u64),
    /// `16E`: number of experts, which makes the size before it an active one.
    Experts,
}

/// The classes that a model's own name states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NamedSize {
    pub total: Option<(SizeKind, u64)>,
    pub active_millions: Option<u64>,
}

impl NamedSize {
    /// Reads the size words of a model's name without organization.
    pub(super) fn of(name: &str) -> Self {
        let words: Vec<Word> = name.split(['-', '/', ' ', ':']).filter_map(word).collect();
        let mut sizes: Vec<(SizeKind, u64)> = Vec::new();
        let mut named = Self::default();
        for word in &words {
            match word {
                Word::Size(kind, millions) => sizes.push((*kind, *millions)),
                Word::Active(millions) => named.active_millions = Some(*millions),
                Word::Experts => named.active_millions = sizes.pop().map(|(_, millions)| millions),
            }
        }
        sizes.sort_by_key(|(_, millions)| *millions);
        named.total = sizes.pop();
        // OLMoE-1B-7B: the smaller size is active.
        named.active_millions = named.active_millions.or_else(|| sizes.pop().map(|(_, m)| m));
        if named.total.is_none() && words.is_empty() {
            // Command R7B: a letter in front of the size.
            let inner = |w: &str| word(w.trim_start_matches(|c: char| c.is_ascii_alphabetic()));
            named.total = name.split(['-', '/', ' ', ':']).find_map(|w| match inner(w) {
                Some(Word::Size(kind, millions)) => Some((kind, millions)),
                _ => None,
            });
        }
        named
    }
}

/// Reads `32b`, `0.6B`, `1_6b`, `350M`, `1T`, `a3b`, `e4b`, `8x22b` or `16e`.
fn word(text: &str) -> Option<Word> {
    let text = text.to_ascii_lowercase();
    if let Some(digits) = text.strip_suffix('e') {
        let valid = (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        return valid.then_some(Word::Experts);
    }
    if let Some(rest) = text.strip_prefix('a') {
        return Some(Word::Active(millions(rest)?));
    }
    if let Some(rest) = text.strip_prefix('e') {
        return Some(Word::Size(SizeKind::Effective, millions(rest)?));
    }
    if let Some((experts, rest)) = text.split_once('x') {
        let experts = experts.parse().ok().filter(|n| (2..=1024).contains(n))?;
        return Some(Word::Size(SizeKind::PerExpert(experts), millions(rest)?));
    }
    Some(Word::Size(SizeKind::Total, millions(&text)?))
}

/// `32b`, `0.6b`, `350m`, `1t` in millions.
fn millions(text: &str) -> Option<u64> {
    let (digits, factor) = [('b', 1e3), ('m', 1.0), ('t', 1e6)]
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(*unit)?, *factor)))?;
    let (whole, fraction) = digits.split_once(['.', '_']).unwrap_or((digits, "0"));
    let is_number = |s: &str| (1..=4).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let value: f64 = format!("{whole}.{fraction}").parse().ok()?;
    let millions = (value * factor).round();
    (millions >= 1.0).then_some(millions as u64)
}

impl SizeClass {
    /// Reads a bare class: `32B`, `30b_a3b`, `0.6b`, `0-6b`, `E4B`, `8x22B`. Anything else is no class.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let words = super::key::words(text);
        let mut joined: Vec<String> = Vec::new();
        let mut decimal = false;
        for word in words {
            let digits = word.trim_start_matches(['a', 'e']);
            let whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            match joined.last_mut().filter(|_| decimal) {
                Some(last) => {
                    last.push('.');
                    last.push_str(&word);
                    decimal = false;
                }
                None => {
                    joined.push(word);
                    decimal = whole;
                }
            }
        }
        match joined.iter().map(|w| word(w)).collect::<Option<Vec<Word>>>()?.as_slice() {
            [Word::Size(kind, millions)] => {
                Some(Self { millions: *millions, kind: *kind, active_millions: None })
            }
            [Word::Size(SizeKind::Total, millions), Word::Active(active)] => Some(Self {
                millions: *millions,
                kind: SizeKind::Total,
                active_millions: Some(*active),
            }),
            _ => None,
        }
    }

    /// Whether a model belongs to the class, by the sizes in its name or, without any, its parameter count.
    pub(super) fn holds(&self, named: &NamedSize, published_params: Option<u64>) -> bool {
        let total = match (named.total, published_params) {
            (Some((kind, millions)), _) if kind == self.kind => millions == self.millions,
            // Models that count effective or expert-wise also belong to the class of their total.
            (Some((SizeKind::Total, _)), _) => false,
            (_, Some(params)) if self.kind == SizeKind::Total => {
                let class = self.millions as f64 * 1e6;
                COUNT_OVER_CLASS.contains(&(params as f64 / class))
            }
            _ => false,
        };
        total && (self.active_millions.is_none() || self.active_millions == named.active_millions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(text: &str) -> Option<String> {
        SizeClass::parse(text).map(|c| c.to_string())
    }

    #[test]
    fn classes_parse_in_every_spelling() {
        for (text, expected) in [
            ("32B", "32B"),
            ("7b", "7B"),
            ("0.6B", "0.6B"),
            ("0_6b", "0.6B"),
            ("0-6b", "0.6B"),
            ("1.7b", "1.7B"),
            ("350M", "350M"),
            ("30B-A3B", "30B-A3B"),
            ("30b_a3b", "30B-A3B"),
            ("12b/a2.5b", "12B-A2.5B"),
            ("E4B", "E4B"),
            ("8x22B", "8x22B"),
            ("1T", "1T"),
        ] {
            assert_eq!(class(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "b", "a3b", "qwen3-32b", "32", "32b-4bit", "0b", "1.2.3b", "99999b", "ab"]
        {
            assert_eq!(class(text), None, "{text}");
        }
    }

    #[test]
    fn names_state_their_own_size() {
        let of = |name: &str| {
            let named = NamedSize::of(name);
            (named.total.map(|(_, millions)| millions), named.active_millions)
        };
        for (name, expected) in [
            ("Qwen3-32B", (Some(32_000), None)),
            ("Qwen3-0.6B", (Some(600), None)),
            ("Qwen3-30B-A3B-Instruct-2507", (Some(30_000), Some(3_000))),
            ("Mellum2-12B-A2.5B-Base", (Some(12_000), Some(2_500))),
            ("OLMoE-1B-7B-0924-Instruct", (Some(7_000), Some(1_000))),
            ("Llama-4-Scout-17B-16E-Instruct", (None, Some(17_000))),
            ("Hunyuan-A13B-Instruct", (None, Some(13_000))),
            ("stablelm-2-zephyr-1_6b", (Some(1_600), None)),
            ("SmolLM2-135M-Instruct", (Some(135), None)),
            ("c4ai-command-r7b-12-2024", (Some(7_000), None)),
            ("Llama-3_3-Nemotron-Super-49B-v1", (Some(49_000), None)),
            ("gemma-3n-E4B-it", (Some(4_000), None)),
            ("Mixtral-8x22B-Instruct-v0.1", (Some(22_000), None)),
            ("phi-4", (None, None)),
            ("DeepSeek-R1", (None, None)),
        ] {
            assert_eq!(of(name), expected, "{name}");
        }
    }

    #[test]
    fn a_model_belongs_by_name_first_and_by_count_otherwise() {
        let holds = |class: &str, name: &str, params: u64| {
            SizeClass::parse(class).unwrap().holds(&NamedSize::of(name), Some(params))
        };
        assert!(holds("32B", "Qwen3-32B", 32_762_123_264));
        assert!(!holds("33B", "Qwen3-32B", 32_762_123_264));
        assert!(holds("0.6B", "Qwen3-0.6B", 751_632_384));
        assert!(holds("14B", "phi-4", 14_659_507_200));
        assert!(!holds("13B", "phi-4", 14_659_507_200));
        assert!(!holds("15B", "phi-4", 14_659_507_200));
        assert!(holds("30B-A3B", "Qwen3-30B-A3B", 30_532_122_624));
        assert!(!holds("30B-A3B", "granite-4.1-30b", 28_865_728_512));
        assert!(holds("30B", "Qwen3-30B-A3B", 30_532_122_624));
        assert!(holds("E4B", "gemma-4-E4B-it", 7_996_156_490));
        assert!(holds("8B", "gemma-4-E4B-it", 7_996_156_490));
        assert!(!holds("4B", "gemma-4-E4B-it", 7_996_156_490));
        assert!(holds("8x22B", "Mixtral-8x22B-Instruct-v0.1", 140_630_071_296));
        assert!(holds("141B", "Mixtral-8x22B-Instruct-v0.1", 140_630_071_296));
        assert!(holds("109B", "Llama-4-Scout-17B-16E-Instruct", 108_641_793_536));
    }
}
