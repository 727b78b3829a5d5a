//! Writes small safetensors files and folders for tests.

use super::safetensors::StorageType;
use crate::model::quant::Packing;
use std::path::Path;
use tempfile::TempDir;

/// Name, type and shape.
pub type TensorEntry<'a> = (&'a str, &'a str, &'a [u64]);

/// A quantized layer with an 8-bit router, a norm and a bit of a vision tower.
pub const ONE_LAYER: [TensorEntry<'static>; 8] = [
    ("model.layers.0.mlp.up_proj.weight", "U32", &[64, 16]),
    ("model.layers.0.mlp.up_proj.scales", "BF16", &[64, 2]),
    ("model.layers.0.mlp.up_proj.biases", "BF16", &[64, 2]),
    ("model.layers.0.mlp.gate.weight", "U32", &[4, 32]),
    ("model.layers.0.mlp.gate.scales", "BF16", &[4, 2]),
    ("model.layers.0.mlp.gate.biases", "BF16", &[4, 2]),
    ("model.norm.weight", "BF16", &[128]),
    ("vision_tower.norm.weight", "F32", &[16]),
];

/// The bytes of a safetensors file with zeros as data.
pub fn safetensors(entries: &[TensorEntry<'_>]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), serde_json::json!({"format": "mlx"}));
    let mut end = 0_u64;
    for (name, dtype, shape) in entries {
        let bits = StorageType::from_name(dtype).expect("a known type").bits();
        let start = end;
        end += shape.iter().product::<u64>() * bits / 8;
        let entry =
            serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]});
        header.insert((*name).to_owned(), entry);
    }
    let json = serde_json::Value::Object(header).to_string();
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    bytes.resize(bytes.len() + end as usize, 0);
    bytes
}

/// The tensors of a packed matrix of 8 rows and `k` columns.
pub fn tensor_entries(
    path: &str,
    k: u64,
    packing: Packing,
) -> Vec<(String, &'static str, Vec<u64>)> {
    let scale = if packing.has_biases() { "BF16" } else { "U8" };
    let groups = k / u64::from(packing.group);
    let columns = k * u64::from(packing.bits) / 32;
    let mut list = vec![
        (format!("{path}.weight"), "U32", vec![8, columns]),
        (format!("{path}.scales"), scale, vec![8, groups]),
    ];
    if packing.has_biases() {
        list.push((format!("{path}.biases"), scale, vec![8, groups]));
    }
    list
}

/// Writes a file.
pub fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders can be made");
    std::fs::write(path, bytes).expect("files can be written");
}

/// A folder with two shards and their index.
pub struct ShardedFolder(TempDir);

impl ShardedFolder {
    /// Writes the folder.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        write(dir.path(), "config.json", br#"{"model_type":"llama"}"#);
        write(
            dir.path(),
            "model.safetensors.index.json",
            br#"{"metadata":{"total_size":8},"weight_map":{
                "a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}"#,
        );
        let shard = |name: &str| safetensors(&[(name, "BF16", &[2])]);
        write(dir.path(), "model-00001-of-00002.safetensors", &shard("a"));
        write(dir.path(), "model-00002-of-00002.safetensors", &shard("b"));
        Self(dir)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}
