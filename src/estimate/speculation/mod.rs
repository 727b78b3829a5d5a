//! Speculative decoding of a run: what drafts of a smaller model, or of the model's own heads, do to speed and memory, or
//! why there can be none.

mod answer;
mod assumed;
mod judged;
mod refusal;
mod times;

pub use answer::{AcceptanceAnswer, AtAcceptance, DraftAnswer, DraftVerdict, Speculation};
pub use refusal::{DraftDoubt, DraftRefusal};
pub use times::DraftWork;

use super::{EstimateError, Estimator, OpenedModel};
use crate::graph::Graph;
use crate::hardware::machine::Machine;
use crate::ledger::weights::Weights;
use crate::model::drafts::{PredictionHeads, SharedTokenizer, TokenizerOf, VocabularyError};
use crate::run::{Draft, DraftTokens, Drafter, Program};
use judged::Judged;
use refusal::{Case, GoesBack, of_heads, of_tokenizers};

/// What could draft for a model.
#[derive(Clone, Copy, Debug)]
pub enum DraftChoice<'m> {
    /// A smaller model.
    Model(&'m OpenedModel),
    /// The model's own prediction heads.
    Heads,
}

/// Factors around a speed-up at a known number of tokens a round that hold nine of ten measurements.
#[must_use]
pub fn band_of(program: Program, by: Drafter, graph: &Graph) -> [f64; 2] {
    let states = matches!(GoesBack::of(graph.cache_kinds()), GoesBack::Never(_));
    assumed::band(program, by, states).0
}

const MEANING: &str = "acceptance: the probability that a draft is right, given that those before it in its round were; \
                       programs report the share of drafts, or of the output, that was accepted";
const ASSUMED: &str = "the acceptance is an assumption by kind of text, and decides: measure it, or give it with --acceptance";

/// A draft of a run where nothing is said of it.
const UNSAID: Draft = Draft { by: Drafter::Model, tokens: DraftTokens::Default, acceptance: None };

impl Estimator<'_> {
    /// What drafts do to the run on a machine, each choice beside the others.
    ///
    /// # Errors
    /// When a model cannot be estimated at all, or the files of a tokenizer cannot be read.
    pub fn speculation(
        &self,
        machine: &Machine,
        choices: &[DraftChoice<'_>],
    ) -> Result<Speculation, EstimateError> {
        let asked = self.run().draft.unwrap_or(UNSAID);
        let alone = self.without_draft();
        let (decode, prefill) = alone.speeds(machine)?;
        let plain = Plain { tokens_per_s: decode.tokens_per_s, ttft_s: prefill.ttft_s };
        let tokenizer = alone.tokenizer()?;
        let mut drafts = Vec::new();
        for choice in choices {
            drafts.push(match choice {
                DraftChoice::Model(draft) => {
                    alone.with_model(machine, &asked, (draft, tokenizer.as_ref()), plain)?
                }
                DraftChoice::Heads => alone.with_heads(machine, &asked, plain)?,
            });
        }
        let run = self.run();
        let any = drafts.iter().any(|d| d.verdict != DraftVerdict::Impossible);
        let points = assumed::acceptances(asked.acceptance);
        Ok(Speculation {
            model: alone.label(),
            quant: self.quant(),
            tokenizer: tokenizer.as_ref().and_then(TokenizerOf::name),
            machine: machine.name.clone(),
            engine: run.engine.program,
            context_tokens: run.work.context_tokens,
            generate_tokens: run.work.generate_tokens,
            plain_tokens_per_s: plain.tokens_per_s,
            acceptance: AcceptanceAnswer {
                low: points.iter().map(|(a, _)| *a).fold(1.0, f64::min),
                high: points.iter().map(|(a, _)| *a).fold(0.0, f64::max),
                assumed: asked.acceptance.is_none(),
            },
            drafts,
            notes: if any { alone.notes(&asked, choices) } else { Vec::new() },
        })
    }

    /// Speed with drafts at each of some acceptances; `None` where there can be none.
    ///
    /// # Errors
    /// When a model cannot be estimated, or the files of a tokenizer cannot be read.
    pub fn speedups(
        &self,
        machine: &Machine,
        choice: &DraftChoice<'_>,
        acceptances: &[f64],
    ) -> Result<Option<Vec<AtAcceptance>>, EstimateError> {
        if self.may_draft(choice)?.is_err() {
            return Ok(None);
        }
        let (decode, prefill) = self.speeds(machine)?;
        let plain = Plain { tokens_per_s: decode.tokens_per_s, ttft_s: prefill.ttft_s };
        let asked = self.run().draft.unwrap_or(UNSAID);
        let points: Vec<(f64, Option<&'static str>)> =
            acceptances.iter().map(|a| (*a, None)).collect();
        let draft = match choice {
            DraftChoice::Model(model) => Some(self.of_other(model)),
            DraftChoice::Heads => None,
        };
        let by = if draft.is_some() { Drafter::Model } else { Drafter::Heads };
        let judged = Judged { main: self, draft: draft.as_ref(), by, asked: &asked };
        Ok(Some(judged.on(machine, plain, &points)?.at))
    }

    /// Whether there may be such drafts in the run at all.
    ///
    /// # Errors
    /// When the files of a tokenizer cannot be read.
    pub fn may_draft(
        &self,
        choice: &DraftChoice<'_>,
    ) -> Result<Result<(), DraftRefusal>, EstimateError> {
        let tokens = self.run().draft.unwrap_or(UNSAID).tokens;
        match choice {
            DraftChoice::Model(draft) => {
                let tokenizer = self.tokenizer()?;
                Ok(self.doubts_of(draft, tokenizer.as_ref(), tokens)?.map(|_| ()))
            }
            DraftChoice::Heads => Ok(self.doubts_of_heads(tokens).map(|_| ())),
        }
    }

    /// The model's heads and doubts about them, or why they cannot draft.
    fn doubts_of_heads(
        &self,
        tokens: DraftTokens,
    ) -> Result<(PredictionHeads, Vec<DraftDoubt>), DraftRefusal> {
        let repo = self.opened().map_or("", OpenedModel::repository);
        let heads = of_heads(self.opened().and_then(OpenedModel::prediction_heads), repo)?;
        let case = Case { graph: self.graph(), run: self.run(), by: Drafter::Heads, tokens };
        Ok((heads, case.of_run()?))
    }

    fn notes(&self, asked: &Draft, choices: &[DraftChoice<'_>]) -> Vec<String> {
        let mut notes = vec![MEANING.to_owned()];
        if asked.acceptance.is_none() {
            notes.push(ASSUMED.to_owned());
        }
        let states = matches!(GoesBack::of(self.graph().cache_kinds()), GoesBack::Never(_));
        for choice in choices {
            let by = match choice {
                DraftChoice::Model(_) => Drafter::Model,
                DraftChoice::Heads => Drafter::Heads,
            };
            let (_, source) = assumed::band(self.run().engine.program, by, states);
            let text = format!("90 %: {source}");
            if !notes.contains(&text) {
                notes.push(text);
            }
        }
        notes
    }

    fn label(&self) -> String {
        self.opened().map_or_else(|| self.graph().model_type().to_owned(), |m| m.id.clone())
    }

    fn tokenizer(&self) -> Result<Option<TokenizerOf>, VocabularyError> {
        self.opened().map(|model| TokenizerOf::of(&model.source)).transpose()
    }

    /// Doubts about a draft model and whether it shares the tokenizer, or why there cannot be one.
    fn doubts_of(
        &self,
        draft: &OpenedModel,
        tokenizer: Option<&TokenizerOf>,
        tokens: DraftTokens,
    ) -> Result<MayDraft, EstimateError> {
        let other = TokenizerOf::of(&draft.source)?;
        let shared = tokenizer.map_or(SharedTokenizer::Unknown, |own| own.shared_with(&other));
        let names = [tokenizer.and_then(TokenizerOf::name), other.name()];
        let label = self.label();
        let case = Case { graph: self.graph(), run: self.run(), by: Drafter::Model, tokens };
        let judge = || {
            let mut doubts = case.of_run()?;
            doubts.extend(of_tokenizers(shared, names, [&label, &draft.id])?);
            let parameters = |graph| Weights::of(graph).active_parameters;
            if parameters(&draft.graph) >= Weights::of(self.graph()).parameters {
                return Err(DraftRefusal::NotSmaller);
            }
            doubts.extend(judged::forgets(draft, self.run()));
            Ok((doubts, shared))
        };
        Ok(judge())
    }

    fn with_model(
        &self,
        machine: &Machine,
        asked: &Draft,
        (draft, tokenizer): (&OpenedModel, Option<&TokenizerOf>),
        plain: Plain,
    ) -> Result<DraftAnswer, EstimateError> {
        let (id, quant) = (draft.id.clone(), Some(draft.quant.clone()));
        let (doubts, shared) = match self.doubts_of(draft, tokenizer, asked.tokens)? {
            Ok(found) => found,
            Err(refusal) => return Ok(DraftAnswer::impossible(id, quant, refusal.to_string())),
        };
        let estimator = self.of_other(draft);
        let (_, prefill) = estimator.speeds(machine)?;
        let more = self.beside(machine, &estimator)?;
        let with = self.memory(machine)?.beside(more, machine);
        let judged = Judged { main: self, draft: Some(&estimator), by: Drafter::Model, asked };
        let mut answer = judged.on(machine, plain, &assumed::acceptances(asked.acceptance))?;
        answer.model = id;
        answer.quant = Some(estimator.quant());
        answer.tokenizer = Some(shared);
        answer.ttft_s = Some(plain.ttft_s + prefill.ttft_s);
        answer.draft_bytes = Some(with.draft.0);
        answer.peak_bytes = Some(with.peak.peak_bytes);
        answer.fits = Some(with.judgment.verdict);
        if shared == SharedTokenizer::Unknown {
            answer.verdict = DraftVerdict::Uncertain;
        }
        answer.doubts = doubts;
        answer.command = judged.command(draft, answer.draft_tokens);
        Ok(answer)
    }

    fn with_heads(
        &self,
        machine: &Machine,
        asked: &Draft,
        plain: Plain,
    ) -> Result<DraftAnswer, EstimateError> {
        let id = "mtp".to_owned();
        let (heads, mut doubts) = match self.doubts_of_heads(asked.tokens) {
            Ok(found) => found,
            Err(refusal) => return Ok(DraftAnswer::impossible(id, None, refusal.to_string())),
        };
        let judged = Judged { main: self, draft: None, by: Drafter::Heads, asked };
        let mut answer = judged.on(machine, plain, &assumed::acceptances(asked.acceptance))?;
        let layers = self.graph().layers().max(1);
        // 16-bit weights of one layer each, which is what checkpoints have.
        let bytes = 2 * Weights::of(self.graph()).parameters / layers * u64::from(heads.count);
        let with = self.memory(machine)?.beside(crate::units::Bytes(bytes), machine);
        answer.model = id;
        answer.ttft_s = Some(plain.ttft_s);
        answer.draft_bytes = Some(bytes);
        answer.peak_bytes = Some(with.peak.peak_bytes);
        answer.fits = Some(with.judgment.verdict);
        doubts.push(DraftDoubt::HeadsInFiles);
        answer.doubts = doubts;
        Ok(answer)
    }
}

/// Doubts about a draft model and whether it shares the tokenizer, or why there cannot be one.
type MayDraft = Result<(Vec<DraftDoubt>, SharedTokenizer), DraftRefusal>;

/// A run without drafts.
#[derive(Clone, Copy, Debug)]
struct Plain {
    tokens_per_s: f64,
    ttft_s: f64,
}
