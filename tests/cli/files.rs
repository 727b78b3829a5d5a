//! Files that users name: what is written keeps its meaning, what is read has bounds.

use crate::mlxplan;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A command with a long answer that is soon there.
const ANSWER: &str = "macs m4max --json";

fn writes(to: &Path) {
    mlxplan(ANSWER).arg("-o").arg(to).assert().code(0).stdout("");
}

fn expected() -> String {
    String::from_utf8(mlxplan(ANSWER).output().unwrap().stdout).unwrap()
}

/// Runs a script in which `$MLXPLAN` is the binary.
fn bash(script: &str, folder: &Path) -> std::process::Output {
    Command::new("bash")
        .args(["-c", script])
        .env("MLXPLAN", assert_cmd::cargo::cargo_bin("mlxplan"))
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .current_dir(folder)
        .output()
        .unwrap()
}

#[test]
fn an_output_file_keeps_its_mode_and_a_link_stays_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("file"), folder.path().join("link"));
    std::fs::write(&file, "before").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    symlink("file", &link).unwrap();
    writes(&link);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), expected());
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
    writes(&folder.path().join("n".repeat(250)));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn devices_pipes_and_open_files_are_written_through() {
    let folder = tempfile::tempdir().unwrap();
    let through = |script: &str| {
        let output = bash(&script.replace("ANSWER", ANSWER), folder.path());
        assert_eq!(output.status.code(), Some(0), "{script}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    writes(Path::new("/dev/null"));
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    assert_eq!(through("$MLXPLAN ANSWER -o /dev/stdout | cat"), expected());
    assert_eq!(through("exec 3>&1; $MLXPLAN ANSWER -o >(cat >&3); wait $!"), expected());
    assert_eq!(
        through("mkfifo p; (cat p >&1) & $MLXPLAN ANSWER -o p; wait; test -p p"),
        expected()
    );
    through("echo first > log; $MLXPLAN ANSWER -o /dev/stdout >> log");
    assert_eq!(through("cat log"), format!("first\n{}", expected()));
    let full = bash(&format!("$MLXPLAN {ANSWER} -o /dev/full"), folder.path());
    assert_eq!(full.status.code(), Some(2), "{full:?}");
}

#[test]
fn only_regular_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["p.toml", "p.json"] {
        assert!(Command::new("mkfifo").arg(folder.path().join(name)).status().unwrap().success());
    }
    for (command, name) in [
        ("predict --model qwen3-4b-4bit --mac m4max-40/64 --profile", "/dev/zero"),
        ("audit", "p.toml"),
        ("check", "p.toml"),
        ("validate --against", "/dev/zero"),
        ("calibrate --compare p.toml", "p.toml"),
        ("probe --from", "p.toml"),
        ("inspect", "p.json"),
    ] {
        let mut run = mlxplan(command);
        run.arg(name).current_dir(folder.path()).timeout(Duration::from_secs(20));
        let output = run.output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{command} {name}: {err}");
        assert!(err.contains("regular") || err.contains("device"), "{command} {name}: {err}");
    }
}

/// A folder of a model whose configuration is no file is not taken for a name that nobody knows.
#[test]
fn a_configuration_that_is_no_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("m/config.json");
    std::fs::create_dir(folder.path().join("m")).unwrap();
    let made = [
        ("levels of symbolic links", Some("config.json")),
        ("device", Some("/dev/zero")),
        ("No such file", Some("nothing")),
        ("is a folder", None),
    ];
    for (word, link) in made {
        match link {
            Some(target) => symlink(target, &config).unwrap(),
            None => std::fs::create_dir(&config).unwrap(),
        }
        for command in ["inspect m", "inspect ./m", "predict --mac m4max-40/64 --model m"] {
            let output = mlxplan(command).current_dir(folder.path()).output().unwrap();
            let err = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{command}: {err}");
            assert!(err.contains("m/config.json") && err.contains(word), "{command}: {err}");
        }
        let _ = std::fs::remove_file(&config);
    }
}

#[test]
fn large_files_take_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let many = |n: usize, of: &dyn Fn(usize) -> String| (0..n).map(of).collect::<String>();
    let claims = many(50_000, &|i| format!("[[claim]]\nid = \"c{i}\"\nleak_mb_per_turn = -1\n"));
    std::fs::write(path("claims.toml"), claims).unwrap();
    let within = |mut run: assert_cmd::Command, code: i32| {
        let output = run.timeout(Duration::from_secs(100)).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{run:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let mut audit = mlxplan("audit claims.toml");
    audit.current_dir(folder.path());
    within(audit, 3);
    let data = path("data");
    std::fs::create_dir(&data).unwrap();
    let chips = many(8_000, &|i| format!("[[chip]]\nid = \"x{i}\"\n"));
    std::fs::write(data.join("chips.toml"), chips).unwrap();
    let mut macs = mlxplan("macs --data-dir");
    macs.arg(&data);
    let problems = within(macs, 2);
    assert!(problems.contains("chip x7999"), "no last line");
    let model = |i: usize| {
        let comma = if i == 0 { "" } else { ",\n" };
        format!("{comma}{{\"id\":\"a/m{i}\",\"config\":{{\"model_type\":\"llama\"}}}}")
    };
    std::fs::remove_file(data.join("chips.toml")).unwrap();
    std::fs::write(data.join("models.json"), format!("[{}]", many(16_000, &model))).unwrap();
    let mut models = mlxplan("models m15999 --data-dir");
    models.arg(&data);
    within(models, 0);
}

/// The most memory of its own that a run was seen to take, in 10^6 bytes, and its exit code. The pages of the program and
/// its libraries are not counted: unoptimized they alone may be 100 MB. What the system says of a child that has ended
/// counts its parent's memory, too.
#[cfg(target_os = "linux")]
fn memory(mut command: Command) -> (f64, i32) {
    let quiet = std::process::Stdio::null;
    let mut child = command.stdout(quiet()).stderr(quiet()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let seen = || {
        let text = std::fs::read_to_string(&status).ok()?;
        let line = text.lines().find_map(|l| l.strip_prefix("RssAnon:"))?;
        line.trim().trim_end_matches(" kB").parse::<f64>().ok()
    };
    let mut most: f64 = 0.0;
    let ended = loop {
        most = most.max(seen().unwrap_or(0.0));
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    (most * 1024.0 / 1e6, ended.code().expect("no signal"))
}

/// Most that inspecting anything may take, in 10^6 bytes.
#[cfg(target_os = "linux")]
const MOST_MEMORY: f64 = 300.0;

#[cfg(target_os = "linux")]
#[test]
fn no_configuration_takes_much_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let with = |key: &str| {
        let text = format!(
            r#"{{"model_type":"llama","hidden_size":512,"num_hidden_layers":2,"num_attention_heads":8,
            "intermediate_size":1024,"vocab_size":1000,"rms_norm_eps":1e-5,"x":{key}}}"#
        );
        std::fs::write(&path, text).unwrap();
    };
    let inspect = |model: &std::ffi::OsStr| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("mlxplan"));
        command.arg("inspect").arg(model).env("XDG_CONFIG_HOME", "/nonexistent");
        // Simulations that run side by side each take their own.
        command.env("RAYON_NUM_THREADS", "2");
        memory(command)
    };
    let keys: String = (0..480_000).map(|i| format!("\"k{i}\":0,")).collect();
    for (key, expected) in [
        (format!("[{}0]", "[],".repeat(10_000_000)), 2),
        (format!("\"{}\"", "x".repeat(30_000_000)), 0),
        (format!("{{{keys}\"y\":1}}"), 0),
    ] {
        with(&key);
        let (megabytes, code) = inspect(path.as_os_str());
        assert_eq!(code, expected, "{}", &key[..10]);
        assert!(megabytes < MOST_MEMORY, "{}: {megabytes:.0} MB", &key[..10]);
    }
    // Its prompt is processed token by token, which makes many operations.
    let (megabytes, code) = inspect("mamba-2.8b-hf".as_ref());
    assert!(code == 0 && megabytes < MOST_MEMORY, "{code}, {megabytes:.0} MB");
}
