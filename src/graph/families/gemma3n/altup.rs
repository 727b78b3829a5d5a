//! AltUp: every layer predicts all copies of the hidden state, computes one of them, and corrects the others by it.

use super::Settings;
use crate::graph::parts::prelude::*;

/// Prediction and correction of the copies.
pub(super) struct AltUp {
    pub(super) correct_output_scale: ModuleId,
    correction: ModuleId,
    prediction: ModuleId,
    router: Linear,
    router_norm: RmsNorm,
    copies: u64,
    pub(super) active: u32,
    clip: Option<f64>,
    width: u64,
}

impl AltUp {
    pub(super) fn new(p: &mut ParamBuilder, s: &Settings) -> Self {
        Self {
            correct_output_scale: p.raw("correct_output_scale", &[s.width]),
            correction: p.linear("correction_coefs", s.copies, s.copies, false),
            prediction: p.linear("prediction_coefs", s.copies, s.copies * s.copies, false),
            router: Linear::new(p, "modality_router", s.width, s.copies, false),
            router_norm: RmsNorm::new(p, "router_norm", s.width, s.eps),
            copies: s.copies,
            active: s.active,
            clip: s.clip,
            width: s.width,
        }
    }

    fn modalities(&self, t: &Tape<'_>, x: Var) -> Var {
        let x = t.mul(self.router_norm.forward(t, x), 1.0 / self.width as f64);
        t.unary(Unary::Tanh, t.astype(self.router.forward(t, x), DType::F32))
    }

    /// `modalities W^T` in float32. mlx-lm replaces the weight by its clipped float32 value at every call, so it is
    /// float32 already in all calls but the first.
    fn coefficients(&self, t: &Tape<'_>, id: ModuleId, x: Var, first_call: bool) -> Var {
        if t.params().module(id).packing.is_some() {
            return t.fail("mlx-lm cannot run this model with quantised AltUp coefficients");
        }
        let mut w = if first_call {
            t.astype(t.param(id, Part::Weight), DType::F32)
        } else {
            t.param_as(id, Part::Weight, DType::F32)
        };
        if let Some(clip) = self.clip {
            w = t.clip(w, -clip, clip);
        }
        t.matmul(x, t.transpose(w, &[1, 0]))
    }

    /// Predicted copies from the copies `x [copies, batch, tokens, width]`.
    pub(super) fn predict(&self, t: &Tape<'_>, x: Var, first_call: bool) -> Var {
        let modalities = self.modalities(t, t.row(x, self.active));
        let all = self.coefficients(t, self.prediction, modalities, first_call);
        let (b, n) = (i64::from(t.dim(all, 0)), i64::from(t.dim(all, 1)));
        let copies = self.copies as i64;
        let all = t.transpose(t.reshape(all, &[b, n, copies, copies]), &[0, 1, 3, 2]);
        let wide = t.astype(x, DType::F32);
        let predictions = t.matmul(t.transpose(wide, &[1, 2, 3, 0]), all);
        t.astype(t.add(t.transpose(predictions, &[3, 0, 1, 2]), wide), t.dtype(x))
    }

    /// The predictions corrected by what the layer computed for the active copy.
    pub(super) fn correct(
        &self,
        t: &Tape<'_>,
        predictions: Var,
        activated: Var,
        first_call: bool,
    ) -> Var {
        let all = self.coefficients(t, self.correction, self.modalities(t, activated), first_call);
        let all = t.add(all, 1.0);
        let innovation = t.sub(activated, t.row(predictions, self.active));
        let all = t.transpose(all, &[2, 0, 1]);
        let corrected = t.mul(t.expand_dims(innovation, &[0]), t.expand_dims(all, &[-1]));
        t.astype(t.add(corrected, predictions), t.dtype(activated))
    }
}
