//! Measured rows with everything a prediction needs.

use super::join::{graph_of, join};
use super::measurement::{Measurement, RateKind};
use crate::hardware::catalog::Chip;
use crate::model::catalog::Models;
use crate::model::{DType, NamedFormat, Scheme};
use crate::roofline::decode::WIDE_SINCE;
use crate::roofline::prefill::PrefillPrompt;
use crate::roofline::{Coefficients, DecodeStep, Silicon, StepFeatures};
use crate::run::{EngineSetup, Program, Run};
use std::collections::HashMap;

/// Tokens in the cache and tokens generated where the source does not say.
const UNSTATED_TOKENS: u32 = 128;
/// Tokens of a prompt where a rate is over the whole request and the prompt is not said: the questions of llmfit's
/// `bench` have 10 to 60 (llmfit-core/src/bench.rs).
const SHORT_QUESTION: u32 = 40;
/// Prompts below this are timed too coarsely to say anything about prefill.
const SHORTEST_PROMPT: u32 = 8;

/// A row that a prediction can be made for.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// The row.
    pub row: &'a Measurement,
    /// `model_type` of the model.
    pub architecture: String,
    /// Index of its features in the data set.
    pub features: usize,
    /// Bins that the machine may have been.
    pub targets: Vec<Silicon>,
    /// Chip family, for example `m4max`.
    pub chip: String,
    /// Owner, chip, model and format: rows of one configuration are repeats.
    pub configuration: String,
    /// Program.
    pub program: Program,
    /// Whether activations are IEEE half precision.
    pub fp16: bool,
    /// Whether a program on llama.cpp used flash attention.
    pub flash: bool,
    /// The program with its settings, as far as they are stated.
    pub engine: EngineSetup,
}

/// The usable rows of a measurement file.
#[derive(Clone, Debug, Default)]
pub struct Dataset<'a> {
    /// Usable rows.
    pub rows: Vec<Observed<'a>>,
    /// Features of the models in their formats.
    pub features: Vec<StepFeatures>,
    /// Rows that are not usable, with the reason.
    pub skipped: Vec<(&'a Measurement, String)>,
}

type Built = Result<(usize, String, bool), String>;

impl<'a> Dataset<'a> {
    /// Joins rows to models and chips and reads the models' features.
    #[must_use]
    pub fn build(rows: &'a [Measurement], models: &Models, chips: &[Chip]) -> Self {
        let mut out = Self::default();
        let mut built: HashMap<(String, NamedFormat), Built> = HashMap::new();
        for row in rows {
            match out.observe(row, models, chips, &mut built) {
                Ok(observed) => out.rows.push(observed),
                Err(reason) => out.skipped.push((row, reason)),
            }
        }
        out
    }

    fn observe(
        &mut self,
        row: &'a Measurement,
        models: &Models,
        chips: &[Chip],
        built: &mut HashMap<(String, NamedFormat), Built>,
    ) -> Result<Observed<'a>, String> {
        if let Some(reason) = row.not_plain() {
            return Err(reason);
        }
        let joined = join(row, models, chips).map_err(|e| e.to_string())?;
        let key = (joined.model.to_owned(), joined.weights);
        let (features, architecture, old) = built
            .entry(key)
            .or_insert_with(|| self.build_features(joined.model, joined.weights, models))
            .clone()?;
        self.check_size(row, features)?;
        let first = joined.chips.first().ok_or("no chip")?;
        let chip = first.family_id().to_owned();
        let float = matches!(joined.weights, NamedFormat::Mlx(Scheme::Float(_)));
        let engine = row.engine_setup();
        let program = program(row.engine, joined.weights);
        let target = |c: &&Chip| Silicon {
            fanless: row.is_fanless(),
            matrix_units: c.matrix_units
                && (program.runs_gguf() || row.may_use_matrix_units(&engine)),
            ..Silicon::of_chip(c, row.memory_gib)
        };
        let flash = row.uses_flash_attention(&architecture);
        Ok(Observed {
            row,
            architecture,
            features,
            targets: joined.chips.iter().map(target).collect(),
            flash,
            engine,
            configuration: format!("{}|{chip}|{}|{}", row.owner(), row.model_id, row.quant),
            chip,
            program,
            fp16: joined.weights == NamedFormat::Mlx(Scheme::Float(DType::F16)) || (old && !float),
        })
    }

    fn build_features(&mut self, model: &str, weights: NamedFormat, models: &Models) -> Built {
        let (entry, graph) = graph_of(models, model, weights)?;
        let features = match weights {
            NamedFormat::Mlx(_) => StepFeatures::of(&graph, None),
            NamedFormat::Gguf(mix) => StepFeatures::of_gguf(&graph, mix, None),
        };
        self.features.push(features.map_err(|e| e.to_string())?);
        let old = entry.hub_conversions_are_fp16();
        Ok((self.features.len() - 1, entry.model_type.clone(), old))
    }

    /// A stated file size that contradicts the format means that the format is not what it is called.
    fn check_size(&self, row: &Measurement, features: usize) -> Result<(), String> {
        let bytes = self.features.get(features).map_or(0.0, |f| f.weight_bytes);
        match row.weights_gb {
            Some(gb) if gb * 1e9 > 1.5 * bytes || gb * 1e9 < bytes / 1.5 => Err(format!(
                "the stated size of {gb:.1} GB contradicts the format '{}' ({:.1} GB)",
                row.quant,
                bytes / 1e9
            )),
            _ => Ok(()),
        }
    }

    /// Features of a row.
    #[must_use]
    pub fn features_of(&self, row: &Observed<'_>) -> &StepFeatures {
        &self.features[row.features]
    }
}

/// The program whose speed a row shows: servers on MLX are alike, and what runs a GGUF file is llama.cpp, or Ollama.
fn program(measured: Program, weights: NamedFormat) -> Program {
    match (measured, weights) {
        (Program::Ollama, NamedFormat::Gguf(_)) => Program::Ollama,
        (_, NamedFormat::Gguf(_)) => Program::LlamaCpp,
        (Program::MlxLm | Program::MlxSwift, _) => measured,
        // Servers, and Ollama and others where they run MLX weights.
        _ => Program::MlxServer,
    }
}

impl Observed<'_> {
    /// The program that decides how wide intervals are: that of the file, where its builds are its own.
    #[must_use]
    pub fn interval_program(&self) -> Program {
        let own = self.program.runs_gguf() && self.row.engine == Program::LmStudioGguf;
        if own { Program::LmStudioGguf } else { self.program }
    }

    /// The part of a decode step that keys and values take by the coefficients.
    #[must_use]
    pub fn attention_share(&self, c: &Coefficients, f: &StepFeatures) -> f64 {
        let (law, step) = (c.decode_law(self.program), self.step());
        let share = |target: &Silicon| {
            let time = law.time(f, target, step);
            time.kv / time.total()
        };
        self.targets.iter().map(share).sum::<f64>() / self.targets.len().max(1) as f64
    }

    /// Decode step in the middle of the generated tokens.
    #[must_use]
    pub fn step(&self) -> DecodeStep {
        let r = self.row;
        let context = r.context_tokens.or(r.prompt_tokens).unwrap_or(UNSTATED_TOKENS);
        let generated = f64::from(r.gen_tokens.unwrap_or(UNSTATED_TOKENS));
        DecodeStep {
            program: self.program,
            old_build: self.program.runs_gguf() && r.is_old_build(),
            fp16: self.fp16,
            flash: self.flash,
            tokens: f64::from(context) + generated / 2.0,
            generated,
            batch: 1.0,
            server: None,
            rows: 1.0,
            // Decides nothing for one row.
            mlx: WIDE_SINCE,
        }
    }

    /// Tokens in the cache when decoding starts.
    #[must_use]
    pub fn context_tokens(&self) -> u32 {
        self.row.context_tokens.or(self.row.prompt_tokens).unwrap_or(UNSTATED_TOKENS)
    }

    /// The prompt whose prefill was timed, if the row says how long it was.
    #[must_use]
    pub fn prompt(&self) -> Option<PrefillPrompt> {
        let tokens = self.row.prompt_tokens.or(self.row.context_tokens)?;
        (tokens >= SHORTEST_PROMPT).then(|| {
            let run = Run::default().with_engine(self.engine).with_context(tokens);
            PrefillPrompt {
                program: self.program,
                fp16: self.fp16,
                tokens: f64::from(tokens),
                cached: 0.0,
                chunk: f64::from(self.engine.prefill_step),
                batch: 1.0,
                logit_tokens: f64::from(run.logit_tokens()),
                paused: self.row.paused,
            }
        })
    }

    /// Whether a row can tell how fast decoding is: a rate over a whole request tells of its prompt and its server too.
    #[must_use]
    pub fn times_decoding(&self) -> bool {
        self.row.rate_kind != RateKind::EndToEnd
    }

    /// Measured decode rate, where the row has one.
    #[must_use]
    pub fn decode_rate(&self) -> Option<f64> {
        self.row.decode_tok_s.filter(|&x| x > 0.0)
    }

    /// Measured prefill rate of an MLX program, where the row has one.
    #[must_use]
    pub fn prefill_rate(&self) -> Option<f64> {
        let rate = self.row.prefill_tok_s.filter(|&x| x > 0.0)?;
        (!self.program.runs_gguf() && self.prompt().is_some()).then_some(rate)
    }

    /// Logarithm of the time of a decode step, averaged over the bins the machine may have been.
    #[must_use]
    pub fn log_step(&self, law: &crate::roofline::DecodeLaw, f: &StepFeatures) -> f64 {
        let step = self.step();
        self.mean(|target| law.time(f, target, step).total().ln())
    }

    /// Logarithm of the prefill time per token, averaged likewise.
    #[must_use]
    pub fn log_prefill(&self, law: &crate::roofline::PrefillLaw, f: &StepFeatures) -> Option<f64> {
        let prompt = self.prompt()?;
        Some(self.mean(|target| (law.time(f, target, prompt).total() / prompt.tokens).ln()))
    }

    fn mean(&self, log_time: impl Fn(&Silicon) -> f64) -> f64 {
        self.targets.iter().map(log_time).sum::<f64>() / self.targets.len().max(1) as f64
    }

    /// Decode rate that the coefficients predict, over the whole request where that is what was measured and it is known
    /// how much was generated.
    #[must_use]
    pub fn predicted_decode(&self, c: &Coefficients, f: &StepFeatures) -> f64 {
        let step = self.log_step(c.decode_law(self.program), f).exp();
        let Some(generated) = self.row.gen_tokens.filter(|&n| n > 0 && !self.times_decoding())
        else {
            return 1.0 / step;
        };
        let prompt = PrefillPrompt {
            program: self.program,
            fp16: self.fp16,
            tokens: f64::from(self.row.prompt_tokens.unwrap_or(SHORT_QUESTION)),
            cached: 0.0,
            chunk: f64::from(self.engine.prefill_step),
            batch: 1.0,
            logit_tokens: 0.0,
            paused: false,
        };
        let read = self.mean(|target| c.prefill_law().time(f, target, prompt).total().ln()).exp();
        1.0 / (step + read / f64::from(generated))
    }

    /// Prefill rate that the coefficients predict.
    #[must_use]
    pub fn predicted_prefill(&self, c: &Coefficients, f: &StepFeatures) -> Option<f64> {
        self.log_prefill(c.prefill_law(), f).map(|t| (-t).exp())
    }
}
