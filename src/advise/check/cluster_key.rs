//! The key `cluster` of a plan: several Macs that run each model together.

use crate::advise::cluster::ClusterSpec;
use crate::estimate::Cluster;
use crate::hardware::catalog::document::{DataEntry, Field};
use crate::hardware::machine::Machine;
use crate::roofline::links::Link;
use toml::de::DeValue;

/// Finds a Mac by its specification; an error is what to tell the user.
type FindMac<'a> = dyn Fn(&str) -> Result<Machine, String> + 'a;

impl Field for Link {
    const EXPECTED: &'static str = "\"jaccl\", \"ring\" or \"fast\"";
    fn read(value: &DeValue<'_>) -> Option<Self> {
        let name = value.as_str()?;
        [Self::Jaccl, Self::Ring, Self::Fast].into_iter().find(|link| link.name() == name)
    }
}

/// The cluster of a plan, where it has one; what is wrong with it is said of the entry.
pub(super) fn read(entry: &mut DataEntry<'_>, mac: &FindMac<'_>) -> Option<Cluster> {
    let link: Option<Link> = entry.optional("link");
    if !entry.has("cluster") {
        if link.is_some() {
            entry.wrong("link", "joins the Macs of cluster; name that too");
        }
        return None;
    }
    let text: String = entry.optional("cluster")?;
    let spec = match text.parse::<ClusterSpec>() {
        Ok(spec) => spec,
        Err(message) => {
            entry.wrong("cluster", message);
            return None;
        }
    };
    match mac(&spec.mac) {
        Ok(machine) => {
            let machines = vec![machine; spec.count];
            let link = link.unwrap_or_else(|| Cluster::usual_link(&machines));
            Some(Cluster::new(machines, link))
        }
        Err(message) => {
            entry.wrong("cluster", message);
            None
        }
    }
}
