//! The profiles that people have sent (`calibration/`): readable, redacted, of a Mac that is known, and as they were written.
//! `cargo xtask profiles` runs these tests alone.

use mlxplan::calibration::Profile;
use mlxplan::hardware::{Macs, spec};
use std::path::{Path, PathBuf};

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("calibration");
    let entries = std::fs::read_dir(folder).expect("the folder of profiles").flatten();
    entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e != "md")).collect()
}

/// What is wrong with a profile that somebody wants to share.
fn problems(path: &Path) -> Vec<String> {
    let profile = match Profile::read(path) {
        Ok(profile) => profile,
        Err(e) => return vec![e.to_string()],
    };
    let mut found = Vec::new();
    let mut expect = |holds: bool, text: String| {
        if !holds {
            found.push(format!("{}: {text}", path.display()));
        }
    };
    let (name, host) = (profile.file_name(), &profile.machine);
    expect(path.file_name().is_some_and(|n| *n == *name), format!("its name is {name}"));
    expect(
        profile == profile.redacted(),
        "not redacted; `mlxplan calibrate --export` does it".to_owned(),
    );
    let written = tempfile::NamedTempFile::new().expect("a file");
    profile.write(written.path()).expect("written");
    let same = std::fs::read(written.path()).ok() == std::fs::read(path).ok();
    expect(same, "edited; it is kept as `mlxplan calibrate --export` writes it".to_owned());
    expect(host.backend == "metal", format!("timed on '{}', not with Metal", host.backend));
    expect(!profile.quick, "of --quick; a profile to share takes the full minute".to_owned());
    expect(profile.conditions.macos.is_some(), "the version of macOS is missing".to_owned());
    let memory = host.memory_bytes.map_or(0, |b| b >> 30);
    let cores = host.gpu_cores.map_or(String::new(), |n| format!(" {n}-core"));
    let mac = format!("{}{cores} {memory}GB", host.chip.trim_start_matches("Apple "));
    expect(
        spec::resolve(&mac, &Macs::embedded()).is_ok(),
        format!("{mac} is no Mac that is known"),
    );
    found
}

#[test]
fn every_profile_that_ships_is_sound() {
    let found: Vec<String> = files().iter().flat_map(|p| problems(p)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn what_is_wrong_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mine.toml");
    let profile = "version = 2\ncreated_unix_s = 1800000123\nduration_s = 50.0\nquick = true\nmlx = \"0.32.2\"\n\
                   [machine]\nsystem = \"linux\"\nchip = \"AMD EPYC\"\ncpu_cores = 2\nbackend = \"cpu\"\n\
                   [conditions]\nbattery_percent = 50\nwarnings = []\n\
                   [stopping]\nrelative_half_width_90 = 0.01\nleast_samples = 5\nlimit_s = 55.0\nkernels = 0\n\
                   kernels_within = 0\npasses = 1\n[classes]\n";
    std::fs::write(&path, profile).expect("written");
    let found = problems(&path).join("\n");
    for part in [
        "its name is amd-epyc-1800000123.toml",
        "not redacted",
        "not with Metal",
        "of --quick",
        "macOS",
        "no Mac that is known",
    ] {
        assert!(found.contains(part), "{part}: {found}");
    }
    std::fs::write(&path, "machine = 5").expect("written");
    assert_eq!(problems(&path).len(), 1);
}
