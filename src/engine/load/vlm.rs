//! mlx-vlm: it repacks originals of other tools for every family, and packs by the block, not by the shapes.

use super::block::StoredBlock;
use super::lm::{compressed_format, compressed_group, model_opt_algorithm};
use super::{Facts, Refused, Rule, Which};
use crate::model::{Config, Packing};

/// What becomes of a checkpoint.
pub(super) fn rule(block: &StoredBlock, facts: &Facts<'_>) -> Result<Rule, Refused> {
    let (method, block) = match block {
        StoredBlock::Mlx(_) => return Ok(Rule::Mlx),
        StoredBlock::Nothing => return Ok(Rule::Float { note: None }),
        StoredBlock::Other { method, block } => (method.as_str(), block),
    };
    match method {
        "modelopt" => modelopt(block),
        "hf_quant_config" => Err(Refused::text(
            "ValueError: NVFP4 global scale requires a quantized linear: language_model.model.layers.0.self_attn.q_proj",
        )),
        "fp8" if facts.fp4_experts => Ok(Rule::fp4_experts()),
        "fp8" => fp8(block, facts),
        "compressed-tensors" => compressed(block, facts),
        "mxfp4" => Ok(packed(Packing::MXFP4, Which::Experts, false, "mxfp4")),
        "mxfp8" => Ok(packed(Packing::MXFP8, Which::Linear, false, "mxfp8")),
        "awq" | "gptq" => Err(Refused::left_over(3, "mlx-vlm does not unpack AWQ and GPTQ")),
        "bitsandbytes" => Err(Refused::left_over(4, "mlx-vlm does not unpack bitsandbytes")),
        "fbgemm_fp8" => Err(Refused::left_over(2, "scales of fp8 that the model does not have")),
        _ => Ok(Rule::Float { note: None }),
    }
}

fn packed(packing: Packing, which: Which, global_scales: bool, format: &str) -> Rule {
    Rule::Packed { packing, which, global_scales, format: format.to_owned() }
}

fn modelopt(block: &Config) -> Result<Rule, Refused> {
    match model_opt_algorithm(block).as_str() {
        "NVFP4" | "W4A16_NVFP4" => Ok(packed(Packing::NVFP4, Which::Linear, true, "nvfp4")),
        "MIXED_PRECISION" => {
            let note =
                "parts in fp8 become 16 bit; those in NVFP4 stay packed, which only the files tell";
            Ok(Rule::Float { note: Some(note.to_owned()) })
        }
        _ => Err(Refused::left_over(2, "mlx-vlm does not read ModelOpt's FP8")),
    }
}

fn fp8(block: &Config, facts: &Facts<'_>) -> Result<Rule, Refused> {
    if block.get("weight_block_size").is_none() {
        return Err(Refused::left_over(2, "mlx-vlm reads fp8 in blocks only"));
    }
    if facts.pops_experts {
        let words = "KeyError: 'model.layers.0.self_attn.kv_b_proj.biases'";
        return Err(Refused::text(words));
    }
    Ok(packed(Packing::MXFP8, Which::Linear, false, "mxfp8"))
}

fn compressed(block: &Config, facts: &Facts<'_>) -> Result<Rule, Refused> {
    let which = if facts.has_experts { Which::Experts } else { Which::Linear };
    match compressed_format(block).as_str() {
        "pack-quantized" => {
            let group = compressed_group(block).unwrap_or(128);
            Ok(packed(Packing::affine(4, group), which, false, "int4"))
        }
        "nvfp4-pack-quantized" => Ok(packed(Packing::NVFP4, Which::Linear, true, "nvfp4")),
        "float-quantized" => Ok(Rule::Float { note: Some("fp8 becomes 16 bit".to_owned()) }),
        _ => Err(Refused::left_over(
            2,
            "tensors of compressed-tensors that the family does not rename",
        )),
    }
}
