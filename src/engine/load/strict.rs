//! `load_weights(strict=True)`: every stored tensor must have a parameter, every parameter a tensor of its shape.

use super::stored::Modules;
use super::{Checkpoint, Loader};
use crate::graph::Graph;
use crate::model::source::quant_block::Override;
use crate::model::source::{CheckpointPart, QuantBlock, part_of};
use std::collections::HashSet;

/// What MLX says of tensors without a parameter.
pub(super) fn received(count: u64) -> String {
    format!("ValueError: Received {count} parameters not in model: ")
}

/// Tensors that some `sanitize` drops in every family.
const DROPPED: [&str; 5] =
    ["rotary_emb.inv_freq", "masked_bias", "attn.bias", "rotary_pos_emb.inv_freq", "freqs_cis"];

/// What MLX says of tensors that the model does not have, where the files are in MLX's layout throughout.
pub(super) fn left_over(c: &Checkpoint<'_>, graph: &Graph) -> Option<String> {
    let tensors = c.tensors?;
    let layers = Some(graph.layers());
    let names: HashSet<String> = graph
        .params()
        .modules()
        .iter()
        .flat_map(|m| m.tensors().map(|(part, ..)| m.tensor_name(part)).collect::<Vec<_>>())
        .collect();
    // Of originals the family renames tensors; only where every one is there, names are those of the graph.
    if !names.iter().all(|name| tensors.get(name).is_some()) {
        return None;
    }
    let tied = !names.contains("lm_head.weight");
    let dropped = |name: &str| {
        (tied && name == "lm_head.weight")
            || name.ends_with(".global_scale")
            || DROPPED.iter().any(|end| name.ends_with(end))
            || part_of(name, layers) != CheckpointPart::Text
    };
    let extra = tensors.tensors().iter().filter(|t| !names.contains(&t.name) && !dropped(&t.name));
    match extra.count() as u64 {
        0 => None,
        count => Some(received(count)),
    }
}

/// What MLX says of a block whose entries contradict the files.
pub(super) fn contradiction(
    c: &Checkpoint<'_>,
    block: &QuantBlock,
    modules: &Modules<'_>,
    loader: Loader,
    graph: &Graph,
) -> Option<String> {
    let mut missing = 0;
    let mut shape = None;
    for module in graph.params().modules() {
        let entry = match block.overrides.get(&module.path) {
            Some(Override::Packed(packing)) => *packing,
            // mlx-vlm packs by the block what is packed in the files.
            None | Some(Override::Default) if loader == Loader::MlxVlm => block.default,
            _ => continue,
        };
        let Some(found) = modules.get(&module.path).and_then(|m| m.packing) else {
            continue;
        };
        if entry.has_biases() && !found.has_biases() {
            missing += 1;
        } else if u64::from(entry.bits) * u64::from(entry.group)
            != u64::from(found.bits) * u64::from(found.group)
        {
            shape = shape.or_else(|| expected(c, &module.path, entry.bits, module.shape.dim(-1)));
        }
    }
    if missing > 0 {
        return Some(format!("ValueError: Missing {missing} parameters: "));
    }
    let prefix = if loader == Loader::MlxVlm { "language_model." } else { "" };
    shape.map(|(wanted, found, name)| {
        format!("ValueError: Expected shape {wanted} but received shape {found} for parameter {prefix}{name}")
    })
}

/// The shape of the weight that an entry wants, the one that is stored, and the name.
fn expected(
    c: &Checkpoint<'_>,
    path: &str,
    bits: u32,
    inputs: u32,
) -> Option<(String, String, String)> {
    let name = format!("{path}.weight");
    let stored = c.tensors?.get(&name)?;
    let mut wanted = stored.shape.clone();
    *wanted.last_mut()? = u64::from(inputs) * u64::from(bits) / 32;
    Some((tuple(&wanted), tuple(&stored.shape), name))
}

fn tuple(shape: &[u64]) -> String {
    let list: Vec<String> = shape.iter().map(u64::to_string).collect();
    format!("({})", list.join(", "))
}
