//! The tensors of a checkpoint under the names that the hub uses: which matrices another tool packed, and how.

use crate::model::source::{ModulePacking, ModulePackings, TensorIndex};
use crate::model::{Mode, Packing};
use std::collections::{BTreeMap, HashMap};

/// Tensors that only a packed matrix has, by the tool that packs it.
const MARKERS: [&str; 9] = [
    "qweight",
    "weight_packed",
    "weight_scale_inv",
    "weight_scale",
    "weight_scale_2",
    "absmax",
    "SCB",
    "g_idx",
    "activation_scale",
];

/// Matrices that other tools packed.
pub(super) struct StoredTensors<'a> {
    tensors: &'a TensorIndex,
    /// By the canonical path: number of matrices, and the groups of one.
    packed: BTreeMap<String, (u64, Option<u32>)>,
}

impl<'a> StoredTensors<'a> {
    pub fn new(tensors: &'a TensorIndex) -> Self {
        let mut packed: BTreeMap<String, (u64, Option<u32>)> = BTreeMap::new();
        let mut last = String::new();
        for tensor in tensors.tensors() {
            let Some((path, _)) = split(&tensor.name) else { continue };
            let group = group(tensors, path);
            let entry = packed.entry(canonical(path)).or_default();
            // Tensors are sorted by name, so that those of a matrix stand together.
            if last != path {
                entry.0 += 1;
                last = path.to_owned();
            }
            entry.1 = entry.1.or(group);
        }
        Self { tensors, packed }
    }

    /// Whether any matrix was packed by another tool.
    pub fn has_markers(&self) -> bool {
        !self.packed.is_empty()
    }

    /// Number of packed matrices.
    pub fn matrices(&self, experts_only: bool) -> u64 {
        let wanted = |path: &str| !experts_only || path.contains("switch_mlp");
        self.packed.iter().filter(|(path, _)| wanted(path)).map(|(_, (n, _))| n).sum()
    }

    /// How the module at `path` is packed, in groups as the shapes say.
    pub fn packing(&self, path: &str, packing: Packing) -> Option<Packing> {
        let (_, group) = self.packed.get(&canonical(path))?;
        Some(match group {
            Some(group) if packing.mode == Mode::Affine => Packing { group: *group, ..packing },
            _ => packing,
        })
    }

    /// Whether a tensor ends so.
    pub fn any(&self, ending: &str) -> Option<&str> {
        let found = self.tensors.tensors().iter().rev().find(|t| t.name.ends_with(ending));
        found.map(|t| t.name.as_str())
    }

    /// Number of tensors that end so.
    pub fn count(&self, ending: &str) -> u64 {
        self.tensors.tensors().iter().filter(|t| t.name.ends_with(ending)).count() as u64
    }

    /// Float32 scales of a matrix beside its packed tensors, as MLX names them.
    pub fn global_scales(&self, path: &str) -> u64 {
        let tensor = self.tensors.get(&format!("{path}.global_scale"));
        tensor.map_or(0, |t| t.shape.iter().product())
    }

    /// Whether `qweight` has the layout of GPTQ: inputs packed, not outputs.
    pub fn is_gptq_layout(&self) -> bool {
        self.tensors.tensors().iter().any(|t| {
            let Some(path) = t.name.strip_suffix(".qweight") else { return false };
            let scales = self.tensors.get(&format!("{path}.scales"));
            match (t.shape.as_slice(), scales.map(|s| s.shape.as_slice())) {
                ([_, columns], Some([_, outputs])) => columns == outputs,
                _ => false,
            }
        })
    }
}

/// A tensor of a packed matrix: path of the module, and which tensor.
fn split(name: &str) -> Option<(&str, &str)> {
    let (path, last) = name.rsplit_once('.')?;
    if MARKERS.contains(&last) {
        // bitsandbytes hangs its tensors under the weight.
        return Some((path.strip_suffix(".weight").unwrap_or(path), last));
    }
    None
}

/// The group of a matrix, by the shapes of its scales.
fn group(tensors: &TensorIndex, path: &str) -> Option<u32> {
    let tensor = |last: &str| tensors.get(&format!("{path}.{last}"));
    let quotient = |inputs: u64, groups: u64| u32::try_from(inputs.checked_div(groups)?).ok();
    if let (Some(weight), Some(scales)) = (tensor("qweight"), tensor("scales")) {
        return quotient(*weight.shape.first()?, *scales.shape.first()?);
    }
    let (weight, scales) = (tensor("weight_packed")?, tensor("weight_scale")?);
    quotient(weight.shape.last()? * 8, *scales.shape.last()?)
}

/// The modules of an MLX checkpoint, also under the names that the hub uses: experts one by one, latent attention as
/// one matrix.
pub(super) struct Modules<'p> {
    packings: &'p ModulePackings,
    by_canonical: HashMap<String, &'p ModulePacking>,
}

impl<'p> Modules<'p> {
    pub fn new(packings: &'p ModulePackings) -> Self {
        let by_canonical =
            packings.modules().iter().map(|(path, module)| (canonical(path), module)).collect();
        Self { packings, by_canonical }
    }

    pub fn get(&self, path: &str) -> Option<&'p ModulePacking> {
        self.packings.get(path).or_else(|| self.by_canonical.get(&canonical(path)).copied())
    }
}

/// The path of a module without wrappers in front, with routed experts under one name and the matrices of latent
/// attention as they are stored.
pub(super) fn canonical(path: &str) -> String {
    let mut parts: Vec<&str> = path
        .split('.')
        .skip_while(|p| matches!(*p, "model" | "language_model" | "text_model"))
        .collect();
    if let Some(at) = parts.iter().position(|p| *p == "experts" || *p == "switch_mlp") {
        parts[at] = "switch_mlp";
        let numbered = parts.get(at + 1).is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()));
        if numbered {
            parts.remove(at + 1);
        }
    }
    if let Some(last) = parts.last_mut().filter(|p| matches!(**p, "embed_q" | "unembed_out")) {
        *last = "kv_b_proj";
    }
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn names_of_the_hub_and_of_mlx_meet() {
        for (a, b) in [
            ("model.layers.1.mlp.experts.7.up_proj", "model.layers.1.mlp.switch_mlp.up_proj"),
            (
                "language_model.model.layers.0.self_attn.kv_b_proj",
                "model.layers.0.self_attn.embed_q",
            ),
            ("model.language_model.layers.0.mlp.gate", "layers.0.mlp.gate"),
        ] {
            assert_eq!(canonical(a), canonical(b), "{a}");
        }
    }
}
