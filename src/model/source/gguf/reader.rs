//! Reads the header of a GGUF file: magic, version, metadata, tensor list.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Everything is little endian here; a file
//! that was written for a big-endian machine is recognized and refused. Lengths are never trusted: memory grows with
//! the data that is really there, and the header as a whole is bounded.

use super::GgmlType;
use super::values::{GgufValue, Metadata};
use super::{GgufError, GgufTensor, KEPT_ITEMS};
use std::io::Read;

/// Most bytes of a header. A vocabulary of 262 144 tokens with merges takes about 12 MB.
const MAX_HEADER_BYTES: u64 = 256 << 20;
const MAX_KEYS: u64 = 100_000;
const MAX_TENSORS: u64 = 1_000_000;
const MAX_KEY_BYTES: u64 = 65_535;
const MAX_TEXT_BYTES: u64 = 16 << 20;
const MAX_ARRAY_DEPTH: u32 = 4;
/// Array items that are kept over the whole header.
const MAX_KEPT_ITEMS: u64 = 1_000_000;
/// ggml's `GGML_MAX_DIMS`.
const MAX_DIMS: u32 = 4;
const DEFAULT_ALIGNMENT: u64 = 32;
const MAX_ALIGNMENT: u64 = 1 << 20;

/// What a header holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RawHeader {
    pub version: u32,
    pub metadata: Metadata,
    pub tensors: Vec<GgufTensor>,
    /// First byte of the data.
    pub data_start: u64,
}

/// Reads a header. Nothing behind it is read.
pub(super) fn read(reader: impl Read) -> Result<RawHeader, GgufError> {
    let mut cursor = Cursor { reader, position: 0, spare_items: MAX_KEPT_ITEMS };
    let magic = cursor.bytes::<4>("the magic number")?;
    if &magic != b"GGUF" {
        return Err(GgufError::NotGguf);
    }
    let version = cursor.u32("the version")?;
    match version {
        2 | 3 => {}
        1 => return Err(GgufError::Version(1)),
        v if v & 0xffff == 0 => return Err(GgufError::BigEndian),
        v => return Err(GgufError::Version(v)),
    }
    let tensor_count = cursor.u64("the number of tensors")?;
    let key_count = cursor.u64("the number of metadata keys")?;
    if tensor_count > MAX_TENSORS {
        return Err(GgufError::wrong(format!("claims {tensor_count} tensors")));
    }
    if key_count > MAX_KEYS {
        return Err(GgufError::wrong(format!("claims {key_count} metadata keys")));
    }
    let mut metadata = Metadata::default();
    for _ in 0..key_count {
        let key = cursor.text("a metadata key", MAX_KEY_BYTES)?;
        let kind = cursor.u32(&key)?;
        let value = cursor.value(&key, kind, 0)?;
        if metadata.0.insert(key.clone(), value).is_some() {
            return Err(GgufError::wrong(format!("the metadata key '{key}' occurs twice")));
        }
    }
    let mut tensors = Vec::new();
    for _ in 0..tensor_count {
        tensors.push(cursor.tensor()?);
    }
    let alignment = match metadata.get("general.alignment") {
        None => DEFAULT_ALIGNMENT,
        Some(value) => value
            .as_u64()
            .filter(|a| a.is_power_of_two() && *a <= MAX_ALIGNMENT)
            .ok_or_else(|| GgufError::wrong("general.alignment is no power of two".to_owned()))?,
    };
    let data_start = cursor.position.next_multiple_of(alignment);
    Ok(RawHeader { version, metadata, tensors, data_start })
}

struct Cursor<R> {
    reader: R,
    position: u64,
    /// Array items that may still be kept.
    spare_items: u64,
}

impl<R: Read> Cursor<R> {
    fn advance(&mut self, bytes: u64, what: &str) -> Result<(), GgufError> {
        self.position = self.position.saturating_add(bytes);
        if self.position > MAX_HEADER_BYTES {
            return Err(GgufError::wrong(format!("the header is too long, at {}", shorten(what))));
        }
        Ok(())
    }

    fn bytes<const N: usize>(&mut self, what: &str) -> Result<[u8; N], GgufError> {
        self.advance(N as u64, what)?;
        let mut buffer = [0_u8; N];
        self.reader.read_exact(&mut buffer).map_err(|e| GgufError::read(e, what))?;
        Ok(buffer)
    }

    fn u32(&mut self, what: &str) -> Result<u32, GgufError> {
        self.bytes(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &str) -> Result<u64, GgufError> {
        self.bytes(what).map(u64::from_le_bytes)
    }

    /// Reads `length` bytes; the buffer grows with what is really there.
    fn blob(&mut self, what: &str, length: u64) -> Result<Vec<u8>, GgufError> {
        self.advance(length, what)?;
        let mut buffer = Vec::new();
        let read = (&mut self.reader).take(length).read_to_end(&mut buffer);
        read.map_err(|e| GgufError::read(e, what))?;
        if (buffer.len() as u64) < length {
            return Err(GgufError::Truncated(shorten(what)));
        }
        Ok(buffer)
    }

    fn skip(&mut self, what: &str, length: u64) -> Result<(), GgufError> {
        self.advance(length, what)?;
        let mut rest = (&mut self.reader).take(length);
        let skipped = std::io::copy(&mut rest, &mut std::io::sink());
        if skipped.map_err(|e| GgufError::read(e, what))? < length {
            return Err(GgufError::Truncated(shorten(what)));
        }
        Ok(())
    }

    fn text_length(&mut self, what: &str, limit: u64) -> Result<u64, GgufError> {
        let length = self.u64(what)?;
        if length > limit {
            let text = format!("{} claims a text of {length} bytes", shorten(what));
            return Err(GgufError::wrong(text));
        }
        Ok(length)
    }

    fn text(&mut self, what: &str, limit: u64) -> Result<String, GgufError> {
        let length = self.text_length(what, limit)?;
        let bytes = self.blob(what, length)?;
        // Vocabularies hold bytes that are no UTF-8; a replacement character does no harm in a name.
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn value(&mut self, key: &str, kind: u32, depth: u32) -> Result<GgufValue, GgufError> {
        Ok(match kind {
            0 => GgufValue::Unsigned(u64::from(u8::from_le_bytes(self.bytes(key)?))),
            1 => GgufValue::Signed(i64::from(i8::from_le_bytes(self.bytes(key)?))),
            2 => GgufValue::Unsigned(u64::from(u16::from_le_bytes(self.bytes(key)?))),
            3 => GgufValue::Signed(i64::from(i16::from_le_bytes(self.bytes(key)?))),
            4 => GgufValue::Unsigned(u64::from(self.u32(key)?)),
            5 => GgufValue::Signed(i64::from(i32::from_le_bytes(self.bytes(key)?))),
            6 => GgufValue::Float(f64::from(f32::from_le_bytes(self.bytes(key)?))),
            7 => match self.bytes::<1>(key)? {
                [0] => GgufValue::Bool(false),
                [1] => GgufValue::Bool(true),
                [n] => {
                    let text = format!("{} is a truth value of {n}", shorten(key));
                    return Err(GgufError::wrong(text));
                }
            },
            8 => GgufValue::Text(self.text(key, MAX_TEXT_BYTES)?),
            9 => self.array(key, depth + 1)?,
            10 => GgufValue::Unsigned(self.u64(key)?),
            11 => GgufValue::Signed(i64::from_le_bytes(self.bytes(key)?)),
            12 => GgufValue::Float(f64::from_le_bytes(self.bytes(key)?)),
            n => {
                let text = format!("{} has a value of the unknown type {n}", shorten(key));
                return Err(GgufError::wrong(text));
            }
        })
    }

    fn array(&mut self, key: &str, depth: u32) -> Result<GgufValue, GgufError> {
        if depth > MAX_ARRAY_DEPTH {
            let text = format!("{} nests arrays deeper than {MAX_ARRAY_DEPTH}", shorten(key));
            return Err(GgufError::wrong(text));
        }
        let kind = self.u32(key)?;
        let length = self.u64(key)?;
        let keep = length <= KEPT_ITEMS && length <= self.spare_items;
        if keep {
            self.spare_items -= length;
        }
        let mut items = Vec::new();
        match fixed_size(kind).filter(|_| !keep) {
            Some(size) => {
                let bytes = length.saturating_mul(size);
                self.skip(key, bytes)?;
            }
            None => {
                for _ in 0..length {
                    if keep {
                        items.push(self.value(key, kind, depth)?);
                    } else if kind == 8 {
                        let bytes = self.text_length(key, MAX_TEXT_BYTES)?;
                        self.skip(key, bytes)?;
                    } else {
                        self.value(key, kind, depth)?;
                    }
                }
            }
        }
        Ok(GgufValue::Array { length, items })
    }

    fn tensor(&mut self) -> Result<GgufTensor, GgufError> {
        let name = self.text("a tensor name", 1024)?;
        let fail = |text: &str| Err(GgufError::wrong(format!("tensor {}: {text}", shorten(&name))));
        let rank = self.u32(&name)?;
        if rank > MAX_DIMS {
            return fail(&format!("{rank} dimensions; ggml has at most {MAX_DIMS}"));
        }
        let mut dims = Vec::new();
        for _ in 0..rank {
            dims.push(self.u64(&name)?);
        }
        let number = self.u32(&name)?;
        let offset = self.u64(&name)?;
        let Some(kind) = GgmlType::from_number(number) else {
            return fail(&format!(
                "type {number} is none that ggml has; a fork of llama.cpp may have made the file"
            ));
        };
        let row = dims.first().copied().unwrap_or(1);
        if row % kind.block_weights() != 0 {
            return fail(&format!("rows of {row} weights do not divide into blocks of {kind}"));
        }
        let weights = dims.iter().try_fold(1_u64, |product, n| product.checked_mul(*n));
        let bytes =
            weights.and_then(|n| (n / kind.block_weights()).checked_mul(kind.block_bytes()));
        match (weights, bytes) {
            (Some(weights), Some(bytes)) => {
                Ok(GgufTensor { name, dims, kind, weights, bytes, offset })
            }
            _ => fail("its dimensions are larger than any file can be"),
        }
    }
}

/// Bytes of a scalar of that value type.
const fn fixed_size(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

pub(super) fn shorten(text: &str) -> String {
    let shown: String = text.chars().take(100).collect();
    format!("'{}'", shown.escape_debug())
}
