//! How mlx-lm divides a model among several Macs: which tensors `Model.shard` splits and along which axis, and where the
//! layers of `pipeline` go.
//!
//! Every family says which of these it has (`Family::parallel`); what `shard` does was read in mlx-lm 0.32.2 and is compared
//! with it tensor by tensor (`tests/oracle/shards.py`).

use super::params::{Module, Part};
use thiserror::Error;

/// How a family is divided among Macs.
#[derive(Debug, PartialEq, Eq)]
pub struct Division {
    /// What `Model.shard` does; `None` where the model class has no such method.
    pub tensor: Option<TensorShards>,
    /// Who gets the layers that are left over by `model.pipeline`; `None` where there is no such method.
    pub pipeline: Option<LeftOver>,
}

/// What `Model.shard` splits.
#[derive(Debug, PartialEq, Eq)]
pub struct TensorShards {
    /// Sets of names, each of a kind of layer.
    pub names: &'static [SplitNames],
    /// Modules inside which nothing is split, although names there are alike.
    pub whole: &'static [&'static str],
    /// What becomes of keys and values.
    pub keys: KeyHeads,
}

/// Names of modules that are split, by the axis: the last part of their paths that is neither a number nor `weight` or `bias`.
#[derive(Debug, PartialEq, Eq)]
pub struct SplitNames {
    /// Split by their outputs (`all-to-sharded`).
    pub outputs: &'static [&'static str],
    /// Split by their inputs (`sharded-to-all`): what they give is summed over all Macs.
    pub inputs: &'static [&'static str],
    /// Split along the first axis: one entry for every head or group.
    pub first: &'static [&'static str],
}

/// What becomes of keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyHeads {
    /// Every Mac has its heads, and nothing else.
    Divided,
    /// The same, and a head is on several Macs where there are more of these.
    Repeated,
    /// All Macs keep all of them: one latent row for all heads.
    Whole,
}

/// Who gets the layers that an even split leaves over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOver {
    /// Low ranks, which have the last layers (`PipelineMixin`).
    Last,
    /// High ranks, which have the first ones.
    First,
    /// Groups of so many layers stay together: low ranks have the groups left over, and rank 0 the layers behind the last
    /// whole group.
    LastGroups(u64),
}

/// The axis along which a tensor is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// The outputs of a matrix.
    Outputs,
    /// Its inputs.
    Inputs,
    /// The first axis.
    First,
}

const NOTHING: SplitNames = SplitNames { outputs: &[], inputs: &[], first: &[] };

/// Attention with keys of its own, gated MLPs, experts stacked or shared.
const BLOCKS: SplitNames = SplitNames {
    outputs: &["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"],
    inputs: &["o_proj", "down_proj"],
    first: &[],
};
/// Latent attention: what is made of the latent by head.
const LATENT: SplitNames = SplitNames {
    outputs: &["q_b_proj", "kv_b_proj"],
    first: &["embed_q", "unembed_out"],
    ..NOTHING
};
const SINKS: SplitNames = SplitNames { first: &["sinks"], ..NOTHING };
/// A gate of attention by head.
const HEAD_GATE: SplitNames = SplitNames { outputs: &["g_proj"], ..NOTHING };
/// Norms over all heads of queries and keys at once.
const WIDE_NORMS: SplitNames = SplitNames { first: &["q_norm", "k_norm"], ..NOTHING };
const SPARSE_INDEX: SplitNames = SplitNames { outputs: &["index_q_proj"], ..NOTHING };
const LOOP_GATES: SplitNames = SplitNames { first: &["gate_projections"], ..NOTHING };
const HEAD: SplitNames = SplitNames { outputs: &["lm_head"], ..NOTHING };
const FUSED_GATED: SplitNames = SplitNames { outputs: &["qkvg_proj"], ..NOTHING };
/// Gated delta layers of Qwen3.5.
const DELTA: SplitNames = SplitNames {
    outputs: &["in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a"],
    inputs: &["out_proj"],
    first: &["conv1d", "dt_bias", "A_log"],
};
/// Delta layers of Kimi K3.
const KIMI_DELTA: SplitNames = SplitNames {
    outputs: &["qkv_proj", "f_b_proj", "g_proj", "g_b_proj", "b_proj"],
    first: &["conv", "dt_bias", "A_log"],
    ..NOTHING
};
/// Attention of DeepSeek V4.1, whose output goes through groups of heads.
const GROUPED_OUTPUT: SplitNames =
    SplitNames { outputs: &["q_b_proj"], inputs: &["o_b_proj"], first: &["o_a_proj", "sinks"] };

const fn tensor(names: &'static [SplitNames], keys: KeyHeads) -> Division {
    Division { tensor: Some(TensorShards { names, whole: &[], keys }), pipeline: None }
}

impl Division {
    const fn pipelined(self, left_over: LeftOver) -> Self {
        Self { pipeline: Some(left_over), ..self }
    }
}

/// Neither: the model runs on one Mac.
pub static ALONE: Division = Division { tensor: None, pipeline: None };
/// A pipeline and no `shard`.
pub static PIPELINE: Division = Division { tensor: None, pipeline: Some(LeftOver::Last) };
/// Plain attention and MLPs, no pipeline.
pub static BLOCKS_ONLY: Division = tensor(&[BLOCKS], KeyHeads::Divided);
/// The same with a pipeline.
pub static BOTH: Division = tensor(&[BLOCKS], KeyHeads::Divided).pipelined(LeftOver::Last);
/// DeepSeek V2, whose latent becomes keys and values before they are kept.
pub static EXPANDED_LATENT: Division =
    tensor(&[BLOCKS, LATENT], KeyHeads::Divided).pipelined(LeftOver::Last);
/// Latent attention, with a pipeline.
pub static LATENT_BOTH: Division =
    tensor(&[BLOCKS, LATENT], KeyHeads::Whole).pipelined(LeftOver::Last);
/// Latent attention, no pipeline.
pub static LATENT_ONLY: Division = tensor(&[BLOCKS, LATENT], KeyHeads::Whole);
/// gpt-oss.
pub static WITH_SINKS: Division = tensor(&[BLOCKS, SINKS], KeyHeads::Divided);
/// Step 3.5.
pub static WITH_HEAD_GATE: Division = tensor(&[BLOCKS, HEAD_GATE], KeyHeads::Divided);
/// MiniMax M2.
pub static WITH_WIDE_NORMS: Division = tensor(&[BLOCKS, WIDE_NORMS], KeyHeads::Divided);
/// MiniMax M3.
pub static WITH_SPARSE_INDEX: Division =
    tensor(&[BLOCKS, SPARSE_INDEX], KeyHeads::Divided).pipelined(LeftOver::Last);
/// iQuest Loop Coder.
pub static WITH_LOOP_GATES: Division = tensor(&[BLOCKS, LOOP_GATES], KeyHeads::Divided);
/// Muse Spark.
pub static FUSED_ATTENTION: Division =
    tensor(&[BLOCKS, FUSED_GATED, HEAD], KeyHeads::Divided).pipelined(LeftOver::Last);
/// Qwen3.5 to 3.8.
pub static GATED_DELTA: Division =
    tensor(&[BLOCKS, DELTA, HEAD], KeyHeads::Repeated).pipelined(LeftOver::Last);
/// Kimi K3.
pub static KIMI: Division =
    tensor(&[BLOCKS, LATENT, KIMI_DELTA], KeyHeads::Whole).pipelined(LeftOver::First);
/// DeepSeek V4.1, whose indexers and compressors are whole on every Mac.
pub static GROUPED: Division = Division {
    tensor: Some(TensorShards {
        names: &[BLOCKS, GROUPED_OUTPUT],
        whole: &["indexer", "compressor"],
        keys: KeyHeads::Whole,
    }),
    pipeline: Some(LeftOver::Last),
};

/// Why a model cannot be divided among so many Macs.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ShardError {
    /// The model class has no `shard`.
    #[error("mlx-lm cannot split '{0}' by tensors: there is no shard() for it")]
    NoShard(String),
    /// It has no `pipeline`.
    #[error("mlx-lm cannot run '{0}' in a pipeline: there is no pipeline() for it")]
    NoPipeline(String),
    /// Fewer layers than Macs.
    #[error("{layers} layers are not enough for {nodes} Macs")]
    Layers {
        /// Layers of the model.
        layers: u64,
        /// Macs.
        nodes: u32,
    },
    /// Fewer groups of layers than Macs.
    #[error("{layers} layers in whole groups of {group} are not enough for {nodes} Macs")]
    Groups {
        /// Layers of the model.
        layers: u64,
        /// Layers of a group.
        group: u64,
        /// Macs.
        nodes: u32,
    },
    /// An axis cannot be split.
    #[error("{size} {what} of {module} cannot be split among {nodes} Macs{}", in_groups(*.group))]
    Width {
        /// The module.
        module: String,
        /// What the axis is.
        what: &'static str,
        /// Its length.
        size: u32,
        /// Macs.
        nodes: u32,
        /// Weights that share a scale; 1 where none do.
        group: u32,
    },
}

fn in_groups(group: u32) -> String {
    if group > 1 { format!(" in whole groups of {group} weights") } else { String::new() }
}

impl TensorShards {
    /// How a module is split; `None` where every Mac has all of it.
    #[must_use]
    pub fn split(&self, module: &Module) -> Option<Split> {
        if module.path.split('.').any(|part| self.whole.contains(&part)) {
            return None;
        }
        let name = own_name(&module.path);
        let among = |list: fn(&SplitNames) -> &'static [&'static str]| {
            self.names.iter().any(|names| list(names).contains(&name))
        };
        if among(|n| n.outputs) {
            Some(Split::Outputs)
        } else if among(|n| n.inputs) {
            Some(Split::Inputs)
        } else {
            among(|n| n.first).then_some(Split::First)
        }
    }

    /// How many ways a module is split among `nodes`: fewer than Macs where heads of keys are there several times.
    ///
    /// # Errors
    /// When its axis cannot be split so.
    pub(super) fn ways(
        &self,
        module: &Module,
        split: Split,
        nodes: u32,
        key_heads: u32,
    ) -> Result<u32, ShardError> {
        let keys = matches!(own_name(&module.path), "k_proj" | "v_proj");
        let ways = match self.keys {
            KeyHeads::Repeated if keys && key_heads > 0 && nodes > key_heads => key_heads,
            _ => nodes,
        };
        let (axis, what) = match split {
            Split::Outputs => (-(module.shape.rank().min(2) as i32), "outputs"),
            Split::Inputs => (-1, "inputs"),
            Split::First => (-(module.shape.rank() as i32), "heads"),
        };
        let size = module.shape.dim(axis);
        let group = match split {
            Split::Inputs => module.packing.map_or(1, |p| p.group.max(1)),
            _ => 1,
        };
        if size % group == 0 && (size / group) % ways == 0 {
            return Ok(ways);
        }
        Err(ShardError::Width { module: module.path.clone(), what, size, nodes, group })
    }
}

/// The name of a module that lists of names have.
pub(super) fn own_name(path: &str) -> &str {
    let plain = |part: &&str| {
        !matches!(*part, "weight" | "bias") && !part.bytes().all(|b| b.is_ascii_digit())
    };
    path.rsplit('.').find(plain).unwrap_or(path)
}

/// The layer that a module belongs to, where it belongs to one.
#[must_use]
pub fn layer_of(path: &str) -> Option<u64> {
    let mut parts = path.split('.');
    parts.by_ref().find(|part| *part == "layers")?;
    parts.next()?.parse().ok()
}

impl Split {
    /// Whether a tensor of a split module is split too: what is added to a sum is on every Mac.
    #[must_use]
    pub const fn holds_for(self, part: Part) -> bool {
        !matches!((self, part), (Self::Inputs, Part::Bias))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_whatever_follows_them() {
        assert_eq!(own_name("model.layers.3.self_attn.q_proj"), "q_proj");
        assert_eq!(own_name("model.layers.3.self_attn.q_norm.weight"), "q_norm");
        assert_eq!(own_name("model.gate_projections.0.bias"), "gate_projections");
        assert_eq!(own_name("model.layers.3.self_attn.sinks"), "sinks");
        assert_eq!(layer_of("language_model.model.layers.12.mlp.gate"), Some(12));
        assert_eq!(layer_of("model.embed_tokens"), None);
    }

    #[test]
    fn a_sum_keeps_its_bias_on_every_mac() {
        assert!(!Split::Inputs.holds_for(Part::Bias) && Split::Inputs.holds_for(Part::Scales));
        assert!(Split::Outputs.holds_for(Part::Bias));
    }
}
