//! Speed of several Macs: the laws of one with the share of each, and what they wait for.

use super::super::bins;
use super::super::estimator::{EstimateError, Estimator};
use super::super::speed::{Decode, Prefill, Speed, Term, sound};
use super::super::warning;
use super::super::widening::{Cause, Of, Widening};
use super::{Cluster, ClusterFigures, ClusterNode, Ratio};
use crate::graph::params::ModuleKind;
use crate::hardware::machine::Machine;
use crate::ledger::shards::TensorRank;
use crate::roofline::Bound;
use crate::roofline::features::Share;
use crate::roofline::links::Wait;

/// How far the time of a share may lie from what the laws make of it beside their own error, which the time of the whole
/// model has too. An assumption.
const SHARE_ERROR: f64 = 1.08;
/// Bytes of a feature of the hidden state.
const FEATURE: f64 = 2.0;

/// A time without the wait, and the wait.
#[derive(Clone, Copy, Debug)]
struct Shared {
    seconds: f64,
    wait: Wait,
}

/// Decode and prefill of a cluster whose bins are known.
struct Pass {
    decode: Decode,
    prefill: Prefill,
    ratios: [Ratio; 2],
    wait: Wait,
}

impl Shared {
    /// How many times faster than `alone` seconds.
    fn over(self, alone: f64) -> Ratio {
        let Self { seconds, wait } = self;
        let most = seconds * SHARE_ERROR + wait.high;
        let least = seconds / SHARE_ERROR + wait.low;
        if wait.high == 0.0 {
            return Ratio { value: alone / seconds, interval_90: [alone / seconds; 2] };
        }
        Ratio { value: alone / (seconds + wait.middle), interval_90: [alone / most, alone / least] }
    }

    /// How many times wider the interval around a rate is for the range of the wait, as if it were independent.
    fn widening(self, relative: [f64; 2]) -> f64 {
        let after = self.seconds + self.wait.middle;
        let [low, high] = relative.map(|end| end.ln().abs().max(1e-6));
        let slower = ((self.seconds + self.wait.high) / after).ln();
        let faster = (after / (self.seconds + self.wait.low)).ln();
        (low.hypot(slower) / low).max(high.hypot(faster) / high)
    }

    /// Moves the 80 % and the 90 % interval around a rate to another rate, and widens both where there is a wait; returns how
    /// many times.
    fn widen(self, intervals: [&mut [f64; 2]; 2], [from, to]: [f64; 2]) -> f64 {
        let of_90 = intervals[1].map(|end| end / from);
        let factor = if self.wait.high > 0.0 { self.widening(of_90) } else { 1.0 };
        for interval in intervals {
            *interval = interval.map(|end| to * (end / from).powf(factor));
        }
        factor
    }
}

impl Decode {
    /// The same speed with a step of other seconds and a wait in each.
    fn shared(&mut self, shared: Shared, cluster: &Cluster) {
        let Shared { seconds, wait } = shared;
        let (rate, before) = (self.tokens_per_s, self.seconds_per_token);
        let after = seconds + wait.middle;
        self.tokens_per_s = rate * before / after;
        self.seconds_per_token = after;
        self.terms.iter_mut().for_each(|term| term.seconds *= seconds / before);
        let intervals = [&mut self.interval_80, &mut self.interval_90];
        let factor = shared.widen(intervals, [rate, self.tokens_per_s]);
        if wait.high > 0.0 {
            let bound = Bound::Overhead;
            self.terms.push(Term { name: "links", seconds: wait.middle, bound });
            if wait.middle > seconds {
                self.bound = bound;
            }
            self.widenings.push(of_links(Of::Decode, cluster, factor));
            let added = &self.widenings[self.widenings.len() - 1..];
            self.warnings.extend(warning::of_widenings(added));
        }
    }
}

impl Prefill {
    /// The same of a prompt of `tokens` tokens in all.
    fn shared(&mut self, shared: Shared, tokens: f64, cluster: &Cluster) {
        let Shared { seconds, wait } = shared;
        let rate = self.tokens_per_s;
        let (before, after) = (tokens / rate, seconds + wait.middle);
        self.tokens_per_s = tokens / after;
        self.without_units = None;
        self.ttft_s += after - before;
        self.terms.iter_mut().for_each(|term| term.seconds *= seconds / before);
        let intervals = [&mut self.interval_80, &mut self.interval_90];
        let factor = shared.widen(intervals, [rate, self.tokens_per_s]);
        if wait.high > 0.0 {
            self.terms.push(Term { name: "links", seconds: wait.middle, bound: Bound::Overhead });
            self.widenings.push(of_links(Of::Prefill, cluster, factor));
        }
    }
}

fn of_links(of: Of, cluster: &Cluster, factor: f64) -> Widening {
    let (link, nodes) = (cluster.link(), cluster.nodes());
    Widening { of, cause: Cause::Links { link, nodes }, factor, source: link.law().source }
}

/// The machines of a cluster, each in one of its bins: as often as any has bins.
fn passes(cluster: &Cluster) -> Vec<Vec<&Machine>> {
    let bins = |m: &Machine| m.possible_bins().len();
    let most = cluster.machines().iter().map(bins).max().unwrap_or(1);
    let bin = |i: usize| {
        let of = move |m: &'_ Machine| i.min(bins(m) - 1);
        cluster.machines().iter().map(|m| &m.possible_bins()[of(m)]).collect()
    };
    (0..most).map(bin).collect()
}

fn head(decode: &Decode) -> f64 {
    decode.terms.iter().filter(|term| term.name == "head").map(|term| term.seconds).sum()
}

fn slowest<T: Clone>(all: &[T], seconds: impl Fn(&T) -> f64) -> Option<T> {
    all.iter().max_by(|a, b| seconds(a).total_cmp(&seconds(b))).cloned()
}

impl Estimator<'_> {
    /// Tokens of all prompts, and the chunks in which they are read.
    fn prompt(&self) -> (f64, f64) {
        let (work, step) = (self.run.work, self.run.engine.prefill_step.max(1));
        let chunks = (f64::from(work.context_tokens.max(1)) / f64::from(step)).ceil().max(1.0);
        (f64::from(work.context_tokens.max(1)) * f64::from(work.batch.max(1)), chunks)
    }

    /// Bytes of the hidden state of a token.
    fn hidden_bytes(&self) -> f64 {
        let modules = self.graph().params().modules();
        let width = modules.iter().find(|m| m.kind == ModuleKind::Embedding);
        width.map_or(0.0, |m| f64::from(m.shape.dim(-1)) * FEATURE)
    }

    /// Decode and prefill by the laws of some machines, with all of the model or a share of it.
    fn each(
        &self,
        speed: &Speed,
        machines: &[&Machine],
    ) -> Result<Vec<(Decode, Prefill)>, EstimateError> {
        let one = |machine: &&Machine| {
            let silicon = self.silicon(machine);
            let mut decode = speed.decode(self.coefficients(), &silicon, &self.run);
            let prefill = speed.prefill(self.coefficients(), &silicon, &self.run);
            sound(&decode, &prefill)?;
            if let Some(range) = self.run.file.weights_range {
                bins::over_files(&mut decode, range);
            }
            Ok((decode, prefill))
        };
        machines.iter().map(one).collect()
    }

    pub(super) fn tensor_speeds(
        &self,
        cluster: &Cluster,
        rank: &TensorRank,
        nodes: Vec<ClusterNode>,
    ) -> Result<ClusterFigures, EstimateError> {
        let n = cluster.nodes();
        let share = Share {
            nodes: f64::from(n),
            layers: rank.layers,
            experts: rank.experts,
            head: rank.head,
            keys: rank.keys,
            states: rank.states,
            weight_bytes: rank.weights.bytes as f64,
        };
        let own = self.speed()?.shared(&share);
        let exchanges = self.graph().tensor_sums();
        let law = cluster.link().law();
        let (tokens, chunks) = self.prompt();
        let (bytes, sums) = (self.hidden_bytes(), f64::from(exchanges));
        let batch = f64::from(self.run.work.batch.max(1));
        let step = law.sum(n, batch * bytes).times(sums);
        let prompt = law.sum(n, tokens / chunks * bytes).times(sums * chunks);
        let pass = |machines: &Vec<&Machine>| {
            let shares = self.each(&own, machines)?;
            let all = self.each(self.speed()?, machines)?;
            let decode = slowest(&shares, |(d, _)| d.seconds_per_token);
            let prefill = slowest(&shares, |(_, p)| tokens / p.tokens_per_s);
            let (decode, prefill) =
                decode.zip(prefill).map_or_else(none, |(d, p)| Ok((d.0, p.1)))?;
            let decode_shared = Shared { seconds: decode.seconds_per_token, wait: step };
            let prefill_shared = Shared { seconds: tokens / prefill.tokens_per_s, wait: prompt };
            Ok(Pass::of((decode, prefill), [decode_shared, prefill_shared], &all, tokens, cluster))
        };
        self.figures(cluster, pass, nodes, exchanges)
    }

    pub(super) fn pipeline_speeds(
        &self,
        cluster: &Cluster,
        ranges: &[[u64; 2]],
        nodes: Vec<ClusterNode>,
    ) -> Result<ClusterFigures, EstimateError> {
        let layers = self.graph().layers().max(1) as f64;
        let parts: Vec<f64> = ranges.iter().map(|[a, b]| (b - a) as f64 / layers).collect();
        let law = cluster.link().law();
        let (tokens, chunks) = self.prompt();
        let bytes = self.hidden_bytes();
        let batch = f64::from(self.run.work.batch.max(1));
        let hops = f64::from(cluster.nodes().saturating_sub(1));
        let step = law.hop(batch * bytes).times(hops);
        let pass = |machines: &Vec<&Machine>| {
            let all = self.each(self.speed()?, machines)?;
            let decode = slowest(&all, |(d, _)| d.seconds_per_token);
            let prefill = slowest(&all, |(_, p)| tokens / p.tokens_per_s);
            let (decode, prefill) =
                decode.zip(prefill).map_or_else(none, |(d, p)| Ok((d.0, p.1)))?;
            let in_layers =
                |(d, part): (&(Decode, Prefill), &f64)| (d.0.seconds_per_token - head(&d.0)) * part;
            let last = all.iter().map(|(d, _)| head(d)).fold(0.0, f64::max);
            let seconds = all.iter().zip(&parts).map(in_layers).sum::<f64>() + last;
            let stages =
                all.iter().zip(&parts).map(|((_, p), part)| tokens / p.tokens_per_s * part);
            let (sum, longest) =
                stages.fold((0.0, 0.0_f64), |(sum, most), s| (sum + s, most.max(s)));
            // A chunk is in one Mac while the next is in the one before: at worst, they do not overlap.
            let overlapped = sum / chunks + (chunks - 1.0) / chunks * longest;
            let hop = law.hop(tokens / chunks * bytes);
            let mut wait = hop.times(hops + if hops > 0.0 { chunks - 1.0 } else { 0.0 });
            wait.high = hop.high * hops * chunks + (sum - overlapped);
            let shared = [Shared { seconds, wait: step }, Shared { seconds: overlapped, wait }];
            Ok(Pass::of((decode, prefill), shared, &all, tokens, cluster))
        };
        self.figures(cluster, pass, nodes, cluster.nodes().saturating_sub(1))
    }

    /// The figures of all bins that the machines may have.
    fn figures<'c>(
        &self,
        cluster: &'c Cluster,
        pass: impl Fn(&Vec<&'c Machine>) -> Result<Pass, EstimateError>,
        nodes: Vec<ClusterNode>,
        exchanges: u32,
    ) -> Result<ClusterFigures, EstimateError> {
        let passes: Vec<Pass> = passes(cluster).iter().map(pass).collect::<Result<_, _>>()?;
        let Some(first) = passes.first() else { return none() };
        let ratio = |i: usize| {
            let all = passes.iter().map(|p| p.ratios[i]);
            let ends = all.clone().map(|r| r.interval_90);
            let value = all.clone().map(|r| r.value).sum::<f64>() / passes.len() as f64;
            let wide = |[a, b]: [f64; 2], [c, d]: [f64; 2]| [a.min(c), b.max(d)];
            Ratio { value, interval_90: ends.reduce(wide).unwrap_or([value; 2]) }
        };
        let unknown = cluster.machines().iter().find(|m| m.bins.len() > 1);
        let (decode, prefill) = match unknown {
            Some(machine) => {
                let decodes: Vec<Decode> = passes.iter().map(|p| p.decode.clone()).collect();
                let prefills: Vec<Prefill> = passes.iter().map(|p| p.prefill.clone()).collect();
                (bins::decode(machine, &decodes), bins::prefill(machine, &prefills))
            }
            None => (first.decode.clone(), first.prefill.clone()),
        };
        let [decode_speedup, prefill_speedup] = [0, 1].map(ratio);
        let wait = first.wait;
        Ok(ClusterFigures {
            nodes,
            decode,
            prefill,
            decode_speedup,
            prefill_speedup,
            wait,
            exchanges,
        })
    }
}

fn none<T>() -> Result<T, EstimateError> {
    Err(super::ClusterRefusal::Empty.into())
}

impl Pass {
    /// Speeds with their waits, beside those of each machine with all of the model.
    fn of(
        (mut decode, mut prefill): (Decode, Prefill),
        [of_decode, of_prefill]: [Shared; 2],
        all: &[(Decode, Prefill)],
        tokens: f64,
        cluster: &Cluster,
    ) -> Self {
        let fastest = |seconds: &dyn Fn(&(Decode, Prefill)) -> f64| {
            all.iter().map(seconds).fold(f64::INFINITY, f64::min)
        };
        let ratios = [
            of_decode.over(fastest(&|(d, _)| d.seconds_per_token)),
            of_prefill.over(fastest(&|(_, p)| tokens / p.tokens_per_s)),
        ];
        let first_step = decode.seconds_per_token;
        decode.shared(of_decode, cluster);
        prefill.shared(of_prefill, tokens, cluster);
        prefill.ttft_s += decode.seconds_per_token - first_step;
        Self { decode, prefill, ratios, wait: of_decode.wait }
    }
}
