//! A user's `models.json`: the format of the built-in file, or a plain JSON array of entries.

use super::entry::line_offset;
use super::{CatalogLine, ModelEntry, ModelsError, Summary};
use crate::data_dir::DataFile;
use crate::model::names::key;
use crate::model::python_json::quoted;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// The object form. Its other keys describe the file and are free.
#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(borrow)]
    models: Vec<&'a RawValue>,
}

/// What follows the beginning of `part` in `text`, of which it is a slice.
fn behind<'t>(text: &'t str, part: &str) -> &'t str {
    let distance = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    text.get(distance..).unwrap_or_default()
}

/// Parses and checks a file.
pub(super) fn parse(file: &DataFile) -> Result<Vec<Summary>, ModelsError> {
    let shared: Arc<Path> = Arc::from(file.path.as_path());
    let at = |line| CatalogLine { file: Some(shared.clone()), line };
    // The replacement has no line breaks, so lines stay where they were.
    let text = quoted(&file.text);
    let raw: Vec<&RawValue> = if text.trim_start().starts_with('[') {
        serde_json::from_str(&text)
    } else {
        serde_json::from_str::<Whole<'_>>(&text).map(|whole| whole.models)
    }
    .map_err(|e| ModelsError::Json {
        place: at(e.line()),
        problem: format!("no model catalog (an array of entries, or an object with 'models'): {e}"),
    })?;
    let mut models = Vec::new();
    let mut taken: HashMap<String, String> = HashMap::new();
    // Entries come in their order, so that each line is counted once.
    let (mut line, mut rest) = (1, text.as_ref());
    for value in raw {
        line += line_offset(rest, value.get());
        rest = behind(rest, value.get());
        let place = at(line);
        let entry = ModelEntry::parse(value.get(), &place)?;
        for (kind, name) in std::iter::once(("id", &entry.id))
            .chain(entry.aliases.iter().map(|alias| ("aliases", alias)))
        {
            let twice = taken.insert(key(name), entry.id.clone()).filter(|_| !key(name).is_empty());
            // An alias that only spells the entry's own id again does no harm.
            if let Some(other) = twice.filter(|other| *other != entry.id || kind == "id") {
                return Err(ModelsError::Key {
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
            listed: entry.listed,
            place,
            text: Cow::Owned(value.get().to_owned()),
        });
    }
    Ok(models)
}
