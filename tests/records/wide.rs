//! Peaks of memory that users published of vision towers, of prompts in one chunk and of wide heads, by the version of MLX.

use crate::field::{asked, differs, graph};
use mlxplan::graph::Graph;
use mlxplan::graph::towers::Loader;
use mlxplan::ledger::weights::Weights;
use mlxplan::model::Scheme;
use mlxplan::model::catalog::Models;

/// lmstudio-ai/mlx-engine#366: Qwen3.8-27B-MLX-4bit is 16.05 GB on disk and takes 15.3 to 15.4 GiB in LM Studio, which
/// loads the vision tower; mlx-lm leaves it out.
#[test]
fn weights_with_the_vision_tower() {
    let models = Models::built_in().expect("a good catalog");
    let entry = models.get("Qwen/Qwen3.8-27B").expect("in the catalog").entry().expect("good");
    let scheme: Scheme = "4bit".parse().expect("a scheme");
    let seen = Graph::converted(&entry.config, scheme, Loader::MlxVlm).expect("a graph");
    let [seen, alone] =
        [&seen, &graph("Qwen/Qwen3.8-27B", "4bit")].map(|g| Weights::of(g).bytes as f64 / 1e9);
    assert!((seen / 16.05 - 1.0).abs() < 0.005, "{seen}");
    assert!((alone / 15.13 - 1.0).abs() < 0.005, "{alone}");
}

/// ml-explore/mlx#4505: a prompt of 4096 tokens in one chunk on an M1 with 16 GB, before the pull request.
#[test]
fn a_small_model_in_one_chunk() {
    let model = graph("Qwen/Qwen3.5-2B", "nvfp4");
    let run = asked("mlx-lm mlx=0.32.2 chunk=4096", 4096, 128);
    let wrong = differs(&model, "m1-8/16", run, 2.78, 0.025);
    assert_eq!(wrong, None);
}

/// ml-explore/mlx#4487 and #4518: peaks of Gemma 4 in nvfp4 with heads of 512 before and after their scores were cut into
/// blocks. With blocks the answer is on the safe side, by up to 4 %.
#[test]
fn wide_heads_before_and_after() {
    let (twelve, thirty) =
        (graph("google/gemma-4-12B-it", "nvfp4"), graph("google/gemma-4-31B-it", "nvfp4"));
    let mut wrong = Vec::new();
    for (model, on, mlx, published, near) in [
        (&thirty, "m3ultra-80/256", "0.32.3", 23.952, 0.02),
        (&thirty, "m3ultra-80/256", "0.32.4", 22.531, 0.04),
        (&twelve, "m4pro-20/48", "0.32.3", 9.736, 0.02),
        (&twelve, "m4pro-20/48", "0.32.4", 9.032, 0.04),
    ] {
        let run = asked(&format!("mlx-lm mlx={mlx}"), 16_384, 128);
        wrong.extend(differs(model, on, run, published, near));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
