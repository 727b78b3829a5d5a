//! `mlxplan models`: the catalogue of models, the families, and what is on this disk.

use super::args::ModelsArgs;
use super::{Context, Verdict};
use crate::graph::families::FAMILIES;
use crate::model::catalogue::Summary;
use crate::model::source::cache::{CacheRoots, Discovery, discover};
use crate::report::{Answer, Column, Document, Table};
use crate::units::Bytes;
use anyhow::Result;
use serde_json::{Value, json};

pub(super) fn run(context: &Context, args: &ModelsArgs) -> Result<(Answer, Verdict)> {
    let answer = if args.families {
        families(args)
    } else if args.local {
        local(args)
    } else {
        catalogue(context, args)?
    };
    Ok((answer, Verdict::Ok))
}

fn matches(words: &[String], text: &str) -> bool {
    let text = text.to_lowercase();
    words.iter().all(|w| text.contains(&w.to_lowercase()))
}

fn catalogue(context: &Context, args: &ModelsArgs) -> Result<Answer> {
    let models = context.models()?;
    let text = |m: &Summary| format!("{} {} {}", m.id, m.model_type, m.aliases.join(" "));
    let mut found: Vec<&Summary> =
        models.models().iter().filter(|m| matches(&args.words, &text(m))).collect();
    found.sort_by(|a, b| b.downloads.cmp(&a.downloads).then_with(|| a.id.cmp(&b.id)));
    let mut table = Table::new(vec![
        Column::text("model"),
        Column::text("family").droppable(1),
        Column::number("parameters"),
        Column::number("active").droppable(2),
        Column::number("downloads").droppable(3),
    ]);
    for m in &found {
        table.row([
            m.id.clone(),
            m.model_type.clone(),
            m.published_params.map_or_else(|| "?".to_owned(), billions),
            m.active_params.map(billions).unwrap_or_default(),
            m.downloads.map(|n| n.to_string()).unwrap_or_default(),
        ]);
    }
    let json: Vec<Value> = found
        .iter()
        .map(|m| {
            json!({
                "id": m.id, "name": m.name, "model_type": m.model_type, "aliases": m.aliases,
                "mlx_lm_supported": m.mlx_lm_supported, "published_params": m.published_params,
                "active_params": m.active_params, "downloads": m.downloads,
            })
        })
        .collect();
    let mut d = Document::default();
    d.table(table);
    d.notes(vec![format!(
        "{} models, most downloaded first. Any of them takes a quantisation suffix: {}-4bit. Models that are not \
         listed: give a folder, a config.json, a .gguf file or hf:org/name.",
        found.len(),
        found.first().map_or("qwen3-32b", |m| m.short_name())
    )]);
    Ok(Answer { document: d, json: json!({ "schema": "mlxplan.models/1", "models": json }) })
}

fn billions(n: u64) -> String {
    format!("{:.1} B", n as f64 / 1e9)
}

fn families(args: &ModelsArgs) -> Answer {
    let mut names: Vec<(&str, Option<&str>)> = FAMILIES
        .iter()
        .flat_map(|f| f.model_types.iter().map(|&t| (t, f.not_in_mlx_lm)))
        .filter(|(t, _)| matches(&args.words, t))
        .collect();
    names.sort_unstable();
    let mut table = Table::new(vec![Column::text("model_type"), Column::text("remark")]);
    for (name, note) in &names {
        table.row([(*name).to_owned(), note.unwrap_or_default().to_owned()]);
    }
    let json: Vec<Value> =
        names.iter().map(|(t, n)| json!({ "model_type": t, "remark": n })).collect();
    let mut d = Document::default();
    d.table(table);
    d.notes(vec![format!("{} model types", names.len())]);
    Answer { document: d, json: json!({ "schema": "mlxplan.families/1", "families": json }) }
}

/// The models on this machine.
pub(super) fn cached() -> Discovery {
    let home = std::env::home_dir();
    discover(&CacheRoots::from_env(&|name| std::env::var_os(name), home.as_deref()))
}

fn local(args: &ModelsArgs) -> Answer {
    let found = cached();
    let models: Vec<_> = found.models.iter().filter(|m| matches(&args.words, &m.id)).collect();
    let mut table = Table::new(vec![
        Column::text("model"),
        Column::text("format"),
        Column::number("weights"),
        Column::text("folder").droppable(1),
    ]);
    for m in &models {
        table.row([
            m.id.clone(),
            m.format.to_string(),
            Bytes(m.weight_bytes).to_string(),
            m.path.display().to_string(),
        ]);
    }
    let json: Vec<Value> = models
        .iter()
        .map(|m| {
            json!({
                "id": m.id, "format": m.format.to_string(), "weight_bytes": m.weight_bytes,
                "path": m.path.display().to_string(), "revision": m.revision,
            })
        })
        .collect();
    let mut d = Document::default();
    d.table(table);
    let mut notes =
        vec![format!("{} models in the Hugging Face and LM Studio caches", models.len())];
    notes.extend(found.problems.iter().cloned());
    d.notes(notes);
    Answer {
        document: d,
        json: json!({ "schema": "mlxplan.local_models/1", "models": json, "problems": found.problems }),
    }
}
