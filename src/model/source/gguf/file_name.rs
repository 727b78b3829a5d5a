//! What the name of a GGUF file tells: the part of a split model that it is, and its type.

use crate::model::names::key;

/// A name without `.gguf` and, of a split model, without its number, and that number and the number of files:
/// `("M-BF16", Some((1, 2)))` of `M-BF16-00001-of-00002.gguf`, as llama.cpp's `gguf-split` writes it.
pub(in crate::model) fn split_name(name: &str) -> (&str, Option<(u64, u64)>) {
    let stem = match name.rsplit_once('.') {
        Some((stem, ending)) if ending.eq_ignore_ascii_case("gguf") => stem,
        _ => name,
    };
    let number = |s: &str| {
        (s.len() == 5 && s.bytes().all(|b| b.is_ascii_digit())).then(|| s.parse().ok()).flatten()
    };
    let numbered = stem.rsplit_once("-of-").and_then(|(front, total)| {
        let (prefix, part) = front.rsplit_once('-')?;
        Some((prefix, Some((number(part)?, number(total)?))))
    });
    numbered.unwrap_or((stem, None))
}

/// Whether a file's name ends in a type: `UD-Q4_K_XL` and `Q4_K_XL` of `M-UD-Q4_K_XL.gguf`.
pub(in crate::model) fn is_of_type(name: &str, file_type: &str) -> bool {
    let file = key(split_name(name.rsplit('/').next().unwrap_or(name)).0);
    let front = file.strip_suffix(&key(file_type));
    front.is_some_and(|front| front.is_empty() || front.ends_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_types_are_told_by_the_name() {
        assert_eq!(split_name("M-00002-of-00003.gguf"), ("M", Some((2, 3))));
        for whole in ["M-of-00003.gguf", "M-1-of-2.gguf", "M.gguf", "M"] {
            assert_eq!(split_name(whole), (whole.trim_end_matches(".gguf"), None));
        }
        assert!(is_of_type("a/M-UD-Q4_K_XL-00001-of-00002.gguf", "q4_k_xl"));
        assert!(is_of_type("Q8_0.GGUF", "Q8_0"));
        for other in ["Q4_K", "K_XL_2", "D-Q4_K_XL"] {
            assert!(!is_of_type("M-UD-Q4_K_XL.gguf", other), "{other}");
        }
    }
}
