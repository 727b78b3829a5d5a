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

    fn modalities<'t>(&self, x: Var<'t>) -> Var<'t> {
        let x = self.router_norm.forward(x) * (1.0 / self.width as f64);
        self.router.forward(x).astype(DType::F32).tanh()
    }

    /// `modalities W^T` in float32. mlx-lm replaces the weight by its clipped float32 value at every call, so it is
    /// float32 already in all calls but the first.
    fn coefficients<'t>(&self, id: ModuleId, x: Var<'t>, first_call: bool) -> Var<'t> {
        let t = x.tape();
        if t.params().module(id).packing.is_some() {
            return t.fail("mlx-lm cannot run this model with quantized AltUp coefficients");
        }
        let mut w = if first_call {
            t.param(id, Part::Weight).astype(DType::F32)
        } else {
            t.param_as(id, Part::Weight, DType::F32)
        };
        if let Some(clip) = self.clip {
            w = w.clip(-clip, clip);
        }
        x.matmul(w.transpose(&[1, 0]))
    }

    /// Predicted copies from the copies `x [copies, batch, tokens, width]`.
    pub(super) fn predict<'t>(&self, x: Var<'t>, first_call: bool) -> Var<'t> {
        let modalities = self.modalities(x.row(self.active));
        let all = self.coefficients(self.prediction, modalities, first_call);
        let (b, n) = (i64::from(all.dim(0)), i64::from(all.dim(1)));
        let copies = self.copies as i64;
        let all = all.reshape(&[b, n, copies, copies]).transpose(&[0, 1, 3, 2]);
        let wide = x.astype(DType::F32);
        let predictions = wide.transpose(&[1, 2, 3, 0]).matmul(all);
        (predictions.transpose(&[3, 0, 1, 2]) + wide).astype(x.dtype())
    }

    /// The predictions corrected by what the layer computed for the active copy.
    pub(super) fn correct<'t>(
        &self,
        predictions: Var<'t>,
        activated: Var<'t>,
        first_call: bool,
    ) -> Var<'t> {
        let all = self.coefficients(self.correction, self.modalities(activated), first_call) + 1.0;
        let innovation = activated - predictions.row(self.active);
        let all = all.transpose(&[2, 0, 1]);
        let corrected = innovation.expand_dims(&[0]) * all.expand_dims(&[-1]);
        (corrected + predictions).astype(activated.dtype())
    }
}
