//! How each module of a checkpoint is packed, read from the shapes of its tensors.
//!
//! mlx-lm quantizes a module on load when `<path>.scales` exists, whatever the configuration says, and takes bits and
//! group size from the shapes (`utils.py:infer_quant_config`): the packed weight has `K·bits/32` columns of uint32, the
//! scales have `K/group`. Their quotient gives `bits·group`, which is unique for the microscaling modes (scales of
//! type uint8) but not for affine: 4 bits in groups of 64 and 8 bits in groups of 32 look alike until K is known. The
//! configuration's block then decides; where it does not fit, the group of 64 is preferred and the module is marked
//! ambiguous. Its bytes are exact all the same.

use super::quant_block::QuantBlock;
use super::safetensors::StorageType;
use super::tensors::{TensorIndex, TensorInfo};
use crate::model::quant::{Packing, Scheme};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// A module with a weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModulePacking {
    /// Packing, or `None` for a weight that is not quantized by MLX.
    pub packing: Option<Packing>,
    /// Whether the shapes allow other packings and nothing in the configuration decides.
    pub ambiguous: bool,
    /// Bytes of the weight with its scales and biases of quantization.
    pub bytes: u64,
}

/// Packings of all modules by path (`model.layers.0.mlp.down_proj`, as the tensors are named).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModulePackings {
    modules: BTreeMap<String, ModulePacking>,
}

impl ModulePackings {
    /// Reads the packings off a checkpoint. `block` decides where shapes alone do not.
    ///
    /// # Errors
    /// A text that names the module whose weight and scales do not belong together.
    pub fn infer(tensors: &TensorIndex, block: Option<&QuantBlock>) -> Result<Self, String> {
        let mut modules = BTreeMap::new();
        for weight in tensors.tensors() {
            let Some(path) = weight.name.strip_suffix(".weight") else {
                continue;
            };
            let part = |suffix: &str| tensors.get(&format!("{path}.{suffix}"));
            let module = match part("scales").filter(|_| weight.dtype == StorageType::U32) {
                None => ModulePacking { packing: None, ambiguous: false, bytes: weight.bytes },
                Some(scales) => {
                    let hint = block.and_then(|b| b.packing_of(path));
                    let (packing, ambiguous) = infer(weight, scales, hint)
                        .map_err(|problem| format!("module '{path}': {problem}"))?;
                    let biases = part("biases").map_or(0, |t| t.bytes);
                    let bytes = weight.bytes.saturating_add(scales.bytes).saturating_add(biases);
                    ModulePacking { packing: Some(packing), ambiguous, bytes }
                }
            };
            modules.insert(path.to_owned(), module);
        }
        Ok(Self { modules })
    }

    /// Every module, by path.
    #[must_use]
    pub const fn modules(&self) -> &BTreeMap<String, ModulePacking> {
        &self.modules
    }

    /// The module at `path`; `None` when the checkpoint has no weight of that name.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&ModulePacking> {
        self.modules.get(path)
    }

    /// Bytes and number of modules per packing, largest first.
    #[must_use]
    pub fn by_packing(&self) -> Vec<PackingShare> {
        let mut shares: Vec<PackingShare> = Vec::new();
        for module in self.modules.values() {
            match shares.iter_mut().find(|s| s.packing == module.packing) {
                Some(share) => {
                    share.bytes = share.bytes.saturating_add(module.bytes);
                    share.modules += 1;
                }
                None => shares.push(PackingShare {
                    packing: module.packing,
                    bytes: module.bytes,
                    modules: 1,
                }),
            }
        }
        shares.sort_by_key(|share| Reverse(share.bytes));
        shares
    }

    /// The packing that holds most bytes, or `None` when most of the weights are not quantized.
    #[must_use]
    pub fn dominant(&self) -> Option<Packing> {
        self.by_packing().first().and_then(|share| share.packing)
    }
}

/// The modules that share a packing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackingShare {
    /// The packing; `None` for weights that are not quantized.
    pub packing: Option<Packing>,
    /// Bytes of weights, scales and biases.
    pub bytes: u64,
    /// Number of modules.
    pub modules: usize,
}

fn infer(
    weight: &TensorInfo,
    scales: &TensorInfo,
    hint: Option<Packing>,
) -> Result<(Packing, bool), String> {
    let (Some((columns, rows)), Some((groups, scale_rows))) =
        (weight.shape.split_last(), scales.shape.split_last())
    else {
        return Err("its weight or its scales have no dimensions".to_owned());
    };
    if rows != scale_rows || *groups == 0 {
        return Err(format!(
            "the scales {:?} do not belong to the weight {:?}",
            scales.shape, weight.shape
        ));
    }
    let product = columns.checked_mul(32).filter(|bits| bits % groups == 0).map(|b| b / groups);
    let fits = |p: &Packing| Some(u64::from(p.bits) * u64::from(p.group)) == product;
    let possible: Vec<Packing> = match scales.dtype {
        StorageType::U8 => {
            [Packing::MXFP4, Packing::NVFP4, Packing::MXFP8].into_iter().filter(fits).collect()
        }
        StorageType::F16 | StorageType::BF16 | StorageType::F32 => [64, 32, 128]
            .into_iter()
            .flat_map(|group| Scheme::AFFINE_BITS.map(|bits| Packing::affine(bits, group)))
            .filter(fits)
            .collect(),
        other => {
            return Err(format!("its scales have the type {other}, which MLX does not write"));
        }
    };
    if let Some(hinted) = hint.filter(|h| possible.contains(h)) {
        return Ok((hinted, false));
    }
    match possible.split_first() {
        Some((first, rest)) => Ok((*first, !rest.is_empty())),
        None => Err(format!(
            "no quantization of MLX gives a weight {:?} with scales {:?} of type {}",
            weight.shape, scales.shape, scales.dtype
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tensors::TensorFile;
    use super::*;
    use crate::model::config::Config;

    fn tensor(name: &str, shape: &[u64], dtype: StorageType) -> TensorInfo {
        let bytes = shape.iter().product::<u64>() * dtype.bits() / 8;
        TensorInfo { name: name.to_owned(), shape: shape.to_vec(), dtype, bytes, file: 0 }
    }

    /// A weight of 8 rows and `k` columns, packed.
    fn packed(path: &str, k: u64, packing: Packing) -> Vec<TensorInfo> {
        let scale = if packing.has_biases() { StorageType::BF16 } else { StorageType::U8 };
        let groups = k / u64::from(packing.group);
        let columns = k * u64::from(packing.bits) / 32;
        let mut list = vec![
            tensor(&format!("{path}.weight"), &[8, columns], StorageType::U32),
            tensor(&format!("{path}.scales"), &[8, groups], scale),
        ];
        if packing.has_biases() {
            list.push(tensor(&format!("{path}.biases"), &[8, groups], scale));
        }
        list
    }

    fn index(tensors: Vec<TensorInfo>) -> TensorIndex {
        let file = TensorFile { name: "model.safetensors".to_owned(), bytes: None };
        TensorIndex::new(tensors, vec![file], true).expect("unique names")
    }

    fn block(text: &str) -> QuantBlock {
        QuantBlock::parse(&Config::parse(text).expect("valid JSON")).expect("a valid block")
    }

    #[test]
    fn every_packing_is_recovered_when_the_block_agrees() {
        let mut packings: Vec<Packing> = vec![Packing::MXFP4, Packing::NVFP4, Packing::MXFP8];
        for bits in Scheme::AFFINE_BITS {
            packings.extend(Scheme::AFFINE_GROUPS.map(|group| Packing::affine(bits, group)));
        }
        for packing in packings {
            let tensors = index(packed("m", 512, packing));
            let block = QuantBlock { default: packing, overrides: BTreeMap::new() };
            let found = ModulePackings::infer(&tensors, Some(&block)).unwrap();
            let module = found.get("m").unwrap();
            assert_eq!((module.packing, module.ambiguous), (Some(packing), false));
            assert_eq!(module.bytes, tensors.total_bytes());
            // Without a block the shapes still give a packing with the same bits × group.
            let alone = ModulePackings::infer(&tensors, None).unwrap();
            let guess = alone.get("m").and_then(|m| m.packing).unwrap();
            assert_eq!(guess.bits * guess.group, packing.bits * packing.group);
            if packing.group == 64 || !packing.has_biases() {
                assert_eq!(guess, packing);
            }
        }
    }

    #[test]
    fn headers_win_over_the_block() {
        let mut tensors = packed("router", 256, Packing::affine(8, 64));
        tensors.extend(packed("up", 256, Packing::affine(4, 64)));
        tensors.push(tensor("norm.weight", &[256], StorageType::BF16));
        let block = block(r#"{"bits":4,"group_size":64,"norm":{"bits":4}}"#);
        let found = ModulePackings::infer(&index(tensors), Some(&block)).unwrap();
        assert_eq!(found.get("router").unwrap().packing, Some(Packing::affine(8, 64)));
        // 8 bits in groups of 64 and 4 bits in groups of 128 have the same shapes.
        assert!(found.get("router").unwrap().ambiguous);
        assert_eq!(found.get("up").unwrap().packing, Some(Packing::affine(4, 64)));
        assert_eq!(found.get("norm").unwrap().packing, None);
        assert_eq!(found.get("absent"), None);
    }

    #[test]
    fn shares_are_summed_per_packing() {
        let mut tensors = packed("a", 1024, Packing::affine(4, 64));
        tensors.extend(packed("b", 1024, Packing::affine(4, 64)));
        tensors.push(tensor("norm.weight", &[4], StorageType::BF16));
        let found = ModulePackings::infer(&index(tensors), None).unwrap();
        let shares = found.by_packing();
        assert_eq!(shares[0].modules, 2);
        assert_eq!(shares[0].bytes, 2 * (8 * 128 * 4 + 2 * 8 * 16 * 2));
        assert_eq!(shares[1], PackingShare { packing: None, bytes: 8, modules: 1 });
        assert_eq!(found.dominant(), Some(Packing::affine(4, 64)));
    }

    #[test]
    fn scales_that_do_not_belong_are_refused() {
        let error = |weight: &[u64], scales: &[u64], dtype| {
            let tensors = index(vec![
                tensor("m.weight", weight, StorageType::U32),
                tensor("m.scales", scales, dtype),
            ]);
            ModulePackings::infer(&tensors, None).unwrap_err()
        };
        assert!(error(&[8, 32], &[4, 4], StorageType::BF16).contains("do not belong"));
        assert!(error(&[8, 32], &[8, 0], StorageType::BF16).contains("do not belong"));
        assert!(error(&[8, 32], &[8, 5], StorageType::BF16).contains("no quantization"));
        assert!(error(&[8, 32], &[8, 4], StorageType::I64).contains("type I64"));
        assert!(error(&[], &[], StorageType::BF16).contains("no dimensions"));
    }

    #[test]
    fn scales_of_other_formats_are_no_packing() {
        let fp8 = index(vec![
            tensor("m.weight", &[8, 32], StorageType::F8_E4M3),
            tensor("m.scales", &[8, 1], StorageType::F32),
        ]);
        let found = ModulePackings::infer(&fp8, None).unwrap();
        assert_eq!(found.get("m").unwrap().packing, None);
    }
}
