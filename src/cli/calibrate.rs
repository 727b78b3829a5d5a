//! `mlxplan calibrate`: times kernels, and shows stored profiles.

use super::args::CalibrateArgs;
use super::{Context, Verdict};
use crate::calibration::profile::{self, Profile};
use crate::report::{Answer, Column, Document, Table};
#[cfg(mlx)]
use crate::units::Seconds;
use anyhow::{Result, anyhow};
#[cfg(mlx)]
use serde_json::Value;
use serde_json::json;
use std::path::Path;

pub(super) fn run(context: &Context, args: &CalibrateArgs) -> Result<(Answer, Verdict)> {
    if args.list {
        return list();
    }
    if let Some([a, b]) = args.compare.as_deref() {
        return compare(a, b);
    }
    time(context, args)
}

#[cfg(not(mlx))]
fn time(_: &Context, _: &CalibrateArgs) -> Result<(Answer, Verdict)> {
    Err(anyhow!("{}", super::NO_MLX))
}

#[cfg(mlx)]
fn time(context: &Context, args: &CalibrateArgs) -> Result<(Answer, Verdict)> {
    use super::local;
    use crate::engine::mlx::{Progress, backend, calibrate, version};
    use crate::model::{DType, Packing};
    use std::ops::ControlFlow;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    let probe = context.here()?;
    let conditions = local::conditions(&probe);
    for warning in &conditions.warnings {
        context.hint(warning);
    }
    // Two group sizes per number of bits tell what a weight and what a group costs.
    let bits: &[u32] = if args.quick { &[4, 8] } else { &[2, 3, 4, 5, 6, 8] };
    let mut packings: Vec<Packing> =
        bits.iter().flat_map(|&b| [Packing::affine(b, 64), Packing::affine(b, 32)]).collect();
    if !args.quick {
        packings.extend([Packing::MXFP4, Packing::NVFP4, Packing::MXFP8]);
    }
    let limit = Duration::from_secs(if args.quick { 18 } else { 55 });
    let quiet = context.global.quiet;
    let stop = super::signals::stop(quiet)?;
    let said = std::cell::Cell::new(0.0);
    let progress = |p: Progress| {
        // Not more often than every two seconds.
        if !quiet && (p.elapsed_s > said.get() + 2.0 || p.tight == p.kernels) {
            said.set(p.elapsed_s);
            super::output::say(&format!(
                "pass {}: {} of {} kernels known to 1 %, {:.0} s",
                p.passes, p.tight, p.kernels, p.elapsed_s
            ));
        }
        if stop.requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let start = std::time::Instant::now();
    let dtype = if backend() == "metal" { DType::BF16 } else { DType::F32 };
    let (classes, stopping) = calibrate(&packings, dtype, limit, &progress)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let profile = Profile {
        version: profile::VERSION,
        created_unix_s: now.as_secs(),
        duration_s: start.elapsed().as_secs_f64(),
        quick: args.quick,
        mlx: version(),
        machine: super::basis::host(&probe, backend()),
        conditions,
        stopping,
        classes,
    };
    let folder = match &args.to {
        Some(folder) => folder.clone(),
        None => {
            profile::folder().ok_or_else(|| anyhow!("no home folder to store it in; use --to"))?
        }
    };
    let path = profile.store(&folder)?;
    let mut document = described(&profile);
    document.text(format!("Stored as {}.", path.display()));
    let mut json = to_json(&profile)?;
    json["path"] = json!(path);
    // What was timed until then is a profile as good as its passes.
    let verdict = if stop.requested() { Verdict::Interrupted } else { Verdict::Ok };
    Ok((Answer::untyped(json, document), verdict))
}

#[cfg(mlx)]
fn to_json(profile: &Profile) -> Result<Value> {
    let mut json = json!({ "schema": "mlxplan.profile/1" });
    if let (Value::Object(all), Value::Object(own)) = (&mut json, serde_json::to_value(profile)?) {
        all.extend(own);
    }
    Ok(json)
}

#[cfg(mlx)]
fn described(p: &Profile) -> Document {
    let mut d = Document::default();
    let (machine, form) = (&p.machine, if p.quick { "short" } else { "full" });
    d.heading(format!("Calibration of {} ({}, MLX {})", machine.chip, machine.backend, p.mlx));
    d.text(format!("{form} form, {}", Seconds(p.duration_s)));
    let mut table = Table::new(vec![
        Column::text("kernels"),
        Column::number("launch"),
        Column::number("rate"),
        Column::number("residual"),
        Column::number("points"),
    ]);
    for (name, fit) in &p.classes {
        let launch = fit.coefficients.first().copied().unwrap_or(0.0);
        let per = fit.coefficients.get(1).copied().unwrap_or(0.0);
        let rate = if per > 0.0 { format!("{:.3} G/s", 1e-9 / per) } else { "–".to_owned() };
        table.row([
            name.clone(),
            format!("{:.2} µs", launch * 1e6),
            rate,
            format!("{:.1} %", 100.0 * fit.residual),
            fit.points.len().to_string(),
        ]);
    }
    d.table(table);
    d.notes(p.conditions.warnings.clone());
    d
}

fn list() -> Result<(Answer, Verdict)> {
    let folder = profile::folder().ok_or_else(|| anyhow!("no home folder with profiles"))?;
    let (stored, bad) = profile::list(&folder);
    let mut d = Document::default();
    let mut table = Table::new(vec![
        Column::text("file"),
        Column::text("chip"),
        Column::text("backend"),
        Column::text("MLX"),
        Column::number("classes"),
    ]);
    for (path, p) in &stored {
        let (chip, backend) = (p.machine.chip.clone(), p.machine.backend.clone());
        let classes = p.classes.len().to_string();
        table.row([path.display().to_string(), chip, backend, p.mlx.clone(), classes]);
    }
    d.heading(format!("Profiles in {}", folder.display()));
    if stored.is_empty() {
        d.text("none; `mlxplan calibrate` makes one");
    } else {
        d.table(table);
    }
    d.notes(bad.iter().map(ToString::to_string).collect());
    let profiles = stored.iter().map(|(path, p)| {
        json!({
            "path": path, "machine": p.machine, "mlx": p.mlx, "quick": p.quick,
            "created_unix_s": p.created_unix_s,
        })
    });
    let json = json!({ "schema": "mlxplan.profiles/1", "profiles": profiles.collect::<Vec<_>>() });
    Ok((Answer::untyped(json, d), Verdict::Ok))
}

fn compare(a: &Path, b: &Path) -> Result<(Answer, Verdict)> {
    let (pa, pb) = (Profile::read(a)?, Profile::read(b)?);
    let mut d = Document::default();
    d.heading(format!("{} against {}", a.display(), b.display()));
    let mut table = Table::new(vec![
        Column::text("kernels"),
        Column::number("launch B/A"),
        Column::number("per element B/A"),
    ]);
    let mut rows = Vec::new();
    for (name, fa) in &pa.classes {
        let Some(fb) = pb.classes.get(name) else { continue };
        let ratio = |i: usize| {
            let (x, y) = (fa.coefficients.get(i)?, fb.coefficients.get(i)?);
            (*x > 0.0).then(|| y / x)
        };
        let text = |r: Option<f64>| r.map_or("–".to_owned(), |r| format!("{r:.3}"));
        table.row([name.clone(), text(ratio(0)), text(ratio(1))]);
        rows.push(
            json!({ "class": name, "launch_ratio": ratio(0), "per_element_ratio": ratio(1) }),
        );
    }
    d.table(table);
    let json = json!({ "schema": "mlxplan.profile_comparison/1", "a": a, "b": b, "classes": rows });
    Ok((Answer::untyped(json, d), Verdict::Ok))
}
