//! The quantisation suffix of a hub name: `-4bit`, `-8bit`, `-bf16`, `-mxfp4`, `-MLX-4bit`, `-4bit-DWQ-0508`, …
//!
//! The spellings are those of the mlx-community and lmstudio-community repositories (design notes, section "Names").
//! DWQ, AWQ and GPTQ keep the layout of their bits and group, so they do not change sizes.

use crate::model::quant::{Scheme, UnknownScheme};

/// The quantisation that a name ends in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suffix {
    /// The suffix in lower case, words joined with `-`.
    pub text: String,
    /// What it means.
    pub kind: SuffixKind,
}

/// Meaning of a suffix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SuffixKind {
    /// A scheme of MLX.
    Scheme(Scheme),
    /// A scheme of MLX by name, but bits vary by layer, so that only the file headers tell the bytes.
    Mixed(Scheme),
    /// Bits vary by layer and no scheme comes close.
    HeadersOnly,
    /// A quantisation of llama.cpp, such as `Q4_K_M`.
    Gguf,
    /// A format that MLX does not write, such as FP8 or GPTQ.
    Foreign,
    /// It looks like a scheme but MLX has none of that name.
    Unknown(UnknownScheme),
}

/// Words that may stand before the scheme without changing sizes.
const BEFORE: [&str; 9] =
    ["mlx", "qat", "text", "dwq", "awq", "gptq", "quantized", "quant", "converted"];
/// Words that may follow it.
const AFTER: [&str; 4] = ["dwq", "awq", "gptq", "mlx"];
/// Words that say that bits vary by layer.
const MIXED: [&str; 6] = ["optiq", "oq", "msq", "ud", "dynamic", "mixed"];
/// Formats of other programs.
const FOREIGN: [&str; 13] = [
    "fp8", "int4", "int8", "w4a16", "w8a8", "w8a16", "awq", "gptq", "bnb", "exl2", "exl3", "hqq",
    "fp4",
];

/// Splits the suffix off a name's words. The first value is the number of words before it.
pub(super) fn split(words: &[String]) -> Option<(usize, Suffix)> {
    // The earliest start gives the longest suffix: "-mlx-4bit" rather than "-4bit".
    (1..words.len()).find_map(|at| {
        let tail = words.get(at..)?;
        let kind = parse(tail)?;
        Some((at, Suffix { text: tail.join("-"), kind }))
    })
}

/// The meaning of a whole run of words, or `None` when it is no suffix.
fn parse(words: &[String]) -> Option<SuffixKind> {
    let list: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut rest = list.as_slice();
    let mut mixed = false;
    while let Some((first, tail)) = rest.split_first() {
        // "mixed" in front of two numbers is a recipe of mlx-lm.
        let recipe = *first == "mixed" && tail.first().is_some_and(|w| is_number(w));
        if recipe || !(BEFORE.contains(first) || MIXED.contains(first)) {
            break;
        }
        mixed |= MIXED.contains(first);
        rest = tail;
    }
    if rest.is_empty() {
        // "awq" or "gptq" alone is a format; "mlx" alone says nothing.
        let foreign = list.iter().any(|w| FOREIGN.contains(w));
        return foreign.then_some(SuffixKind::Foreign).or(mixed.then_some(SuffixKind::HeadersOnly));
    }
    if let Some(kind) = parse_foreign(rest) {
        return Some(kind);
    }
    let (name, tail) = scheme_words(rest)?;
    let mut name = name;
    let mut dated = false;
    for word in tail {
        if let Some(group) = group(word) {
            name = format!("{name}-g{group}");
        } else if MIXED.contains(word) {
            mixed = true;
        } else if AFTER.contains(word) {
            dated = true;
        } else if !(dated && is_date_or_version(word)) {
            return None;
        }
    }
    Some(match name.parse::<Scheme>() {
        Ok(scheme) if mixed => SuffixKind::Mixed(scheme),
        Ok(scheme) => SuffixKind::Scheme(scheme),
        Err(unknown) => SuffixKind::Unknown(unknown),
    })
}

/// Suffixes that name no scheme of MLX.
fn parse_foreign(words: &[&str]) -> Option<SuffixKind> {
    let all_known = |list: &[&str]| words.iter().all(|w| list.contains(w));
    match words {
        ["gguf"] => return Some(SuffixKind::Gguf),
        ["q8", "mxfp4"] => return Some(SuffixKind::Mixed(Scheme::Mxfp4Q8)),
        _ if all_known(&FOREIGN) => return Some(SuffixKind::Foreign),
        _ => {}
    }
    let (first, rest) = words.split_first()?;
    // "oq4e" and "dq3_k_m-q8" are recipes that vary bits by layer.
    if let Some(tail) = first.strip_prefix("oq").or_else(|| first.strip_prefix("dq")) {
        return tail.starts_with(|c: char| c.is_ascii_digit()).then_some(SuffixKind::HeadersOnly);
    }
    // q4_k_m, q8_0, iq4_xs, q6_k
    let digits = first.strip_prefix("iq").or_else(|| first.strip_prefix('q'))?;
    let gguf = ["k", "s", "m", "l", "xs", "xxs", "xl", "nl", "0", "1"];
    let is_gguf = is_number(digits) && !rest.is_empty() && rest.iter().all(|w| gguf.contains(w));
    is_gguf.then_some(SuffixKind::Gguf)
}

/// The words that name the scheme, joined as [`Scheme`] parses them, and the words behind.
fn scheme_words<'a, 'b>(words: &'a [&'b str]) -> Option<(String, &'a [&'b str])> {
    let is_bits = |w: &str| {
        let digits = w.strip_suffix("bits").or_else(|| w.strip_suffix("bit"));
        digits.is_some_and(is_number)
    };
    match words {
        ["mxfp4", "q8", tail @ ..] => Some(("mxfp4-q8".to_owned(), tail)),
        ["mixed", low, high, tail @ ..] if is_number(low) && is_number(high) => {
            Some((format!("mixed-{low}-{high}"), tail))
        }
        [n, "bit" | "bits", tail @ ..] if is_number(n) => Some((format!("{n}bit"), tail)),
        [word, tail @ ..] if is_bits(word) => Some(((*word).to_owned(), tail)),
        [
            word @ ("bf16" | "fp16" | "f16" | "fp32" | "f32" | "bfloat16" | "float16" | "float32"
            | "mxfp4" | "nvfp4" | "mxfp8"),
            tail @ ..,
        ] => Some(((*word).to_owned(), tail)),
        [word, tail @ ..] if word.strip_prefix('q').is_some_and(is_number) => {
            Some(((*word).to_owned(), tail))
        }
        _ => None,
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.len() <= 2 && text.bytes().all(|b| b.is_ascii_digit())
}

/// `gs32`, `g64` or `group128`.
fn group(word: &str) -> Option<&str> {
    let digits = ["group", "gs", "g"].iter().find_map(|prefix| word.strip_prefix(prefix))?;
    let valid = (2..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    valid.then_some(digits)
}

/// `0508`, `053125`, `05092025`, `v2`, and learning rates such as `lr9e7`.
fn is_date_or_version(word: &str) -> bool {
    let digits = word.strip_prefix('v').unwrap_or(word);
    let number = !digits.is_empty() && digits.len() <= 8;
    (number && digits.bytes().all(|b| b.is_ascii_digit())) || word.starts_with("lr")
}

#[cfg(test)]
mod tests {
    use super::super::key::words;
    use super::*;

    fn of(name: &str) -> Option<(String, SuffixKind)> {
        let list = words(name);
        split(&list).map(|(at, s)| (list[..at].join("-"), s.kind))
    }

    fn scheme(name: &str) -> (String, Scheme) {
        match of(name) {
            Some((stem, SuffixKind::Scheme(scheme))) => (stem, scheme),
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn hub_suffixes_are_understood() {
        let affine = |bits, group| Scheme::Affine { bits, group };
        let float = |text: &str| text.parse::<Scheme>().expect("a scheme");
        for (name, stem, expected) in [
            ("Qwen3-32B-4bit", "qwen3-32b", affine(4, 64)),
            ("Qwen3-32B-8Bit", "qwen3-32b", affine(8, 64)),
            ("Qwen3-32B-4bits", "qwen3-32b", affine(4, 64)),
            ("qwen3-32b-4-bit", "qwen3-32b", affine(4, 64)),
            ("qwen3:32b@q6", "qwen3-32b", affine(6, 64)),
            ("Qwen3-32B-MLX-4bit", "qwen3-32b", affine(4, 64)),
            ("gemma-3-27b-it-qat-4bit", "gemma-3-27b-it", affine(4, 64)),
            ("Qwen3-32B-4bit-DWQ", "qwen3-32b", affine(4, 64)),
            ("Qwen3-32B-4bit-DWQ-05092025", "qwen3-32b", affine(4, 64)),
            ("Qwen3-32B-4bit-AWQ", "qwen3-32b", affine(4, 64)),
            ("Qwen3-32B-4bit-DWQ-v2", "qwen3-32b", affine(4, 64)),
            ("Qwen3-32B-4bit-gs32", "qwen3-32b", affine(4, 32)),
            ("qwen3-32b-3bit-g128", "qwen3-32b", affine(3, 128)),
            ("gemma-3-4b-it-text-4bit", "gemma-3-4b-it", affine(4, 64)),
            ("Qwen3-32B-bf16", "qwen3-32b", float("bf16")),
            ("Qwen3-32B-mlx-fp16", "qwen3-32b", float("fp16")),
            ("gpt-oss-20b-MXFP4-Q8", "gpt-oss-20b", Scheme::Mxfp4Q8),
            ("Qwen3-32B-mxfp4", "qwen3-32b", Scheme::Mxfp4),
            ("Qwen3-32B-nvfp4", "qwen3-32b", Scheme::Nvfp4),
            ("Qwen3-32B-mxfp8", "qwen3-32b", Scheme::Mxfp8),
            ("qwen3-32b-mixed_3_6", "qwen3-32b", "mixed_3_6".parse().expect("a recipe")),
        ] {
            assert_eq!(scheme(name), (stem.to_owned(), expected), "{name}");
        }
    }

    #[test]
    fn mixed_and_foreign_layouts_are_told_apart() {
        let kind = |name: &str| of(name).map(|(_, kind)| kind);
        assert_eq!(kind("Qwen3-8B-OptiQ-4bit"), Some(SuffixKind::Mixed(Scheme::DEFAULT)));
        assert_eq!(kind("Qwen3-8B-4bit-msq"), Some(SuffixKind::Mixed(Scheme::DEFAULT)));
        assert_eq!(kind("Qwen3-8B-UD-MLX-4bit"), Some(SuffixKind::Mixed(Scheme::DEFAULT)));
        assert_eq!(kind("gpt-oss-20b-q8-mxfp4"), Some(SuffixKind::Mixed(Scheme::Mxfp4Q8)));
        assert_eq!(kind("Qwen3-8B-oQ4e"), Some(SuffixKind::HeadersOnly));
        assert_eq!(kind("Qwen3-8B-DQ3_K_M-q8"), Some(SuffixKind::HeadersOnly));
        for name in ["Qwen3-8B-Q4_K_M", "Qwen3-8B-q8_0", "x-IQ4_XS", "Qwen3-8B-GGUF"] {
            assert_eq!(kind(name), Some(SuffixKind::Gguf), "{name}");
        }
        for name in ["Qwen3-8B-FP8", "Qwen3-8B-AWQ", "Qwen3-8B-GPTQ-Int4", "x-w4a16"] {
            assert_eq!(kind(name), Some(SuffixKind::Foreign), "{name}");
        }
        assert!(matches!(kind("Qwen3-8B-7bit"), Some(SuffixKind::Unknown(_))));
        assert!(matches!(kind("Qwen3-8B-4bit-g16"), Some(SuffixKind::Unknown(_))));
    }

    #[test]
    fn names_without_suffix_have_none() {
        for name in [
            "Qwen3-32B",
            "Llama-3.1-8B-Instruct",
            "gemma-3n-E4B-it",
            "Qwen3-30B-A3B-Instruct-2507",
            "phi-4",
            "4bit",
            "mlx",
            "",
            "Qwen3-32B-mlx",
            "Qwen3-32B-4bit-abliterated",
        ] {
            assert_eq!(of(name), None, "{name}");
        }
    }
}
