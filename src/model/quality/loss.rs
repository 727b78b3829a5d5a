//! The published loss of a model in a format: its own where it was measured, else that of models of like size.

use super::{LossMetric, LossOf, LossRow, rows};
use crate::model::{DType, NamedFormat, Scheme};
use schemars::JsonSchema;
use serde::Serialize;

/// Models whose parameters differ by no more than this factor are of like size.
const LIKE: f64 = 4.0;
/// Losses in percent from which on nobody is advised to take a format.
const RUINOUS: f64 = 50.0;
/// Ways to quantize that change what a format loses and not its size, as the names of models have them.
const LEARNED: [&str; 7] = ["dwq", "awq", "gptq", "qat", "optiq", "oq", "autoround"];

/// Whose figures a loss rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LossBasis {
    /// The weights are not quantized, or as they were published.
    Original,
    /// This model in this format.
    ThisModel,
    /// Other models of like size (within a factor of four) in this format.
    LikeSize,
}

/// A published loss.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct PublishedLoss {
    /// Lowest and highest figure in percent: how much perplexity rises (KL divergence counts as its logarithm), or which
    /// share of a benchmark's score is lost.
    pub percent: [f64; 2],
    /// Whose figures they are.
    pub basis: LossBasis,
    /// What was measured.
    pub metrics: Vec<LossMetric>,
    /// Models that were measured.
    pub models: Vec<String>,
    /// Where the figures are published.
    pub sources: Vec<String>,
}

impl PublishedLoss {
    /// The loss of a model with so many parameters in a format, by the format's name in answers, in names or in commands.
    /// `None` where nobody measured it.
    #[must_use]
    pub fn of_weights(id: &str, parameters: u64, format: &str) -> Option<Self> {
        let format = normal(format);
        if is_float(&format) {
            return Some(Self::original());
        }
        Self::find(LossOf::Weights, id, parameters, &learned(id, &format))
    }

    /// The same of a cache in so many bits, of a program on llama.cpp or of MLX.
    #[must_use]
    pub fn of_cache_bits(id: &str, parameters: u64, bits: u32, gguf: bool) -> Option<Self> {
        let kind = if gguf { format!("q{bits}_0") } else { bits.to_string() };
        Self::of_cache(id, parameters, &kind)
    }

    /// The loss of a model with so many parameters whose cache is quantized, by its type as answers have it: bits for MLX
    /// (in groups of 64), `q8_0` and the like for llama.cpp.
    #[must_use]
    pub fn of_cache(id: &str, parameters: u64, kv: &str) -> Option<Self> {
        let format = match kv.parse::<u32>() {
            Ok(bits) => format!("affine-{bits}-g64"),
            Err(_) => normal(kv),
        };
        if is_float(&format) {
            return Some(Self::original());
        }
        Self::find(LossOf::Kv, id, parameters, &format)
    }

    /// Nothing is lost.
    #[must_use]
    pub const fn original() -> Self {
        Self {
            percent: [0.0; 2],
            basis: LossBasis::Original,
            metrics: Vec::new(),
            models: Vec::new(),
            sources: Vec::new(),
        }
    }

    /// Whether published cases collapse: perplexity doubles, or half of a score is gone. Nobody is advised to do that.
    #[must_use]
    pub fn is_ruinous(&self) -> bool {
        self.worst() >= RUINOUS
    }

    /// What the loss may be at worst, in percent.
    #[must_use]
    pub const fn worst(&self) -> f64 {
        self.percent[1]
    }

    fn find(of: LossOf, id: &str, parameters: u64, format: &str) -> Option<Self> {
        let alike = |r: &&LossRow| r.of == of && r.format == format;
        let own: Vec<&LossRow> = rows().iter().filter(alike).filter(|r| r.is_of(id)).collect();
        if !own.is_empty() {
            return Self::from(&own, LossBasis::ThisModel);
        }
        let billions = parameters as f64 / 1e9;
        let near = |r: &&LossRow| {
            let times = r.params_b / billions.max(1e-6);
            (1.0 / LIKE..=LIKE).contains(&times)
        };
        let like: Vec<&LossRow> = rows().iter().filter(alike).filter(near).collect();
        Self::from(&like, LossBasis::LikeSize)
    }

    /// Divergences and perplexities come before scores, whose errors are larger; both together are one range of other
    /// models.
    fn from(all: &[&LossRow], basis: LossBasis) -> Option<Self> {
        let fine: Vec<&LossRow> = all.iter().copied().filter(|r| !r.metric.is_score()).collect();
        let taken = if fine.is_empty() || basis == LossBasis::LikeSize { all } else { &fine };
        let figures = taken.iter().map(|r| r.percent());
        let low = figures.clone().min_by(f64::total_cmp)?;
        let high = figures.max_by(f64::total_cmp)?;
        let texts = |text: fn(&LossRow) -> &String| {
            let mut texts: Vec<String> = taken.iter().map(|r| text(r).clone()).collect();
            texts.sort_unstable();
            texts.dedup();
            texts
        };
        let mut metrics: Vec<LossMetric> = taken.iter().map(|r| r.metric).collect();
        metrics.sort_unstable();
        metrics.dedup();
        let (models, sources) = (texts(|r| &r.model), texts(|r| &r.source));
        Some(Self { percent: [low, high], basis, metrics, models, sources })
    }

    /// The loss as a cell: `5.2 %`, or `~1–9 %` of other models of like size.
    #[must_use]
    pub fn cell(&self) -> String {
        let [low, high] = self.percent.map(figure);
        match self.basis {
            LossBasis::Original => "0 %".to_owned(),
            _ => {
                let about = if self.basis == LossBasis::LikeSize { "~" } else { "" };
                let range = if low == high { high } else { format!("{low}–{high}") };
                format!("{about}{range} %")
            }
        }
    }

    /// The loss in words, as they follow "loses", with what was measured and on which models.
    #[must_use]
    pub fn text(&self) -> String {
        let names =
            |all: &[LossMetric]| all.iter().map(|m| m.name()).collect::<Vec<_>>().join(", ");
        let cell = self.cell();
        match (self.basis, self.models.len()) {
            (LossBasis::Original, _) => "nothing".to_owned(),
            (LossBasis::ThisModel, _) => format!("{cell} ({}, this model)", names(&self.metrics)),
            (LossBasis::LikeSize, 1) => {
                format!("{cell} ({}, {})", names(&self.metrics), self.models.concat())
            }
            (LossBasis::LikeSize, n) => {
                format!("{cell} ({}, {n} models of like size)", names(&self.metrics))
            }
        }
    }
}

/// Whether a format stores most weights in fewer than four bits, below which quality falls fast.
#[must_use]
pub fn is_below_four_bits(format: &str) -> bool {
    let format = normal(format);
    if let Some(gguf) = format.strip_prefix("gguf-") {
        let digits =
            gguf.trim_start_matches("ud-").trim_start_matches("iq").trim_start_matches(['q', 't']);
        return digits.starts_with(['1', '2', '3']);
    }
    let bits = format.parse::<Scheme>().ok().and_then(Scheme::packing).map(|p| p.bits);
    bits.is_some_and(|bits| bits < 4)
}

/// The text of a cell for a loss that may not have been measured.
#[must_use]
pub fn loss_cell(loss: Option<&PublishedLoss>) -> String {
    loss.map_or_else(|| "not measured".to_owned(), PublishedLoss::cell)
}

/// A figure in percent, short: tenths below ten.
fn figure(percent: f64) -> String {
    match percent {
        x if x.abs() < 0.05 => "0.0".to_owned(),
        x if x >= 1000.0 => ">1000".to_owned(),
        x if x.abs() < 9.95 => format!("{x:.1}"),
        x => format!("{x:.0}"),
    }
}

/// The name that answers have for a format.
fn normal(format: &str) -> String {
    let gguf = format.strip_prefix("gguf-");
    match NamedFormat::parse(gguf.unwrap_or(format)) {
        Ok(NamedFormat::Mlx(scheme)) if gguf.is_none() => scheme.to_string(),
        Ok(named) => {
            let name = gguf.map_or_else(|| named.to_string(), str::to_lowercase);
            format!("gguf-{name}")
        }
        Err(_) => format.to_lowercase(),
    }
}

fn is_float(format: &str) -> bool {
    let name = format.strip_prefix("gguf-").unwrap_or(format);
    matches!(name.parse::<Scheme>(), Ok(Scheme::Float(DType::BF16 | DType::F16 | DType::F32)))
}

/// The format with what the name of a model says of how it was quantized: the figures of plain rounding are not its own.
fn learned(id: &str, format: &str) -> String {
    let lower = id.to_lowercase();
    let word = |w: &&&str| {
        lower.split(|c: char| !c.is_ascii_alphanumeric()).any(|part| {
            part.strip_prefix(**w).is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit()))
        })
    };
    match LEARNED.iter().find(word) {
        Some(way) => format!("{format}-{way}"),
        None => format.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const B: u64 = 1_000_000_000;

    #[test]
    fn the_figures_of_the_model_itself_come_first() {
        let id = "Qwen/Qwen3-4B-Instruct-2507";
        let loss = PublishedLoss::of_weights(id, 4 * B, "4bit").expect("measured");
        assert_eq!(loss.basis, LossBasis::ThisModel);
        assert_eq!((loss.cell(), loss.metrics), ("5.2 %".to_owned(), vec![LossMetric::MmluPro]));
        // The same format by its other names.
        for name in ["affine-4-g64", "4bit-g64"] {
            assert!(PublishedLoss::of_weights(id, 4 * B, name).is_some_and(|l| l.worst() > 5.0));
        }
    }

    #[test]
    fn others_count_only_where_their_size_is_like() {
        let loss = PublishedLoss::of_weights("some/32B", 32 * B, "4bit").expect("measured");
        assert_eq!(loss.basis, LossBasis::LikeSize);
        assert!(loss.cell().starts_with('~') && loss.models.len() > 2, "{loss:?}");
        assert!(loss.worst() < 5.0, "no figure of a small model: {loss:?}");
        assert_eq!(PublishedLoss::of_weights("some/671B", 671 * B, "4bit"), None);
        assert_eq!(PublishedLoss::of_weights("some/32B", 32 * B, "nvfp4"), None);
        assert_eq!(loss_cell(None), "not measured");
    }

    #[test]
    fn what_is_not_quantized_loses_nothing() {
        for format in ["bf16", "fp16", "gguf-bf16", "F16"] {
            let loss = PublishedLoss::of_weights("some/8B", 8 * B, format).expect("known");
            assert_eq!((loss.basis, loss.cell()), (LossBasis::Original, "0 %".to_owned()));
        }
    }

    #[test]
    fn fewer_bits_lose_more_in_every_ladder() {
        for (billions, ladder) in [
            (30, &["8bit", "6bit", "5bit", "4bit", "3bit"][..]),
            (8, &["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K"]),
            (70, &["Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K"]),
        ] {
            let worst = |format: &&str| {
                PublishedLoss::of_weights("some/model", billions * B, format).map(|l| l.worst())
            };
            let all: Vec<f64> = ladder.iter().filter_map(worst).collect();
            assert!(all.is_sorted() && all.len() > 3, "{billions}: {all:?}");
        }
    }

    #[test]
    fn learned_scales_are_not_plain_rounding() {
        let plain = PublishedLoss::of_weights("meta-llama/Llama-3.2-1B", B, "4bit");
        assert!(plain.is_some());
        assert_eq!(PublishedLoss::of_weights("x/Llama-3.1-8B-4bit-AWQ", 8 * B, "4bit"), None);
        let dwq =
            PublishedLoss::of_weights("x/Tiny-1B-4bit-DWQ-0508", B, "4bit").expect("measured");
        assert!(dwq.worst() < 1.0, "{dwq:?}");
        assert_eq!(PublishedLoss::of_weights("x/27B-oQ4", 27 * B, "4bit"), None);
    }

    #[test]
    fn formats_below_four_bits_are_known() {
        for low in ["3bit", "2bit", "mixed_3_6", "Q3_K_M", "IQ2_XXS", "UD-Q2_K_XL", "gguf-iq1_s"] {
            assert!(is_below_four_bits(low), "{low}");
        }
        for high in ["4bit", "mxfp4", "nvfp4", "Q4_K_M", "IQ4_XS", "8bit", "bf16", "gguf-q8_0"] {
            assert!(!is_below_four_bits(high), "{high}");
        }
    }

    #[test]
    fn caches_of_four_bits_may_collapse() {
        let eight = PublishedLoss::of_cache("some/7B", 7 * B, "8").expect("measured");
        assert!(eight.worst() < 1.0, "{eight:?}");
        let four = PublishedLoss::of_cache("some/7B", 7 * B, "4").expect("measured");
        assert!(four.cell().ends_with(">1000 %"), "{}", four.cell());
        assert!(PublishedLoss::of_cache("some/8B", 8 * B, "q8_0").is_some_and(|l| l.worst() < 1.0));
    }
}
