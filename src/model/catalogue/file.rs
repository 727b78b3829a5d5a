//! A user's `models.json`: the format of the built-in file, or a plain JSON array of entries.

use super::entry::line_offset;
use super::{CatalogueError, Entry, Place, Summary};
use crate::model::names::key;
use crate::model::python_json::without_non_finite;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

/// Longest file that is read, in bytes; the built-in one has 0.2 MB.
const MAX_BYTES: u64 = 64_000_000;

/// The object form. Its other keys describe the file and are free.
#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(borrow)]
    models: Vec<&'a RawValue>,
}

/// Reads and checks a file. A file that does not exist has no entries.
pub(super) fn read(path: &Path) -> Result<Vec<Summary>, CatalogueError> {
    let io = |error| CatalogueError::Io { path: path.to_owned(), error };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(io(e)),
    };
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(io)?;
    let shared: Arc<Path> = Arc::from(path);
    let at = |line| Place { file: Some(shared.clone()), line };
    if text.len() as u64 > MAX_BYTES {
        let problem = format!("longer than {MAX_BYTES} bytes; that is no model catalogue");
        return Err(CatalogueError::Json { place: at(1), problem });
    }
    // The replacement has no line breaks, so lines stay where they were.
    let text = without_non_finite(&text);
    let raw: Vec<&RawValue> = if text.trim_start().starts_with('[') {
        serde_json::from_str(&text)
    } else {
        serde_json::from_str::<Whole<'_>>(&text).map(|whole| whole.models)
    }
    .map_err(|e| CatalogueError::Json {
        place: at(e.line()),
        problem: format!(
            "no model catalogue (an array of entries, or an object with 'models'): {e}"
        ),
    })?;
    let mut models = Vec::new();
    let mut taken: HashMap<String, String> = HashMap::new();
    for value in raw {
        let place = at(1 + line_offset(&text, value.get()));
        let entry = Entry::parse(value.get(), &place)?;
        for (kind, name) in std::iter::once(("id", &entry.id))
            .chain(entry.aliases.iter().map(|alias| ("aliases", alias)))
        {
            let twice = taken.insert(key(name), entry.id.clone()).filter(|_| !key(name).is_empty());
            // An alias that only spells the entry's own id again does no harm.
            if let Some(other) = twice.filter(|other| *other != entry.id || kind == "id") {
                return Err(CatalogueError::Key {
                    place,
                    key: kind.to_owned(),
                    problem: format!("'{name}' is the same name as one of {other} in this file"),
                });
            }
        }
        models.push(Summary {
            id: entry.id,
            name: entry.name,
            model_type: entry.model_type,
            aliases: entry.aliases,
            mlx_lm_supported: entry.mlx_lm_supported,
            published_params: entry.published_params,
            active_params: entry.active_params,
            downloads: entry.downloads,
            place,
            text: Cow::Owned(value.get().to_owned()),
        });
    }
    Ok(models)
}
