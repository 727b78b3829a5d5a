//! The list of tensors that a checkpoint holds, as its file headers give it.

use super::safetensors::StorageType;

/// One tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Full name, for example `model.layers.0.mlp.down_proj.weight`.
    pub name: String,
    /// Dimensions, outermost first. Empty for a scalar.
    pub shape: Vec<u64>,
    /// Element type as stored.
    pub dtype: StorageType,
    /// Size in bytes, as the header's offsets give it.
    pub bytes: u64,
    /// Index into [`TensorIndex::files`].
    pub file: usize,
}

/// One file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorFile {
    /// File name without folder.
    pub name: String,
    /// Size of the whole file in bytes, header included; `None` when a server did not tell.
    pub bytes: Option<u64>,
}

/// All tensors of a checkpoint, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TensorIndex {
    tensors: Vec<TensorInfo>,
    files: Vec<TensorFile>,
    mlx_format: bool,
}

impl TensorIndex {
    /// Sorts and stores the tensors. The second value is a name that occurs twice, if there is one.
    pub(crate) fn new(
        mut tensors: Vec<TensorInfo>,
        files: Vec<TensorFile>,
        mlx_format: bool,
    ) -> Result<Self, String> {
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        let twice = tensors.iter().zip(tensors.iter().skip(1)).find(|(a, b)| a.name == b.name);
        match twice {
            Some((a, _)) => Err(a.name.clone()),
            None => Ok(Self { tensors, files, mlx_format }),
        }
    }

    /// The tensors, sorted by name.
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The files that hold them.
    #[must_use]
    pub fn files(&self) -> &[TensorFile] {
        &self.files
    }

    /// Whether a file says in its metadata that MLX wrote it (`"format": "mlx"`).
    #[must_use]
    pub const fn is_mlx_format(&self) -> bool {
        self.mlx_format
    }

    /// The tensor of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&TensorInfo> {
        let at = self.tensors.binary_search_by(|t| t.name.as_str().cmp(name)).ok()?;
        self.tensors.get(at)
    }

    /// Sum of all tensors' sizes in bytes.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.tensors.iter().fold(0, |sum, t| sum.saturating_add(t.bytes))
    }
}
