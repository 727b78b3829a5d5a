//! Machine specifications as users write them: `this`, `m4max-40/128`, `studio-m4max-40-2025/128`, `Mac16,9/128`,
//! `"M4 Max 40-core 128GB"`, `"MacBook Pro 16 M4 Max 64GB"`. Upper and lower case and separators are alike.
//!
//! A specification names one memory size of one chip, or it is an error that lists the choices, each of which is a
//! specification that resolves. A chip without its bin ("M1 Max 32GB", `m1max/32`) stands for all its bins with that
//! memory, because memory, limits and the longest context do not depend on the bin.

mod candidates;
mod words;

use super::catalog::{Macs, MacsError};
use super::machine::Machine;
use super::probe::{self, ProbeError};
use candidates::{Found, MacCandidate};

/// Longest specification that is looked at, in bytes.
const MAX_LENGTH: usize = 200;
/// Choices that an error lists.
const MAX_CHOICES: usize = 12;

/// A specification that does not name one machine.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SpecError {
    /// The catalog has problems.
    #[error(transparent)]
    Catalog(#[from] MacsError),
    /// `this` was asked for, and this machine cannot be planned for.
    #[error(transparent)]
    This(#[from] ProbeError),
    /// Nothing was written.
    #[error("the Mac is empty; write for example m4max-40/128, or this")]
    Empty,
    /// It is too long to be a specification.
    #[error("the Mac is longer than {MAX_LENGTH} characters; write for example m4max-40/128")]
    TooLong,
    /// A word is not understood.
    #[error("\"{spec}\" is not a Mac that mlxplan knows{}{}", unknown_word(.word), did_you_mean(.suggestions))]
    Unknown {
        /// What was written.
        spec: String,
        /// The word that is not understood, when it is not the whole.
        word: Option<String>,
        /// Similar ids.
        suggestions: Vec<String>,
    },
    /// The parts are understood, but no such machine was made.
    #[error("no Mac was made that is \"{spec}\"{}", did_you_mean(.suggestions))]
    NotMade {
        /// What was written.
        spec: String,
        /// Machines that fit part of it.
        suggestions: Vec<String>,
    },
    /// The chip is known, but was not sold with this much memory.
    #[error(
        "{name} was not sold with {memory_gib} GB; choose from {}, or describe the machine with --bandwidth, --gpu-cores \
         and --memory", choices_text(.choices)
    )]
    MemoryNotOffered {
        /// The chip or product.
        name: String,
        /// Memory asked for, in GiB.
        memory_gib: u64,
        /// What was sold.
        choices: Vec<String>,
    },
    /// The memory was left out, and there are several sizes.
    #[error("how much memory? \"{spec}\" could be {}", choices_text(.choices))]
    MemoryMissing {
        /// What was written.
        spec: String,
        /// The sizes, as complete specifications.
        choices: Vec<String>,
    },
    /// Several bins fit.
    #[error("\"{spec}\" is ambiguous; choose from {}", choices_text(.choices))]
    Ambiguous {
        /// What was written.
        spec: String,
        /// Everything that fits, as complete specifications.
        choices: Vec<String>,
    },
}

impl SpecError {
    /// Complete specifications to choose from, if the error has any.
    #[must_use]
    pub fn choices(&self) -> &[String] {
        match self {
            Self::MemoryNotOffered { choices, .. }
            | Self::MemoryMissing { choices, .. }
            | Self::Ambiguous { choices, .. } => choices,
            _ => &[],
        }
    }
}

fn choices_text(choices: &[String]) -> String {
    let shown: Vec<_> = choices.iter().take(MAX_CHOICES).map(String::as_str).collect();
    let more = match choices.len().saturating_sub(MAX_CHOICES) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    format!("{}{more}", shown.join(", "))
}

fn unknown_word(word: &Option<String>) -> String {
    word.as_ref().map_or_else(String::new, |word| format!(" (what is \"{word}\"?)"))
}

fn did_you_mean(suggestions: &[String]) -> String {
    if suggestions.is_empty() {
        "; `mlxplan macs` lists them, and --bandwidth, --gpu-cores and --memory describe any other"
            .to_owned()
    } else {
        format!("; did you mean {}?", suggestions.join(", "))
    }
}

/// Resolves a specification; `this` probes the machine mlxplan runs on.
///
/// # Errors
/// When it does not name exactly one machine; the error lists the choices or says what is not understood.
pub fn resolve(spec: &str, catalog: &Macs) -> Result<Machine, SpecError> {
    resolve_with(spec, catalog, || probe::probe(catalog)?.machine(catalog))
}

/// As [`resolve`], with `this` in place of the machine mlxplan runs on.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_with(
    spec: &str,
    catalog: &Macs,
    this: impl FnOnce() -> Result<Machine, ProbeError>,
) -> Result<Machine, SpecError> {
    let spec = spec.trim();
    if spec.len() > MAX_LENGTH {
        return Err(SpecError::TooLong);
    }
    if words::key(spec).is_empty() {
        return Err(SpecError::Empty);
    }
    if spec.eq_ignore_ascii_case("this") {
        return Ok(this()?);
    }
    let Found { name, memory_gib, candidates } = candidates::find(spec, catalog)?;
    let fitting: Vec<&MacCandidate<'_>> = candidates
        .iter()
        .filter(|candidate| memory_gib.is_none_or(|gib| candidate.memory_gib == gib))
        .collect();
    let choices = |candidates: &mut dyn Iterator<Item = &MacCandidate<'_>>| {
        let mut choices: Vec<String> = Vec::new();
        for choice in candidates.map(MacCandidate::spec) {
            if !choices.contains(&choice) {
                choices.push(choice);
            }
        }
        choices
    };
    let Some(first) = fitting.first() else {
        return Err(SpecError::MemoryNotOffered {
            name,
            memory_gib: memory_gib.unwrap_or_default(),
            choices: choices(&mut candidates.iter()),
        });
    };
    let same_bin = fitting.iter().all(|other| other.chip.id == first.chip.id);
    let same_memory = fitting.iter().all(|other| other.memory_gib == first.memory_gib);
    let family = first.chip.family_id();
    let same_family = fitting.iter().all(|other| other.chip.family_id() == family);
    let spec = spec.to_owned();
    let choices = choices(&mut fitting.iter().copied());
    match (same_bin, same_memory) {
        (true, true) => machine(&fitting, catalog),
        (false, true) if same_family => all_bins(&fitting, catalog),
        (true, false) => Err(SpecError::MemoryMissing { spec, choices }),
        (false, _) => Err(SpecError::Ambiguous { spec, choices }),
    }
}

/// The machine that may be any of candidates that share chip and memory.
fn all_bins(candidates: &[&MacCandidate<'_>], catalog: &Macs) -> Result<Machine, SpecError> {
    let mut bins: Vec<Vec<&MacCandidate<'_>>> = Vec::new();
    for candidate in candidates {
        match bins.iter_mut().find(|bin| bin.iter().all(|c| c.chip.id == candidate.chip.id)) {
            Some(bin) => bin.push(candidate),
            None => bins.push(vec![candidate]),
        }
    }
    let chip = candidates.first().map(|c| c.chip).ok_or(SpecError::Empty)?;
    let mut bins: Vec<Machine> =
        bins.iter().map(|bin| machine(bin, catalog)).collect::<Result<_, _>>()?;
    for bin in &mut bins {
        bin.notes.clear();
    }
    Machine::of_bins(chip.family_id(), &chip.brand_string, bins).ok_or(SpecError::Empty)
}

/// The machine of candidates that share bin and memory. The product is kept when there is only one.
fn machine(candidates: &[&MacCandidate<'_>], catalog: &Macs) -> Result<Machine, SpecError> {
    let Some(first) = candidates.first() else {
        return Err(SpecError::Empty);
    };
    let mut machine = Machine::from_chip(first.chip, first.memory_gib, catalog.limits()?);
    let same_mac = |other: &&MacCandidate<'_>| {
        other.mac.map(|mac| mac.id.as_str()) == first.mac.map(|mac| mac.id.as_str())
    };
    if let Some(mac) = first.mac.filter(|_| candidates.iter().all(same_mac)) {
        machine = machine.with_mac(mac);
        if mac.chip == first.chip.id && !mac.other_chips.is_empty() {
            let others: Vec<_> =
                mac.other_chips.iter().map(|chip| format!("{chip}/{}", first.memory_gib)).collect();
            machine.notes.push(format!(
                "{} was also sold with another bin; for that one write {}",
                mac.name(),
                others.join(" or ")
            ));
        }
    }
    let fanless: Vec<_> = candidates.iter().map(|c| c.mac.map(|mac| mac.fanless)).collect();
    if let [first, rest @ ..] = fanless.as_slice()
        && rest.iter().all(|other| other == first)
    {
        machine.fanless = *first;
    }
    Ok(machine)
}

#[cfg(test)]
mod tests;
