//! The GPU memory limit: how much unified memory Metal lets the GPU keep resident, and what MLX derives from it.
//!
//! Metal reports the limit as `MTLDevice.recommendedMaxWorkingSetSize`; MLX as
//! `device_info()["max_recommended_working_set_size"]`. On the machine itself it is asked; for another Mac it is
//! predicted from observed values by memory size (`gpu_memory_limits.toml`). The default follows the macOS release:
//! two rule sets are known and the release between them is not documented, so a prediction is a range.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::catalog::{LimitBasis, LimitEntry, LimitRule};
use super::provenance::Provenance;
use crate::units::{Bytes, GIB};

/// Bytes of one unit of `iogpu.wired_limit_mb` (1 MiB).
pub const MIB: u64 = 1 << 20;
/// Page size of Apple Silicon, the granularity of Metal's limits.
pub const PAGE: u64 = 16_384;
/// Oldest chip generation that never ran a macOS release with the older rule set: M5 Macs shipped with macOS 26.
const FIRST_GENERATION_ON_MACOS26: u32 = 5;

/// How much memory the GPU may keep resident.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct GpuLimit {
    /// The limit to plan with.
    pub bytes: Bytes,
    /// Lowest and highest value the limit can have, as far as known; both equal `bytes` when it was read or set.
    pub range: [Bytes; 2],
    /// The default, without an override; the largest buffer follows it.
    pub default: Bytes,
    /// `iogpu.wired_limit_mb` in MiB, when it replaces the default.
    pub wired_limit_mib: Option<u64>,
    /// Where the limit comes from.
    pub provenance: Provenance,
}

impl GpuLimit {
    /// The limit Metal reported on this machine. `wired_limit_mib` is what `iogpu.wired_limit_mb` reads (0: default);
    /// `default` is the predicted default, used only for the largest buffer while an override is in force.
    #[must_use]
    pub fn measured(reported: Bytes, wired_limit_mib: u64, default: Bytes) -> Self {
        let overridden = wired_limit_mib > 0;
        Self {
            bytes: reported,
            range: [reported; 2],
            default: if overridden { default } else { reported },
            wired_limit_mib: overridden.then_some(wired_limit_mib),
            provenance: Provenance::measured("Metal recommendedMaxWorkingSetSize"),
        }
    }

    /// The default limit of a Mac that is not at hand.
    ///
    /// The value to plan with is the one of macOS 26 and later, the current releases. The range reaches down to the
    /// value of older releases, except for generation 5 and later: those Macs shipped with macOS 26, and every value
    /// reported for them (24 GB on 26.1, then 16, 48, 64 and 128 GB) follows the newer rules.
    #[must_use]
    pub fn predicted(limits: &[LimitEntry], memory: Bytes, generation: u32) -> Self {
        let newer = default_limit(limits, memory, LimitRule::Macos26);
        let older = default_limit(limits, memory, LimitRule::Older);
        let low = if generation >= FIRST_GENERATION_ON_MACOS26 { newer.low } else { older.low };
        Self {
            bytes: newer.low,
            range: [low.min(newer.low), newer.high.max(low)],
            default: newer.low,
            wired_limit_mib: None,
            provenance: newer.provenance,
        }
    }

    /// The same machine with `iogpu.wired_limit_mb` set to this many MiB; 0 restores the default.
    #[must_use]
    pub fn with_wired_limit(&self, mib: u64) -> Self {
        if mib == 0 {
            return Self {
                bytes: self.default,
                wired_limit_mib: None,
                range: if self.wired_limit_mib.is_some() { [self.default; 2] } else { self.range },
                ..self.clone()
            };
        }
        self.with_bytes(Bytes(mib.saturating_mul(MIB)))
    }

    /// The same machine with this limit in force, however it was set.
    #[must_use]
    pub fn with_bytes(&self, bytes: Bytes) -> Self {
        Self {
            bytes,
            range: [bytes; 2],
            default: self.default,
            wired_limit_mib: Some(bytes.0 / MIB),
            provenance: Provenance::UserGiven,
        }
    }

    /// The largest single Metal buffer (`maxBufferLength`). An override of the limit does not move it.
    #[must_use]
    pub fn max_buffer(&self) -> Bytes {
        max_buffer(self.default)
    }
}

/// The default limit under one rule set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultLimit {
    /// Lowest value consistent with what was observed.
    pub low: Bytes,
    /// Highest value consistent with what was observed; equal to `low` for a size that was observed.
    pub high: Bytes,
    /// Where it comes from.
    pub provenance: Provenance,
}

/// The default limit on `memory` under one rule set.
///
/// A size that was observed has its observed value. Any other size lies between the ratios (limit to memory) of the
/// next smaller and the next larger size observed; below the smallest the smallest's ratio holds, and above the
/// largest the limit lies between the largest's ratio and memory minus 48 GiB, the difference seen on 256 and 512 GiB.
/// These are inferences from observations; Apple documents no rule.
#[must_use]
pub fn default_limit(limits: &[LimitEntry], memory: Bytes, rule: LimitRule) -> DefaultLimit {
    let observed = || limits.iter().filter(|e| e.rule == rule && e.basis != LimitBasis::Inferred);
    let size = |entry: &LimitEntry| entry.memory_gib.saturating_mul(GIB);
    if let Some(entry) = observed().find(|entry| size(entry) == memory.0) {
        return DefaultLimit {
            low: entry.limit,
            high: entry.limit,
            provenance: Provenance::Catalog {
                source: format!(
                    "gpu_memory_limits.toml, {} GB under {rule}: {}",
                    entry.memory_gib,
                    entry.sources.join("; ")
                ),
                confidence: entry.confidence,
            },
        };
    }
    let scaled = |entry: &LimitEntry| {
        let ratio = entry.limit.0 as f64 / size(entry) as f64;
        Bytes((ratio * memory.0 as f64) as u64 / PAGE * PAGE)
    };
    let below = observed().filter(|entry| size(entry) < memory.0).max_by_key(|entry| size(entry));
    let above = observed().filter(|entry| size(entry) > memory.0).min_by_key(|entry| size(entry));
    let minus_48 = memory.saturating_sub(Bytes::from_gib(48));
    let ends = match (below, above) {
        (Some(below), Some(above)) => [scaled(below), scaled(above)],
        (Some(below), None) => [scaled(below), minus_48],
        (None, Some(above)) => [scaled(above); 2],
        // Without any observation, the oldest rule of thumb: two thirds.
        (None, None) => [Bytes(memory.0 / 3 * 2 / PAGE * PAGE); 2],
    };
    let sizes: Vec<_> = [below, above].into_iter().flatten().map(|e| e.memory_gib).collect();
    DefaultLimit {
        low: ends[0].min(ends[1]),
        high: ends[0].max(ends[1]),
        provenance: Provenance::assumed(format!(
            "no limit was reported for this memory size under {rule}; taken from the ratios seen on {sizes:?} GB"
        )),
    }
}

/// The largest single Metal buffer on a machine with this default limit: three quarters of it, rounded down to a page.
/// An exact ceiling on 8, 16, 48, 64, 96, 128 and 256 GB hosts (`gpu_memory_limits.toml`, `max_buffer`).
#[must_use]
pub const fn max_buffer(default_limit: Bytes) -> Bytes {
    Bytes((default_limit.0 - default_limit.0.div_ceil(4)) / PAGE * PAGE)
}

/// Limits that MLX's Metal allocator derives from the GPU limit (`mlx/backend/metal/allocator.cpp`, August 2026), and
/// the warning of mlx-lm (`mlx_lm/generate.py`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct MlxLimits {
    /// Memory limit: the smaller of 1.5 times the GPU limit and 0.95 of memory. Not enforced at allocation.
    pub memory: Bytes,
    /// Cache limit: equal to the memory limit, so freed buffers may be held up to it.
    pub cache: Bytes,
    /// Active, cached and requested bytes from which freed buffers are given back: 0.95 of the GPU limit.
    pub reclaim: Bytes,
    /// Model size from which mlx-lm warns that generation will be slow: 0.9 of the GPU limit.
    pub warning: Bytes,
}

impl MlxLimits {
    /// The limits on a machine with this GPU limit and memory.
    #[must_use]
    pub fn derive(gpu_limit: Bytes, memory: Bytes) -> Self {
        let part = |bytes: Bytes, share: f64| Bytes((bytes.0 as f64 * share) as u64);
        let limit = part(gpu_limit, 1.5).min(part(memory, 0.95));
        Self {
            memory: limit,
            cache: limit,
            reclaim: part(gpu_limit, 0.95).min(limit),
            warning: part(gpu_limit, 0.9),
        }
    }
}

/// Memory that a raised limit should leave to macOS and other programs: 8 GiB, or a sixteenth of memory if that is
/// more.
///
/// 8 GiB is common practice (a 64 GB Mac raised to 56 GiB: github.com/chigkim/prompt-test; a 64 GB M5 Max that reports
/// 60129542144 bytes). The sixteenth is an assumption that scales it for large Macs; it keeps the limit below the 0.95
/// of memory at which MLX's own memory limit ends.
#[must_use]
pub fn macos_reserve(memory: Bytes) -> Bytes {
    Bytes::from_gib(8).max(Bytes(memory.0 / 16))
}

/// The highest `iogpu.wired_limit_mb`, in MiB, that leaves [`macos_reserve`] free. It can lie below the default limit
/// of small Macs: then the limit should not be raised.
#[must_use]
pub fn safe_wired_limit(memory: Bytes) -> u64 {
    memory.saturating_sub(macos_reserve(memory)).0 / MIB
}

/// A raised GPU limit to recommend, and how to set and undo it.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct WiredLimitAdvice {
    /// Value of `iogpu.wired_limit_mb`, in MiB.
    pub mib: u64,
    /// Memory it leaves to macOS and other programs.
    pub reserve: Bytes,
    /// Command that sets it; needs an administrator's password.
    pub command: String,
    /// Command that restores the default.
    pub undo: String,
    /// What else to know, and the ground for the value.
    pub notes: Vec<String>,
}

impl WiredLimitAdvice {
    /// The highest safe limit on this memory, or `None` if it would not raise the default.
    #[must_use]
    pub fn highest(memory: Bytes, default: Bytes) -> Option<Self> {
        let mib = safe_wired_limit(memory);
        (mib.saturating_mul(MIB) > default.0).then(|| Self::new(memory, mib))
    }

    /// The smallest limit in steps of 1 GiB under which `needed` bytes fit, or `None` if it would not raise the default
    /// or would exceed the safe limit.
    #[must_use]
    pub fn for_need(memory: Bytes, default: Bytes, needed: Bytes) -> Option<Self> {
        let highest = Self::highest(memory, default)?;
        let mib = needed.0.div_ceil(GIB).saturating_mul(GIB / MIB).min(highest.mib);
        let fits = mib.saturating_mul(MIB) >= needed.0;
        (fits && needed > default).then(|| Self::new(memory, mib))
    }

    /// The same advice for a machine whose limit was raised before: undoing it goes back to that.
    #[must_use]
    pub fn from(self, raised_to_mib: Option<u64>) -> Self {
        let undo = raised_to_mib.map(|mib| format!("sudo sysctl iogpu.wired_limit_mb={mib}"));
        Self { undo: undo.unwrap_or(self.undo), ..self }
    }

    fn new(memory: Bytes, mib: u64) -> Self {
        let reserve = memory.saturating_sub(Bytes(mib.saturating_mul(MIB)));
        Self {
            mib,
            reserve,
            command: format!("sudo sysctl iogpu.wired_limit_mb={mib}"),
            undo: "sudo sysctl iogpu.wired_limit_mb=0".to_owned(),
            notes: vec![
                format!(
                    "leaves {:.1} GiB to macOS and other programs; a smaller reserve risks swapping and freezes",
                    reserve.gib()
                ),
                "resets at a reboot; /etc/sysctl.conf is reported to be ignored on current macOS"
                    .to_owned(),
                "the largest single buffer stays at three quarters of the default limit".to_owned(),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::Macs;
    use proptest::prelude::*;

    fn limits() -> Vec<LimitEntry> {
        Macs::embedded().limits().unwrap().to_vec()
    }

    #[test]
    fn largest_buffer_matches_every_host_reported() {
        // (default limit, maxBufferLength) as printed by hosts of 8, 16, 48, 64, 96, 128 and 256 GB.
        for (default, buffer) in [
            (5_726_633_984, 4_294_967_296),
            (12_713_115_648, 9_534_832_640),
            (40_200_896_512, 30_150_672_384),
            (55_662_788_608, 41_747_087_360),
            (83_494_174_720, 62_620_631_040),
            (115_448_725_504, 86_586_540_032),
            (223_338_299_392, 167_503_724_544),
        ] {
            assert_eq!(max_buffer(Bytes(default)), Bytes(buffer));
        }
    }

    #[test]
    fn an_observed_size_is_predicted_exactly_with_the_range_of_both_rule_sets() {
        let m4 = GpuLimit::predicted(&limits(), Bytes::from_gib(128), 4);
        assert_eq!(m4.bytes, Bytes(115_448_725_504));
        assert_eq!(m4.range, [Bytes(103_079_215_104), Bytes(115_448_725_504)]);
        assert_eq!(m4.max_buffer(), Bytes(86_586_540_032));
        let m5 = GpuLimit::predicted(&limits(), Bytes::from_gib(128), 5);
        assert_eq!(m5.range, [Bytes(115_448_725_504); 2]);
    }

    #[test]
    fn a_size_that_was_not_observed_lies_between_its_neighbors_ratios() {
        let newer = default_limit(&limits(), Bytes::from_gib(192), LimitRule::Macos26);
        assert!((newer.low.gib() - 0.84 * 192.0).abs() < 0.01, "{}", newer.low.gib());
        assert!((newer.high.gib() - 0.87 * 192.0).abs() < 0.01, "{}", newer.high.gib());
        assert!(matches!(newer.provenance, Provenance::Assumed { .. }));
        let huge = default_limit(&limits(), Bytes::from_gib(1024), LimitRule::Macos26);
        assert_eq!(huge.high, Bytes::from_gib(1024 - 48));
    }

    #[test]
    fn entries_marked_inferred_agree_with_the_rule_for_unobserved_sizes() {
        for entry in limits().iter().filter(|entry| entry.basis == LimitBasis::Inferred) {
            let span = default_limit(&limits(), Bytes::from_gib(entry.memory_gib), entry.rule);
            let slack = 2 * PAGE;
            assert!(entry.limit.0 + slack >= span.low.0, "{entry:?} {span:?}");
            assert!(entry.limit.0 <= span.high.0 + slack, "{entry:?} {span:?}");
        }
    }

    #[test]
    fn an_override_replaces_the_limit_but_not_the_largest_buffer() {
        let stock = GpuLimit::predicted(&limits(), Bytes::from_gib(128), 5);
        let raised = stock.with_wired_limit(114_688);
        assert_eq!(raised.bytes, Bytes::from_gib(112));
        assert_eq!(raised.range, [Bytes::from_gib(112); 2]);
        assert_eq!(raised.max_buffer(), Bytes(86_586_540_032));
        assert_eq!(raised.with_wired_limit(0).bytes, stock.bytes);
        assert_eq!(stock.with_wired_limit(0), stock);
        // An M5 Max whose device_info read 130566586368 had iogpu.wired_limit_mb = 124518.
        assert_eq!(stock.with_wired_limit(124_518).bytes, Bytes(130_566_586_368));
    }

    #[test]
    fn mlx_limits_follow_the_allocator() {
        let big = MlxLimits::derive(Bytes(115_448_725_504), Bytes::from_gib(128));
        assert_eq!(big.memory, Bytes(130_567_005_798)); // 0.95 of memory
        assert_eq!(big.warning, Bytes(103_903_852_953));
        assert_eq!(big.reclaim, Bytes(109_676_289_228));
        let small = MlxLimits::derive(Bytes(5_726_633_984), Bytes::from_gib(8));
        assert_eq!(small.memory, Bytes(8_160_437_862)); // 1.5 times the limit would be all of memory
        assert_eq!(small.cache, small.memory);
    }

    #[test]
    fn a_raise_is_recommended_only_where_it_leaves_enough_to_macos() {
        let advice = |gib: u64| {
            let memory = Bytes::from_gib(gib);
            let default = default_limit(&limits(), memory, LimitRule::Macos26).high;
            WiredLimitAdvice::highest(memory, default).map(|advice| advice.mib)
        };
        for gib in [8, 16, 18, 24, 32, 36] {
            assert_eq!(advice(gib), None, "{gib}");
        }
        assert_eq!(advice(48), Some(40 * 1024));
        assert_eq!(advice(64), Some(56 * 1024));
        assert_eq!(advice(128), Some(120 * 1024));
        assert_eq!(advice(512), Some(480 * 1024));
        let memory = Bytes::from_gib(64);
        let default = Bytes(55_662_788_608);
        let advice = WiredLimitAdvice::for_need(memory, default, Bytes::from_gib(53)).unwrap();
        assert_eq!(advice.command, "sudo sysctl iogpu.wired_limit_mb=54272");
        assert_eq!(advice.undo, "sudo sysctl iogpu.wired_limit_mb=0");
        assert_eq!(WiredLimitAdvice::for_need(memory, default, Bytes::from_gib(57)), None);
        assert_eq!(WiredLimitAdvice::for_need(memory, default, Bytes::from_gib(40)), None);
    }

    proptest! {
        #[test]
        fn limits_are_ordered_for_any_memory(bytes in 0_u64..=1 << 43, generation in 0_u32..10) {
            let memory = Bytes(bytes);
            let limit = GpuLimit::predicted(&limits(), memory, generation);
            prop_assert!(limit.range[0] <= limit.bytes && limit.bytes <= limit.range[1]);
            prop_assert!(limit.range[1] <= memory);
            prop_assert!(limit.max_buffer() <= limit.bytes);
            let mlx = MlxLimits::derive(limit.bytes, memory);
            prop_assert!(mlx.warning <= mlx.reclaim && mlx.reclaim <= mlx.memory.max(mlx.reclaim));
            prop_assert!(safe_wired_limit(memory).saturating_mul(MIB) <= bytes);
        }

        #[test]
        fn more_memory_never_lowers_the_highest_limit(gib in 1_u64..2048) {
            let at = |gib| default_limit(&limits(), Bytes::from_gib(gib), LimitRule::Macos26).low;
            prop_assert!(at(gib) <= at(gib + 1));
        }
    }
}
