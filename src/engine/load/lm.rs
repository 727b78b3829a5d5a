//! mlx-lm: what `load_model` does by the method of a block.

use super::block::StoredBlock;
use super::{Facts, Refused, Rule, Which, Words};
use crate::graph::families::Reads;
use crate::model::{Config, Packing};

/// What becomes of a checkpoint.
pub(super) fn rule(block: &StoredBlock, facts: &Facts<'_>) -> Result<Rule, Refused> {
    let (method, block) = match block {
        StoredBlock::Mlx(_) => return Ok(Rule::Mlx),
        StoredBlock::Nothing => return unstated(facts),
        StoredBlock::Other { method, block } => (method.as_str(), block),
    };
    match method {
        "awq" | "gptq" => auto_awq(method, block, facts),
        "compressed-tensors" => compressed(block, facts),
        "modelopt" => modelopt(block, facts),
        "mxfp4" => Ok(mxfp4(facts)),
        "mxfp8" => mxfp8(facts),
        "fp8" if facts.fp4_experts => Ok(Rule::fp4_experts()),
        "fp8" if is_microscaling(block) => mxfp8(facts),
        "fp8" => fp8(block, facts),
        "bitnet" => bitnet(block),
        "fbgemm_fp8" => Err(Refused::left_over(2, "scales of fp8 that the model does not have")),
        "finegrained_fp8" => {
            Err(Refused::left_over(1, "scales of fp8 that the model does not have"))
        }
        "bitsandbytes" => {
            let four = block.opt_bool("load_in_4bit").ok().flatten() == Some(true);
            let why = "tensors of bitsandbytes that the model does not have";
            Err(Refused::left_over(if four { 4 } else { 2 }, why))
        }
        other => Ok(ignored(other, facts)),
    }
}

/// Tensors that need a block, without one.
fn unstated(facts: &Facts<'_>) -> Result<Rule, Refused> {
    if let Some(stored) = &facts.stored {
        // Fused blocks of gate and up are split into two.
        let blocks = stored.count("gate_up_proj_scales") * 2 + stored.count("down_proj_scales");
        let mlx = stored.count(".scales") + stored.count(".biases");
        let left = if blocks > 0 { blocks } else { mlx };
        if left > 0 && !stored.has_markers() {
            let why = "the tensors are packed, but the configuration has no block that says so";
            return Err(Refused {
                words: Words::Text(super::strict::received(left)),
                why: Some(why.to_owned()),
            });
        }
    }
    Ok(Rule::Float { note: None })
}

fn auto_awq(method: &str, block: &Config, facts: &Facts<'_>) -> Result<Rule, Refused> {
    let bits = block.dim_or("bits", 4).unwrap_or(4);
    if bits != 4 {
        let words = format!("ValueError: Only bits={bits} is supported for AutoAWQ/GPTQ models.");
        return Err(Refused {
            words: Words::Text(words),
            why: Some("it packs 4 bit only".to_owned()),
        });
    }
    if let Some(name) = facts.stored.as_ref().and_then(|s| s.any(".g_idx")) {
        return Err(Refused::text(format!(
            "ValueError: Found {name} in weights. Models with non-contiguous group indices (g_idx) are not currently \
             supported. Please"
        )));
    }
    let gptq_layout = match &facts.stored {
        Some(stored) => stored.is_gptq_layout(),
        None => method == "gptq",
    };
    if gptq_layout {
        return Err(Refused {
            words: Words::Text("ValueError: shapes of GPTQ's layout".to_owned()),
            why: Some("GPTQ packs inputs, mlx-lm reads AWQ's layout only".to_owned()),
        });
    }
    if facts.has_experts {
        let why = Some("experts are stacked before they are unpacked".to_owned());
        if facts.pops_experts {
            return Err(Refused { words: Words::Text("KeyError: experts".to_owned()), why });
        }
        return Err(Refused { words: Words::LeftOver { per_matrix: 3, experts_only: true }, why });
    }
    let group = block.dim_or("group_size", 128).unwrap_or(128);
    let packing = Packing::affine(4, u32::try_from(group).unwrap_or(128));
    Ok(packed(packing, Which::Linear, format!("{method}-4-g{group}")))
}

fn packed(packing: Packing, which: Which, format: String) -> Rule {
    Rule::Packed { packing, which, global_scales: false, format }
}

/// Group of the weights of a compressed-tensors block, where it says one.
pub(super) fn compressed_group(block: &Config) -> Option<u32> {
    let groups = block.get("config_groups")?.as_object()?;
    let group = groups.values().find_map(|g| g.get("weights")?.get("group_size")?.as_u64())?;
    u32::try_from(group).ok()
}

/// The format of a compressed-tensors block.
pub(super) fn compressed_format(block: &Config) -> String {
    let own = block.opt_str("format").ok().flatten().map(str::to_owned);
    own.unwrap_or_default()
}

fn compressed(block: &Config, facts: &Facts<'_>) -> Result<Rule, Refused> {
    let format = compressed_format(block);
    let experts = if facts.has_experts { Which::Experts } else { Which::Linear };
    let why = |what: &str| format!("{what} of compressed-tensors that the family does not rename");
    match format.as_str() {
        "pack-quantized" if facts.reads(Reads::Int4) => {
            let group = compressed_group(block).unwrap_or(128);
            Ok(packed(Packing::affine(4, group), experts, format!("int4-g{group}")))
        }
        "pack-quantized" => Err(Refused::left_over(3, why("packed int4"))),
        "mxfp4-pack-quantized" if facts.reads(Reads::Mxfp4) => {
            Ok(packed(Packing::MXFP4, experts, "mxfp4".to_owned()))
        }
        "mxfp4-pack-quantized" => Err(Refused::left_over(2, why("mxfp4"))),
        "nvfp4-pack-quantized" => {
            let left = if facts.reads(Reads::Int4) { 2 } else { 4 };
            Err(Refused::left_over(left, why("nvfp4")))
        }
        other => Err(Refused::text(format!(
            "ValueError: unsupported compressed-tensors format '{other}'; dequantize to bf16 before converting"
        ))),
    }
}

/// The algorithm of a ModelOpt block, at the top or in `quantization`.
pub(super) fn model_opt_algorithm(block: &Config) -> String {
    let nested = block.opt_object("quantization").ok().flatten();
    let of = |c: &Config| c.opt_str("quant_algo").ok().flatten().map(str::to_owned);
    of(block).or_else(|| of(nested.as_ref()?)).unwrap_or_default()
}

fn modelopt(block: &Config, facts: &Facts<'_>) -> Result<Rule, Refused> {
    let algorithm = model_opt_algorithm(block);
    if algorithm != "NVFP4" {
        let words = format!("ValueError: Unsupported modelopt quant_algo: {algorithm}");
        return Err(Refused::text(words));
    }
    let converted =
        facts.stored.as_ref().is_some_and(|s| !s.has_markers() && s.any(".scales").is_some());
    if converted {
        return Ok(Rule::Packed {
            packing: Packing::NVFP4,
            which: Which::Linear,
            global_scales: false,
            format: "nvfp4".to_owned(),
        });
    }
    if facts.reads(Reads::Nvfp4) {
        return Ok(packed(Packing::NVFP4, Which::Experts, "nvfp4".to_owned()));
    }
    let left = if facts.reads(Reads::Int4) { 2 } else { 3 };
    Err(Refused::left_over(left, "originals of NVIDIA; copies converted to MLX's tensors load"))
}

fn mxfp4(facts: &Facts<'_>) -> Rule {
    let which = if facts.reads(Reads::Mxfp4) { Which::Experts } else { Which::Linear };
    packed(Packing::MXFP4, which, "mxfp4".to_owned())
}

fn mxfp8(facts: &Facts<'_>) -> Result<Rule, Refused> {
    let original = match &facts.stored {
        Some(stored) => stored.has_markers(),
        None => !facts.reads(Reads::Mxfp8),
    };
    if original && !facts.reads(Reads::Mxfp8) {
        return Err(Refused::left_over(1, "scales of fp8 that the family does not rename"));
    }
    Ok(packed(Packing::MXFP8, Which::Linear, "mxfp8".to_owned()))
}

/// Blocks of 32 × 32 with exponents as scales.
fn is_microscaling(block: &Config) -> bool {
    let blocks = block.opt_dims("weight_block_size").ok().flatten();
    block.opt_str("scale_fmt").ok().flatten() == Some("ue8m0") && blocks == Some(vec![32, 32])
}

fn fp8(block: &Config, facts: &Facts<'_>) -> Result<Rule, Refused> {
    if facts.reads(Reads::Fp8) {
        let note = "published in fp8, which mlx-lm makes 16 bit when it loads".to_owned();
        return Ok(Rule::Float { note: Some(note) });
    }
    let blocks = block.get("weight_block_size").is_some();
    let why = "the family does not read fp8: its scales are left over";
    Err(Refused::left_over(if blocks { 1 } else { 2 }, why))
}

fn bitnet(block: &Config) -> Result<Rule, Refused> {
    if block.has("modules_to_not_convert") && block.get("modules_to_not_convert").is_none() {
        return Err(Refused::text("TypeError: argument of type 'NoneType' is not iterable"));
    }
    Ok(Rule::Float { note: None })
}

/// A method that mlx-lm does not look at.
fn ignored(method: &str, facts: &Facts<'_>) -> Rule {
    let note = facts.stored.is_none().then(|| {
        format!(
            "mlx-lm ignores the method '{method}': it loads the files only if their tensors are plain 16 bit, which is \
             assumed"
        )
    });
    Rule::Float { note }
}
