//! Tensors from safetensors files.

use super::{LoadedWeights, Result, TensorSpec, dtype_of};
use crate::engine::mlx::error::{EngineError, last};
use crate::engine::mlx::ops::{Array, Ops};
use crate::engine::mlx::rs::Stream;
use crate::files;
use crate::graph::params::Parameters;
use crate::model::source::safetensors::read_header;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::io::BufReader;
use std::path::{Path, PathBuf};

impl LoadedWeights {
    /// Reads the tensors of a model from all safetensors files of a folder. Tensors that the model does not have are
    /// ignored, as mlx-lm's families drop them too.
    ///
    /// # Errors
    /// When a file cannot be read, is cut off, or a tensor is missing or has another shape than the model needs.
    pub fn load(params: &Parameters, folder: &Path) -> Result<Self> {
        let ops = Ops::new();
        let mut found = HashMap::new();
        for file in safetensors_files(folder)? {
            // Checks lengths against the file before MLX reads it: MLX maps what the header says.
            check(&file).map_err(|reason| EngineError::Files { path: file.clone(), reason })?;
            found.extend(read(&file)?);
        }
        let mut missing = Vec::new();
        let weights = Self::build(params, |spec| {
            let name = spec.module.tensor_name(spec.part);
            match found.remove(&name) {
                Some(array) => fitting(&ops, spec, &name, array),
                None => {
                    missing.push(name);
                    ops.numbers(&[0.0], &[1].into(), crate::model::DType::F32)
                }
            }
        })?;
        match missing.as_slice() {
            [] => Ok(weights),
            [first, rest @ ..] => Err(EngineError::Files {
                path: folder.to_owned(),
                reason: format!(
                    "the files hold no tensor {first}{}; if this is no MLX model, convert it with \
                     `mlx_lm.convert --hf-path {}`",
                    if rest.is_empty() {
                        String::new()
                    } else {
                        format!(" and {} more", rest.len())
                    },
                    folder.display()
                ),
            }),
        }
    }

    /// Writes the tensors to a safetensors file under the names that mlx-lm uses.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, params: &Parameters, file: &Path) -> Result<()> {
        let path = c_path(file)?;
        // SAFETY: maps made here and freed here; names and handles live across the calls.
        unsafe {
            let map = mlx_sys::mlx_map_string_to_array_new();
            let notes = mlx_sys::mlx_map_string_to_string_new();
            let mut status = 0;
            for (module, parts) in params.modules().iter().zip(&self.tensors) {
                for (part, _, _) in module.tensors() {
                    let name = CString::new(module.tensor_name(part)).unwrap_or_default();
                    if let Some(array) = &parts[part as usize] {
                        status |= mlx_sys::mlx_map_string_to_array_insert(
                            map,
                            name.as_ptr(),
                            array.as_ptr(),
                        );
                    }
                }
            }
            if status == 0 {
                status = mlx_sys::mlx_save_safetensors(path.as_ptr(), map, notes);
            }
            mlx_sys::mlx_map_string_to_array_free(map);
            mlx_sys::mlx_map_string_to_string_free(notes);
            if status == 0 { Ok(()) } else { Err(last("save_safetensors")) }
        }
    }
}

/// The array in the shape and type that the model needs.
fn fitting(ops: &Ops, spec: &TensorSpec<'_>, name: &str, array: Array) -> Result<Array> {
    let shape = super::super::kernels::shape_of(&array);
    if shape != spec.shape {
        return Err(EngineError::Tensor(format!(
            "tensor {name} has the shape {shape:?}, but the configuration needs {:?}",
            spec.shape
        )));
    }
    let stored = dtype_of(&array)?;
    if stored == spec.dtype {
        return Ok(array);
    }
    if stored.is_float() != spec.dtype.is_float() {
        return Err(EngineError::Tensor(format!(
            "tensor {name} holds {stored}, but the configuration needs {}",
            spec.dtype
        )));
    }
    ops.as_type(&array, spec.dtype)
}

/// The weight files of a folder: those of the index if there is one, else all.
fn safetensors_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let wrong = |reason: String| EngineError::Files { path: folder.to_owned(), reason };
    let entries = std::fs::read_dir(folder).map_err(|e| wrong(e.to_string()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|e| e.ok().map(|e| e.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "safetensors"))
        .filter(|p| {
            let name = p.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            name.starts_with("model")
        })
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(wrong("no model*.safetensors files; --random-weights runs without".into()));
    }
    Ok(files)
}

/// Reads the header of a file and compares it with the file's length.
fn check(file: &Path) -> std::result::Result<(), String> {
    let open = files::open(file).map_err(|e| e.to_string())?;
    let bytes = open.metadata().map_err(|e| e.to_string())?.len();
    read_header(BufReader::new(open), bytes).map(|_| ()).map_err(|e| e.to_string())
}

fn c_path(file: &Path) -> Result<CString> {
    let text = file.to_str().and_then(|p| CString::new(p).ok());
    text.ok_or_else(|| EngineError::Files {
        path: file.to_owned(),
        reason: "MLX cannot open paths that are no UTF-8".to_owned(),
    })
}

fn read(file: &Path) -> Result<HashMap<String, Array>> {
    let path = c_path(file)?;
    // Loading is an operation of the CPU.
    let stream = Stream::cpu();
    // SAFETY: maps made here and freed here; every array is taken out as a handle of its own.
    unsafe {
        let mut map = mlx_sys::mlx_map_string_to_array_new();
        let mut notes = mlx_sys::mlx_map_string_to_string_new();
        let status = mlx_sys::mlx_load_safetensors(
            &raw mut map,
            &raw mut notes,
            path.as_ptr(),
            stream.as_ptr(),
        );
        let mut out = HashMap::new();
        if status == 0 {
            let it = mlx_sys::mlx_map_string_to_array_iterator_new(map);
            loop {
                let mut key = std::ptr::null();
                let mut value = mlx_sys::mlx_array_new();
                if mlx_sys::mlx_map_string_to_array_iterator_next(&raw mut key, &raw mut value, it)
                    != 0
                {
                    mlx_sys::mlx_array_free(value);
                    break;
                }
                let name = CStr::from_ptr(key).to_string_lossy().into_owned();
                out.insert(name, Array::from_ptr(value));
            }
            mlx_sys::mlx_map_string_to_array_iterator_free(it);
        }
        mlx_sys::mlx_map_string_to_array_free(map);
        mlx_sys::mlx_map_string_to_string_free(notes);
        if status == 0 { Ok(out) } else { Err(last("load_safetensors")) }
    }
}
