//! The quantization suffix of a hub name: `-4bit`, `-8bit`, `-bf16`, `-mxfp4`, `-MLX-4bit`, `-4bit-DWQ-0508`, …
//!
//! The spellings are those of the mlx-community and lmstudio-community repositories (design notes, section "Names").
//! DWQ, AWQ and GPTQ behind a number of bits keep the layout of their bits and group, so they do not change sizes.

use super::foreign::Foreign;
use super::mixed::Mixed;
use super::suffix_kind::SuffixKind;
use crate::model::quant::Scheme;

/// The quantization that a name ends in.
#[derive(Clone, Debug, PartialEq)]
pub struct Suffix {
    /// The suffix in lower case, words joined with `-`.
    pub text: String,
    /// What it means.
    pub kind: SuffixKind,
}

/// Words that may stand before the scheme without changing sizes.
const BEFORE: [&str; 10] =
    ["mlx", "qat", "text", "dwq", "awq", "gptq", "quantized", "quant", "converted", "quantized"];
/// Words that may follow it.
const AFTER: [&str; 5] = ["dwq", "awq", "gptq", "mlx", "mtp"];
/// Words that say that bits vary by layer.
const MIXED: [&str; 8] = ["optiq", "oq", "msq", "ud", "dynamic", "mixed", "hi", "unsloth"];

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
    if let Some(kind) = special(&list).or_else(|| super::gguf::parse(&list)) {
        return Some(kind);
    }
    if let Some(foreign) = Foreign::parse(&list) {
        return Some(SuffixKind::Foreign(foreign));
    }
    let mut rest = list.as_slice();
    let mut recipe_words: Vec<&str> = Vec::new();
    while let Some((first, tail)) = rest.split_first() {
        // "mixed" in front of two numbers is a recipe of mlx-lm.
        let recipe = *first == "mixed" && tail.first().is_some_and(|w| is_number(w));
        if recipe || !(BEFORE.contains(first) || MIXED.contains(first)) {
            break;
        }
        recipe_words.extend(MIXED.contains(first).then_some(*first));
        rest = tail;
    }
    if rest.is_empty() {
        return without_bits(&list, &recipe_words);
    }
    if let Some(kind) =
        makers_recipe(rest).or_else(|| Foreign::parse(rest).map(SuffixKind::Foreign))
    {
        return Some(kind);
    }
    let (name, tail) = scheme_words(rest)?;
    let mut name = name;
    let mut dated = false;
    for word in tail {
        if let Some(group) = group(word) {
            name = format!("{name}-g{group}");
        } else if MIXED.contains(word) {
            recipe_words.push(word);
        } else if AFTER.contains(word) {
            dated = true;
        } else if !(dated && is_date_or_version(word) || is_version(word)) {
            return None;
        }
    }
    Some(match (name.parse::<Scheme>(), recipe_words.first()) {
        (Ok(scheme @ Scheme::Float(_)), _) => SuffixKind::Scheme(scheme),
        (Ok(scheme), Some(recipe)) => SuffixKind::Mixed(Mixed::of(recipe, scheme)),
        (Ok(scheme), None) => SuffixKind::Scheme(scheme),
        (Err(unknown), _) => match decimal(&name) {
            Some(bits) => SuffixKind::Mixed(Mixed::average(bits)),
            None => SuffixKind::Unknown(unknown),
        },
    })
}

/// Words that say what a repository is, wherever they stand among its last words.
fn special(words: &[&str]) -> Option<SuffixKind> {
    let (first, rest) = words.split_first()?;
    let format_like = |w: &&str| {
        scheme_words(&[*w]).is_some() || BEFORE.contains(w) || MIXED.contains(w) || is_number(w)
    };
    if *first == "jang"
        || first.starts_with("jang") && is_bits_word(first.trim_start_matches("jang"))
    {
        return Some(SuffixKind::Only { format: "JANG", program: "vmlx" });
    }
    let part = match *first {
        "mtp" | "nextn" => "a prediction head (MTP)",
        "assistant" | "draft" | "drafter" | "eagle" | "eagle3" | "dflash" | "dflash2"
        | "dspark" | "speculator" => "a draft model for speculative decoding",
        "lora" | "adapter" | "qlora" => "an adapter, to be put on a model",
        "mmproj" => "the projector of a vision model",
        _ => return None,
    };
    rest.iter().all(|w| format_like(w) || *w == "gguf").then_some(SuffixKind::Part(part))
}

fn is_bits_word(word: &str) -> bool {
    word.is_empty() || word.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
}

/// Suffixes without a number of bits.
fn without_bits(words: &[&str], recipe: &[&str]) -> Option<SuffixKind> {
    if let Some(foreign) = Foreign::parse(words) {
        return Some(SuffixKind::Foreign(foreign));
    }
    match (words, recipe) {
        // Unsloth's default.
        (_, ["ud"]) if words.contains(&"mlx") => {
            Some(SuffixKind::Mixed(Mixed::of("ud", Scheme::DEFAULT)))
        }
        (_, ["optiq" | "ud" | "oq" | "msq" | "dynamic" | "mixed", ..]) => {
            Some(SuffixKind::HeadersOnly)
        }
        (["mlx"], _) => Some(SuffixKind::Mlx),
        _ => None,
    }
}

/// Recipes that their makers name by a level: `oQ4e`, `DQ3_K_M-q8`, `qx64-hi`.
fn makers_recipe(words: &[&str]) -> Option<SuffixKind> {
    let (first, rest) = words.split_first()?;
    if matches!(words, ["q8", "mxfp4"]) {
        return Some(SuffixKind::Mixed(Mixed::of("q8", Scheme::Mxfp4Q8)));
    }
    let tail = ["oq", "dq", "qx"].iter().find_map(|maker| first.strip_prefix(maker))?;
    let level = tail.chars().next().and_then(|c| c.to_digit(10))?;
    let bits = Scheme::AFFINE_BITS.into_iter().find(|b| *b == level)?;
    let known = |w: &&str| {
        MIXED.contains(w)
            || AFTER.contains(w)
            || is_date_or_version(w)
            || scheme_words(&[*w]).is_some()
            || matches!(*w, "k" | "m" | "s" | "l" | "e" | "fp16")
    };
    let maker = if first.starts_with("oq") { "oq" } else { "dq" };
    let scheme = Scheme::Affine { bits, group: 64 };
    rest.iter().all(known).then(|| SuffixKind::Mixed(Mixed::of(maker, scheme)))
}

/// `4p6bit`, as a decimal number of bits is joined.
fn decimal(name: &str) -> Option<f64> {
    let digits = name.strip_suffix("bits").or_else(|| name.strip_suffix("bit"))?;
    let (whole, fraction) = digits.split_once('p')?;
    let bits: f64 = format!("{whole}.{fraction}").parse().ok()?;
    (1.0..=16.0).contains(&bits).then_some(bits)
}

/// The words that name the scheme, joined as [`Scheme`] parses them, and the words behind.
fn scheme_words<'a, 'b>(words: &'a [&'b str]) -> Option<(String, &'a [&'b str])> {
    let is_bits = |w: &str| {
        let digits = w.strip_suffix("bits").or_else(|| w.strip_suffix("bit"));
        digits.is_some_and(|d| {
            is_number(d) || d.split_once('p').is_some_and(|(a, b)| is_number(a) && is_number(b))
        })
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

/// `v2`.
fn is_version(word: &str) -> bool {
    word.strip_prefix('v').is_some_and(is_number)
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
        for (name, nominal) in [
            ("Qwen3-8B-OptiQ-4bit", Scheme::DEFAULT),
            ("Qwen3-8B-4bit-msq", Scheme::DEFAULT),
            ("Qwen3-8B-UD-MLX-4bit", Scheme::DEFAULT),
            ("Qwen3-8B-ud-mlx", Scheme::DEFAULT),
            ("gpt-oss-20b-q8-mxfp4", Scheme::Mxfp4Q8),
            ("Qwen3-8B-oQ4e", Scheme::DEFAULT),
            ("Qwen3-8B-oQ6e-mtp", Scheme::Affine { bits: 6, group: 64 }),
            ("Qwen3-8B-DQ3_K_M-q8", Scheme::Affine { bits: 3, group: 64 }),
            ("Qwen3-8B-UD-Q4_K_XL-mlx", Scheme::DEFAULT),
        ] {
            match kind(name) {
                Some(SuffixKind::Mixed(mixed)) => assert_eq!(mixed.nominal, nominal, "{name}"),
                other => panic!("{name}: {other:?}"),
            }
        }
        for (name, file) in [
            ("Qwen3-8B-Q4_K_M", Some("Q4_K_M")),
            ("Qwen3-8B-q8_0", Some("Q8_0")),
            ("x-IQ4_XS", Some("IQ4_XS")),
            ("Qwen3-8B-GGUF", None),
            ("Qwen3-8B-GGUF:UD-Q4_K_XL", Some("UD-Q4_K_XL")),
            ("Qwen3-8B-i1-Q4_K_M", Some("Q4_K_M")),
            ("Qwen3-8B-i1-GGUF", None),
        ] {
            assert_eq!(kind(name), Some(SuffixKind::Gguf(file.map(str::to_owned))), "{name}");
        }
        for name in ["Qwen3-8B-FP8", "Qwen3-8B-AWQ", "Qwen3-8B-GPTQ-Int4", "x-w4a16", "x-bnb-4bit"]
        {
            assert!(matches!(kind(name), Some(SuffixKind::Foreign(_))), "{name}");
        }
        for name in ["Qwen3-8B-MTP", "gemma-4-31b-it-assistant", "x-eagle3", "x-dflash-4bit"] {
            assert!(matches!(kind(name), Some(SuffixKind::Part(_))), "{name}");
        }
        assert!(matches!(kind("Qwen3-8B-JANG_4M"), Some(SuffixKind::Only { .. })));
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
            "Qwen3-32B-4bit-abliterated",
        ] {
            assert_eq!(of(name), None, "{name}");
        }
    }
}
