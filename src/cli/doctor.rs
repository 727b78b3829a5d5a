//! `mlxplan doctor`: what a bug report needs.

use super::{Context, Verdict};
use crate::data_dir;
use crate::graph::families::FAMILIES;
use crate::hardware::{catalogue::AS_OF, probe};
use crate::report::{Answer, Document};
use anyhow::Result;
use serde_json::json;

pub(super) fn run(context: &Context) -> Result<(Answer, Verdict)> {
    let version = env!("CARGO_PKG_VERSION");
    let readings = serde_json::to_value(probe::read())?;
    let dirs: Vec<String> = context.data.dirs().iter().map(|d| d.display().to_string()).collect();
    let families = FAMILIES.iter().map(|f| f.model_types.len()).sum::<usize>();
    let mut problems = Vec::new();
    let chips = note(&mut problems, context.catalogue.chips().map(<[_]>::len));
    let macs = note(&mut problems, context.catalogue.macs().map(<[_]>::len));
    let machine = match probe::probe(&context.catalogue) {
        Ok(p) => {
            problems.extend(p.notes.iter().cloned());
            p.chip.or(p.brand).unwrap_or_else(|| "unknown".to_owned())
        }
        Err(e) => {
            problems.push(e.to_string());
            "unreadable".to_owned()
        }
    };
    let mut d = Document::default();
    let pair = |n: &str, v: String| (n.to_owned(), v);
    let config = data_dir::config_dir().map_or("none".to_owned(), |p| p.display().to_string());
    d.pairs(vec![
        pair("mlxplan", version.to_owned()),
        pair("target", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
        pair("machine", machine.clone()),
        pair("data", format!("{chips} chips, {macs} Macs, {families} model types, as of {AS_OF}")),
        pair("configuration folder", config.clone()),
        pair("data folders in use", if dirs.is_empty() { "none".into() } else { dirs.join(", ") }),
    ]);
    d.notes(problems.clone());
    d.text("Raw readings (for a bug report; look through them before you publish them):");
    d.code(format!("{readings:#}"));
    let json = json!({
        "schema": "mlxplan.doctor/1", "version": version,
        "os": std::env::consts::OS, "arch": std::env::consts::ARCH, "machine": machine,
        "chips": chips, "macs": macs, "model_types": families, "as_of": AS_OF,
        "config_dir": config, "data_dirs": dirs, "problems": problems, "readings": readings,
    });
    Ok((Answer { json, document: d }, Verdict::Ok))
}

fn note<E: std::fmt::Display>(problems: &mut Vec<String>, n: Result<usize, E>) -> usize {
    n.unwrap_or_else(|e| {
        problems.push(e.to_string());
        0
    })
}
