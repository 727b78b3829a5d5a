//! Formats of whole GGUF files as people and repositories name them: `Q4_K_M`, `UD-Q4_K_XL`, `i1-IQ3_XS`, `Q6_K_L`.
//!
//! A name is a file type of llama.cpp and a recipe: its own rules, the same with a large embedding and head, or a mix
//! that a publisher made with types of its own, which only the file tells.

use super::FileType;
use std::fmt;
use std::str::FromStr;

/// How the types of the matrices follow from the file type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MixRecipe {
    /// By the rules of `llama-quantize`.
    #[default]
    Plain,
    /// The same with embedding and head in Q8_0 (`Q4_K_L`, `Q6_K_L`, `Q3_K_XL`).
    LargeEnds,
    /// Unsloth's dynamic mixes (`UD-…`, `…_K_XL`): types by layer, which only the file tells.
    Dynamic,
}

/// Who made a file, as far as that changes its types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Publisher {
    /// Not said.
    #[default]
    Unknown,
    /// Somebody who runs `llama-quantize` as it is: makers of models, ggml-org, lmstudio-community, mradermacher.
    Plain,
    /// bartowski, who sets types of his own for architectures of 2026.
    Bartowski,
    /// Unsloth, which does so too, also in files that are not called UD.
    Unsloth,
}

impl Publisher {
    /// The publisher by the owner of a repository; organizations of makers of models are [`Publisher::Plain`].
    #[must_use]
    pub fn of_owner(owner: &str) -> Self {
        match owner.to_ascii_lowercase().as_str() {
            "" => Self::Unknown,
            "bartowski" => Self::Bartowski,
            "unsloth" => Self::Unsloth,
            "ggml-org" | "lmstudio-community" | "mradermacher" | "qwen" | "google"
            | "ibm-granite" | "liquidai" | "mistralai" | "microsoft" | "openai" | "lmstudio-ai"
            | "meta-llama" | "nvidia" | "huggingfacetb" => Self::Plain,
            _ => Self::Unknown,
        }
    }
}

/// A format of a whole GGUF file. Parses from any spelling and prints in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GgufMix {
    /// What `llama-quantize` was asked for.
    pub file_type: FileType,
    /// Whose rules chose the types.
    pub recipe: MixRecipe,
    /// Who made the file.
    pub publisher: Publisher,
}

/// An unknown format name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown GGUF format '{0}'; known: {known}, with UD- in front for Unsloth's dynamic mixes, and Q4_K_L Q4_K_XL and the like", known = known())]
pub struct UnknownMix(pub String);

fn known() -> String {
    FileType::all().map(FileType::name).collect::<Vec<_>>().join(" ")
}

/// Names that are no file type's own.
const ALIASES: [(&str, FileType, MixRecipe); 24] = [
    ("fp16", FileType::F16, MixRecipe::Plain),
    ("fp32", FileType::F32, MixRecipe::Plain),
    ("mxfp4", FileType::MXFP4, MixRecipe::Plain),
    ("q2_k_l", FileType::Q2_K, MixRecipe::LargeEnds),
    ("q3_k", FileType::Q3_K_M, MixRecipe::Plain),
    ("q4_k", FileType::Q4_K_M, MixRecipe::Plain),
    ("q5_k", FileType::Q5_K_M, MixRecipe::Plain),
    ("q3_k_xl", FileType::Q3_K_L, MixRecipe::LargeEnds),
    ("q4_k_l", FileType::Q4_K_M, MixRecipe::LargeEnds),
    ("q5_k_l", FileType::Q5_K_M, MixRecipe::LargeEnds),
    ("q6_k_l", FileType::Q6_K, MixRecipe::LargeEnds),
    // The types that the tool repacked Q4_0 for; the size is the same.
    ("q4_0_4_4", FileType::Q4_0, MixRecipe::Plain),
    ("q4_0_4_8", FileType::Q4_0, MixRecipe::Plain),
    ("q4_0_8_8", FileType::Q4_0, MixRecipe::Plain),
    ("q2_k_xl", FileType::Q2_K, MixRecipe::Dynamic),
    ("q4_k_xl", FileType::Q4_K_M, MixRecipe::Dynamic),
    ("q5_k_xl", FileType::Q5_K_M, MixRecipe::Dynamic),
    ("q6_k_xl", FileType::Q6_K, MixRecipe::Dynamic),
    ("q8_k_xl", FileType::Q8_0, MixRecipe::Dynamic),
    ("ud_q3_k_xl", FileType::Q3_K_M, MixRecipe::Dynamic),
    ("ud_q2_k_l", FileType::Q2_K, MixRecipe::Dynamic),
    ("ud_q4_k_l", FileType::Q4_K_M, MixRecipe::Dynamic),
    ("ud_iq4_nl_xl", FileType::IQ4_NL, MixRecipe::Dynamic),
    ("ud_mxfp4", FileType::MXFP4, MixRecipe::Dynamic),
];

/// Most words of a name: `q4_0_4_4`, `ud_q4_k_xl`.
const MAX_WORDS: usize = 5;
/// Words in front that change no size: mradermacher's files with an importance matrix, and the format itself.
const IN_FRONT: [&str; 3] = ["i1", "imat", "gguf"];

/// Whether a character separates words of a format's name.
const fn separates(c: char) -> bool {
    matches!(c, '_' | '-' | '.' | ' ' | ':' | '@')
}

impl GgufMix {
    /// A file type by llama.cpp's own rules.
    #[must_use]
    pub const fn plain(file_type: FileType) -> Self {
        Self { file_type, recipe: MixRecipe::Plain, publisher: Publisher::Unknown }
    }

    /// llama.cpp's and Ollama's default, `Q4_K_M`.
    pub const DEFAULT: Self = Self::plain(FileType::Q4_K_M);

    /// The same by this publisher.
    #[must_use]
    pub const fn by(self, publisher: Publisher) -> Self {
        Self { publisher, ..self }
    }

    /// The format at the beginning of a list of words in any case (`["Q4", "K", "M", "x"]`), the longest one, and the
    /// number of words that it takes.
    #[must_use]
    pub fn of_words<S: AsRef<str>>(words: &[S]) -> Option<(Self, usize)> {
        let skipped = words
            .iter()
            .take_while(|w| IN_FRONT.contains(&w.as_ref().to_ascii_lowercase().as_str()))
            .count();
        let words = words.get(skipped..)?;
        (1..=words.len().min(MAX_WORDS)).rev().find_map(|n| {
            let list: Vec<String> =
                words.iter().take(n).map(|w| w.as_ref().to_ascii_lowercase()).collect();
            Some((Self::of_joined(&list.join("_"))?, skipped + n))
        })
    }

    /// The format in a file's or repository's name and what stands before it: `Qwen3-8B` and `UD-Q4_K_XL` of
    /// `Qwen3-8B-UD-Q4_K_XL-00001-of-00002.gguf`. The last format counts.
    #[must_use]
    pub fn in_name(name: &str) -> Option<(&str, Self)> {
        let name = name.rsplit('/').next().unwrap_or(name);
        let starts = std::iter::once(0).chain(
            name.char_indices().filter(|(_, c)| separates(*c)).map(|(i, c)| i + c.len_utf8()),
        );
        let mut found: Option<(usize, usize, Self)> = None;
        for start in starts {
            let rest = name.get(start..)?;
            let words: Vec<&str> = rest.split(separates).take(MAX_WORDS + 1).collect();
            let Some((mix, taken)) = Self::of_words(&words) else { continue };
            let end = start + words.iter().take(taken).map(|w| w.len() + 1).sum::<usize>();
            // A later start inside the same words is a shorter reading of the same name.
            if found.is_none_or(|(_, before, _)| start >= before) {
                found = Some((start, end, mix));
            }
        }
        let (start, _, mix) = found?;
        Some((name.get(..start)?.trim_end_matches(separates), mix))
    }

    fn of_joined(text: &str) -> Option<Self> {
        if let Some((_, file_type, recipe)) = ALIASES.iter().find(|row| row.0 == text) {
            return Some(Self { file_type: *file_type, recipe: *recipe, ..Self::DEFAULT });
        }
        let (rest, dynamic) = text.strip_prefix("ud_").map_or((text, false), |rest| (rest, true));
        if dynamic {
            return Some(Self { recipe: MixRecipe::Dynamic, ..Self::of_joined(rest)? });
        }
        FileType::all().find(|t| t.name().eq_ignore_ascii_case(rest)).map(Self::plain)
    }

    /// The customary format with about this many bits per weight.
    #[must_use]
    pub fn nearest(bits_per_weight: f64) -> Self {
        let formats = [
            (3.9, FileType::Q3_K_M),
            (4.85, FileType::Q4_K_M),
            (5.7, FileType::Q5_K_M),
            (6.6, FileType::Q6_K),
            (8.5, FileType::Q8_0),
            (16.0, FileType::F16),
        ];
        let distance = |bits: f64| (bits / bits_per_weight.max(0.1)).ln().abs();
        let nearest = formats.into_iter().min_by(|a, b| distance(a.0).total_cmp(&distance(b.0)));
        nearest.map_or(Self::DEFAULT, |(_, file_type)| Self::plain(file_type))
    }
}

impl fmt::Display for GgufMix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alias = || {
            let row = ALIASES.iter().find(|a| (a.1, a.2) == (self.file_type, self.recipe));
            row.map(|a| a.0.trim_start_matches("ud_"))
        };
        let own = self.file_type.name().to_ascii_lowercase();
        let text = match self.recipe {
            MixRecipe::Plain if self.file_type == FileType::MXFP4 => "mxfp4".to_owned(),
            MixRecipe::Plain => own,
            MixRecipe::LargeEnds => alias().unwrap_or(&own).to_owned(),
            MixRecipe::Dynamic => format!("ud-{}", alias().unwrap_or(&own)),
        };
        f.pad(&text)
    }
}

impl FromStr for GgufMix {
    type Err = UnknownMix;

    fn from_str(text: &str) -> Result<Self, UnknownMix> {
        let words: Vec<&str> = text.trim().split(separates).collect();
        match Self::of_words(&words) {
            Some((mix, taken)) if taken == words.len() => Ok(mix),
            _ => Err(UnknownMix(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (FileType, MixRecipe) {
        let mix: GgufMix = text.parse().unwrap_or_else(|e| panic!("{e}"));
        (mix.file_type, mix.recipe)
    }

    #[test]
    fn every_file_type_parses_in_any_case_and_prints() {
        for file_type in FileType::all() {
            let mix = GgufMix::plain(file_type);
            let (upper, lower) = (file_type.name(), file_type.name().to_lowercase());
            for text in [upper, &lower, &lower.replace('_', "-"), &mix.to_string()] {
                assert_eq!(text.parse(), Ok(mix), "{text}");
            }
        }
    }

    #[test]
    fn names_of_publishers_parse() {
        for (text, file_type, recipe) in [
            ("UD-Q4_K_XL", FileType::Q4_K_M, MixRecipe::Dynamic),
            ("ud_q4_k_xl", FileType::Q4_K_M, MixRecipe::Dynamic),
            ("UD-IQ2_M", FileType::IQ2_M, MixRecipe::Dynamic),
            ("UD-Q3_K_XL", FileType::Q3_K_M, MixRecipe::Dynamic),
            ("UD-Q8_K_XL", FileType::Q8_0, MixRecipe::Dynamic),
            ("UD-Q4_K_M", FileType::Q4_K_M, MixRecipe::Dynamic),
            ("Q3_K_XL", FileType::Q3_K_L, MixRecipe::LargeEnds),
            ("Q6_K_L", FileType::Q6_K, MixRecipe::LargeEnds),
            ("i1-IQ3_XS", FileType::IQ3_XS, MixRecipe::Plain),
            ("Q4_K", FileType::Q4_K_M, MixRecipe::Plain),
            ("q4_0_4_4", FileType::Q4_0, MixRecipe::Plain),
            ("MXFP4_MOE", FileType::MXFP4, MixRecipe::Plain),
            ("mxfp4", FileType::MXFP4, MixRecipe::Plain),
            ("fp16", FileType::F16, MixRecipe::Plain),
            ("gguf-q4_k_m", FileType::Q4_K_M, MixRecipe::Plain),
        ] {
            assert_eq!(parse(text), (file_type, recipe), "{text}");
        }
        for text in ["q9", "", "ud", "Q4_K_Z", "4bit", "q4_k_m_x", "mixed_3_6", "q4"] {
            assert!(text.parse::<GgufMix>().is_err(), "{text}");
        }
    }

    #[test]
    fn printed_forms_parse_back() {
        for row in ALIASES {
            let mix = GgufMix { file_type: row.1, recipe: row.2, ..GgufMix::DEFAULT };
            assert_eq!(mix.to_string().parse(), Ok(mix), "{mix}");
        }
    }

    #[test]
    fn formats_are_found_in_names_of_files() {
        for (name, stem, mix) in [
            ("Qwen3-8B-Q4_K_M.gguf", "Qwen3-8B", "q4_k_m"),
            ("Qwen3-8B-UD-Q4_K_XL-00001-of-00002.gguf", "Qwen3-8B", "ud-q4_k_xl"),
            ("bartowski/Qwen_Qwen3.6-27B-GGUF:Q5_K_M", "Qwen_Qwen3.6-27B", "q5_k_m"),
            ("SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct", "q4_1"),
            ("x.i1-IQ3_XS.gguf", "x", "iq3_xs"),
            ("llama3.3:70b-instruct-q4_K_M", "llama3.3:70b-instruct", "q4_k_m"),
            ("gpt-oss-20b-mxfp4.gguf", "gpt-oss-20b", "mxfp4"),
            ("Qwen3-4B-Q4_K_L.gguf", "Qwen3-4B", "q4_k_l"),
        ] {
            let (found, format) = GgufMix::in_name(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!((found, format.to_string().as_str()), (stem, mix), "{name}");
        }
        assert_eq!(GgufMix::in_name("Qwen3-8B"), None);
    }
}
