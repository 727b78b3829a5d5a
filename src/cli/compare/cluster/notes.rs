//! What to set up so that several Macs run a model, and what can go wrong.

use crate::advise::cluster::Copies;
use crate::estimate::Cluster;
use crate::roofline::links::Link;
use crate::run::{Program, Run};
use crate::units::TokensPerSecond;
use schemars::JsonSchema;
use serde::Serialize;

/// What `MLX_METAL_FAST_SYNCH` risks.
const FAST_RISK: &str =
    "MLX calls it unreliable: runs have deadlocked (mlx 3142), and it is off by default";

/// A setting, and what it risks.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub(super) struct ClusterSetting {
    /// What to do, as a command or in words.
    pub set: String,
    /// What it is for.
    pub why: &'static str,
    /// What can go wrong; `null` where nothing is known to.
    pub risk: Option<&'static str>,
}

impl ClusterSetting {
    /// The setting in a line.
    pub(super) fn text(&self) -> String {
        let risk = self.risk.map_or_else(String::new, |risk| format!("; risk: {risk}"));
        format!("set up: {} ({}{risk})", self.set, self.why)
    }
}

/// What has to be set up, in order.
pub(super) fn settings(cluster: &Cluster, run: &Run) -> Vec<ClusterSetting> {
    let mut all = Vec::new();
    let mut add = |set: String, why, risk| all.push(ClusterSetting { set, why, risk });
    let link = cluster.link();
    if link.needs_rdma() {
        add(
            "rdma_ctl enable (in Recovery, on every Mac), and Thunderbolt Bridge off".to_owned(),
            "RDMA over Thunderbolt, macOS 26.2 or later",
            Some(
                "it cannot be switched on from afar, and every Mac needs a cable to every other one",
            ),
        );
    }
    if run.engine.program == Program::Exo {
        return all;
    }
    let hosts: Vec<String> = (1..=cluster.nodes()).map(|n| format!("mac{n}.local")).collect();
    let backend = if link == Link::Ring { "ring" } else { "jaccl" };
    add(
        format!(
            "mlx.distributed_config --hosts {} --over thunderbolt --backend {backend} --output-hostfile hosts.json",
            hosts.join(",")
        ),
        "finds the ports and writes the hostfile, rank 0 first",
        None,
    );
    let fast = if link == Link::Fast { "--env MLX_METAL_FAST_SYNCH=1 " } else { "" };
    let program = match run.engine.program {
        Program::MlxServer => "mlx_lm.server --model MODEL",
        _ => "mlx_lm.chat --model MODEL",
    };
    add(
        format!("mlx.launch --backend {backend} {fast}--hostfile hosts.json -- {program}"),
        "splits by tensors; --pipeline behind it runs layers in turn; the model's files are on every Mac",
        None,
    );
    match link {
        Link::Fast => add(
            "MLX_METAL_FAST_SYNCH=1".to_owned(),
            "the GPU waits for the CPU without sleeping",
            Some(FAST_RISK),
        ),
        Link::Jaccl => add(
            "MLX_METAL_FAST_SYNCH=1 (--link fast here)".to_owned(),
            "a third of the wait of every sum",
            Some(FAST_RISK),
        ),
        Link::Ring => add(
            "a cable between the Macs, not Wi-Fi".to_owned(),
            "TCP goes over any network",
            Some(
                "over Wi-Fi a step between Macs takes 10 to 30 ms (exo 2295), which no split by tensors survives",
            ),
        ),
    }
    all
}

/// What holds of every answer.
pub(super) fn remarks(cluster: &Cluster) -> Vec<String> {
    let law = cluster.link().law();
    let [low, high] = law.sum_s.range.map(|s| s * 1e3);
    let [soon, late] = law.hop_s.range.map(|s| s * 1e3);
    vec![
        format!(
            "{}: {:.2} ms ({low:.2} to {high:.2}) for a sum over two Macs, {:.0} ms ({soon:.1} to {late:.0}) from one Mac of a \
             pipeline to the next; few published runs name their link, so these are wide ({})",
            cluster.link(),
            law.sum_s.value * 1e3,
            law.hop_s.value * 1e3,
            law.source
        ),
        "memory is that of the fullest Mac; in a pipeline mlx-lm splits the layers evenly, and the first Mac named has the last \
         ones"
            .to_owned(),
        "several Macs take no adapters and no draft model (mlx-lm)".to_owned(),
    ]
}

/// Independent copies, in a sentence.
pub(super) fn copies_text(copies: &Copies) -> String {
    format!(
        "for several users: {} independent copies, one on each Mac, give {} tok/s in all, {} to each of {} users at once, and wait \
         for nothing; each takes {}",
        copies.copies,
        TokensPerSecond(copies.total_tokens_per_s),
        TokensPerSecond(copies.tokens_per_s_each),
        copies.copies,
        copies.bytes_each
    )
}
