//! The answers of `mlxplan calibrate`.

use crate::calibration::Host;
use crate::calibration::profile::{self, Profile};
use crate::report::{Column, Document, Present, Table};
use crate::units::Seconds;
use schemars::JsonSchema;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The object `mlxplan.profile/1`: a calibration and where it is stored.
#[derive(Serialize, JsonSchema)]
pub(in crate::cli) struct ProfileAnswer {
    #[serde(flatten)]
    pub profile: Profile,
    /// The file.
    pub path: PathBuf,
}

impl Present for ProfileAnswer {
    const SCHEMA: &'static str = "mlxplan.profile/1";

    fn document(&self) -> Document {
        let p = &self.profile;
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
        d.text(format!("Stored as {}.", self.path.display()));
        d
    }
}

/// The object `mlxplan.profiles/1`: what is stored.
#[derive(Serialize, JsonSchema)]
pub(in crate::cli) struct Profiles {
    /// The profiles, newest first.
    profiles: Vec<Stored>,
    /// The folder.
    #[serde(skip)]
    folder: PathBuf,
    /// Files that could not be read.
    #[serde(skip)]
    bad: Vec<String>,
}

/// A stored profile.
#[derive(Serialize, JsonSchema)]
struct Stored {
    /// The file.
    path: PathBuf,
    /// The machine that it is of.
    machine: Host,
    /// Version of MLX.
    mlx: String,
    /// Whether it took the short form.
    quick: bool,
    /// Seconds since 1970 when it was made.
    created_unix_s: u64,
    /// Kernel classes in it.
    #[serde(skip)]
    classes: usize,
}

impl Profiles {
    /// The profiles in a folder.
    pub(super) fn of(folder: &Path) -> Self {
        let (stored, bad) = profile::list(folder);
        let keys = |(path, p): (PathBuf, Profile)| Stored {
            path,
            machine: p.machine,
            mlx: p.mlx,
            quick: p.quick,
            created_unix_s: p.created_unix_s,
            classes: p.classes.len(),
        };
        Self {
            profiles: stored.into_iter().map(keys).collect(),
            folder: folder.to_owned(),
            bad: bad.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Present for Profiles {
    const SCHEMA: &'static str = "mlxplan.profiles/1";

    fn document(&self) -> Document {
        let mut d = Document::default();
        d.heading(format!("Profiles in {}", self.folder.display()));
        if self.profiles.is_empty() {
            d.text("none; `mlxplan calibrate` makes one");
        } else {
            let mut table = Table::new(vec![
                Column::text("file"),
                Column::text("chip"),
                Column::text("backend"),
                Column::text("MLX"),
                Column::number("classes"),
            ]);
            for p in &self.profiles {
                table.row([
                    p.path.display().to_string(),
                    p.machine.chip.clone(),
                    p.machine.backend.clone(),
                    p.mlx.clone(),
                    p.classes.to_string(),
                ]);
            }
            d.table(table);
        }
        d.notes(self.bad.clone());
        d
    }
}

/// The object `mlxplan.profile_comparison/1`.
#[derive(Serialize, JsonSchema)]
pub(in crate::cli) struct ProfileComparison {
    /// One profile.
    a: PathBuf,
    /// The other.
    b: PathBuf,
    /// Kernel classes that both have.
    classes: Vec<ClassRatio>,
}

/// How a class of kernels differs.
#[derive(Serialize, JsonSchema)]
struct ClassRatio {
    /// The class.
    class: String,
    /// Time of a launch in B over that in A.
    launch_ratio: Option<f64>,
    /// Time of an element in B over that in A.
    per_element_ratio: Option<f64>,
}

impl ProfileComparison {
    /// B against A.
    pub(super) fn of(paths: [&Path; 2], profiles: &[Profile; 2]) -> Self {
        let [pa, pb] = profiles;
        let both = pa.classes.iter().filter_map(|(name, fa)| {
            let fb = pb.classes.get(name)?;
            let ratio = |i: usize| {
                let (x, y) = (fa.coefficients.get(i)?, fb.coefficients.get(i)?);
                (*x > 0.0).then(|| y / x)
            };
            Some(ClassRatio {
                class: name.clone(),
                launch_ratio: ratio(0),
                per_element_ratio: ratio(1),
            })
        });
        let [a, b] = paths.map(Path::to_owned);
        Self { a, b, classes: both.collect() }
    }
}

impl Present for ProfileComparison {
    const SCHEMA: &'static str = "mlxplan.profile_comparison/1";

    fn document(&self) -> Document {
        let mut d = Document::default();
        d.heading(format!("{} against {}", self.a.display(), self.b.display()));
        let mut table = Table::new(vec![
            Column::text("kernels"),
            Column::number("launch B/A"),
            Column::number("per element B/A"),
        ]);
        let text = |r: Option<f64>| r.map_or("–".to_owned(), |r| format!("{r:.3}"));
        for c in &self.classes {
            table.row([c.class.clone(), text(c.launch_ratio), text(c.per_element_ratio)]);
        }
        d.table(table);
        d
    }
}
