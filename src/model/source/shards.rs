//! Checkpoints that are split into several safetensors files, and `model.safetensors.index.json`.

use super::error::SourceError;
use super::safetensors::{Header, MAX_NAME_BYTES, MAX_TENSORS};
use super::tensors::{TensorFile, TensorIndex, TensorInfo};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use std::collections::{BTreeSet, HashMap};
use std::fmt;

/// Most files of one checkpoint. The largest known one has about 200.
pub const MAX_SHARDS: usize = 10_000;
/// Largest index file that is read, in bytes.
pub const MAX_INDEX_BYTES: u64 = 200_000_000;

/// The content of `model.safetensors.index.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardIndex {
    /// File names, sorted, each once.
    pub files: Vec<String>,
    /// Tensor names and the file that holds each, as an index into `files`.
    pub tensors: Vec<(String, usize)>,
    /// `metadata.total_size`: bytes of all tensors, where stated.
    pub total_bytes: Option<u64>,
    /// `metadata.total_parameters`: MLX's logical parameter count, where stated.
    pub total_parameters: Option<u64>,
}

/// Parses an index file.
///
/// # Errors
/// A text that says what is wrong: no such JSON, a shard name that is no plain file name, too many entries.
pub fn parse_shard_index(text: &str) -> Result<ShardIndex, String> {
    let raw: RawIndex =
        serde_json::from_str(text).map_err(|e| format!("no valid shard index: {e}"))?;
    let names: BTreeSet<&String> = raw.weight_map.0.iter().map(|(_, file)| file).collect();
    if let Some(bad) = names.iter().find(|name| !is_plain_file_name(name)) {
        let shown: String = bad.chars().take(80).collect();
        return Err(format!("'{}' is no plain name of a safetensors file", shown.escape_debug()));
    }
    if names.is_empty() {
        return Err("the weight_map is empty".to_owned());
    }
    if names.len() > MAX_SHARDS {
        return Err(format!("lists {} files; at most {MAX_SHARDS} are possible", names.len()));
    }
    let files: Vec<String> = names.into_iter().cloned().collect();
    let position: HashMap<String, usize> =
        files.iter().enumerate().map(|(i, name)| (name.clone(), i)).collect();
    let tensors = raw
        .weight_map
        .0
        .into_iter()
        .filter_map(|(tensor, file)| position.get(&file).map(|at| (tensor, *at)))
        .collect();
    let metadata = raw.metadata.unwrap_or_default();
    Ok(ShardIndex {
        files,
        tensors,
        total_bytes: metadata.total_size.and_then(whole),
        total_parameters: metadata.total_parameters.and_then(whole),
    })
}

/// Some writers store the totals as floating-point numbers.
fn whole(number: serde_json::Number) -> Option<u64> {
    number.as_u64().or_else(|| {
        let value = number.as_f64()?;
        (value.fract() == 0.0 && (0.0..9e15).contains(&value)).then_some(value as u64)
    })
}

/// A name without folders that cannot lead out of the model's folder.
fn is_plain_file_name(name: &str) -> bool {
    name.len() <= 255
        && name.ends_with(".safetensors")
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

/// Joins the headers of all files into one index. `listed` is what the index file says, if there is one.
pub(crate) fn assemble(
    place: &str,
    headers: Vec<(TensorFile, Header)>,
    listed: Option<&ShardIndex>,
) -> Result<TensorIndex, SourceError> {
    let fail = |problem: String| SourceError::Inconsistent { place: place.to_owned(), problem };
    let mut tensors = Vec::new();
    let mut files = Vec::new();
    let mut mlx_format = false;
    for (at, (file, header)) in headers.into_iter().enumerate() {
        mlx_format |= header.format.as_deref() == Some("mlx");
        if tensors.len() + header.tensors.len() > MAX_TENSORS {
            return Err(fail(format!("the files hold more than {MAX_TENSORS} tensors")));
        }
        tensors.extend(header.tensors.into_iter().map(|t| TensorInfo {
            name: t.name,
            shape: t.shape,
            dtype: t.dtype,
            bytes: t.bytes,
            file: at,
        }));
        files.push(file);
    }
    let index = TensorIndex::new(tensors, files, mlx_format)
        .map_err(|name| fail(format!("the tensor '{name}' occurs twice")))?;
    let listed = listed.map_or(&[][..], |l| &l.tensors);
    match listed.iter().find(|(tensor, _)| index.get(tensor).is_none()) {
        Some((tensor, _)) => {
            Err(fail(format!("the index lists the tensor '{tensor}', which no file holds")))
        }
        None => Ok(index),
    }
}

/// The name of an absent shard, judged by the numbers in `model-00001-of-00003.safetensors`.
pub(crate) fn missing_by_number(names: &[String]) -> Option<String> {
    names.iter().find_map(|name| {
        let (stem, count) = name.strip_suffix(".safetensors")?.rsplit_once("-of-")?;
        let (prefix, number) = stem.rsplit_once('-')?;
        if number.len() != count.len() || !number.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let width = count.len();
        let count: usize = count.parse().ok().filter(|n| *n <= MAX_SHARDS)?;
        let have: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        (1..=count)
            .map(|i| format!("{prefix}-{i:0width$}-of-{count:0width$}.safetensors"))
            .find(|name| !have.contains(name.as_str()))
    })
}

#[derive(Deserialize, Default)]
struct RawTotals {
    total_size: Option<serde_json::Number>,
    total_parameters: Option<serde_json::Number>,
}

#[derive(Deserialize)]
struct RawIndex {
    metadata: Option<RawTotals>,
    weight_map: WeightMap,
}

struct WeightMap(Vec<(String, String)>);

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MapVisitor;
        impl<'de> Visitor<'de> for MapVisitor {
            type Value = WeightMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensor names and file names")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<WeightMap, M::Error> {
                let mut pairs = Vec::new();
                while let Some((tensor, file)) = map.next_entry::<String, String>()? {
                    if pairs.len() == MAX_TENSORS {
                        return Err(M::Error::custom(format!("more than {MAX_TENSORS} tensors")));
                    }
                    if tensor.len() > MAX_NAME_BYTES {
                        return Err(M::Error::custom("a tensor name is too long"));
                    }
                    pairs.push((tensor, file));
                }
                Ok(WeightMap(pairs))
            }
        }
        deserializer.deserialize_map(MapVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::super::safetensors::{HeaderTensor, StorageType};
    use super::*;

    fn header(names: &[&str]) -> Header {
        let tensors = names
            .iter()
            .map(|name| HeaderTensor {
                name: (*name).to_owned(),
                shape: vec![2],
                dtype: StorageType::BF16,
                bytes: 4,
                offset: 0,
            })
            .collect();
        Header { tensors, format: Some("mlx".to_owned()) }
    }

    fn file(name: &str) -> TensorFile {
        TensorFile { name: name.to_owned(), bytes: Some(100) }
    }

    #[test]
    fn an_index_lists_each_file_once() {
        let text = r#"{"metadata":{"total_size":8,"total_parameters":4.0},
            "weight_map":{"b":"m-2.safetensors","a":"m-1.safetensors","c":"m-1.safetensors"}}"#;
        let index = parse_shard_index(text).unwrap();
        assert_eq!(index.files, ["m-1.safetensors", "m-2.safetensors"]);
        assert_eq!(index.tensors[0], ("b".to_owned(), 1));
        assert_eq!((index.total_bytes, index.total_parameters), (Some(8), Some(4)));
    }

    #[test]
    fn shard_names_cannot_leave_the_folder() {
        for name in [
            "../w.safetensors",
            "/etc/w.safetensors",
            "a/b.safetensors",
            r"a\\b.safetensors",
            ".safetensors",
            "w.bin",
            "w%2f.safetensors",
            "w\\u0000.safetensors",
            "",
        ] {
            let text = format!(r#"{{"weight_map":{{"a":"{name}"}}}}"#);
            let error = parse_shard_index(&text).unwrap_err();
            assert!(error.contains("no plain name"), "{name}: {error}");
        }
    }

    #[test]
    fn broken_indexes_say_what_is_wrong() {
        for (text, expected) in [
            ("", "EOF"),
            ("[]", "invalid"),
            (r#"{"metadata":{}}"#, "missing field `weight_map`"),
            (r#"{"weight_map":{}}"#, "empty"),
            (r#"{"weight_map":{"a":1}}"#, "expected a string"),
        ] {
            let error = parse_shard_index(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn joining_finds_contradictions() {
        let text = r#"{"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}"#;
        let listed = parse_shard_index(text).unwrap();
        let both = |first: &[&str], second: &[&str]| {
            let headers = vec![
                (file("1.safetensors"), header(first)),
                (file("2.safetensors"), header(second)),
            ];
            assemble("here", headers, Some(&listed)).map_err(|e| e.to_string())
        };
        let index = both(&["a"], &["b"]).unwrap();
        assert_eq!(index.total_bytes(), 8);
        assert!(index.is_mlx_format());
        assert_eq!(
            both(&["a"], &["c"]).unwrap_err(),
            "here: the index lists the tensor 'b', which no file holds"
        );
        assert_eq!(both(&["a", "b"], &["b"]).unwrap_err(), "here: the tensor 'b' occurs twice");
    }

    #[test]
    fn gaps_in_the_numbering_are_found() {
        let names = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let two = names(&["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]);
        assert_eq!(missing_by_number(&two), None);
        assert_eq!(
            missing_by_number(&two[..1]).as_deref(),
            Some("model-00002-of-00002.safetensors")
        );
        assert_eq!(missing_by_number(&names(&["model.safetensors", "a-b-of-c.safetensors"])), None);
        let huge = names(&["model-99999-of-99999.safetensors"]);
        assert_eq!(missing_by_number(&huge), None);
    }
}
