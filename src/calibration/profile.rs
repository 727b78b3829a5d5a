//! Stored calibrations: one TOML file per machine and time, written whole or not at all.

use super::fit::KernelFit;
use super::widths;
use super::work::KernelWork;
use crate::files;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Version of the format and of the classes' laws.
pub const VERSION: u32 = 2;
/// Seconds of a day.
const DAY_S: u64 = 86_400;
/// Longest profile that is read, bytes.
const MAX_BYTES: u64 = 4_000_000;
/// What a profile was taken on.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// `macos`, `linux`.
    pub system: String,
    /// Name of the chip or processor.
    pub chip: String,
    /// GPU cores, on a Mac.
    pub gpu_cores: Option<u32>,
    /// CPU cores.
    pub cpu_cores: Option<u32>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Backend of MLX: `metal`, `cpu`.
    pub backend: String,
}

/// The state of the machine while it was timed.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// macOS release.
    pub macos: Option<String>,
    /// Power mode.
    pub power_mode: Option<String>,
    /// Mains or battery.
    pub power_source: Option<String>,
    /// Charge in per cent.
    pub battery_percent: Option<u32>,
    /// Thermal state.
    pub thermal_state: Option<String>,
    /// Memory pressure.
    pub memory_pressure: Option<String>,
    /// What may have disturbed the timing.
    pub warnings: Vec<String>,
}

/// When the timing of kernels ended: each when its median was known well enough, all when time was up.
#[derive(Clone, Copy, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stopping {
    /// Half of the 90 % interval of a median, relative to it, at which a kernel is known well enough.
    pub relative_half_width_90: f64,
    /// Samples that a kernel has then at the least.
    pub least_samples: u32,
    /// Most seconds for all.
    pub limit_s: f64,
    /// Timed kernels.
    pub kernels: usize,
    /// Kernels that are known well enough.
    pub kernels_within: usize,
    /// Passes over the kernels.
    pub passes: u32,
}

/// A calibration.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// See [`VERSION`].
    pub version: u32,
    /// Seconds since 1970.
    pub created_unix_s: u64,
    /// Seconds that the timing took.
    pub duration_s: f64,
    /// Whether the short form was run.
    pub quick: bool,
    /// Version of MLX.
    pub mlx: String,
    /// The machine.
    pub machine: Host,
    /// Its state.
    pub conditions: Conditions,
    /// When timing ended.
    pub stopping: Stopping,
    /// Fits by the name of the class.
    pub classes: BTreeMap<String, KernelFit>,
}

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The file is no profile.
    #[error("{path} is no calibration profile: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// Of another version.
    #[error(
        "{path} is a profile of version {found}, this program reads {VERSION}; run `mlxplan calibrate` again"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
}

/// The time of a step or prompt from kernel times.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct KernelEstimate {
    /// Seconds.
    pub seconds: f64,
    /// Standard deviation of its logarithm.
    pub log_error: f64,
    /// The part of it that the fits of the kernels explain.
    pub timing_log_error: f64,
    /// Seconds by class.
    pub by_class: BTreeMap<String, f64>,
}

impl Profile {
    /// The time of a step; the names of the classes that were not timed otherwise.
    ///
    /// # Errors
    /// Lists classes that the profile lacks.
    pub fn time(&self, work: &KernelWork) -> Result<KernelEstimate, Vec<String>> {
        self.with_law_error(work, widths::DECODE_LAW)
    }

    /// The time of a prompt; see [`Profile::time`].
    ///
    /// # Errors
    /// Lists classes that the profile lacks.
    pub fn prompt_time(&self, work: &KernelWork) -> Result<KernelEstimate, Vec<String>> {
        self.with_law_error(work, widths::PROMPT_LAW)
    }

    /// The time of a training step; see [`Profile::time`].
    ///
    /// # Errors
    /// Lists classes that the profile lacks.
    pub fn training_time(&self, work: &KernelWork) -> Result<KernelEstimate, Vec<String>> {
        self.with_law_error(work, widths::TRAINING_LAW)
    }

    fn with_law_error(&self, work: &KernelWork, law: f64) -> Result<KernelEstimate, Vec<String>> {
        let mut by_class = BTreeMap::new();
        let mut missing = Vec::new();
        let mut variance = 0.0;
        for (class, counts) in &work.0 {
            let name = class.to_string();
            match self.classes.get(&name) {
                Some(fit) if fit.coefficients.len() == counts.len() => {
                    variance += fit.variance(counts);
                    by_class.insert(name, fit.seconds(counts));
                }
                _ => missing.push(name),
            }
        }
        if !missing.is_empty() {
            return Err(missing);
        }
        let seconds: f64 = by_class.values().sum();
        let timing_log_error = variance.max(0.0).sqrt() / seconds;
        let log_error = timing_log_error.hypot(law);
        Ok(KernelEstimate { seconds, log_error, timing_log_error, by_class })
    }

    /// Reads a profile.
    ///
    /// # Errors
    /// When the file cannot be read, is no profile, or of another version.
    pub fn read(path: &Path) -> Result<Self, ProfileError> {
        let io = |source| ProfileError::Io { path: path.to_owned(), source };
        Self::parse(path, &files::text(path, MAX_BYTES).map_err(io)?)
    }

    /// Reads the text of a profile; `path` names it in errors.
    ///
    /// # Errors
    /// When it is no profile, of another version, or holds numbers that cannot be.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ProfileError> {
        let wrong = |reason: String| ProfileError::Format { path: path.to_owned(), reason };
        let table: toml::Table = toml::from_str(text).map_err(|e| wrong(e.to_string()))?;
        let version = table.get("version").and_then(toml::Value::as_integer).unwrap_or(0);
        if version != i64::from(VERSION) {
            let found = u32::try_from(version).unwrap_or(0);
            return Err(ProfileError::Version { path: path.to_owned(), found });
        }
        // Read again from the text, so that errors name line and key.
        let profile: Self = toml::from_str(text).map_err(|e| wrong(e.to_string()))?;
        if let Some(key) = not_finite(&table) {
            return Err(wrong(format!("{key} is no finite number")));
        }
        match profile.classes.iter().find(|(_, fit)| !sound(fit)) {
            Some((name, _)) => Err(wrong(format!("the fit of {name} is damaged"))),
            None => Ok(profile),
        }
    }

    /// Writes the profile to a folder, whole or not at all; returns its path.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn store(&self, folder: &Path) -> Result<PathBuf, ProfileError> {
        let path = folder.join(self.file_name());
        let io = |source| ProfileError::Io { path: path.clone(), source };
        std::fs::create_dir_all(folder).map_err(io)?;
        self.write(&path)?;
        Ok(path)
    }

    /// Writes the profile to a file, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), ProfileError> {
        let text = toml::to_string(self)
            .map_err(|e| ProfileError::Format { path: path.to_owned(), reason: e.to_string() })?;
        let io = |source| ProfileError::Io { path: path.to_owned(), source };
        files::write(path, text.as_bytes()).map_err(io)
    }

    /// The name of its file: machine and time.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}-{}.toml", self.slug(), self.created_unix_s)
    }

    /// The profile to share: of the time only the day, and no charge of the battery. The rest tells the kind of the
    /// machine and its state, on which the figures hang, and nothing of whose it is.
    #[must_use]
    pub fn redacted(&self) -> Self {
        let created_unix_s = self.created_unix_s - self.created_unix_s % DAY_S;
        let conditions = Conditions { battery_percent: None, ..self.conditions.clone() };
        Self { created_unix_s, conditions, ..self.clone() }
    }

    /// The machine's name in file names.
    fn slug(&self) -> String {
        let chip = self.machine.chip.to_lowercase();
        let parts: Vec<&str> = chip.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        let chip = parts.into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join("-");
        match self.machine.gpu_cores {
            Some(n) => format!("{chip}-{n}"),
            None => chip,
        }
    }
}

/// No kernel takes longer by any of its counts.
const MOST_SECONDS: f64 = 1e3;

/// The path of the first key whose number is endless or none.
fn not_finite(table: &toml::Table) -> Option<String> {
    fn bad(value: &toml::Value) -> bool {
        match value {
            toml::Value::Float(x) => !x.is_finite(),
            toml::Value::Array(all) => all.iter().any(bad),
            _ => false,
        }
    }
    table.iter().find_map(|(key, value)| match value {
        toml::Value::Table(inner) => not_finite(inner).map(|path| format!("{key}.{path}")),
        value => bad(value).then(|| key.clone()),
    })
}

fn sound(fit: &KernelFit) -> bool {
    let n = fit.coefficients.len();
    n > 0
        && fit.coefficients.iter().all(|c| (0.0..=MOST_SECONDS).contains(c))
        && fit.covariance.len() == n
        && fit.covariance.iter().all(|row| row.len() == n && row.iter().all(|c| c.is_finite()))
}

/// The folder with this user's profiles.
#[must_use]
pub fn folder() -> Option<PathBuf> {
    Some(crate::data_dir::config_dir()?.join("profiles"))
}

/// All profiles of a folder, newest first, and the files that are none.
#[must_use]
pub fn list(folder: &Path) -> (Vec<(PathBuf, Profile)>, Vec<ProfileError>) {
    let mut good = Vec::new();
    let mut bad = Vec::new();
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "toml")) {
        match Profile::read(&path) {
            Ok(profile) => good.push((path, profile)),
            Err(e) => bad.push(e),
        }
    }
    good.sort_by_key(|(_, p)| std::cmp::Reverse(p.created_unix_s));
    (good, bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::fit::TimedKernel;

    fn profile() -> Profile {
        let at = |x: f64| TimedKernel {
            counts: vec![1.0, x],
            seconds: 1e-6 + x * 1e-9,
            error: 0.0,
            n: 5,
        };
        let fit = KernelFit::of(vec![at(1e3), at(1e6)]).expect("a fit");
        Profile {
            version: VERSION,
            created_unix_s: 1_800_000_000,
            duration_s: 20.0,
            quick: true,
            mlx: "0.32.2".to_owned(),
            machine: Host {
                system: "macos".to_owned(),
                chip: "Apple M4 Max".to_owned(),
                gpu_cores: Some(40),
                cpu_cores: Some(16),
                memory_bytes: Some(64 << 30),
                backend: "metal".to_owned(),
            },
            conditions: Conditions::default(),
            stopping: Stopping::default(),
            classes: BTreeMap::from([("elementwise".to_owned(), fit)]),
        }
    }

    #[test]
    fn profiles_come_back_as_they_were_stored() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = profile().store(folder.path()).expect("stored");
        assert_eq!(path.file_name().expect("a name"), "apple-m4-max-40-1800000000.toml");
        let back = Profile::read(&path).expect("a profile");
        assert_eq!(back, profile());
        let (good, bad) = list(folder.path());
        assert_eq!((good.len(), bad.len()), (1, 0));
    }

    #[test]
    fn what_is_shared_tells_the_machine_and_not_whose_it_is() {
        let conditions = Conditions {
            battery_percent: Some(73),
            macos: Some("26.5".to_owned()),
            ..Conditions::default()
        };
        let own = Profile { created_unix_s: 1_800_012_345, conditions, ..profile() };
        let shared = own.redacted();
        assert_eq!(
            (shared.created_unix_s, shared.conditions.battery_percent),
            (1_800_000_000 - 1_800_000_000 % 86_400, None)
        );
        assert_eq!(
            (&shared.machine, &shared.classes, &shared.conditions.macos),
            (&own.machine, &own.classes, &own.conditions.macos)
        );
        assert_eq!(shared.redacted(), shared);
    }

    #[test]
    fn another_bin_of_the_generation_gets_wider_intervals() {
        use crate::calibration::transfer::Bin;
        let here = Bin { generation: 4, bandwidth: 546e9, arithmetic: 63.0 };
        let pro = Bin { generation: 4, bandwidth: 273e9, arithmetic: 31.0 };
        let (same, added) = profile().transferred(here, here).expect("the same generation");
        assert_eq!(same, profile());
        assert!(added > 0.05);
        let (slower, more) = profile().transferred(here, pro).expect("the same generation");
        let [of, to] = [profile(), slower].map(|p| p.classes["elementwise"].clone());
        assert_eq!(to.coefficients[0], of.coefficients[0]);
        assert!((to.coefficients[1] / of.coefficients[1] - 2.0).abs() < 1e-9);
        assert!((to.covariance[1][1] / of.covariance[1][1] - 4.0).abs() < 1e-9);
        assert!((to.covariance[0][1] / of.covariance[0][1] - 2.0).abs() < 1e-9);
        assert!(more > added);
        let older = Bin { generation: 3, ..pro };
        assert!(profile().transferred(here, older).is_none());
    }

    #[test]
    fn numbers_that_cannot_be_are_errors_with_their_key() {
        let text = toml::to_string(&profile()).expect("text");
        let error = |from: &str, to: &str| {
            let spoiled = text.replace(from, to);
            assert_ne!(spoiled, text, "{from}");
            Profile::parse("p.toml".as_ref(), &spoiled).unwrap_err().to_string()
        };
        assert!(error("duration_s = 20.0", "duration_s = nan").contains("duration_s"));
        assert!(error("duration_s = 20.0", "duration_s = true").contains("line 3"));
        let first = profile().classes["elementwise"].coefficients[0];
        for value in ["nan", "inf", "1e300", "-1.0"] {
            let found =
                error(&format!("coefficients = [{first}"), &format!("coefficients = [{value}"));
            assert!(found.contains("elementwise"), "{found}");
        }
    }

    #[test]
    fn other_versions_and_damage_are_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = profile().store(folder.path()).expect("stored");
        let text = std::fs::read_to_string(&path).expect("text");
        std::fs::write(&path, text.replace("version = 2", "version = 9")).expect("written");
        assert!(matches!(Profile::read(&path), Err(ProfileError::Version { found: 9, .. })));
        std::fs::write(&path, &text[..text.len() / 2]).expect("written");
        assert!(matches!(Profile::read(&path), Err(ProfileError::Format { .. })));
    }
}
