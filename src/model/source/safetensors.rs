//! Headers of safetensors files: which tensors a file holds, without reading one weight.
//!
//! Layout (<https://github.com/huggingface/safetensors>, `README.md`, section "Format"): 8 bytes with the length of
//! the header, little endian; the header, a JSON object of `name → {dtype, shape, data_offsets}` with an optional
//! `__metadata__` of strings; then the data, to which the offsets refer.
//!
//! The limits follow the reference implementation where it has one (a header of at most 100 000 000 bytes) and
//! are generous against the largest real checkpoints elsewhere. Holes between tensors are accepted, because MLX
//! accepts them; overlaps are not.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use std::fmt;
use std::io::Read;
use thiserror::Error;

/// Longest header in bytes; the limit of the reference implementation (`MAX_HEADER_SIZE`).
pub const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Most tensors in one checkpoint. The largest known (a thousand experts, one tensor each) has a quarter of it.
pub const MAX_TENSORS: usize = 1_000_000;
/// Longest tensor name in bytes.
pub const MAX_NAME_BYTES: usize = 1024;
/// Most dimensions of a tensor. MLX arrays of models have up to five.
pub const MAX_RANK: usize = 16;

/// What is wrong with a safetensors header.
#[derive(Debug, Error)]
pub enum HeaderError {
    /// Reading failed.
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// The file ends before the header does.
    #[error("is cut off: it holds {actual} of the {expected} bytes that its header needs")]
    Truncated {
        /// Bytes that the length field promises, length field included.
        expected: u64,
        /// Bytes that are there.
        actual: u64,
    },
    /// The header is longer than the limit.
    #[error(
        "claims a header of {0} bytes, more than the 100000000 that the format allows; is it a safetensors file?"
    )]
    HeaderTooLong(u64),
    /// The header is no JSON of the right form.
    #[error("has a header that is no valid safetensors JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A tensor's entry contradicts itself, another tensor or the file's length.
    #[error("tensor '{name}': {problem}")]
    Tensor {
        /// Name of the tensor, shortened.
        name: String,
        /// What is wrong.
        problem: String,
    },
}

/// Element type of a stored tensor. The names are those of the reference implementation (`Dtype`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, non_camel_case_types, reason = "the names are the documentation")]
pub enum StorageType {
    Bool,
    F4,
    F6_E2M3,
    F6_E3M2,
    U8,
    I8,
    F8_E5M2,
    F8_E4M3,
    F8_E8M0,
    F8_E4M3FNUZ,
    F8_E5M2FNUZ,
    U16,
    I16,
    F16,
    BF16,
    U32,
    I32,
    F32,
    C64,
    U64,
    I64,
    F64,
}

impl StorageType {
    const ALL: [(Self, &'static str, u64); 22] = [
        (Self::Bool, "BOOL", 8),
        (Self::F4, "F4", 4),
        (Self::F6_E2M3, "F6_E2M3", 6),
        (Self::F6_E3M2, "F6_E3M2", 6),
        (Self::U8, "U8", 8),
        (Self::I8, "I8", 8),
        (Self::F8_E5M2, "F8_E5M2", 8),
        (Self::F8_E4M3, "F8_E4M3", 8),
        (Self::F8_E8M0, "F8_E8M0", 8),
        (Self::F8_E4M3FNUZ, "F8_E4M3FNUZ", 8),
        (Self::F8_E5M2FNUZ, "F8_E5M2FNUZ", 8),
        (Self::U16, "U16", 16),
        (Self::I16, "I16", 16),
        (Self::F16, "F16", 16),
        (Self::BF16, "BF16", 16),
        (Self::U32, "U32", 32),
        (Self::I32, "I32", 32),
        (Self::F32, "F32", 32),
        (Self::C64, "C64", 64),
        (Self::U64, "U64", 64),
        (Self::I64, "I64", 64),
        (Self::F64, "F64", 64),
    ];

    /// Bits per element.
    #[must_use]
    pub fn bits(self) -> u64 {
        Self::ALL.iter().find(|(t, ..)| *t == self).map_or(0, |(_, _, bits)| *bits)
    }

    /// Name in a header.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(t, ..)| *t == self).map_or("?", |(_, name, _)| name)
    }

    /// The type that a header calls `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n, _)| *n == name).map(|(t, ..)| *t)
    }
}

impl fmt::Display for StorageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A tensor as one file's header describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderTensor {
    /// Full name.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// Element type.
    pub dtype: StorageType,
    /// Size in bytes.
    pub bytes: u64,
    /// First byte, counted from the end of the header.
    pub offset: u64,
}

/// The header of one safetensors file, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Tensors in the order of their data.
    pub tensors: Vec<HeaderTensor>,
    /// `format` of the metadata: `mlx`, `pt`, …
    pub format: Option<String>,
}

/// The length of the header that the first eight bytes of a file announce.
///
/// # Errors
/// When it exceeds [`MAX_HEADER_BYTES`] or does not fit into a file of `file_bytes`.
pub fn header_length(first: [u8; 8], file_bytes: Option<u64>) -> Result<u64, HeaderError> {
    let length = u64::from_le_bytes(first);
    if length > MAX_HEADER_BYTES {
        return Err(HeaderError::HeaderTooLong(length));
    }
    match file_bytes {
        Some(actual) if actual < length + 8 => {
            Err(HeaderError::Truncated { expected: length + 8, actual })
        }
        _ => Ok(length),
    }
}

/// Reads and checks the header of a file that is `file_bytes` long. Reads nothing behind the header.
///
/// # Errors
/// When reading fails or the header is wrong in itself or for a file of that length.
pub fn read_header(mut reader: impl Read, file_bytes: u64) -> Result<Header, HeaderError> {
    let mut first = [0_u8; 8];
    if file_bytes < 8 {
        return Err(HeaderError::Truncated { expected: 8, actual: file_bytes });
    }
    reader.read_exact(&mut first)?;
    let length = header_length(first, Some(file_bytes))?;
    let mut json = Vec::new();
    reader.take(length).read_to_end(&mut json)?;
    if (json.len() as u64) < length {
        return Err(HeaderError::Truncated { expected: length + 8, actual: json.len() as u64 + 8 });
    }
    parse_header(&json, Some(file_bytes - 8 - length))
}

/// Parses the JSON of a header. `data_bytes` is the length of the data behind it, where known.
///
/// # Errors
/// When the JSON or a tensor's entry is wrong, or the data is shorter than the tensors need.
pub fn parse_header(json: &[u8], data_bytes: Option<u64>) -> Result<Header, HeaderError> {
    if json.len() as u64 > MAX_HEADER_BYTES {
        return Err(HeaderError::HeaderTooLong(json.len() as u64));
    }
    let raw: RawHeader = serde_json::from_slice(json)?;
    let mut tensors =
        raw.tensors.into_iter().map(check_tensor).collect::<Result<Vec<_>, HeaderError>>()?;
    tensors.sort_by_key(|t| (t.offset, t.bytes));
    let mut end = 0;
    for tensor in &tensors {
        if tensor.offset < end && tensor.bytes > 0 {
            return Err(problem(&tensor.name, "its data overlaps that of another tensor".into()));
        }
        end = end.max(tensor.offset.saturating_add(tensor.bytes));
        if let Some(data) = data_bytes.filter(|data| end > *data) {
            let text = format!(
                "its data ends at byte {end} but the file holds {data} bytes of data; it is cut off"
            );
            return Err(problem(&tensor.name, text));
        }
    }
    Ok(Header { tensors, format: raw.format })
}

fn problem(name: &str, problem: String) -> HeaderError {
    let name = if name.chars().count() > 100 {
        format!("{}…", name.chars().take(99).collect::<String>())
    } else {
        name.to_owned()
    };
    HeaderError::Tensor { name, problem }
}

fn check_tensor((name, raw): (String, RawTensor)) -> Result<HeaderTensor, HeaderError> {
    let fail = |text: String| Err(problem(&name, text));
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return fail(format!(
            "its name has {} bytes; 1 to {MAX_NAME_BYTES} are possible",
            name.len()
        ));
    }
    let Some(dtype) = StorageType::from_name(&raw.dtype) else {
        let shown: String = raw.dtype.chars().take(20).collect();
        return fail(format!("its type '{shown}' is none that safetensors has"));
    };
    if raw.shape.len() > MAX_RANK {
        return fail(format!(
            "it has {} dimensions; at most {MAX_RANK} are possible",
            raw.shape.len()
        ));
    }
    let bits = raw.shape.iter().try_fold(dtype.bits(), |product, n| product.checked_mul(*n));
    let Some(bits) = bits else {
        return fail("its shape is larger than any file can be".to_owned());
    };
    let [start, end] = raw.data_offsets;
    let Some(bytes) = end.checked_sub(start) else {
        return fail(format!("its data ends at byte {end}, before it starts at {start}"));
    };
    if bits % 8 != 0 || bits / 8 != bytes {
        return fail(format!(
            "{bytes} bytes of data do not fit its shape {:?} of {dtype}, which needs {}",
            raw.shape,
            bits.div_ceil(8)
        ));
    }
    Ok(HeaderTensor { name, shape: raw.shape, dtype, bytes, offset: start })
}

#[derive(Deserialize)]
struct RawTensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

#[derive(Deserialize)]
struct RawMetadata {
    format: Option<String>,
}

struct RawHeader {
    tensors: Vec<(String, RawTensor)>,
    format: Option<String>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;
        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<RawHeader, M::Error> {
                let mut header = RawHeader { tensors: Vec::new(), format: None };
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        // `mx.save_safetensors` writes null when there is none.
                        let metadata = map.next_value::<Option<RawMetadata>>()?;
                        header.format = metadata.and_then(|m| m.format);
                    } else if header.tensors.len() == MAX_TENSORS {
                        return Err(M::Error::custom(format!("more than {MAX_TENSORS} tensors")));
                    } else {
                        header.tensors.push((name, map.next_value()?));
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(HeaderVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(json: &str, data: usize) -> Vec<u8> {
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(json.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Header, HeaderError> {
        read_header(bytes, bytes.len() as u64)
    }

    fn message(json: &str, data: usize) -> String {
        read(&file(json, data)).unwrap_err().to_string()
    }

    const TWO: &str = r#"{"__metadata__":{"format":"mlx"},
        "b":{"dtype":"U32","shape":[2,3],"data_offsets":[4,28]},
        "a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}"#;

    #[test]
    fn tensors_come_in_the_order_of_their_data() {
        let header = read(&file(TWO, 28)).unwrap();
        assert_eq!(header.format.as_deref(), Some("mlx"));
        let names: Vec<&str> = header.tensors.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(header.tensors[1].shape, [2, 3]);
        assert_eq!(header.tensors[1].bytes, 24);
    }

    #[test]
    fn an_empty_header_and_a_scalar_are_fine() {
        assert_eq!(read(&file("{}", 0)).unwrap(), Header::default());
        let scalar = r#"{"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#;
        assert_eq!(read(&file(scalar, 4)).unwrap().tensors[0].bytes, 4);
    }

    #[test]
    fn cut_off_files_say_so() {
        let whole = file(TWO, 28);
        for length in 0..whole.len() {
            let text = read(&whole[..length]).unwrap_err().to_string();
            assert!(text.contains("is cut off"), "{length}: {text}");
        }
    }

    #[test]
    fn wrong_entries_are_named() {
        let entry = |body: &str| format!(r#"{{"w":{{{body}}}}}"#);
        for (body, expected) in [
            (r#""dtype":"F99","shape":[1],"data_offsets":[0,4]"#, "type 'F99'"),
            (
                r#""dtype":"F32","shape":[2],"data_offsets":[0,4]"#,
                "do not fit its shape [2] of F32",
            ),
            (r#""dtype":"F32","shape":[1],"data_offsets":[4,0]"#, "before it starts"),
            (
                r#""dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,4]"#,
                "larger than any",
            ),
            (r#""dtype":"F32","shape":[-1],"data_offsets":[0,4]"#, "no valid safetensors JSON"),
            (r#""dtype":"F32","shape":[1]"#, "missing field `data_offsets`"),
            (r#""dtype":"F4","shape":[1],"data_offsets":[0,1]"#, "which needs 1"),
            (
                r#""dtype":"U8","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]"#,
                "17 dimensions",
            ),
        ] {
            let text = message(&entry(body), 4);
            assert!(text.contains(expected), "{body}: {text}");
        }
    }

    #[test]
    fn overlapping_tensors_are_refused() {
        let json = r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},
            "b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}}"#;
        assert_eq!(message(json, 7), "tensor 'b': its data overlaps that of another tensor");
    }

    #[test]
    fn a_huge_length_field_allocates_nothing() {
        let mut bytes = u64::MAX.to_le_bytes().to_vec();
        bytes.extend_from_slice(b"{}");
        assert!(matches!(read(&bytes), Err(HeaderError::HeaderTooLong(u64::MAX))));
        // The reader lies about the length of the file; the buffer grows with the data only.
        let mut lying = 90_000_000_u64.to_le_bytes().to_vec();
        lying.extend_from_slice(b"{}");
        assert!(matches!(
            read_header(lying.as_slice(), 1 << 40),
            Err(HeaderError::Truncated { actual: 10, .. })
        ));
    }

    #[test]
    fn deep_nesting_in_unknown_keys_is_survived() {
        let deep = "[".repeat(200_000);
        let text = message(&format!(r#"{{"w":{{"dtype":"U8","extra":{deep}"#), 0);
        assert!(text.contains("JSON"), "{text}");
    }

    #[test]
    fn every_type_round_trips_by_name() {
        for (t, name, bits) in StorageType::ALL {
            assert_eq!(StorageType::from_name(name), Some(t));
            assert_eq!((t.name(), t.bits()), (name, bits));
        }
        assert_eq!(StorageType::from_name("bf16"), None);
    }

    proptest! {
        #[test]
        fn mutated_headers_never_panic(
            changes in proptest::collection::vec((0_usize..400, any::<u8>()), 0..6),
            cut in 0_usize..400,
        ) {
            let mut bytes = file(TWO, 28);
            for (at, value) in changes {
                let length = bytes.len();
                bytes[at % length] = value;
            }
            bytes.truncate(bytes.len().saturating_sub(cut % 40));
            if let Ok(header) = read(&bytes) {
                let sum: u64 = header.tensors.iter().map(|t| t.bytes).sum();
                prop_assert!(sum <= bytes.len() as u64);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let _ = parse_header(&bytes, None);
        }
    }
}
