//! What a newer MLX under a program that is installed would change on a machine: memory and speed of a model that shows it.

use crate::engine::installed::Installed;
use crate::engine::programs::{AskedEngine, Engines, fused_since};
use crate::estimate::{EstimateError, Estimator};
use crate::graph::Graph;
use crate::hardware::machine::Machine;
use crate::ledger::weights::Weights;
use crate::model::Scheme;
use crate::model::catalog::Models;
use crate::roofline::Coefficients;
use crate::run::{EngineName, MatrixUnits, Run, Version};
use crate::units::{Bytes, TokensPerSecond};
use schemars::JsonSchema;
use serde::Serialize;

/// Tokens of the prompt that is compared.
const PROMPT: u32 = 32_768;
/// Part of the GPU limit that the weights of the model may take.
const ROOM: f64 = 0.6;
/// Models that are looked at, the most downloaded first.
const LOOKED_AT: usize = 60;

/// Memory and speed before and after an update.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct UpdateEffect {
    /// The model, in 4 bits.
    pub model: String,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// MLX now and after the update.
    pub mlx: [Version; 2],
    /// Peak now and then.
    pub peak_bytes: [Bytes; 2],
    /// Prompt tokens per second now and then.
    pub prefill_tokens_per_s: [f64; 2],
    /// Generated tokens per second now and then.
    pub decode_tokens_per_s: [f64; 2],
}

impl UpdateEffect {
    /// What an update of a program would change on a machine; `None` where no popular model that fits shows a change.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn of(
        installed: &Installed,
        machine: &Machine,
        models: &Models,
    ) -> Result<Option<Self>, EstimateError> {
        let (Some(now), Some(newer)) = (installed.mlx, installed.newer_mlx) else {
            return Ok(None);
        };
        let gained = fused_since(now, newer);
        let without_units = installed.matrix_unit_kernels == Some(false);
        let Some((model, graph)) = telling(models, machine, &gained) else { return Ok(None) };
        let Ok(coefficients) = Coefficients::embedded() else { return Ok(None) };
        let at = |mlx: Version, units: MatrixUnits| -> Result<_, EstimateError> {
            let name = EngineName { program: installed.program, version: installed.version };
            let asked = AskedEngine {
                engine: Some(name),
                mlx: Some(mlx),
                matrix_units: units,
                ..AskedEngine::default()
            };
            let setup = Engines::embedded().map(|all| all.setup(&asked)).unwrap_or_default();
            let run = Run::default().with_engine(setup).with_context(PROMPT);
            Estimator::of_graph(coefficients, &graph, run).on(machine)
        };
        let before = if without_units { MatrixUnits::Off } else { MatrixUnits::Auto };
        let (old, new) = (at(now, before)?, at(newer, MatrixUnits::Auto)?);
        Ok(Some(Self {
            model,
            prompt_tokens: PROMPT,
            mlx: [now, newer],
            peak_bytes: [&old, &new].map(|f| Bytes(f.memory.peak.peak_bytes)),
            prefill_tokens_per_s: [&old, &new].map(|f| f.prefill.tokens_per_s),
            decode_tokens_per_s: [&old, &new].map(|f| f.decode.tokens_per_s),
        }))
    }

    /// The change in a sentence.
    #[must_use]
    pub fn text(&self) -> String {
        let [old, new] = self.peak_bytes;
        let rates = |[old, new]: [f64; 2]| {
            if (new / old - 1.0).abs() < 0.005 {
                format!("{} as before", TokensPerSecond(new))
            } else {
                format!("{} instead of {}", TokensPerSecond(new), TokensPerSecond(old))
            }
        };
        format!(
            "with MLX {} instead of {}, {} in 4 bits with a prompt of {} tokens takes {new} instead of {old}; prompts {}, \
             decode {}",
            self.mlx[1],
            self.mlx[0],
            self.model,
            self.prompt_tokens,
            rates(self.prefill_tokens_per_s),
            rates(self.decode_tokens_per_s)
        )
    }
}

/// The most downloaded model that fits and whose attention is fused in more cases than before.
fn telling(models: &Models, machine: &Machine, gained: &[u32]) -> Option<(String, Graph)> {
    let room = ROOM * machine.gpu_limit.bytes.0 as f64;
    let mut popular: Vec<_> = models.offered().collect();
    popular.sort_by_key(|model| std::cmp::Reverse(model.downloads));
    popular.into_iter().take(LOOKED_AT).find_map(|model| {
        let entry = model.entry().ok()?;
        let graph = Graph::quantized(&entry.config, Scheme::DEFAULT).ok()?;
        let fits = Weights::of(&graph).active_bytes as f64 <= room;
        let shown = |[query, _]: &[u32; 2]| gained.contains(query);
        (fits && graph.attention_heads().ok()?.iter().any(shown)).then(|| (model.id.clone(), graph))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::{Macs, spec};
    use crate::run::Program;
    use std::path::PathBuf;

    #[test]
    fn an_update_says_what_it_saves() {
        let version = |text: &str| -> Option<Version> { text.parse().ok() };
        let installed = Installed {
            program: Program::MlxLm,
            version: version("0.31.3"),
            mlx: version("0.31.2"),
            matrix_unit_kernels: Some(true),
            newer: version("0.32.2"),
            newer_mlx: version("0.32.4"),
            place: PathBuf::new(),
        };
        let mac = spec::resolve("m5max-40/128", &Macs::embedded()).expect("a Mac");
        let models = Models::built_in().expect("built in");
        let effect = UpdateEffect::of(&installed, &mac, &models).expect("runs").expect("a change");
        assert!(effect.peak_bytes[1] < effect.peak_bytes[0], "{effect:?}");
        assert!(
            effect.text().starts_with("with MLX 0.32.4 instead of 0.31.2, "),
            "{}",
            effect.text()
        );
    }
}
