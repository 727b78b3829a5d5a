//! What to run on a Mac when no model was named: of every size class the model that fits, is used and loses least.

use super::recommend::{AdviseError, CannotRun, LADDER, Question, is_hopeless, size_classes};
use super::start::{Files, start_line};
use super::use_case::UseCase;
use crate::estimate::memory::Fits;
use crate::estimate::{
    Basis, EstimateError, Estimator, OpenError, OpenedModel, Prediction, Sources,
};
use crate::ledger::weights::Weights;
use crate::model::catalog::{Models, Summary};
use crate::model::hub_index::conversions::{Conversion, conversions, gguf_repository};
use crate::model::source::ModelSource;
use crate::model::{ModelEntry, Scheme};
use rayon::prelude::*;

/// Models of a size class that are looked at, the most downloaded.
const TRIED: usize = 4;
/// When downloads were counted, in years.
const COUNTED: f64 = 2026.8;
/// Percent of loss that weigh as much as ten times the downloads.
const LOSS_OF_TENFOLD: f64 = 10.0;
/// What a loss that nobody published counts as, in percent.
const UNKNOWN_LOSS: f64 = 5.0;

/// A model to start with.
#[derive(Clone, Debug)]
pub struct Pick {
    /// As predicted.
    pub prediction: Prediction,
    /// The repository that holds it in this format, where the index knows one.
    pub repository: Option<String>,
    /// The line that starts the program with it.
    pub start: Option<String>,
    /// Day on which the model was published, ISO.
    pub released: Option<String>,
    /// Downloads of the original in 30 days.
    pub downloads: u64,
    /// Whether it is as fast as its use wants.
    pub fast_enough: bool,
}

/// Picks, and the models that cannot run as asked.
#[derive(Debug, Default)]
pub struct Picks {
    /// One of every size class that has any, the smallest first.
    pub all: Vec<Pick>,
    /// Models that were looked at and cannot run.
    pub cannot: Vec<CannotRun>,
}

impl Picks {
    /// The largest that is fast enough, else the largest.
    #[must_use]
    pub fn first_choice(&self) -> Option<&Pick> {
        self.all.iter().rev().find(|p| p.fast_enough).or(self.all.last())
    }
}

/// What picks are made for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// What the model is for.
    pub use_case: Option<UseCase>,
    /// Most that a format may lose, in percent.
    pub max_loss: Option<f64>,
}

/// Picks of every size class. Within a class the order is: those fast enough for the use, then the logarithm of downloads
/// less half of one for every year of age and one for every ten percent of published loss.
///
/// # Errors
/// When an entry of the catalog is wrong.
pub fn picks(
    q: Question<'_>,
    wish: Wish,
    catalog: &Models,
    sources: &Sources<'_, '_>,
) -> Result<Picks, AdviseError> {
    let classes = size_classes(catalog);
    let search = PickSearch { q, wish, sources };
    let of_classes = classes.par_iter().map(|models| search.of_class(models));
    let mut all = Picks::default();
    for (pick, cannot) in of_classes.collect::<Result<Vec<_>, AdviseError>>()? {
        all.all.extend(pick);
        all.cannot.extend(cannot);
    }
    all.all.sort_by_key(|p| p.prediction.model.weights.parameters);
    Ok(all)
}

struct PickSearch<'a> {
    q: Question<'a>,
    wish: Wish,
    sources: &'a Sources<'a, 'a>,
}

/// A format of a model and where its files are.
struct Offered {
    scheme: Option<Scheme>,
    repository: Option<&'static str>,
}

/// A model in the format that was taken for it. All else is predicted of the one that is picked.
struct Chosen<'m> {
    model: &'m Summary,
    entry: ModelEntry,
    opened: OpenedModel,
    offered: Offered,
    fast_enough: bool,
    score: f64,
}

/// The bits of a weight in a format.
fn bits(scheme: Scheme) -> u32 {
    scheme.packing().map_or(16, |p| p.bits)
}

impl PickSearch<'_> {
    fn of_class(&self, models: &[&Summary]) -> Result<(Option<Pick>, Vec<CannotRun>), AdviseError> {
        let mut found: Vec<Chosen<'_>> = Vec::new();
        let mut cannot = Vec::new();
        let mut tried = 0;
        for model in models {
            if tried == TRIED {
                break;
            }
            let entry = model.entry()?;
            if !self.suits(&entry) {
                continue;
            }
            tried += 1;
            match self.of_model(model, entry)? {
                Ok(chosen) => found.extend(chosen),
                Err(why) => cannot.push(why),
            }
        }
        let better = |a: &Chosen<'_>, b: &Chosen<'_>| {
            b.fast_enough.cmp(&a.fast_enough).then(b.score.total_cmp(&a.score))
        };
        found.sort_by(better);
        for chosen in &found {
            match self.predicted(chosen) {
                Ok(prediction) => return Ok((Some(Pick::of(prediction, chosen)), cannot)),
                Err(error) => cannot.push(CannotRun::of(&chosen.opened, &error)),
            }
        }
        Ok((None, cannot))
    }

    fn estimator<'m>(&'m self, opened: &'m OpenedModel) -> Estimator<'m> {
        Estimator::new(self.q.coefficients, opened, *self.q.run, Basis::Spec)
    }

    fn predicted(&self, chosen: &Chosen<'_>) -> Result<Prediction, EstimateError> {
        self.estimator(&chosen.opened).at(self.q.machine)
    }

    /// Whether a model can be used for what is wanted at all.
    fn suits(&self, entry: &ModelEntry) -> bool {
        match self.wish.use_case {
            Some(UseCase::Vision) => entry.config.get("vision_config").is_some(),
            // Models that were made for code say so in their names; large ones of other names are as good at it.
            Some(UseCase::Code) => {
                let name = entry.id.to_lowercase();
                let made_for = ["code", "devstral"].iter().any(|word| name.contains(word));
                made_for || entry.published_params.is_some_and(|n| n >= 5_000_000_000)
            }
            _ => true,
        }
    }

    /// The formats of a model that are looked at, those that lose least first.
    fn formats(&self, entry: &ModelEntry) -> Vec<Offered> {
        if self.q.run.engine.program.runs_gguf()
            || entry.config.get("quantization_config").is_some()
        {
            return vec![Offered { scheme: None, repository: None }];
        }
        let mut known: Vec<Conversion> = conversions(&entry.id);
        known.retain(|c| {
            (4..=8).contains(&bits(c.scheme)) && !matches!(c.scheme, Scheme::Mixed(..))
        });
        known.sort_by_key(|c| std::cmp::Reverse(bits(c.scheme)));
        if known.is_empty() {
            let usual = LADDER.into_iter().filter(|s| bits(*s) >= 4);
            return usual.map(|s| Offered { scheme: Some(s), repository: None }).collect();
        }
        let offered = |c: Conversion| Offered {
            scheme: Some(c.scheme),
            repository: Some(c.repo.repo.as_str()),
        };
        known.into_iter().map(offered).collect()
    }

    /// The format of a model that loses least, fits, and is fast enough; where none is so fast, the one that loses least.
    fn of_model<'m>(
        &self,
        model: &'m Summary,
        entry: ModelEntry,
    ) -> Result<Result<Option<Chosen<'m>>, CannotRun>, AdviseError> {
        let Question { machine, run, .. } = self.q;
        let gguf = run.engine.program.runs_gguf();
        let mut slow = None;
        for offered in self.formats(&entry) {
            if offered.scheme.is_some_and(|scheme| is_hopeless(model, bits(scheme), machine)) {
                continue;
            }
            let source = ModelSource::from_entry(&entry).map_err(OpenError::from)?;
            let opened = OpenedModel::from_source(source, offered.scheme, self.sources)?;
            let opened = opened.with_towers_of(run.engine.program);
            // What the weights alone exceed needs no simulation.
            if !gguf && Weights::of(&opened.graph).active_bytes > machine.gpu_limit.bytes.0 {
                continue;
            }
            let made_for = opened.graph.max_context();
            if made_for.is_some_and(|n| n < u64::from(run.total_tokens())) {
                return Ok(Ok(None));
            }
            let estimator = self.estimator(&opened);
            let loss = estimator.loss();
            if let Some(most) = self.wish.max_loss
                && loss.as_ref().is_none_or(|loss| loss.worst() > most)
            {
                continue;
            }
            let fast_enough = match self.fast_enough(&estimator) {
                Ok(Some(fast_enough)) => fast_enough,
                Ok(None) => continue,
                Err(error) => return Ok(Err(CannotRun::of(&opened, &error))),
            };
            if !fast_enough && slow.is_some() {
                continue;
            }
            let lost = loss.map_or(UNKNOWN_LOSS, |loss| loss.worst().max(0.0));
            let score = score(model, &entry, lost);
            drop(estimator);
            let entry = entry.clone();
            let chosen = Chosen { model, entry, opened, offered, fast_enough, score };
            if fast_enough {
                return Ok(Ok(Some(chosen)));
            }
            slow = Some(chosen);
        }
        Ok(Ok(slow))
    }

    /// Whether a model is as fast as its use wants; `None` where it does not fit.
    fn fast_enough(&self, estimator: &Estimator<'_>) -> Result<Option<bool>, EstimateError> {
        estimator.possible()?;
        if estimator.memory(self.q.machine)?.judgment.fits == Fits::No {
            return Ok(None);
        }
        let least = self.wish.use_case.map_or(0.0, UseCase::least_tok_s);
        let (decode, _) = estimator.speeds(self.q.machine)?;
        Ok(Some(decode.tokens_per_s >= least))
    }
}

/// How far a model is to be preferred to others of its class.
fn score(model: &Summary, entry: &ModelEntry, lost: f64) -> f64 {
    let downloads = model.downloads.unwrap_or(0) as f64;
    let age = entry.release_date.as_deref().and_then(years).map_or(2.0, |at| COUNTED - at);
    (1.0 + downloads).log10() - 0.5 * age - lost / LOSS_OF_TENFOLD
}

impl Pick {
    fn of(prediction: Prediction, chosen: &Chosen<'_>) -> Self {
        let Chosen { model, entry, offered, fast_enough, .. } = chosen;
        let (id, program) = (entry.id.as_str(), prediction.run.engine.program);
        let gguf = program.runs_gguf().then(|| gguf_repository(id)).flatten();
        let kind = prediction.model.quant.trim_start_matches("gguf-").to_uppercase();
        let files = match (gguf, offered.repository, offered.scheme) {
            (Some(repo), _, _) => Some(Files::Gguf(&repo.repo, &kind)),
            (None, Some(repo), _) => Some(Files::Repository(repo)),
            (None, None, Some(scheme)) => Some(Files::Original { id, scheme }),
            (None, None, None) => (!program.runs_gguf()).then_some(Files::Repository(id)),
        };
        let repository = match &files {
            Some(Files::Repository(repo) | Files::Gguf(repo, _)) => Some((*repo).to_owned()),
            _ => None,
        };
        let start = files.as_ref().and_then(|files| start_line(program, files));
        let downloads = model.downloads.unwrap_or(0);
        let (released, fast_enough) = (entry.release_date.clone(), *fast_enough);
        Self { prediction, repository, start, released, downloads, fast_enough }
    }
}

/// A day as years: 2026-07 is 2026.5.
fn years(date: &str) -> Option<f64> {
    let year: f64 = date.get(..4)?.parse().ok()?;
    let month: f64 = date.get(5..7)?.parse().ok()?;
    Some(year + (month - 1.0) / 12.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advise::use_case::GivenLengths;
    use crate::hardware::{Macs, spec};
    use crate::model::source::hub::HubOptions;
    use crate::roofline::Coefficients;
    use crate::run::Run;

    fn on(mac: &str, wish: Wish, run: Run) -> Picks {
        let models = Models::built_in().expect("the built-in catalog");
        let machine = spec::resolve(mac, &Macs::embedded()).expect("a Mac");
        let coefficients = Coefficients::embedded().expect("built in");
        let run = wish.use_case.map_or(run, |u| u.run(run, GivenLengths::default()));
        let program = run.engine.program;
        let hub = HubOptions { offline: true, ..HubOptions::default() };
        let sources = Sources { catalog: &models, hub, progress: &|_| {}, assume: None, program };
        let q = Question { machine: &machine, coefficients, run: &run };
        picks(q, wish, &models, &sources).expect("picked")
    }

    #[test]
    fn picks_fit_and_can_be_started() {
        let wish = Wish { use_case: Some(UseCase::Chat), max_loss: None };
        let found = on("m4pro-20/48", wish, Run::default());
        assert!(found.all.len() >= 4, "{}", found.all.len());
        for p in &found.all {
            let memory = p.prediction.memory.as_ref().expect("a Mac");
            assert_ne!(memory.judgment.fits, Fits::No, "{}", p.prediction.model.id);
            let start = p.start.as_ref().expect("mlx-lm");
            assert!(start.contains("mlx_lm.chat --model "), "{start}");
        }
        let first = found.first_choice().expect("one");
        assert!(first.fast_enough && first.prediction.decode.tokens_per_s >= 8.0);
    }

    #[test]
    fn no_pick_loses_more_than_is_allowed() {
        let wish = Wish { use_case: None, max_loss: Some(1.0) };
        for p in on("m4-10/16", wish, Run::default()).all {
            assert!(p.prediction.loss().is_some_and(|l| l.worst() <= 1.0), "{:?}", p.start);
        }
    }

    #[test]
    fn long_prompts_need_models_that_were_made_for_them() {
        let wish = Wish { use_case: Some(UseCase::LongContext), max_loss: None };
        for p in on("m4max-40/64", wish, Run::default()).all {
            assert!(
                p.prediction.context.is_some_and(|c| c.at_most.tokens >= 66_048),
                "{:?}",
                p.start
            );
        }
    }
}
