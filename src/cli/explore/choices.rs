//! What can be chosen by typing: Macs and models of the catalogs, and how words find them.

use super::knob::Knob;
use crate::cli::shared::context::Catalogs;
use crate::hardware::catalog::{Mac, Status};
use anyhow::Result;
use std::cmp::Reverse;

/// Something to choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offered {
    /// As the command line takes it.
    pub typed: String,
    /// What it is, for people.
    pub name: String,
    /// The same in small letters, with all by which it is known.
    text: String,
    /// The same without anything but letters and digits.
    squeezed: String,
}

/// All that is offered.
#[derive(Clone, Debug, Default)]
pub(super) struct Choices {
    macs: Vec<Offered>,
    models: Vec<Offered>,
}

impl Offered {
    fn new(typed: String, name: String, known_by: &str) -> Self {
        let text = format!("{typed} {name} {known_by}").to_lowercase();
        let squeezed = squeeze(&text);
        Self { typed, name, text, squeezed }
    }

    /// How well words fit: how many of them begin a word; `None` where one is not found at all.
    fn fits(&self, words: &[String]) -> Option<usize> {
        let mut begin = 0;
        for word in words {
            let starts =
                |(at, _): (usize, &str)| !self.text[..at].ends_with(|c: char| c.is_alphanumeric());
            if self.text.match_indices(word.as_str()).any(starts) {
                begin += 1;
            } else if !self.text.contains(word.as_str()) && !self.squeezed.contains(&squeeze(word))
            {
                return None;
            }
        }
        Some(begin)
    }

    /// Whether all letters and digits are there in their order.
    fn resembles(&self, letters: &str) -> bool {
        let mut rest = self.squeezed.chars();
        letters.chars().all(|c| rest.any(|r| r == c))
    }
}

fn squeeze(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).collect()
}

impl Choices {
    /// Those of the catalogs; `here` is the name of this machine, where it is a Mac.
    ///
    /// # Errors
    /// When a file of the user cannot be read.
    pub fn new(catalogs: &Catalogs, here: Option<&str>) -> Result<Self> {
        Ok(Self { macs: macs(catalogs, here)?, models: models(catalogs)? })
    }

    fn of(&self, knob: Knob) -> &[Offered] {
        if knob == Knob::Mac { &self.macs } else { &self.models }
    }

    /// What a text finds, the best first: what has all its words, else what has its letters in their order.
    pub fn found(&self, knob: Knob, text: &str) -> Vec<&Offered> {
        let text = text.to_lowercase();
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let all = self.of(knob);
        let mut found: Vec<(usize, &Offered)> =
            all.iter().filter_map(|o| Some((o.fits(&words)?, o))).collect();
        if found.is_empty() {
            let letters = squeeze(&text);
            let alike = |o: &&Offered| !letters.is_empty() && o.resembles(&letters);
            return all.iter().filter(alike).collect();
        }
        let whole = squeeze(&text);
        found.sort_by_key(|(begin, o)| Reverse((*begin, squeeze(&o.typed).starts_with(&whole))));
        found.into_iter().map(|(_, o)| o).collect()
    }

    /// Whether a text finds something by its words, rather than by its letters alone.
    pub fn has(&self, knob: Knob, text: &str) -> bool {
        let words: Vec<String> =
            text.to_lowercase().split_whitespace().map(str::to_owned).collect();
        self.of(knob).iter().any(|o| o.fits(&words).is_some())
    }
}

/// This machine, Macs on sale, chips by bin and memory from the newest, then all other Macs.
fn macs(catalogs: &Catalogs, here: Option<&str>) -> Result<Vec<Offered>> {
    let this =
        here.map(|name| Offered::new("this".to_owned(), format!("this machine: {name}"), ""));
    let (on_sale, others): (Vec<_>, Vec<_>) =
        catalogs.macs.macs()?.iter().partition(|mac| mac.status == Status::OnSale);
    let chips = catalogs.macs.chips()?;
    let product = |mac: &&Mac| {
        let chip = chips.iter().find(|chip| chip.id == mac.chip).map_or("", |chip| &*chip.name);
        let (id, name) = (mac.id.clone(), format!("{}, {chip}", mac.name()));
        let of = move |gib: u64| {
            Offered::new(format!("{id}/{gib}"), format!("{name}, {gib} GB"), &format!("{gib}gb"))
        };
        mac.memory_options().into_iter().map(of).collect::<Vec<_>>()
    };
    let bins = chips.iter().rev().flat_map(|chip| {
        chip.memory_gib.iter().map(|gib| {
            let name = format!("{}, {gib} GB, {} GB/s", chip.name, chip.bandwidth(*gib).gbs());
            Offered::new(format!("{}/{gib}", chip.id), name, &format!("{gib}gb"))
        })
    });
    let all = this.into_iter().chain(bins).chain(on_sale.iter().flat_map(product));
    Ok(all.chain(others.iter().flat_map(product)).collect())
}

/// The models of the catalog, the most popular first.
fn models(catalogs: &Catalogs) -> Result<Vec<Offered>> {
    let offered = catalogs.models()?.popular().into_iter().map(|m| {
        let shortest = m.aliases.iter().min_by_key(|a| a.len());
        let typed = shortest.unwrap_or(&m.id).clone();
        Offered::new(typed, format!("{}, {}", m.name, m.id), &m.aliases.join(" "))
    });
    Ok(offered.collect())
}

#[cfg(test)]
impl Choices {
    /// Those that are built in.
    pub fn built_in(here: Option<&str>) -> Self {
        Self::new(&Catalogs::new(crate::data_dir::DataDirs::default()), here).expect("built in")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(knob: Knob, text: &str) -> String {
        let all = Choices::built_in(None);
        all.found(knob, text).first().map(|o| o.typed.clone()).unwrap_or_default()
    }

    #[test]
    fn words_find_macs_and_models() {
        assert_eq!(first(Knob::Mac, "m4 max 40-core 128"), "m4max-40/128");
        assert_eq!(first(Knob::Mac, "m4max 128gb 40"), "m4max-40/128");
        assert_eq!(first(Knob::Mac, "m3ultra-80/512"), "m3ultra-80/512");
        assert!(first(Knob::Mac, "studio m3 ultra 512").contains("m3ultra"), "a product");
        assert_eq!(first(Knob::Model, "qwen3 32b"), "qwen3-32b");
        assert_eq!(first(Knob::Model, "qwen3 8b"), "qwen3-8b", "not 0.8b, not qwen3-vl-8b");
        assert_eq!(first(Knob::Model, "QWEN/QWEN3-32B"), "qwen3-32b");
        assert_eq!(first(Knob::Model, "llama 3.3 70"), "llama3.3-70b");
    }

    #[test]
    fn letters_in_their_order_are_enough_where_no_word_fits() {
        let all = Choices::built_in(None);
        assert!(!all.has(Knob::Model, "qwn332b") && !all.found(Knob::Model, "qwn332b").is_empty());
        assert!(all.found(Knob::Model, "日本 🦙").is_empty());
        let everything = all.found(Knob::Model, "").len();
        assert!(everything > 100 && all.has(Knob::Model, ""), "{everything}");
    }

    #[test]
    fn this_machine_stands_first() {
        let all = Choices::built_in(Some("Apple M4, 16 GB"));
        assert_eq!(all.found(Knob::Mac, "")[0].typed, "this");
    }
}
