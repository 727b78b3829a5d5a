//! Which machines of the catalog a specification can mean.

use std::collections::BTreeMap;

use super::SpecError;
use super::words::{Words, key};
use crate::hardware::catalog::{Chip, Mac, Macs, MacsError};

/// A bin with a memory size, perhaps as a product.
#[derive(Clone, Copy, Debug)]
pub(super) struct MacCandidate<'c> {
    pub chip: &'c Chip,
    pub memory_gib: u64,
    pub mac: Option<&'c Mac>,
}

impl MacCandidate<'_> {
    /// The shortest specification that resolves to it.
    pub fn spec(&self) -> String {
        match self.mac {
            Some(mac) if mac.chip == self.chip.id => format!("{}/{}", mac.id, self.memory_gib),
            _ => format!("{}/{}", self.chip.id, self.memory_gib),
        }
    }
}

/// What a specification was found to mean, before the memory is looked at.
#[derive(Debug)]
pub(super) struct Found<'c> {
    /// Name for messages.
    pub name: String,
    /// Memory asked for, in GiB.
    pub memory_gib: Option<u64>,
    /// All machines it can be, with every memory size; never empty.
    pub candidates: Vec<MacCandidate<'c>>,
}

/// Finds the machines that `spec` can mean.
pub(super) fn find<'c>(spec: &str, catalog: &'c Macs) -> Result<Found<'c>, SpecError> {
    let (head, memory_gib) = split_memory(spec);
    if let Some(found) = by_id(head, memory_gib, catalog)? {
        return Ok(found);
    }
    // An id whose last part is not memory: "m4max/40".
    if memory_gib.is_some()
        && let Some(found) = by_id(spec, None, catalog)?
    {
        return Ok(found);
    }
    by_words(spec, head, memory_gib, catalog)
}

/// `m4max-40/128` is `m4max-40` and 128.
fn split_memory(spec: &str) -> (&str, Option<u64>) {
    let Some((head, tail)) = spec.rsplit_once('/') else {
        return (spec, None);
    };
    let tail = tail.trim().to_ascii_lowercase();
    let digits = ["gib", "gb", "g"].into_iter().find_map(|unit| tail.strip_suffix(unit));
    match digits.unwrap_or(&tail).trim().parse() {
        Ok(memory) if !key(head).is_empty() => (head, Some(memory)),
        _ => (spec, None),
    }
}

/// A chip id, a chip without its bin, a product id or a model identifier.
fn by_id<'c>(
    head: &str,
    memory_gib: Option<u64>,
    catalog: &'c Macs,
) -> Result<Option<Found<'c>>, MacsError> {
    let key = key(head);
    let chips = catalog.chips()?;
    let found = |name: String, candidates: Vec<MacCandidate<'c>>| {
        Some(Found { name, memory_gib, candidates }).filter(|found| !found.candidates.is_empty())
    };
    if let Some(chip) = chips.iter().find(|chip| super::words::key(&chip.id) == key) {
        return Ok(found(chip.name.clone(), bins(chip)));
    }
    let family: Vec<&Chip> =
        chips.iter().filter(|chip| super::words::key(chip.family_id()) == key).collect();
    if let Some(first) = family.first() {
        let candidates = family.iter().copied().flat_map(bins).collect();
        return Ok(found(first.brand_string.clone(), candidates));
    }
    let macs = catalog.macs()?;
    if let Some(mac) = macs.iter().find(|mac| super::words::key(&mac.id) == key) {
        let main = chips.iter().find(|chip| chip.id == mac.chip);
        let candidates = main.map_or_else(Vec::new, |chip| configurations(mac, chip));
        return Ok(found(mac.name(), candidates));
    }
    let identified = |mac: &&Mac| mac.hw_model.iter().any(|model| super::words::key(model) == key);
    let candidates = macs.iter().filter(identified).flat_map(|mac| products(mac, chips)).collect();
    Ok(found(head.trim().to_owned(), candidates))
}

/// A chip with every memory size.
fn bins(chip: &Chip) -> Vec<MacCandidate<'_>> {
    let candidate = |&memory_gib| MacCandidate { chip, memory_gib, mac: None };
    chip.memory_gib.iter().map(candidate).collect()
}

/// A product with every memory size that was sold with this bin.
fn configurations<'c>(mac: &'c Mac, chip: &'c Chip) -> Vec<MacCandidate<'c>> {
    let sizes = if mac.chip == chip.id { mac.memory_options() } else { chip.memory_gib.clone() };
    sizes.into_iter().map(|memory_gib| MacCandidate { chip, memory_gib, mac: Some(mac) }).collect()
}

/// A product with all its bins and memory sizes.
fn products<'c>(mac: &'c Mac, chips: &'c [Chip]) -> Vec<MacCandidate<'c>> {
    let bins = chips.iter().filter(|chip| mac.has_chip(&chip.id));
    bins.flat_map(|chip| configurations(mac, chip)).collect()
}

fn by_words<'c>(
    spec: &str,
    head: &str,
    memory_gib: Option<u64>,
    catalog: &'c Macs,
) -> Result<Found<'c>, SpecError> {
    let punctuated = head.contains(|c: char| c.is_ascii_punctuation());
    let macs = if punctuated { catalog.macs()? } else { &[] };
    let is_id = |id: &str| {
        macs.iter()
            .any(|mac| key(&mac.id) == id || mac.hw_model.iter().any(|model| key(model) == id))
    };
    let words = Words::read(head, is_id);
    let unknown = |word: Option<&String>| -> Result<Found<'c>, SpecError> {
        let suggestions = suggestions(head, memory_gib, catalog)?;
        Err(SpecError::Unknown { spec: spec.to_owned(), word: word.cloned(), suggestions })
    };
    if let Some(word) = words.unknown.first() {
        let alone = key(word) == key(head);
        return unknown(Some(word).filter(|_| !alone));
    }
    if words.family.is_none() && words.product.is_none() && words.ids.is_empty() {
        return unknown(None);
    }
    let readings = readings(&words, memory_gib);
    let mut best: Vec<MacCandidate<'c>> = Vec::new();
    let mut best_memory = None;
    let mut without_memory: Vec<(Option<u64>, Vec<MacCandidate<'c>>)> = Vec::new();
    for reading in readings {
        let all = reading.candidates(&words, catalog)?;
        let offers = |gib: &u64| all.iter().any(|candidate| candidate.memory_gib == *gib);
        match reading.memory.iter().find(|gib| offers(gib)) {
            Some(gib) => {
                best_memory = best_memory.or(Some(*gib));
                best.extend(all.iter().filter(|candidate| candidate.memory_gib == *gib));
            }
            None if !all.is_empty() => without_memory.push((reading.memory.first().copied(), all)),
            None => {}
        }
    }
    if !best.is_empty() {
        // Readings of the numbers that differ in memory are all kept, so that they show as ambiguous.
        let same = best.iter().all(|candidate| Some(candidate.memory_gib) == best_memory);
        let memory_gib = best_memory.filter(|_| same);
        return Ok(Found { name: name(&words, &best), memory_gib, candidates: best });
    }
    // A reading in which no memory was given is complete but for it; one with a size that was not sold is not.
    without_memory.sort_by_key(|(memory, _)| memory.is_some());
    match without_memory.into_iter().next() {
        Some((memory_gib, candidates)) => {
            Ok(Found { name: name(&words, &candidates), memory_gib, candidates })
        }
        None => Err(SpecError::NotMade {
            spec: spec.to_owned(),
            suggestions: suggestions(head, memory_gib, catalog)?,
        }),
    }
}

/// One way to read the numbers that have no unit.
#[derive(Clone, Debug, Default)]
struct Reading {
    gpu_cores: Option<u32>,
    size_in: Option<u32>,
    year: Option<u32>,
    /// Memory sizes to try, the likeliest first.
    memory: Vec<u64>,
}

/// Every way to read the numbers without a unit: as GPU cores, memory, display size or year, each once.
fn readings(words: &Words, memory_gib: Option<u64>) -> Vec<Reading> {
    let memory = memory_gib.into_iter().chain(words.gigabytes.iter().copied()).collect();
    let first = Reading { gpu_cores: words.gpu_cores, size_in: words.size_in, year: None, memory };
    let mut readings = vec![first];
    for &number in words.numbers.iter().take(4) {
        let small = u32::try_from(number).ok();
        let mut next = Vec::new();
        for reading in readings {
            if reading.memory.is_empty() {
                next.push(Reading { memory: vec![number], ..reading.clone() });
            }
            if reading.gpu_cores.is_none() {
                next.push(Reading { gpu_cores: small, ..reading.clone() });
            }
            if reading.size_in.is_none() && words.product.is_some() {
                next.push(Reading { size_in: small, ..reading.clone() });
            }
            if reading.year.is_none() && (2020..2100).contains(&number) {
                next.push(Reading { year: small, ..reading });
            }
        }
        readings = next;
    }
    if words.numbers.len() > 4 { Vec::new() } else { readings }
}

impl Reading {
    fn candidates<'c>(
        &self,
        words: &Words,
        catalog: &'c Macs,
    ) -> Result<Vec<MacCandidate<'c>>, MacsError> {
        let chips = catalog.chips()?;
        let fits = |chip: &Chip| {
            words.family.as_ref().is_none_or(|family| chip.family.eq_ignore_ascii_case(family))
                && words.tier.is_none_or(|tier| chip.tier.word() == tier)
                && self.gpu_cores.is_none_or(|cores| chip.gpu_cores == cores)
                && words.cpu_cores.is_none_or(|cores| cpu_cores_fit(chip, cores))
        };
        let of_product = words.product.is_some() || !words.ids.is_empty();
        if !of_product && self.size_in.is_none() && self.year.is_none() {
            return Ok(chips.iter().filter(|chip| fits(chip)).flat_map(bins).collect());
        }
        let macs = catalog.macs()?.iter().filter(|mac| {
            let id = |id: &String| {
                key(&mac.id) == *id || mac.hw_model.iter().any(|model| key(model) == *id)
            };
            words.product.is_none_or(|product| mac.product.eq_ignore_ascii_case(product))
                && words.ids.iter().all(id)
                && self.size_in.is_none_or(|size| mac.size_in == Some(size))
                && self.year.is_none_or(|year| mac.year == year)
        });
        let candidates = macs.flat_map(|mac| products(mac, chips));
        Ok(candidates.filter(|candidate| fits(candidate.chip)).collect())
    }
}

/// Some bins were sold with two numbers of CPU cores, of which the catalog has one; a different one is accepted if no
/// more than two cores away.
fn cpu_cores_fit(chip: &Chip, cores: u32) -> bool {
    let all = chip.cpu_super_cores + chip.cpu_p_cores + chip.cpu_e_cores;
    all.abs_diff(cores) <= 2
}

/// What the candidates have in common, for messages.
fn name(words: &Words, candidates: &[MacCandidate<'_>]) -> String {
    let brand = candidates.first().map(|candidate| candidate.chip.brand_string.clone());
    let product =
        candidates.first().and_then(|candidate| candidate.mac).map(|mac| mac.product.clone());
    let cores = words.gpu_cores.map(|cores| format!("with {cores} GPU cores"));
    let named = [product, brand.filter(|_| words.family.is_some()), cores];
    named.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// Similar ids, the most similar first.
fn suggestions(
    head: &str,
    memory_gib: Option<u64>,
    catalog: &Macs,
) -> Result<Vec<String>, MacsError> {
    /// Similarity (Jaro-Winkler) from which an id is worth suggesting.
    const SIMILAR: f64 = 0.85;
    let head = key(head);
    let mut ids: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for chip in catalog.chips()? {
        ids.entry(&chip.id).or_default().extend(&chip.memory_gib);
        ids.entry(chip.family_id()).or_default().extend(&chip.memory_gib);
    }
    for mac in catalog.macs()? {
        ids.entry(&mac.id).or_default().extend(mac.memory_options());
    }
    let spec = |id: &str, sizes: &[u64]| match memory_gib {
        Some(gib) if sizes.contains(&gib) => format!("{id}/{gib}"),
        _ => id.to_owned(),
    };
    let mut scored: Vec<(f64, String)> = ids
        .iter()
        .map(|(id, sizes)| (strsim::jaro_winkler(&head, &key(id)), spec(id, sizes)))
        .filter(|(score, _)| *score >= SIMILAR)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.truncate(3);
    Ok(scored.into_iter().map(|(_, spec)| spec).collect())
}
