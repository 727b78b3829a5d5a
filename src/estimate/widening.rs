//! Why an interval is wider than its class of measurements says: every cause with its factor and source. All of them are
//! made here, multiplied once, shown by `predict --explain` and used by `validate`.

use crate::roofline::interval::Band;
use crate::roofline::links::Link;
use crate::roofline::{Coefficients, IntervalClass, LawKind, Silicon};
use crate::run::Program;
use crate::stats::Z90;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// Ends of the 90 % interval of several sequences at once, as factors on the speed, in process: 8 published models and 55
/// kernels and forward passes (`data/beyond.csv`).
const BATCH_IN_PROCESS: [f64; 2] = [0.7, 1.35];
/// The same behind a server: 23 published rows.
const BATCH_SERVED: [f64; 2] = [0.6, 1.5];
/// The same where a step reads less than 1 GB, and servers differ most.
const BATCH_SMALL: [f64; 2] = [0.45, 1.8];
/// Factor for a quantized cache. An assumption: no measurement with one was fitted.
pub const QUANTIZED_CACHE: f64 = 1.2;
/// Factor for prompts of programs that are not MLX. An assumption: their prefill is taken to be like MLX's.
pub const OTHER_PREFILL: f64 = 1.5;

/// Factor for a program that is not listed. An assumption: those that are listed differ by as much.
pub const UNLISTED_PROGRAM: f64 = 2.0;

/// How far an estimated peak may lie from a simulated one.
#[derive(Clone, Copy, Debug)]
pub struct PeakMargin {
    /// A part of what comes on top of weights and caches.
    pub of_rest: f64,
    /// Bytes besides.
    pub bytes: u64,
}

impl PeakMargin {
    /// Bytes for a peak with so many on top of weights and caches.
    #[must_use]
    pub fn of(self, rest: u64) -> u64 {
        (self.of_rest * rest as f64) as u64 + self.bytes
    }
}

/// The margin of sweeps, which simulate one peak for many machines and formats. An assumption, which a test of the sweep
/// compares with simulations.
pub const SWEEP_MARGIN: PeakMargin = PeakMargin { of_rest: 1.0, bytes: 300_000_000 };

/// One reason why an interval is wider.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct Widening {
    /// Which speed.
    pub of: Of,
    /// Why.
    pub cause: Cause,
    /// Factor on the width of the interval of the logarithm.
    pub factor: f64,
    /// Where the factor comes from.
    pub source: &'static str,
}

/// The speed whose interval is widened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// Generated tokens per second.
    Decode,
    /// Prompt tokens per second.
    Prefill,
    /// Trained tokens per second.
    Training,
}

impl Of {
    /// The word in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Prefill => "prefill",
            Self::Training => "training",
        }
    }
}

/// Why an interval is wider.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// No measurement on the chip.
    Chip(String),
    /// Measurements on the chip, but none of this class of models.
    ClassOnChip {
        /// The chip.
        chip: String,
        /// The class.
        class: IntervalClass,
    },
    /// More tokens in the cache than in any measurement.
    Depth {
        /// Tokens in the cache at the end of the run.
        tokens: u32,
        /// The most that were measured.
        deepest: u32,
    },
    /// Keys and values take a part of the step, whose law is less sure than that of weights.
    Attention {
        /// Tokens in the cache.
        tokens: u32,
        /// Their part of the step in percent.
        percent: u32,
    },
    /// A longer prompt than in any measurement.
    Prompt {
        /// Tokens of the prompt.
        tokens: u32,
        /// The longest that was measured.
        longest: u32,
    },
    /// No measurement of the model type.
    Architecture(String),
    /// Several sequences at once.
    Batch,
    /// A quantized cache.
    QuantizedCache,
    /// Prefill of a program that is not MLX.
    OtherProgram(Program),
    /// A program that nothing is known of.
    UnlistedProgram(Program),
    /// What the server adds to every token is known within a band.
    Server(Program),
    /// Another session than the one that was measured.
    Session,
    /// Another length than the nearest that was measured.
    Carried {
        /// Tokens of the run.
        tokens: u32,
        /// Tokens that were measured.
        measured: u32,
    },
    /// The machine may have any of several bins.
    Bins(String),
    /// Only the file tells the bytes of its weights.
    Weights,
    /// What several Macs wait for one another.
    Links {
        /// What joins them.
        link: Link,
        /// How many.
        nodes: u32,
    },
    /// Training on matrix units.
    TrainingOnMatrixUnits,
    /// Few tokens in a batch of training.
    ShortBatch(u32),
}

impl Cause {
    /// The doubt in words; empty where the widening is no doubt of its own.
    pub(super) fn warning(&self) -> String {
        match self {
            Self::Chip(chip) => format!(
                "no measurement on {chip}; the prediction follows its neighbors and the interval is widened"
            ),
            Self::Depth { tokens, deepest } => format!(
                "no measurement reaches {tokens} tokens (deepest: {deepest}); the interval is widened"
            ),
            Self::Prompt { tokens, longest } => format!(
                "no measured prompt is as long as {tokens} tokens (longest: {longest}); the interval is widened"
            ),
            Self::Architecture(model_type) => {
                format!("no measurement of the model type '{model_type}'; the interval is widened")
            }
            Self::Batch => {
                "few batches were measured: their speeds follow kernels of several rows, and the interval is widened"
                    .to_owned()
            }
            Self::QuantizedCache => {
                "no measurement with this quantized cache was fitted; the interval is widened".to_owned()
            }
            Self::OtherProgram(program) => {
                format!("prefill with {program} is taken to be like MLX's; the interval is widened")
            }
            Self::Bins(bins) => {
                format!("which bin is not said ({bins}): speeds span them; name one for a narrower answer")
            }
            Self::Links { link, nodes } => format!(
                "what {nodes} Macs wait for one another over {link} is known within a range; the interval is widened"
            ),
            Self::TrainingOnMatrixUnits => {
                "no training run on matrix units (M5 and later) was fitted; the interval is widened".to_owned()
            }
            Self::ShortBatch(tokens) => format!(
                "batches of {tokens} tokens are slower than their work says; the interval is widened"
            ),
            // The program itself is a doubt already.
            Self::ClassOnChip { .. }
            | Self::Attention { .. }
            | Self::Weights
            | Self::UnlistedProgram(_)
            | Self::Server(_)
            | Self::Session
            | Self::Carried { .. } => String::new(),
        }
    }

    /// Whether it is worth a warning: that a chip was measured with other models is not.
    pub(super) const fn is_doubt(&self) -> bool {
        !matches!(
            self,
            Self::ClassOnChip { .. }
                | Self::Attention { .. }
                | Self::Weights
                | Self::UnlistedProgram(_)
                | Self::Server(_)
                | Self::Session
                | Self::Carried { .. }
        )
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chip(chip) => write!(f, "no measurement on {chip}"),
            Self::ClassOnChip { chip, class } => {
                write!(f, "no measurement of {} on {chip}", class.name())
            }
            Self::Depth { tokens, deepest } => {
                write!(f, "{tokens} tokens, deepest measured {deepest}")
            }
            Self::Attention { tokens, percent } => {
                write!(f, "keys and values of {tokens} tokens, {percent} % of the step")
            }
            Self::Prompt { tokens, longest } => {
                write!(f, "prompt of {tokens} tokens, longest measured {longest}")
            }
            Self::Architecture(model_type) => write!(f, "no measurement of '{model_type}'"),
            Self::Batch => f.write_str("several sequences at once"),
            Self::QuantizedCache => f.write_str("quantized cache"),
            Self::Server(program) => write!(f, "what {program} adds to every token"),
            Self::Session => f.write_str("another session than the measured one"),
            Self::Carried { tokens, measured } => {
                write!(f, "{tokens} tokens, nearest measured {measured}")
            }
            Self::OtherProgram(program) => write!(f, "prefill with {program}"),
            Self::UnlistedProgram(program) => write!(f, "nothing known of {program}"),
            Self::Bins(bins) => write!(f, "bin not known: {bins}"),
            Self::Links { link, nodes } => {
                write!(f, "{nodes} Macs wait for one another over {link}")
            }
            Self::TrainingOnMatrixUnits => f.write_str("training on matrix units"),
            Self::ShortBatch(tokens) => write!(f, "batches of {tokens} tokens"),
            Self::Weights => f.write_str("bits vary by layer: only the file tells its bytes"),
        }
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Cause {
    fn schema_name() -> Cow<'static, str> {
        "Cause".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

/// Where the factors of chips come from.
const HELD_OUT: &str = "fits that have not seen the chip (cargo xtask fit)";
/// Where the factors of lengths come from.
const LENGTH: &str =
    "assumption: half of the logarithm of how far the length lies beyond what was measured";
/// Where the factor of model types comes from.
const ARCHITECTURE: &str = "assumption: unseen model types lie a fifth further off";
/// Where the factor of batches comes from.
const OF_BATCHES: &str = "errors of the row law on published batches: kernels, models in process, servers (data/beyond.csv)";
const ASSUMED_CACHE: &str = "assumption: no measurement with a quantized cache was fitted";
const ASSUMED_PROGRAM: &str = "assumption: nothing is known of the program";
const ASSUMED_PREFILL: &str = "assumption: no prompt of this program was fitted";

/// What of a chip is known to a fit.
#[derive(Clone, Copy, Debug)]
pub enum Chips<'a> {
    /// The fit has seen what was measured on the chips that the machine may have.
    Candidates(&'a [Silicon]),
    /// The fit has not seen the chip.
    LeftOut,
}

/// What the width of an interval depends on.
#[derive(Clone, Copy, Debug)]
pub struct Doubtful<'a> {
    /// The chips that the machine may have.
    pub chips: Chips<'a>,
    /// The law of the speed.
    pub law: LawKind,
    /// The class of the interval.
    pub class: IntervalClass,
    /// `model_type` of the model.
    pub model_type: &'a str,
    /// The program.
    pub program: Program,
    /// Tokens: in the cache (decode), or of the prompt.
    pub tokens: f64,
    /// Sequences at once.
    pub batch: u32,
    /// Whether the cache is quantized.
    pub quantized_cache: bool,
}

/// Why the interval of a decode speed is wider than its class says.
#[must_use]
pub fn decode(coefficients: &Coefficients, d: &Doubtful<'_>) -> Vec<Widening> {
    let mut all = Causes { of: Of::Decode, found: chips(coefficients, d, Of::Decode) };
    let deepest = coefficients.file().deepest_tokens;
    let depth = Cause::Depth { tokens: d.tokens as u32, deepest };
    all.add(depth, coefficients.depth_width(d.tokens), LENGTH);
    all.architecture(coefficients, d);
    if d.batch > 1 {
        all.add(Cause::Batch, batch_factor(coefficients.decode_band(d.class), d), OF_BATCHES);
    }
    all.program(d);
    if d.quantized_cache {
        all.add(Cause::QuantizedCache, QUANTIZED_CACHE, ASSUMED_CACHE);
    }
    all.found
}

/// Factor that makes a band at least as wide as that of batches.
fn batch_factor(band: Band, d: &Doubtful<'_>) -> f64 {
    let [low, high] = match d.class {
        IntervalClass::MlxBelowOneGb => BATCH_SMALL,
        _ if d.program.is_mlx_server() => BATCH_SERVED,
        _ => BATCH_IN_PROCESS,
    };
    let [own_low, own_high] = band.p90;
    (low.ln() / own_low.ln()).max(high.ln() / own_high.ln())
}

/// Fewest tokens in a batch whose speed follows its work.
const LONG_BATCH: u32 = 500;
/// Factor on matrix units: from 15 % to half as fast again.
const ON_MATRIX_UNITS: f64 = 2.9;
/// Factor for short batches: the same.
const SHORT_BATCH: f64 = 2.9;
const TRAINED_M5: &str =
    "assumption: published runs on M5 lie up to half as fast again off the law of M1 to M4";
const TRAINED_SHORT: &str =
    "assumption: published runs with short batches lie up to half as fast again off";

/// Why the interval of a training speed is wider than +-15 %.
#[must_use]
pub fn training(silicon: &Silicon, batch_tokens: u32) -> Vec<Widening> {
    let mut all = Causes { of: Of::Training, found: Vec::new() };
    if silicon.matrix_units {
        all.add(Cause::TrainingOnMatrixUnits, ON_MATRIX_UNITS, TRAINED_M5);
    } else if batch_tokens < LONG_BATCH {
        all.add(Cause::ShortBatch(batch_tokens), SHORT_BATCH, TRAINED_SHORT);
    }
    all.found
}

/// Why the interval of a prefill speed is wider than its class says.
#[must_use]
pub fn prefill(coefficients: &Coefficients, d: &Doubtful<'_>) -> Vec<Widening> {
    let mut all = Causes { of: Of::Prefill, found: chips(coefficients, d, Of::Prefill) };
    all.architecture(coefficients, d);
    all.program(d);
    if d.program.runs_gguf() {
        all.add(Cause::OtherProgram(d.program), OTHER_PREFILL, ASSUMED_PREFILL);
    }
    let longest = coefficients.file().longest_prompt;
    let prompt = Cause::Prompt { tokens: d.tokens as u32, longest };
    all.add(prompt, coefficients.prompt_width(d.tokens), LENGTH);
    all.found
}

/// Standard deviation of the logarithm of what a token in the cache adds to a step, against what the law says.
pub const SLOPE: f64 = 0.41;
const OF_SLOPES: &str = "25 measured series over depth: the time that each token adds lies off the law by a log s.d. of 0.41";

/// The widening for attention over the cache, which makes up `share` of the step and errs independently of the rest.
#[must_use]
pub fn attention(band: &Band, tokens: f64, share: f64) -> Option<Widening> {
    let wider = |own: f64| own.hypot(Z90 * SLOPE * share) / own;
    let factor = wider(-band.p90[0].ln()).max(wider(band.p90[1].ln()));
    let percent = (100.0 * share).round() as u32;
    let cause = Cause::Attention { tokens: tokens as u32, percent };
    let counts = percent > 0 && factor > 1.0 && factor.is_finite();
    counts.then_some(Widening { of: Of::Decode, cause, factor, source: OF_SLOPES })
}

/// Where the band of servers comes from.
const SERVER: &str = "data/engines.toml, server_time: what servers add changes within weeks";

/// The widening for what a server adds to every token: it makes up `share` of the time, within a band of factors, and is
/// independent of the rest.
#[must_use]
pub fn server(
    band: &Band,
    program: Program,
    ([low, high], share): ([f64; 2], f64),
) -> Option<Widening> {
    let log = |factor: f64| (1.0 + (factor - 1.0) * share).ln();
    let wider = |own: f64, of_server: f64| own.hypot(of_server) / own;
    let slow = wider(-band.p90[0].ln(), log(high));
    let fast = wider(band.p90[1].ln(), log(low));
    let factor = slow.max(fast);
    let cause = Cause::Server(program);
    (factor > 1.0 && factor.is_finite()).then_some(Widening {
        of: Of::Decode,
        cause,
        factor,
        source: SERVER,
    })
}

/// The factor of all widenings together.
#[must_use]
pub fn factor(all: &[Widening]) -> f64 {
    all.iter().map(|w| w.factor).product()
}

struct Causes {
    of: Of,
    found: Vec<Widening>,
}

impl Causes {
    /// Adds a cause that has an effect.
    fn add(&mut self, cause: Cause, factor: f64, source: &'static str) {
        if factor > 1.0 {
            self.found.push(Widening { of: self.of, cause, factor, source });
        }
    }

    fn program(&mut self, d: &Doubtful<'_>) {
        if matches!(d.program, Program::Other(_)) {
            self.add(Cause::UnlistedProgram(d.program), UNLISTED_PROGRAM, ASSUMED_PROGRAM);
        }
    }

    fn architecture(&mut self, coefficients: &Coefficients, d: &Doubtful<'_>) {
        let cause = Cause::Architecture(d.model_type.to_owned());
        self.add(cause, coefficients.architecture_width(d.model_type), ARCHITECTURE);
    }
}

/// The widening for the chip: of several that the machine may have, the largest.
fn chips(coefficients: &Coefficients, d: &Doubtful<'_>, of: Of) -> Vec<Widening> {
    let widening = |cause, factor| Widening { of, cause, factor, source: HELD_OUT };
    let candidates = match d.chips {
        Chips::Candidates(candidates) => candidates,
        Chips::LeftOut => {
            let factor = *coefficients.file().unseen_chip.of(d.law);
            return vec![widening(Cause::Chip("this chip".to_owned()), factor)];
        }
    };
    let one = |target: &Silicon| {
        let factor = coefficients.chip_width(d.law, target, d.class);
        let measured = coefficients.evidence(d.law, target).is_some_and(|c| c.configurations > 0);
        (factor > 1.0 || !measured).then(|| {
            let chip = super::speed::chip_name(target);
            let cause = if measured {
                Cause::ClassOnChip { chip, class: d.class }
            } else {
                Cause::Chip(chip)
            };
            widening(cause, factor)
        })
    };
    candidates
        .iter()
        .filter_map(one)
        .max_by(|a, b| a.factor.total_cmp(&b.factor))
        .into_iter()
        .collect()
}
