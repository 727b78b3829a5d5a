//! A machine of which chip and memory are known, but not the bin: it stands for all bins that were sold so.

use super::Machine;

impl Machine {
    /// The machine that may be any of `bins`, which differ in GPU cores and bandwidth alone; `family` is the chip without
    /// its bin, `brand` its name. `None` without bins.
    #[must_use]
    pub fn of_bins(family: &str, brand: &str, mut bins: Vec<Self>) -> Option<Self> {
        bins.sort_by_key(|bin| bin.gpu_cores.value);
        bins.dedup_by_key(|bin| bin.gpu_cores.value);
        let mut machine = bins.first()?.clone();
        if bins.len() == 1 {
            return Some(machine);
        }
        let gib = machine.memory.value.gib();
        machine.id = format!("{family}/{gib:.0}");
        machine.name = format!("{brand} ({}-core GPU), {gib:.0} GB", cores(&bins));
        machine.chip = None;
        let same = bins.iter().all(|bin| bin.mac == machine.mac);
        machine.mac = machine.mac.filter(|_| same);
        machine.bins = bins;
        Some(machine)
    }

    /// The bins that the machine may have: itself where its bin is known.
    #[must_use]
    pub fn possible_bins(&self) -> &[Self] {
        if self.bins.is_empty() { std::slice::from_ref(self) } else { &self.bins }
    }
}

/// `24- or 32`, `8-, 9- or 10`.
fn cores(bins: &[Machine]) -> String {
    let all: Vec<String> = bins.iter().map(|bin| bin.gpu_cores.value.to_string()).collect();
    match all.split_last() {
        Some((last, front)) if !front.is_empty() => format!("{}- or {last}", front.join("-, ")),
        _ => all.concat(),
    }
}
