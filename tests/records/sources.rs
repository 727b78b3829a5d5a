//! Whole models on disk, as other programs wrote them, read through the public interface.

use mlxplan::data_dir::DataDirs;
use mlxplan::model::names::ModelSpec;
use mlxplan::model::source::{folder, gguf::GgufInfo};
use mlxplan::model::{ModelSource, Models, Packing, parse_model_spec, resolve};
use std::fs::File;
use std::path::Path;

const GGUF_HEADER: &[u8] = include_bytes!("../fixtures/smollm2-135m-instruct-q4_1.gguf-header");
const MLX_HEADER: &[u8] = include_bytes!("../fixtures/mlx-lm-mxfp4.safetensors-header");
const MLX_CONFIG: &[u8] = include_bytes!("../fixtures/mlx-lm-mxfp4.config.json");

/// Writes a header and lets the file be as long as its data would make it, without storing the data.
fn sparse(path: &Path, header: &[u8], bytes: u64) {
    std::fs::write(path, header).unwrap();
    File::options().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

#[test]
fn a_folder_that_mlx_lm_wrote_is_read_to_the_byte() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), MLX_CONFIG).unwrap();
    let data = 1_330_432;
    sparse(&dir.path().join("model.safetensors"), MLX_HEADER, MLX_HEADER.len() as u64 + data);
    let spec = parse_model_spec(&dir.path().display().to_string()).unwrap();
    let ModelSpec::Folder(path) = spec else { panic!("{spec:?}") };
    let source = folder::load(&path).unwrap();
    // Sum of `nbytes` over all parameters, as mlx-lm reported it when the file was written.
    assert_eq!(source.stored_bytes(), Some(data));
    assert_eq!(source.parts.unwrap().text, data);
    let packings = source.packings.unwrap();
    let shares: Vec<_> = packings.by_packing().iter().map(|s| (s.packing, s.modules)).collect();
    assert_eq!(shares, [(Some(Packing::MXFP4), 16), (Some(Packing::affine(8, 64)), 2), (None, 9)]);
    let router = packings.get("model.layers.1.mlp.gate").unwrap();
    assert_eq!((router.packing, router.ambiguous), (Some(Packing::affine(8, 64)), false));
    assert!(source.notes.iter().all(|note| !note.is_warning()), "{:?}", source.notes);
}

#[test]
fn a_gguf_file_of_llama_cpp_gives_sizes_and_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("SmolLM2-135M-Instruct.Q4_1.gguf");
    let header = GgufInfo::parse_header(GGUF_HEADER, None).unwrap();
    sparse(&path, GGUF_HEADER, header.data_start + header.total_bytes());
    let spec = parse_model_spec(&path.display().to_string()).unwrap();
    assert_eq!(spec, ModelSpec::Gguf(path.clone()));
    let source = ModelSource::from_gguf(&path).unwrap();
    assert_eq!(source.stored_bytes(), Some(96_576_768));
    assert_eq!(source.config.unwrap().model_type(), Ok("llama"));
    // A download that stopped early.
    sparse(&path, GGUF_HEADER, header.data_start + 1_000_000);
    let error = ModelSource::from_gguf(&path).unwrap_err().to_string();
    assert!(error.ends_with("it is cut off"), "{error}");
}

#[test]
fn every_catalog_model_becomes_a_source() {
    let catalog = Models::load(&DataDirs::none()).unwrap();
    for model in catalog.models() {
        let source = ModelSource::from_entry(&model.entry().unwrap()).unwrap();
        assert_eq!(source.name, model.id);
        assert!(source.config.is_some());
        assert!(source.origin.to_string().starts_with("catalog entry "));
    }
    let ModelSpec::Name(name) = parse_model_spec("mlx-community/Qwen3-32B-4bit").unwrap() else {
        panic!("a name");
    };
    assert!(resolve(&catalog, &name, None).is_ok());
}
