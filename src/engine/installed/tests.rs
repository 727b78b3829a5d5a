use super::*;
use std::fs;

fn v(text: &str) -> Version {
    text.parse().expect("a version")
}

fn wheel(site: &Path, name: &str, tag: &str) {
    let folder = site.join(format!("{name}.dist-info"));
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("WHEEL"), format!("Wheel-Version: 1.0\nTag: {tag}\n")).expect("a file");
}

/// A Mac with a virtual environment, a tool of pipx, LM Studio, Ollama and a formula, made of folders.
#[test]
fn programs_are_found_without_starting_them() {
    let root = tempfile::tempdir().expect("a folder");
    let places = Places {
        home: root.path().join("home"),
        environment: Some(root.path().join("venv")),
        applications: root.path().join("Applications"),
        homebrew: root.path().join("brew"),
    };
    let site = root.path().join("venv/lib/python3.12/site-packages");
    wheel(&site, "mlx-0.31.2", "cp312-cp312-macosx_15_0_arm64");
    wheel(&site, "mlx_metal-0.31.2", "py3-none-macosx_15_0_arm64");
    wheel(&site, "mlx_lm-0.31.3", "py3-none-any");
    let tool = places.home.join(".local/pipx/venvs/omlx/lib/python3.13/site-packages");
    wheel(&tool, "mlx-0.32.4", "cp313-cp313-macosx_26_0_arm64");
    wheel(&tool, "mlx_metal-0.32.4", "py3-none-macosx_26_0_arm64");
    wheel(&tool, "omlx-0.6.3", "py3-none-any");
    let backends = places.home.join(".lmstudio/extensions/backends");
    let vendor = backends.join("vendor/_amphibian/app-mlx-generate-mac26-arm64@20");
    wheel(&vendor.join("lib/python3.11/site-packages"), "mlx-0.32.0", "cp311");
    fs::create_dir_all(backends.join("llama.cpp-mac-arm64-apple-metal-advsimd-2.22.0"))
        .expect("made");
    let plist = places.applications.join("Ollama.app/Contents");
    fs::create_dir_all(&plist).expect("made");
    let text = "<dict><key>CFBundleShortVersionString</key>\n<string>0.30.0</string></dict>";
    fs::write(plist.join("Info.plist"), text).expect("a file");
    fs::create_dir_all(places.homebrew.join("Cellar/llama.cpp/9452")).expect("made");

    let all = find(&places).expect("a good file");
    let line = |i: &Installed| (i.program, i.version, i.mlx, i.matrix_unit_kernels);
    let lines: Vec<_> = all.iter().map(line).collect();
    let mlx_lm = (Some(v("0.31.3")), Some(v("0.31.2")), Some(false));
    for wanted in [
        (Program::MlxLm, mlx_lm.0, mlx_lm.1, mlx_lm.2),
        (Program::MlxServer, mlx_lm.0, mlx_lm.1, mlx_lm.2),
        (Program::Omlx, Some(v("0.6.3")), Some(v("0.32.4")), Some(true)),
        (Program::LmStudio, None, Some(v("0.32.0")), Some(true)),
        (Program::LmStudioGguf, None, None, None),
        (Program::Ollama, Some(v("0.30.0")), None, None),
        (Program::LlamaCpp, Some(v("b9452")), None, None),
    ] {
        assert!(lines.contains(&wanted), "{wanted:?} in {lines:#?}");
    }
    assert_eq!(lines.len(), 7, "{lines:#?}");
    let text = all[0].update().expect("out of date");
    for part in ["mlx-lm 0.32.2", "MLX 0.32.4", "256", "macOS 26"] {
        assert!(text.contains(part), "{text}");
    }
    let setup = all[0].applied(EngineSetup::default());
    assert_eq!((setup.mlx.taken, setup.matrix_units), (v("0.31.2"), MatrixUnits::Off));
}

#[test]
fn nothing_installed_is_an_empty_list() {
    let root = tempfile::tempdir().expect("a folder");
    let at = |name: &str| root.path().join(name);
    let places =
        Places { home: at("a"), environment: None, applications: at("b"), homebrew: at("c") };
    assert_eq!(find(&places).expect("a good file"), []);
}
