//! Qwen3.5 in Hadamard packs: 2-bit matrices whose input axis has been rotated, so that their input is rotated first.
//!
//! The packs are float16 with float32 signs, whatever type is asked for; the packed matrices cannot be repacked.

use super::qwen3_next;
use crate::graph::parts::prelude::*;
use crate::model::Packing;

/// Weights of a group.
const GROUP: u64 = 128;
/// Sizes of the rotated blocks; 0 = no rotation.
const BLOCKS: [u64; 6] = [0, 512, 1024, 2048, 4096, 8192];

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    check(c)?;
    p.set_dtype(DType::F16);
    let built = qwen3_next::build_5(c, p)?;
    for record in records(c)? {
        let Record { path, embedding, block } = record;
        let full = format!("language_model.{path}");
        let wrong = |why: &str| {
            ConfigError::Unsupported(format!("the Hadamard pack lists '{path}', {why}"))
        };
        let Some((id, kind, width, bias)) = p.find(&full) else {
            return Err(wrong("which this model does not have"));
        };
        let expected = if embedding { ModuleKind::Embedding } else { ModuleKind::Linear };
        if kind != expected {
            return Err(wrong("which is no matrix of that kind"));
        }
        if bias {
            return Err(wrong("which has a bias; packs do not support that"));
        }
        if width % GROUP != 0 || !BLOCKS.contains(&block) || (block > 0 && width % block != 0) {
            return Err(wrong(&format!("whose width {width} does not fit blocks of {block}")));
        }
        let signs = (block > 0).then(|| p.raw_f32(&format!("{full}.signs"), &[width]));
        if !p.prepack(id, Packing::affine(2, GROUP as u32), signs.map(|s| (s, block as u32))) {
            return Err(wrong("twice"));
        }
    }
    Ok(built)
}

/// What mlx-lm asks of the head of the pack.
fn check(c: &Config) -> Result<(), ConfigError> {
    let schema = c.dim_or("schema_version", 2)?;
    let namespace = c.opt_str("tensor_namespace")?.unwrap_or("");
    if !matches!((schema, namespace), (1, "mlx-lm-text") | (2, "mlx-vlm-qwen3_5")) {
        return Err(c.invalid("tensor_namespace", "'mlx-lm-text' (1) or 'mlx-vlm-qwen3_5' (2)"));
    }
    if c.opt_str("gdn_activation_layout")?.unwrap_or("grouped") != "grouped" {
        return Err(c.invalid("gdn_activation_layout", "'grouped'"));
    }
    let q = c.object("quantization")?;
    let affine = q.opt_str("mode")? == Some("affine");
    if q.dim("bits")? != 2 || q.dim("group_size")? != GROUP || !affine {
        return Err(c.invalid("quantization", "2-bit affine weights with group size 128"));
    }
    Ok(())
}

/// An entry of the list of packed matrices.
struct Record {
    path: String,
    embedding: bool,
    block: u64,
}

fn records(c: &Config) -> Result<Vec<Record>, ConfigError> {
    let wrong = || c.invalid("modules", "a list of packed matrices: path, embedding, dtype, block");
    let list = c.get("modules").and_then(|v| v.as_array()).ok_or_else(wrong)?;
    if list.is_empty() {
        return Err(wrong());
    }
    list.iter()
        .map(|v| {
            let text = |key| v.get(key).and_then(|x| x.as_str());
            match text("dtype") {
                Some("float16") => {}
                _ => return Err(wrong()),
            }
            Ok(Record {
                path: text("path").ok_or_else(wrong)?.to_owned(),
                embedding: v.get("embedding").and_then(|x| x.as_bool()).ok_or_else(wrong)?,
                block: v.get("block").and_then(|x| x.as_u64()).ok_or_else(wrong)?,
            })
        })
        .collect()
}
