//! Writes small GGUF files for tests.

/// A GGUF file under construction.
#[derive(Clone, Debug)]
pub struct Builder {
    version: u32,
    keys: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    data: u64,
}

fn text(value: &str) -> Vec<u8> {
    let mut bytes = (value.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(value.as_bytes());
    bytes
}

impl Builder {
    /// An empty file of version 3.
    pub fn new() -> Self {
        Self { version: 3, keys: Vec::new(), tensors: Vec::new(), data: 0 }
    }

    /// Sets the version.
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Adds a metadata value as it stands in the file.
    pub fn raw(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        let mut entry = text(key);
        entry.extend_from_slice(&kind.to_le_bytes());
        entry.extend_from_slice(value);
        self.keys.push(entry);
        self
    }

    /// Adds a text.
    pub fn text(self, key: &str, value: &str) -> Self {
        self.raw(key, 8, &text(value))
    }

    /// Adds a 32-bit whole number.
    pub fn number(self, key: &str, value: u32) -> Self {
        self.raw(key, 4, &value.to_le_bytes())
    }

    /// Adds a 32-bit floating-point number.
    pub fn float(self, key: &str, value: f32) -> Self {
        self.raw(key, 6, &value.to_le_bytes())
    }

    /// Adds an array of texts.
    pub fn texts(self, key: &str, values: &[&str]) -> Self {
        let mut bytes = 8_u32.to_le_bytes().to_vec();
        bytes.extend_from_slice(&(values.len() as u64).to_le_bytes());
        for value in values {
            bytes.extend_from_slice(&text(value));
        }
        self.raw(key, 9, &bytes)
    }

    /// Adds a tensor behind the others. `bytes` is its size, which the caller knows.
    pub fn tensor(mut self, name: &str, dims: &[u64], kind: u32, bytes: u64) -> Self {
        let offset = self.data;
        self.data = (self.data + bytes).next_multiple_of(32);
        self.tensor_at(name, dims, kind, offset)
    }

    /// Adds a tensor at an offset.
    pub fn tensor_at(mut self, name: &str, dims: &[u64], kind: u32, offset: u64) -> Self {
        let mut entry = text(name);
        entry.extend_from_slice(&(dims.len() as u32).to_le_bytes());
        for n in dims {
            entry.extend_from_slice(&n.to_le_bytes());
        }
        entry.extend_from_slice(&kind.to_le_bytes());
        entry.extend_from_slice(&offset.to_le_bytes());
        self.tensors.push(entry);
        self
    }

    /// The header alone.
    pub fn header(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&(self.tensors.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&(self.keys.len() as u64).to_le_bytes());
        self.keys.iter().chain(&self.tensors).for_each(|entry| bytes.extend_from_slice(entry));
        bytes
    }

    /// The whole file, with zeros as data.
    pub fn file(&self) -> Vec<u8> {
        let mut bytes = self.header();
        let length = bytes.len().next_multiple_of(32) + self.data as usize;
        bytes.resize(length, 0);
        bytes
    }
}
