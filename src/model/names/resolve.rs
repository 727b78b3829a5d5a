//! Finds a name in the catalog.

use super::class::{ClassMatch, by_popularity, class_members};
use super::error::{MAX_CANDIDATES, NameError};
use super::foreign::Foreign;
use super::key::{fine_words, has_key, key};
use super::mixed::Mixed;
use super::note::NameNote;
use super::ollama;
use super::spec::NameSpec;
use super::suffix_kind::SuffixKind;
use crate::model::catalog::{EntryOrigin, Models, Summary};
use crate::model::quant::{DType, Scheme};
use std::collections::HashSet;
use std::sync::OnceLock;

/// Least similarity of a suggested name, from 0 to 1 (normalized Damerau-Levenshtein).
const MIN_SIMILARITY: f64 = 0.6;

/// What a name stands for.
#[derive(Clone, Debug)]
pub enum Resolution<'c> {
    /// One model.
    One(Match<'c>),
    /// All models of a size.
    Class(ClassMatch<'c>),
}

/// A model of the catalog with the quantization that was asked for.
#[derive(Clone, Debug)]
pub struct Match<'c> {
    /// The model.
    pub model: &'c Summary,
    /// The scheme of the suffix or the option; `None` when neither was given.
    pub scheme: Option<Scheme>,
    /// The format that the name states, if no option overrides it.
    pub stated: Stated,
    /// Whether the name is the repository of the original, letter for letter.
    pub is_repository: bool,
    /// What the user should know about how the name was read.
    pub notes: Vec<NameNote>,
}

/// The format that a name states.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Stated {
    /// None.
    #[default]
    Nothing,
    /// A scheme of MLX.
    Scheme(Scheme),
    /// Bits that vary by layer.
    Mixed(Mixed),
    /// A GGUF file, and its type where that is named.
    Gguf(Option<String>),
    /// A format of another program.
    Foreign(Foreign),
    /// MLX, without bits.
    Mlx,
}

impl Stated {
    const fn scheme(&self) -> Option<Scheme> {
        match self {
            Self::Scheme(scheme) => Some(*scheme),
            Self::Mixed(mixed) => Some(mixed.nominal),
            Self::Nothing | Self::Gguf(_) | Self::Foreign(_) | Self::Mlx => None,
        }
    }
}

/// Finds one name in the catalog; for several, build a [`Resolver`] once.
///
/// # Errors
/// As [`Resolver::resolve`].
pub fn resolve<'c>(
    catalog: &'c Models,
    name: &NameSpec,
    option: Option<Scheme>,
) -> Result<Resolution<'c>, NameError> {
    Resolver::new(catalog).resolve(name, option)
}

fn one<'c>(
    model: &'c Summary,
    name: &NameSpec,
    (stated, scheme): (Stated, Option<Scheme>),
    mut notes: Vec<NameNote>,
) -> Resolution<'c> {
    if !model.mlx_lm_supported {
        let (id, model_type) = (model.id.clone(), model.model_type.clone());
        notes.push(NameNote::NotSupported { id, model_type });
    }
    // Training for 4 bit left far more of these in 8 bits than the name says.
    let trained = name.suffix.as_ref().is_some_and(|s| s.text.split('-').any(|w| w == "qat"));
    let of_gemma_4 = model.model_type.starts_with("gemma4");
    let stated = match stated {
        Stated::Scheme(low @ Scheme::Affine { bits: 4, .. }) if trained && of_gemma_4 => {
            Stated::Mixed(Mixed::between(low, Scheme::Affine { bits: 8, group: 64 }))
        }
        stated => stated,
    };
    if let (Stated::Mixed(assumed), Some(suffix)) = (&stated, &name.suffix) {
        notes.push(NameNote::MixedBits { suffix: suffix.text.clone(), assumed: *assumed });
    }
    let is_repository = name.repository() == model.id;
    Resolution::One(Match { model, scheme, stated, is_repository, notes })
}

/// What the suffix of a name states.
fn stated(name: &NameSpec) -> Result<Stated, NameError> {
    let Some(suffix) = &name.suffix else { return Ok(Stated::Nothing) };
    let (text, suffix_text) = (name.text.clone(), suffix.text.clone());
    match &suffix.kind {
        // NVIDIA's own repositories are in ModelOpt's format, not in MLX's.
        SuffixKind::Scheme(Scheme::Nvfp4) if name.is_of("nvidia") => {
            Ok(Stated::Foreign(Foreign::Nvfp4))
        }
        SuffixKind::Scheme(scheme)
            if name.ollama.is_some() && matches!(scheme, Scheme::Float(_)) =>
        {
            Ok(Stated::Gguf(Some(
                if *scheme == Scheme::Float(DType::BF16) { "BF16" } else { "F16" }.to_owned(),
            )))
        }
        SuffixKind::Scheme(scheme) => Ok(Stated::Scheme(*scheme)),
        SuffixKind::Mixed(mixed) => Ok(Stated::Mixed(*mixed)),
        SuffixKind::HeadersOnly => {
            Err(NameError::HeadersNeeded { name: text, suffix: suffix_text })
        }
        SuffixKind::Gguf(file_type) => Ok(Stated::Gguf(file_type.clone())),
        SuffixKind::Foreign(foreign) => Ok(Stated::Foreign(*foreign)),
        SuffixKind::Mlx if name.is_of("LiquidAI") => Ok(Stated::Scheme(Scheme::DEFAULT)),
        SuffixKind::Mlx => Ok(Stated::Mlx),
        SuffixKind::Part(what) => Err(NameError::Part { name: text, what }),
        SuffixKind::Only { format, program } => {
            Err(NameError::OnlyOneProgram { name: text, stem: name.stem.clone(), format, program })
        }
        SuffixKind::Unknown(unknown) => Err(unknown.clone().into()),
    }
}

/// Finds names in a catalog.
#[derive(Clone, Debug)]
pub struct Resolver<'c> {
    catalog: &'c Models,
    /// All names of all models, whether the organization is part of them; of two with the same key the later one counts.
    names: Vec<(&'c str, bool, &'c Summary)>,
    /// Their words, for comparisons that are not exact.
    spellings: OnceLock<Vec<Spelling<'c>>>,
}

/// One name of a model.
#[derive(Clone, Debug)]
struct Spelling<'c> {
    words: Vec<String>,
    /// Whether the organization is part of the name.
    is_full: bool,
    model: &'c Summary,
}

impl<'c> Resolver<'c> {
    /// Lists the names of all models.
    #[must_use]
    pub fn new(catalog: &'c Models) -> Self {
        let all = catalog.models();
        let mut names = Vec::with_capacity(4 * all.len());
        // An id wins over an alias, and entries over each other by their origin: later names replace.
        for origin in [EntryOrigin::Update, EntryOrigin::BuiltIn, EntryOrigin::User] {
            let of_origin = || all.iter().filter(move |m| m.origin() == origin);
            let aliases = of_origin().flat_map(|m| m.aliases.iter().map(move |alias| (alias, m)));
            names.extend(aliases.map(|(alias, model)| (alias.as_str(), false, model)));
            for model in of_origin() {
                names.push((model.short_name(), false, model));
                names.push((&model.id, true, model));
            }
        }
        Self { catalog, names, spellings: OnceLock::new() }
    }

    /// All names in words, made when they are first needed.
    fn spellings(&self) -> &[Spelling<'c>] {
        self.spellings.get_or_init(|| {
            let spelling = |&(name, is_full, model): &(&str, bool, &'c Summary)| {
                let words = fine_words(name);
                (!words.is_empty()).then_some(Spelling { words, is_full, model })
            };
            self.names.iter().filter_map(spelling).collect()
        })
    }

    /// The model with a name of that [`key`]; an empty key is none.
    fn with_key(&self, key: &str) -> Option<&'c Summary> {
        let found = self.names.iter().rev().find(|(name, ..)| has_key(name, key));
        found.filter(|_| !key.is_empty()).map(|(_, _, model)| *model)
    }

    /// Finds a name. `option` is the scheme of `--quant`, which must not contradict the suffix.
    ///
    /// # Errors
    /// When nothing or more than one model matches, or the suffix is not usable; the error lists candidates.
    pub fn resolve(
        &self,
        name: &NameSpec,
        option: Option<Scheme>,
    ) -> Result<Resolution<'c>, NameError> {
        // A few originals carry a scheme in their own name (…-A3B-BF16), so the name as a whole comes first.
        if let Some(model) = self.exact(name.repository()) {
            let own = match name.suffix.as_ref().map(|s| &s.kind) {
                Some(SuffixKind::Scheme(scheme)) => Some(*scheme),
                _ => None,
            };
            // The original in bf16 can be quantized; what is quantized already cannot be otherwise.
            let fixed = own.filter(|scheme| !matches!(scheme, Scheme::Float(_)));
            let scheme = agreed(fixed, option)?.or(own);
            let stated = scheme.map_or(Stated::Nothing, Stated::Scheme);
            return Ok(one(model, name, (stated, scheme), Vec::new()));
        }
        let mut stated = stated(name)?;
        let scheme = agreed(stated.scheme(), option)?;
        if let Some(option) = option
            && !matches!(stated, Stated::Gguf(_))
        {
            stated = Stated::Scheme(option);
        }
        let found = |model, notes| one(model, name, (stated.clone(), scheme), notes);
        let with_organization = name.organization.as_ref().map(|o| format!("{o}/{}", name.stem));
        let exact = with_organization.as_deref().and_then(|full| self.exact(full));
        let library = name.ollama.as_ref().and_then(|_| ollama::model(&name.stem));
        let in_library = || self.exact(library?);
        let by_stem = || library.is_none().then(|| self.exact(&name.stem)).flatten();
        if let Some(model) = exact.or_else(in_library).or_else(by_stem) {
            return Ok(found(model, Vec::new()));
        }
        let full = library.or(with_organization.as_deref()).unwrap_or(&name.stem);
        if let Some((copy, model)) = self.catalog.copy(full) {
            let (repo, id) = (copy.repo.clone(), model.id.clone());
            let note = NameNote::SameConfiguration { repo, id, context: copy.context };
            return Ok(found(model, vec![note]));
        }
        if let Some(class) = name.class {
            let found = class_members(self.catalog, class, scheme, Vec::new());
            return found.map(Resolution::Class);
        }
        let read_as = |model: &'c Summary| {
            let note = NameNote::ReadAs { name: name.text.clone(), id: model.id.clone() };
            Ok(found(model, vec![note]))
        };
        match self.loose(&name.stem).as_slice() {
            [model] => read_as(model),
            [] => match self.containing(&name.stem).as_slice() {
                [model] => read_as(model),
                [] => Err(self.unknown(&name.text, &name.stem)),
                several => Err(ambiguous(&name.text, several.to_vec())),
            },
            several => Err(ambiguous(&name.text, several.to_vec())),
        }
    }

    /// The model whose id or alias is `name`, with or without an organization in front.
    fn exact(&self, name: &str) -> Option<&'c Summary> {
        let full = key(name);
        let short = name.trim_end_matches('/').rsplit_once('/').map(|(_, last)| key(last));
        let found = self.with_key(&full).or_else(|| self.with_key(short.as_ref()?));
        let bare = || {
            // The organization may be joined with something else than a slash.
            let rest = ORGANIZATIONS.iter().find_map(|o| full.strip_prefix(o))?;
            self.with_key(rest)
        };
        found.or_else(bare)
    }

    /// The models that match when words are left out that do not change the architecture.
    fn loose(&self, stem: &str) -> Vec<&'c Summary> {
        let all = fine_words(stem);
        // A thinking variant has the dimensions of the instruct model of the same date.
        let thinking = all.iter().position(|w| w == "thinking");
        if let Some(at) = thinking {
            let mut instruct = all.clone();
            instruct[at] = "instruct".to_owned();
            if let Some(model) = self.with_key(&instruct.join("-")) {
                return vec![model];
            }
        }
        let wanted = without_generic(&all);
        if wanted.is_empty() {
            return Vec::new();
        }
        if let Some(model) = self.with_key(&wanted.join("-")) {
            return vec![model];
        }
        let matching = |matches: &dyn Fn(&[String]) -> bool| {
            // What an update read is found by its own name only, so that it makes no other name ambiguous.
            let known = |s: &&Spelling<'_>| s.model.origin() != EntryOrigin::Update;
            let short = self.spellings().iter().filter(|s| !s.is_full).filter(known);
            distinct(short.filter(|s| matches(&without_generic(&s.words))).map(|s| s.model))
        };
        let same = matching(&|words| words == wanted);
        if !same.is_empty() {
            return same;
        }
        // "qwen3-30b" for a model whose full name says how much is active.
        let shorter = matching(&|words| without_active(words) == wanted);
        if shorter.len() < 2 {
            return shorter;
        }
        // Qwen3-30B-A3B rather than Qwen3-30B-A3B-Instruct-2507, when both would do.
        let plain: Vec<&Summary> = shorter
            .iter()
            .copied()
            .filter(|m| without_active(&fine_words(m.short_name())) == wanted)
            .collect();
        if plain.len() == 1 { plain } else { shorter }
    }

    /// The models whose names contain all words of the name, in order.
    fn containing(&self, stem: &str) -> Vec<&'c Summary> {
        let wanted = without_generic(&fine_words(stem));
        // A letter or a number says nothing: "x" is not A.X-4.0-Light.
        let telling = |word: &String| word.chars().filter(|c| c.is_alphabetic()).count() > 1;
        if !wanted.iter().any(telling) {
            return Vec::new();
        }
        let full = || self.spellings().iter().filter(|s| s.is_full);
        let all =
            distinct(full().filter(|s| contains_in_order(&s.words, &wanted)).map(|s| s.model));
        let listed: Vec<&Summary> = all.iter().copied().filter(|m| m.listed).collect();
        if listed.is_empty() { all } else { listed }
    }

    /// The error for a name that matches nothing: what it is where that is no language model, else similar names.
    fn unknown(&self, name: &str, stem: &str) -> NameError {
        if let Some(what) = super::not_a_language_model(name) {
            return NameError::NotALanguageModel { name: name.to_owned(), what };
        }
        let asked = key(stem);
        let mut similar: Vec<(f64, &Summary)> = self
            .spellings()
            .iter()
            .map(|s| (strsim::normalized_damerau_levenshtein(&s.words.join("-"), &asked), s.model))
            .filter(|(score, _)| *score >= MIN_SIMILARITY)
            .collect();
        similar.sort_by(|(a, m), (b, n)| b.total_cmp(a).then(n.downloads.cmp(&m.downloads)));
        let models = distinct(similar.into_iter().map(|(_, model)| model));
        let candidates = models.iter().take(MAX_CANDIDATES).map(|m| m.id.clone()).collect();
        NameError::Unknown { name: name.to_owned(), candidates }
    }
}

/// The scheme of a suffix and an option, which must not contradict each other.
fn agreed(suffix: Option<Scheme>, option: Option<Scheme>) -> Result<Option<Scheme>, NameError> {
    match (suffix, option) {
        (Some(suffix), Some(option)) if suffix != option => {
            Err(NameError::ConflictingQuant { suffix, option })
        }
        (suffix, option) => Ok(suffix.or(option)),
    }
}

/// The models in order, each once.
fn distinct<'c>(models: impl Iterator<Item = &'c Summary>) -> Vec<&'c Summary> {
    let mut seen = HashSet::new();
    models.filter(|m| seen.insert(m.id.as_str())).collect()
}

/// Organizations that convert models, as they appear when the name is joined with `-` or `_`.
const ORGANIZATIONS: [&str; 4] = [
    "mlx-community-",
    "lmstudio-community-",
    "models-mlx-community-",
    "models-lmstudio-community-",
];

/// Words that do not change the architecture: kinds of training, and what finetunes call themselves.
const GENERIC: [&str; 15] = [
    "instruct",
    "it",
    "chat",
    "base",
    "hf",
    "preview",
    "pt",
    "latest",
    "abliterated",
    "uncensored",
    "heretic",
    "derestricted",
    "qat",
    "text",
    "unsloth",
];

/// Leaves out generic words and dates (`2507`) behind the first word.
fn without_generic(words: &[String]) -> Vec<String> {
    let is_date = |w: &str| w.len() == 4 && w.bytes().all(|b| b.is_ascii_digit());
    let generic = |w: &str| GENERIC.contains(&w) || is_date(w);
    words
        .iter()
        .enumerate()
        .filter(|(i, w)| *i == 0 || !generic(w))
        .map(|(_, w)| w.clone())
        .collect()
}

/// Leaves out `a 3b`: the active size of a mixture of experts.
fn without_active(words: &[String]) -> Vec<String> {
    let at = words
        .iter()
        .zip(words.iter().skip(1))
        .position(|(a, b)| a == "a" && b.starts_with(|c: char| c.is_ascii_digit()));
    let kept = |i: usize| at.is_none_or(|at| i != at && i != at + 1);
    words.iter().enumerate().filter(|(i, _)| kept(*i)).map(|(_, w)| w.clone()).collect()
}

fn ambiguous(name: &str, mut models: Vec<&Summary>) -> NameError {
    by_popularity(&mut models);
    let candidates = models.iter().take(2 * MAX_CANDIDATES).map(|m| m.id.clone()).collect();
    NameError::Ambiguous { name: name.to_owned(), candidates }
}

fn contains_in_order(words: &[String], wanted: &[String]) -> bool {
    let mut rest = words.iter();
    wanted.iter().all(|w| rest.any(|word| word == w))
}
