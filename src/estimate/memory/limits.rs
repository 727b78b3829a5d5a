//! The limits of a machine and the verdict on a need.

use crate::hardware::cap::CapKind;
use crate::hardware::machine::Machine;
use crate::ledger::peak::Peak;
use crate::units::Bytes;
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt;

/// What a limit limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// Metal's working set: more than this and a command buffer fails for want of memory.
    GpuLimit,
    /// Metal's largest single buffer.
    LargestBuffer,
    /// Memory less what macOS and other programs keep: more than this and macOS swaps.
    Memory,
    /// Memory that the user means for this run.
    Budget,
    /// What the program allows itself.
    EngineCap,
    /// What the program allows itself before it waits and gives freed memory back.
    EngineThreshold,
    /// 0.9 of the working set: from there mlx-lm warns that a model of this size is slow.
    MlxLmWarning,
}

impl LimitKind {
    /// The limit in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::GpuLimit => "GPU memory limit",
            Self::LargestBuffer => "largest buffer",
            Self::Memory => "memory less reserve",
            Self::Budget => "memory meant for it",
            Self::EngineCap => "the program's own limit",
            Self::EngineThreshold => "the program's threshold",
            Self::MlxLmWarning => "mlx-lm's warning",
        }
    }

    /// Whether exceeding it stops the run, or makes it swap.
    #[must_use]
    pub const fn is_hard(self) -> bool {
        !matches!(self, Self::MlxLmWarning | Self::EngineThreshold)
    }
}

/// Whether a need stays under a limit, both known within a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// Even the highest need stays under the lowest limit.
    Yes,
    /// It fits, but a soft limit is exceeded or a hard one is near.
    Tight,
    /// The ranges overlap.
    Uncertain,
    /// Even the lowest need exceeds the highest limit.
    No,
}

/// The verdict as the JSON contract words it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fits {
    /// With room to spare.
    Yes,
    /// Barely, or only probably.
    Tight,
    /// Not, or probably not.
    No,
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Yes => "yes",
            Self::Tight => "tight",
            Self::Uncertain => "uncertain",
            Self::No => "no",
        })
    }
}

impl fmt::Display for Fits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Yes => "yes",
            Self::Tight => "tight",
            Self::No => "no",
        })
    }
}

/// A need against a limit.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Limit {
    /// What is limited.
    pub kind: LimitKind,
    /// Bytes needed: the expected value.
    pub need_bytes: Bytes,
    /// Lowest and highest need expected.
    pub need_range_bytes: [Bytes; 2],
    /// Bytes allowed: the value to plan with.
    pub limit_bytes: Bytes,
    /// Lowest and highest value of the limit.
    pub limit_range_bytes: [Bytes; 2],
    /// Whether the need stays under it.
    #[serde(rename = "fits")]
    pub verdict: Fit,
    /// The rule behind need and limit.
    pub rule: &'static str,
}

/// A need this close to a hard limit is called tight.
pub(super) const TIGHT: f64 = 0.95;

impl Limit {
    /// Compares a need with a limit.
    #[must_use]
    pub fn new(
        kind: LimitKind,
        (need, need_range): (Bytes, [Bytes; 2]),
        (limit, limit_range): (Bytes, [Bytes; 2]),
        rule: &'static str,
    ) -> Self {
        let verdict = if need_range[0] > limit_range[1] {
            if kind.is_hard() { Fit::No } else { Fit::Tight }
        } else if !kind.is_hard() {
            if need > limit { Fit::Tight } else { Fit::Yes }
        } else if need_range[1] > limit_range[0] {
            Fit::Uncertain
        } else if need_range[1].0 as f64 > TIGHT * limit_range[0].0 as f64 {
            Fit::Tight
        } else {
            Fit::Yes
        };
        Self {
            kind,
            need_bytes: need,
            need_range_bytes: need_range,
            limit_bytes: limit,
            limit_range_bytes: limit_range,
            verdict,
            rule,
        }
    }

    /// What is left under the limit; negative when the need exceeds it.
    #[must_use]
    pub fn headroom_bytes(&self) -> i128 {
        i128::from(self.limit_bytes.0) - i128::from(self.need_bytes.0)
    }
}

/// What macOS does when memory is exceeded.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub struct Swap {
    /// Bytes that do not stay in memory.
    pub excess_bytes: Bytes,
    /// How many times slower a token becomes when the excess is read from the SSD every time: lowest and highest.
    pub slowdown: [f64; 2],
}

/// Read speed of the SSDs of Macs in bytes per second: a base Mac mini and a MacBook Pro, as published by reviewers.
const SSD_BYTES_PER_S: [f64; 2] = [3.3e9, 6.7e9];

impl Swap {
    /// The slow-down when `excess` of the weights comes from the SSD for every token and everything else from memory.
    fn of(excess: Bytes, read_per_token: f64, bandwidth: f64) -> Self {
        let in_memory = read_per_token / bandwidth;
        let slower = |ssd: f64| {
            let x = (excess.0 as f64).min(read_per_token);
            ((read_per_token - x) / bandwidth + x / ssd) / in_memory
        };
        Self {
            excess_bytes: excess,
            slowdown: [slower(SSD_BYTES_PER_S[1]), slower(SSD_BYTES_PER_S[0])],
        }
    }
}

/// All limits and what they amount to.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Judgment {
    /// Every limit with its need.
    pub limits: Vec<Limit>,
    /// The worst verdict.
    pub verdict: Fit,
    /// The same as the JSON contract words it.
    pub fits: Fits,
    /// What swapping would cost, when memory does not suffice.
    pub swap: Option<Swap>,
}

/// What a process needs of MLX's memory.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Most active memory.
    pub peak: Bytes,
    /// The largest single buffer.
    pub largest_buffer: Bytes,
    /// Weights after loading.
    pub weights: Bytes,
    /// Bytes that every step reads, whatever is swapped.
    pub read: Bytes,
}

impl From<&Peak> for Need {
    fn from(peak: &Peak) -> Self {
        Self {
            peak: Bytes(peak.peak_bytes),
            largest_buffer: Bytes(peak.largest_buffer_bytes),
            weights: Bytes(peak.weights_bytes),
            read: Bytes(peak.weights_bytes + peak.kv_bytes),
        }
    }
}

impl Judgment {
    /// What the limits of a machine say of a need whose peak lies in an interval, beside a process that takes
    /// `runtime` bytes of its own.
    #[must_use]
    pub fn of(
        needed: Need,
        interval: [Bytes; 2],
        runtime: [u64; 2],
        machine: &Machine,
        reserve: Bytes,
    ) -> Self {
        let gpu = &machine.gpu_limit;
        let memory = machine.memory.value.saturating_sub(reserve);
        let exact = |bytes: Bytes| (bytes, [bytes; 2]);
        let [low, high] = runtime.map(Bytes);
        let need = needed.peak;
        let middle = Bytes((low.0 + high.0) / 2);
        let occupied = (need + middle, [interval[0] + low, interval[1] + high]);
        let mut limits = vec![
            Limit::new(
                LimitKind::GpuLimit,
                (need, interval),
                (gpu.bytes, gpu.range),
                "MLX's peak must stay under Metal's recommendedMaxWorkingSetSize",
            ),
            Limit::new(
                LimitKind::LargestBuffer,
                exact(needed.largest_buffer),
                exact(gpu.max_buffer()),
                "no array may be larger than Metal's maxBufferLength, three quarters of the default limit",
            ),
            Limit::new(
                LimitKind::Memory,
                occupied,
                exact(memory),
                "MLX's peak, the Python process and the reserve must fit into memory; otherwise macOS swaps",
            ),
            Limit::new(
                LimitKind::MlxLmWarning,
                exact(needed.weights),
                exact(machine.mlx_limits().warning),
                "mlx-lm warns when the weights exceed 0.9 of the GPU limit",
            ),
        ];
        limits.extend(machine.budget.map(|budget| {
            let rule =
                "MLX's peak and the Python process must stay within the memory meant for them";
            Limit::new(LimitKind::Budget, occupied, exact(budget), rule)
        }));
        limits.extend(own_limit(machine, occupied));
        let excess = (need + middle).saturating_sub(memory);
        Self::of_limits(limits, (excess, needed.read.0 as f64), machine)
    }

    /// What limits amount to; beside them the bytes that do not stay in memory, and those that a token reads.
    pub(super) fn of_limits(
        limits: Vec<Limit>,
        (excess, read): (Bytes, f64),
        machine: &Machine,
    ) -> Self {
        let verdict = limits.iter().map(|l| l.verdict).max().unwrap_or(Fit::Yes);
        let over = limits.iter().any(|l| l.kind.is_hard() && l.headroom_bytes() < 0);
        let fits = match verdict {
            Fit::Yes => Fits::Yes,
            Fit::No => Fits::No,
            Fit::Uncertain if over => Fits::No,
            Fit::Tight | Fit::Uncertain => Fits::Tight,
        };
        let swap =
            (excess > Bytes::ZERO).then(|| Swap::of(excess, read, machine.bandwidth.value.0));
        Self { limits, verdict, fits, swap }
    }
}

/// The limit that the program sets itself, against what its process occupies.
fn own_limit(machine: &Machine, occupied: (Bytes, [Bytes; 2])) -> Option<Limit> {
    let (cap, bytes, range) = machine.cap_bytes()?;
    let (kind, rule) = match cap.kind {
        CapKind::Refuses => (
            LimitKind::EngineCap,
            "the program refuses a prompt whose footprint would exceed its share of the GPU limit",
        ),
        CapKind::Reserves => (
            LimitKind::EngineCap,
            "the program reserves a share of the GPU limit when it starts; weights and all caches lie within it",
        ),
        CapKind::Waits => (
            LimitKind::EngineThreshold,
            "the program waits beyond its share of the GPU limit, and gives freed buffers back",
        ),
    };
    Some(Limit::new(kind, occupied, (bytes, range), rule))
}
