//! What several Macs that run one model wait for.
//!
//! ```text
//! split by tensors:  t = t of one Mac's share + sums x (hand-over + bytes 2(n - 1)/n / bandwidth)
//! in a pipeline:     t = t of all layers + (n - 1) hop
//! ```
//!
//! A sum over all Macs stands behind every attention and every MLP. The link itself takes some 30 microseconds over
//! Thunderbolt 5; what a layer waits for is the hand-over between GPU and CPU, which is why the figures lie above that and
//! differ by how MLX waits (`MLX_METAL_FAST_SYNCH`). Published runs that name their link are few, so every figure is a range.

use schemars::JsonSchema;
use serde::Serialize;
use std::fmt;

/// What joins the Macs, as MLX uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Link {
    /// RDMA over Thunderbolt 5 (`--backend jaccl`).
    Jaccl,
    /// The same with `MLX_METAL_FAST_SYNCH=1`.
    Fast,
    /// TCP over Thunderbolt or Ethernet (`--backend ring`).
    Ring,
}

/// A figure with the range that the evidence leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranged {
    /// The figure.
    pub value: f64,
    /// Lowest and highest.
    pub range: [f64; 2],
}

/// What a link costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkLaw {
    /// Seconds of hand-over for a sum over two Macs.
    pub sum_s: Ranged,
    /// Whether sums go round a ring, so that the hand-overs of more Macs follow one another.
    pub in_turn: bool,
    /// Seconds from one Mac of a pipeline to the next.
    pub hop_s: Ranged,
    /// Bytes per second.
    pub bytes_per_s: Ranged,
    /// Where the figures come from.
    pub source: &'static str,
}

/// Seconds that are known within a range.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wait {
    /// The least.
    pub low: f64,
    /// The expected value.
    pub middle: f64,
    /// The most.
    pub high: f64,
}

impl Wait {
    /// So many times the wait.
    #[must_use]
    pub fn times(self, n: f64) -> Self {
        Self { low: n * self.low, middle: n * self.middle, high: n * self.high }
    }

    /// Both, one after the other.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            low: self.low + other.low,
            middle: self.middle + other.middle,
            high: self.high + other.high,
        }
    }
}

const JACCL: LinkLaw = LinkLaw {
    sum_s: Ranged { value: 0.2e-3, range: [0.1e-3, 0.35e-3] },
    in_turn: false,
    hop_s: Ranged { value: 1e-3, range: [0.5e-3, 2e-3] },
    bytes_per_s: Ranged { value: 5.5e9, range: [3.5e9, 6.5e9] },
    source: "0.11 ms in mlx-lm pull 698 (four M3 Ultra), 0.18 in exo issue 2070; bandwidth of omlx pull 3118",
};

const FAST: LinkLaw = LinkLaw {
    sum_s: Ranged { value: 0.06e-3, range: [0.035e-3, 0.12e-3] },
    source: "0.04 to 0.06 ms in exo issue 2070 and in published runs of Qwen3-235B on two and four M3 Ultra",
    ..JACCL
};

const RING: LinkLaw = LinkLaw {
    sum_s: Ranged { value: 0.7e-3, range: [0.4e-3, 1.2e-3] },
    in_turn: true,
    hop_s: Ranged { value: 3e-3, range: [1.5e-3, 5e-3] },
    bytes_per_s: Ranged { value: 2.5e9, range: [1e9, 4e9] },
    source: "round trips of 0.38 to 0.95 ms over Thunderbolt in exo issue 2295, a hop of 2 ms in 2070; bandwidth an assumption",
};

impl Link {
    /// The name on the command line and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jaccl => "jaccl",
            Self::Fast => "fast",
            Self::Ring => "ring",
        }
    }

    /// Whether it needs RDMA over Thunderbolt 5.
    #[must_use]
    pub const fn needs_rdma(self) -> bool {
        matches!(self, Self::Jaccl | Self::Fast)
    }

    /// What it costs.
    #[must_use]
    pub const fn law(self) -> &'static LinkLaw {
        match self {
            Self::Jaccl => &JACCL,
            Self::Fast => &FAST,
            Self::Ring => &RING,
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jaccl => "jaccl (RDMA over Thunderbolt 5)",
            Self::Fast => "jaccl with MLX_METAL_FAST_SYNCH=1 (RDMA over Thunderbolt 5)",
            Self::Ring => "ring (TCP over a Thunderbolt cable)",
        })
    }
}

impl LinkLaw {
    /// Seconds of one sum of so many bytes over `nodes` Macs.
    #[must_use]
    pub fn sum(&self, nodes: u32, bytes: f64) -> Wait {
        if nodes < 2 {
            return Wait::default();
        }
        let n = f64::from(nodes);
        let turns = if self.in_turn { n - 1.0 } else { 1.0 };
        let carried = 2.0 * (n - 1.0) / n * bytes;
        wait(self.sum_s).times(turns).and(self.transfer(carried))
    }

    /// Seconds from one Mac of a pipeline to the next, with so many bytes.
    #[must_use]
    pub fn hop(&self, bytes: f64) -> Wait {
        wait(self.hop_s).and(self.transfer(bytes))
    }

    fn transfer(&self, bytes: f64) -> Wait {
        let [slow, fast] = self.bytes_per_s.range;
        Wait { low: bytes / fast, middle: bytes / self.bytes_per_s.value, high: bytes / slow }
    }
}

const fn wait(seconds: Ranged) -> Wait {
    Wait { low: seconds.range[0], middle: seconds.value, high: seconds.range[1] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_faster_link_waits_less_and_one_mac_does_not_wait() {
        for bytes in [16e3, 32e6] {
            for nodes in [2, 3, 4, 8] {
                let waits =
                    [Link::Fast, Link::Jaccl, Link::Ring].map(|l| l.law().sum(nodes, bytes));
                assert!(waits.is_sorted_by(|a, b| a.middle < b.middle && a.high < b.high));
                assert!(waits.iter().all(|w| w.low < w.middle && w.middle < w.high));
            }
            assert_eq!(Link::Jaccl.law().sum(1, bytes), Wait::default());
        }
    }

    #[test]
    fn the_hand_over_decides_for_a_token_and_the_bytes_for_a_chunk() {
        let sum = |bytes| Link::Jaccl.law().sum(2, bytes).middle;
        assert!(sum(16_384.0) < 0.205e-3);
        assert!(sum(2048.0 * 8192.0 * 2.0) > 5e-3);
    }
}
