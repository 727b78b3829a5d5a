//! Bare `mlxplan`: this machine and what it can run, or what to try where it is no Mac.

use super::args::{MachineArgs, ProbeArgs, RecommendArgs, RunArgs};
use super::{Context, Verdict, probe, recommend};
use crate::report::{Answer, Document};
use anyhow::Result;
use serde_json::json;

pub(super) fn run(context: &Context) -> Result<(Answer, Verdict)> {
    let (this, verdict) = probe::run(context, &ProbeArgs { explain: false, from: None })?;
    let args = RecommendArgs {
        model: None,
        quant: None,
        limit: 8,
        machine: MachineArgs::default(),
        run: RunArgs::default(),
    };
    let mut d = this.document;
    let choices = match recommend::run(context, &args) {
        Ok((answer, _)) => {
            d.blocks.extend(answer.document.blocks);
            answer.json
        }
        Err(why) => {
            d.text(format!("{why}. Name a Mac to plan for it:"));
            json!(null)
        }
    };
    try_next(&mut d);
    let json =
        json!({ "schema": "mlxplan.welcome/1", "this": this.json, "recommendation": choices });
    Ok((Answer { json, document: d }, verdict))
}

fn try_next(d: &mut Document) {
    d.code(
        "mlxplan recommend --model 32B-4bit --mac m4max-40/128\n\
         mlxplan predict --model qwen3-32b-4bit --mac m4max-40/64 --context 32768\n\
         mlxplan inspect qwen3-30b-a3b-4bit\n\
         mlxplan --help",
    );
}
