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
        let x = self.router_norm.forward(t, x);
        let x = t.mul(x, 1.0 / self.width as f64);
        let routed = self.router.forward(t, x);
        let routed = t.astype(routed, DType::F32);
        t.unary(Unary::Tanh, routed)
    }

    /// `modalities W^T` in float32. mlx-lm replaces the weight by its clipped float32 value at every call, so it is
    /// float32 already in all calls but the first.
    fn coefficients(&self, t: &Tape<'_>, id: ModuleId, x: Var, first_call: bool) -> Var {
        if t.params().module(id).packing.is_some() {
            return t.fail("mlx-lm cannot run this model with quantised AltUp coefficients");
        }
        let mut w = if first_call {
            let w = t.param(id, Part::Weight);
            t.astype(w, DType::F32)
        } else {
            t.param_as(id, Part::Weight, DType::F32)
        };
        if let Some(clip) = self.clip {
            w = t.clip(w, -clip, clip);
        }
        let w = t.transpose(w, &[1, 0]);
        t.matmul(x, w)
    }

    /// Predicted copies from the copies `x [copies, batch, tokens, width]`.
    pub(super) fn predict(&self, t: &Tape<'_>, x: Var, first_call: bool) -> Var {
        let active = t.row(x, self.active);
        let modalities = self.modalities(t, active);
        let all = self.coefficients(t, self.prediction, modalities, first_call);
        let (b, n) = (i64::from(t.dim(all, 0)), i64::from(t.dim(all, 1)));
        let copies = self.copies as i64;
        let all = t.reshape(all, &[b, n, copies, copies]);
        let all = t.transpose(all, &[0, 1, 3, 2]);
        let wide = t.astype(x, DType::F32);
        let permuted = t.transpose(wide, &[1, 2, 3, 0]);
        let predictions = t.matmul(permuted, all);
        let predictions = t.transpose(predictions, &[3, 0, 1, 2]);
        let predictions = t.add(predictions, wide);
        let dtype = t.dtype(x);
        t.astype(predictions, dtype)
    }

    /// The predictions corrected by what the layer computed for the active copy.
    pub(super) fn correct(
        &self,
        t: &Tape<'_>,
        predictions: Var,
        activated: Var,
        first_call: bool,
    ) -> Var {
        let modalities = self.modalities(t, activated);
        let all = self.coefficients(t, self.correction, modalities, first_call);
        let all = t.add(all, 1.0);
        let active = t.row(predictions, self.active);
        let innovation = t.sub(activated, active);
        let all = t.transpose(all, &[2, 0, 1]);
        let innovation = t.expand_dims(innovation, &[0]);
        let all = t.expand_dims(all, &[-1]);
        let corrected = t.mul(innovation, all);
        let corrected = t.add(corrected, predictions);
        let dtype = t.dtype(activated);
        t.astype(corrected, dtype)
    }
}
