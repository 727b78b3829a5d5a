//! The user's own prices (`prices.toml`), laid over those of `macs.toml`.

use super::document::{DataEntry, Problem, TomlFile, closest, for_each_entry};
use super::mac::{Mac, MacConfig};
use crate::hardware::provenance::Confidence;

const KEYS: &[&str] = &["mac", "memory_gib", "ssd_gb", "usd_now", "source"];

/// Lays the prices of all files over the Macs. A configuration that a Mac does not have yet is added to it.
pub(super) fn apply(sources: &[TomlFile], macs: &mut [Mac], problems: &mut Vec<Problem>) {
    for source in sources {
        for_each_entry(source, problems, "price", &["as_of"], |entry| {
            entry.only(KEYS);
            let id: Option<String> = entry.required("mac", None);
            if let Some(id) = &id {
                entry.set_label(format!("price of {id}"));
            }
            let memory_gib = entry.within("memory_gib", None, 1..=65_536);
            let ssd_gb = entry.optional("ssd_gb");
            let usd = entry.within("usd_now", None, 1..=1_000_000);
            let note: Option<String> = entry.optional("source");
            let (Some(id), Some(memory_gib), Some(usd)) = (id, memory_gib, usd) else {
                return;
            };
            if !macs.iter().any(|mac| mac.id == id) {
                let hint = closest(&id, macs.iter().map(|mac| mac.id.as_str()));
                entry.wrong("mac", format!("there is no Mac \"{id}\"{hint}"));
                return;
            }
            let Some(mac) = macs.iter_mut().find(|mac| mac.id == id) else {
                return;
            };
            let Some(config) = config(entry, mac, memory_gib, ssd_gb) else {
                return;
            };
            config.usd_now = Some(usd);
            config.price_confidence = Some(Confidence::High);
            config.price_source = Some(note.unwrap_or_else(|| entry.file().to_owned()));
        });
    }
}

/// The configuration that a price is for.
fn config<'m>(
    entry: &mut DataEntry<'_>,
    mac: &'m mut Mac,
    memory_gib: u64,
    ssd_gb: Option<u64>,
) -> Option<&'m mut MacConfig> {
    let matches = |config: &MacConfig| {
        config.memory_gib == memory_gib && ssd_gb.is_none_or(|ssd| ssd == config.ssd_gb)
    };
    let found: Vec<u64> = mac.configs.iter().filter(|c| matches(c)).map(|c| c.ssd_gb).collect();
    match (found.len(), ssd_gb) {
        (1, _) => mac.configs.iter_mut().find(|config| matches(config)),
        (0, Some(ssd_gb)) if mac.memory_options().contains(&memory_gib) => {
            mac.configs.push(MacConfig {
                memory_gib,
                ssd_gb,
                usd_launch: None,
                usd_now: None,
                price_confidence: None,
                price_source: None,
                status: None,
            });
            mac.configs.last_mut()
        }
        (0, _) => {
            let offered = mac.memory_options();
            entry.wrong("memory_gib", format!("{memory_gib} GB is not offered, only {offered:?}"));
            None
        }
        _ => {
            entry.wrong("ssd_gb", format!("is needed: this Mac comes with {found:?} GB storage"));
            None
        }
    }
}
