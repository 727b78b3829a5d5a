//! What can be bought: every configuration of the catalog with its prices.

use crate::hardware::MacsError;
use crate::hardware::catalog::{Mac, MacConfig, Macs, Status};
use crate::hardware::machine::Machine;
use crate::hardware::provenance::Confidence;
use schemars::JsonSchema;
use serde::Serialize;

/// A configuration of a Mac with its US list prices.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Offer {
    /// Product id.
    pub mac: String,
    /// Name with display size and year.
    pub name: String,
    /// Chip id.
    pub chip: String,
    /// Unified memory in GiB.
    pub memory_gib: u64,
    /// Storage in GB.
    pub ssd_gb: u64,
    /// Whether it is sold new.
    pub status: Status,
    /// Latest US list price known, or the user's own.
    pub usd_now: Option<u32>,
    /// US list price when it was introduced.
    pub usd_launch: Option<u32>,
    /// How far to trust the prices.
    pub price_confidence: Option<Confidence>,
    /// Where the prices come from.
    pub price_source: Option<String>,
}

impl Offer {
    fn new(mac: &Mac, config: &MacConfig) -> Self {
        let of_mac = || (!mac.price_sources.is_empty()).then(|| mac.price_sources.join("; "));
        let priced = config.usd_now.is_some() || config.usd_launch.is_some();
        Self {
            mac: mac.id.clone(),
            name: mac.name(),
            chip: mac.chip.clone(),
            memory_gib: config.memory_gib,
            ssd_gb: config.ssd_gb,
            status: config.status.unwrap_or(mac.status),
            usd_now: config.usd_now,
            usd_launch: config.usd_launch,
            price_confidence: config.price_confidence,
            price_source: config.price_source.clone().or_else(of_mac).filter(|_| priced),
        }
    }

    /// Order by price: the cheapest first, those without a price last, then by id and storage.
    #[must_use]
    pub fn price_order(&self) -> (u32, &str, u64, u64) {
        (self.usd_now.unwrap_or(u32::MAX), &self.mac, self.memory_gib, self.ssd_gb)
    }
}

/// Every configuration of the catalog with its machine.
///
/// # Errors
/// When a data file has problems.
pub fn every_config(catalog: &Macs) -> Result<Vec<(Offer, Machine)>, MacsError> {
    let limits = catalog.limits()?;
    let mut all = Vec::new();
    for mac in catalog.macs()? {
        let Some(chip) = catalog.chip(&mac.chip)? else { continue };
        all.extend(mac.configs.iter().map(|config| {
            let machine = Machine::from_chip(chip, config.memory_gib, limits).with_mac(mac);
            (Offer::new(mac, config), machine)
        }));
    }
    Ok(all)
}

/// Every configuration of the catalog with its machine, of each Mac and memory the one with the lowest price, or the
/// smallest storage where no price is known: storage changes no prediction.
///
/// # Errors
/// When a data file has problems.
pub fn offers(catalog: &Macs) -> Result<Vec<(Offer, Machine)>, MacsError> {
    let mut all: Vec<(Offer, Machine)> = Vec::new();
    for (offer, machine) in every_config(catalog)? {
        let same =
            |(o, _): &&mut (Offer, Machine)| o.mac == offer.mac && o.memory_gib == offer.memory_gib;
        match all.iter_mut().find(same) {
            Some((known, _)) => {
                // A configuration that is sold comes before one that is not.
                let rank = |o: &Offer| {
                    (o.status != Status::OnSale, o.usd_now.unwrap_or(u32::MAX), o.ssd_gb)
                };
                if rank(&offer) < rank(known) {
                    *known = offer;
                }
            }
            None => all.push((offer, machine)),
        }
    }
    Ok(all)
}

/// The cheapest configuration of a machine: of its product where that is known, else of any product with its chip and
/// memory.
///
/// # Errors
/// When a data file has problems.
pub fn offer_for(catalog: &Macs, machine: &Machine) -> Result<Option<Offer>, MacsError> {
    let product = machine.mac.as_ref().map(|m| m.id.as_str());
    let fits = |o: &Offer, m: &Machine| match product {
        Some(id) => o.mac == id && m.id == machine.id,
        None => m.id == machine.id,
    };
    let mut found: Vec<Offer> =
        offers(catalog)?.into_iter().filter(|(o, m)| fits(o, m)).map(|(o, _)| o).collect();
    // Without a price of today, what is sold comes first, then what was cheapest when it was introduced.
    let order = |o: &Offer| {
        let known = |usd: Option<u32>| usd.unwrap_or(u32::MAX);
        (known(o.usd_now), o.status != Status::OnSale, known(o.usd_launch), o.mac.clone())
    };
    found.sort_by_key(order);
    Ok(found.into_iter().next())
}
