//! GGUF types in names: `Q4_K_M`, `UD-Q4_K_XL`, `i1-IQ3_XS`, `-GGUF:Q8_0`, `70b-instruct-q4_K_M`.

use super::mixed::Mixed;
use super::suffix_kind::SuffixKind;
use crate::model::quant::Scheme;

/// Words behind the bits of a type.
const LETTERS: [&str; 10] = ["k", "s", "m", "l", "xs", "xxs", "xl", "nl", "0", "1"];

/// The GGUF file that a run of words names.
pub(super) fn parse(words: &[&str]) -> Option<SuffixKind> {
    let said = words.contains(&"gguf");
    let mut rest: Vec<&str> =
        words.iter().copied().filter(|w| !matches!(*w, "gguf" | "i1")).collect();
    let marked = rest.len() < words.len();
    if rest.is_empty() {
        return said.then_some(SuffixKind::Gguf(None));
    }
    // Conversions to MLX of Unsloth's recipes.
    let mlx = rest.last() == Some(&"mlx");
    if mlx {
        rest.pop();
    }
    let (ud, kind) = match rest.split_first() {
        Some((&"ud", tail)) => (true, tail),
        _ => (false, rest.as_slice()),
    };
    let name = file_type(kind, said || marked)?;
    if mlx {
        let bits = name.bytes().find(u8::is_ascii_digit).map(|d| u32::from(d - b'0'))?;
        let bits = Scheme::AFFINE_BITS.into_iter().find(|b| *b == bits)?;
        return ud.then(|| SuffixKind::Mixed(Mixed::of("ud", Scheme::Affine { bits, group: 64 })));
    }
    Some(SuffixKind::Gguf(Some(if ud { format!("UD-{name}") } else { name })))
}

/// llama.cpp's spelling of a type. Names that MLX has too count only where `said` that it is a GGUF file.
pub(super) fn file_type(words: &[&str], said: bool) -> Option<String> {
    let (first, rest) = words.split_first()?;
    let digits = first.strip_prefix("iq").or_else(|| first.strip_prefix("tq"));
    let digits = digits.or_else(|| first.strip_prefix('q'));
    let is_type = digits.is_some_and(|d| d.len() == 1 && d.as_bytes()[0].is_ascii_digit())
        && !rest.is_empty()
        && rest.iter().all(|w| LETTERS.contains(w));
    // "Q6_K" is a type, "Q4_K" is short for Q4_K_M.
    let short = match (*first, rest) {
        ("q3" | "q4" | "q5", ["k"]) => "_M",
        _ => "",
    };
    if is_type {
        return Some(format!("{}{short}", words.join("_").to_uppercase()));
    }
    let both = matches!(*first, "bf16" | "f16" | "fp16" | "f32" | "mxfp4" | "q8" | "q4");
    if !said || !both || !matches!(rest, [] | ["moe"]) {
        return None;
    }
    Some(match *first {
        "q8" => "Q8_0".to_owned(),
        "q4" => "Q4_K_M".to_owned(),
        "fp16" => "F16".to_owned(),
        other => other.to_uppercase(),
    })
}
