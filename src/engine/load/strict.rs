//! `load_weights(strict=True)`: every stored tensor must have a parameter, every parameter a tensor of its shape.

use super::stored::Modules;
use super::{Checkpoint, Loader};
use crate::graph::Graph;
use crate::graph::params::Module;
use crate::model::source::quant_block::Override;
use crate::model::source::{CheckpointPart, QuantBlock, part_of};
use crate::units::Bytes;
use std::collections::HashSet;

/// What MLX says of tensors without a parameter.
pub(super) fn received(count: u64) -> String {
    format!("ValueError: Received {count} parameters not in model: ")
}

/// Tensors that some `sanitize` drops in every family.
const DROPPED: [&str; 5] =
    ["rotary_emb.inv_freq", "masked_bias", "attn.bias", "rotary_pos_emb.inv_freq", "freqs_cis"];

/// The names of a graph's tensors.
fn names_of(graph: &Graph) -> HashSet<String> {
    let modules = graph.params().modules().iter();
    modules
        .flat_map(|m| m.tensors().map(|(part, ..)| m.tensor_name(part)).collect::<Vec<_>>())
        .collect()
}

/// What a file holds of the language model beyond what the graph uses, in words: by name where the files have the
/// graph's names, else only that bytes are left. `None` where nothing is.
pub(super) fn unused(c: &Checkpoint<'_>, graph: &Graph) -> Option<String> {
    /// Most names that are listed.
    const SHOWN: usize = 3;
    /// Share of the bytes below which types of small tensors explain a difference.
    const SMALL: f64 = 0.001;
    let tensors = c.tensors?;
    let layers = Some(graph.layers());
    let of_text = |name: &str| part_of(name, layers) == CheckpointPart::Text;
    let names = names_of(graph);
    if names.iter().all(|name| tensors.get(name).is_some()) {
        let mut left: Vec<_> = tensors
            .tensors()
            .iter()
            .filter(|t| {
                !names.contains(&t.name) && of_text(&t.name) && !t.name.ends_with(".global_scale")
            })
            .collect();
        left.sort_by_key(|t| std::cmp::Reverse(t.bytes));
        let total: u64 = left.iter().map(|t| t.bytes).sum();
        let list: Vec<String> =
            left.iter().take(SHOWN).map(|t| format!("{} ({})", t.name, Bytes(t.bytes))).collect();
        let more = left.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        return (total > 0).then(|| {
            format!("the files hold {} that nothing uses: {}{more}", Bytes(total), list.join(", "))
        });
    }
    let text = tensors.tensors().iter().filter(|t| of_text(&t.name));
    let stored: u64 = text.map(|t| t.bytes).sum();
    let used: u64 = graph.params().modules().iter().map(Module::bytes).sum();
    let left = stored.saturating_sub(used);
    (left as f64 > SMALL * used as f64 && !has_markers(c)).then(|| {
        format!(
            "the files hold {} of the language model, {} more than the graph uses",
            Bytes(stored),
            Bytes(left)
        )
    })
}

/// Whether another tool packed the tensors, so that their bytes are not those of the graph.
fn has_markers(c: &Checkpoint<'_>) -> bool {
    c.beside.is_some() || c.config.has("quantization_config") || c.config.has("quantization")
}

/// What MLX says of tensors that the model does not have, where the files are in MLX's layout throughout.
pub(super) fn left_over(c: &Checkpoint<'_>, graph: &Graph) -> Option<String> {
    let tensors = c.tensors?;
    let layers = Some(graph.layers());
    let names = names_of(graph);
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
