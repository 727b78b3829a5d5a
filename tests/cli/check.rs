//! `mlxplan check`.

use crate::{json, run};
use serde_json::Value;

fn example(name: &str) -> String {
    format!("check {}/examples/{name}.toml", env!("CARGO_MANIFEST_DIR"))
}

/// Runs a plan and returns exit code and JSON.
fn plan(text: &str) -> (i32, Value) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("plan.toml");
    std::fs::write(&path, text).expect("written");
    json(&format!("check {}", path.display()))
}

#[test]
fn the_sample_plans_have_the_verdicts_they_promise() {
    for (name, code, outcome) in
        [("chat-server", 1, "fail"), ("agents", 3, "uncertain"), ("too-much", 1, "fail")]
    {
        let (found, v) = json(&example(name));
        assert_eq!((found, v["outcome"].as_str()), (code, Some(outcome)), "{name}");
        assert_eq!(v["schema"], "mlxplan.check/1");
    }
}

#[test]
fn check_and_predict_say_the_same() {
    let (_, v) = json(&example("too-much"));
    let (_, p) = json("predict --model llama-3.3-70b-4bit --mac m4pro-20/48 --context 16384");
    let w = &v["macs"][0]["workloads"][0];
    assert_eq!(w["memory"]["peak_bytes"], p["memory"]["peak_bytes"]);
    assert_eq!(w["decode"]["tokens_per_s"], p["decode"]["tokens_per_s"]);
    assert_eq!(w["prefill"]["ttft_interval_90_s"], p["prefill"]["ttft_interval_90_s"]);
}

#[test]
fn the_change_it_names_turns_the_fail_into_a_pass() {
    let (_, v) = json(&example("too-much"));
    let change = &v["macs"][0]["workloads"][0]["changes"][0];
    assert_eq!(change["change"], "quantization");
    let text =
        std::fs::read_to_string(format!("{}/examples/too-much.toml", env!("CARGO_MANIFEST_DIR")));
    let quant = change["quant"].as_str().expect("a format");
    let changed = text.expect("readable").replace("70b-4bit\"", &format!("70b-{quant}\""));
    let (code, v) = plan(&changed);
    assert_eq!(code, 0, "{v:#}");
    let (_, v) = json(&example("chat-server"));
    let changes = &v["macs"][1]["workloads"][1]["changes"];
    assert_eq!(changes[0]["change"], "context");
    assert!(!v["alternative"].is_null());
}

#[test]
fn models_that_fit_one_by_one_may_not_fit_together() {
    let two = |resident: &str| {
        plan(&format!(
            "macs = [\"m4pro-20/24\"]\nresident = \"{resident}\"\n\
             [[workload]]\nname = \"a\"\nmodel = \"qwen3-14b-4bit\"\n\
             [[workload]]\nname = \"b\"\nmodel = \"qwen3-8b-8bit\"\n"
        ))
    };
    let (code, v) = two("one at a time");
    assert_eq!(code, 0, "{v:#}");
    assert!(v["macs"][0]["together"].is_null());
    let (code, v) = two("together");
    assert_eq!(code, 1, "{v:#}");
    let changes = v["macs"][0]["together_changes"].as_array().expect("a list");
    assert!(
        changes.iter().any(|c| c["change"] == "leave_out" && c["workload"] == "a"),
        "{changes:?}"
    );
    assert!(
        changes.iter().any(|c| c["change"] == "quantization" && c["workload"] == "b"),
        "{changes:?}"
    );
    // The same model twice shares its weights.
    let (code, v) = plan(
        "macs = [\"m4pro-20/24\"]\nresident = \"together\"\n\
         [[workload]]\nname = \"a\"\nmodel = \"qwen3-14b-4bit\"\n\
         [[workload]]\nname = \"b\"\nmodel = \"qwen3-14b-4bit\"\ncontext = 8000\n",
    );
    assert_eq!(code, 0, "{v:#}");
}

#[test]
fn all_mistakes_are_reported_at_once_with_their_places() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("plan.toml");
    let text = "macs = [\"m4max-40/129\", \"m4pro-20/48\"]\nresident = \"both\"\nreserv_gb = 3\n\n\
                [[workload]]\nmodel = \"qwen3-32b-4bot\"\ncontext = 0\n\n\
                [[workload]]\nname = \"x\"\nusers = 1.5\nmin_tok_s = -2\nmax_ttft_s = 1e300\nkv_bits = 7\n";
    std::fs::write(&path, text).expect("written");
    let (code, out, err) = run(&format!("check {}", path.display()));
    assert_eq!((code, out.as_str()), (2, ""));
    for expected in [
        "plan.toml:1:8: plan: macs:",
        "m4max-40/128",
        "plan.toml:2:12: plan: resident: must be \"one at a time\" or \"together\", found \"both\"",
        "plan.toml:3:1: plan: reserv_gb: unknown key; did you mean \"reserve_gb\"?",
        "plan.toml:6:9: workload 1: model:",
        "plan.toml:7:11: workload 1: context: must be from 1 to 16777216, found 0",
        "workload \"x\": model: is missing",
        "workload \"x\": users: must be a whole number",
        "workload \"x\": min_tok_s: must be from 0.001 to 1000000, found -2",
        "workload \"x\": max_ttft_s: must be from 0.001 to 1000000, found 1e300",
        "workload \"x\": kv_bits: must be 2, 3, 4, 5, 6 or 8, found 7",
    ] {
        assert!(err.contains(expected), "{expected} is not in\n{err}");
    }
    std::fs::write(&path, "macs = [\n\"x\nworkload = 3").expect("written");
    let (code, _, err) = run(&format!("check {}", path.display()));
    assert!(code == 2 && err.contains("syntax"), "{err}");
    let (code, _, err) = run("check /nonexistent/plan.toml");
    assert!(code == 2 && err.contains("cannot read the plan"), "{err}");
}

/// M3, M13: a limit that was raised, and memory that is meant for the plan, decide.
#[test]
fn a_plan_takes_a_gpu_limit_and_a_budget() {
    let with = |keys: &str| {
        plan(&format!(
            "macs = [\"m4pro-20/48\"]\n{keys}[[workload]]\nmodel = \"qwen3-32b-8bit\"\ncontext = 16384\n"
        ))
    };
    let (stock, v) = with("");
    assert_eq!(stock, 3, "{v:#}");
    let (raised, v) = with("gpu_limit = \"42GiB\"\nreserve_gb = 4\n");
    assert_eq!(raised, 0, "{v:#}");
    let (short, v) = with("gpu_limit = \"42GiB\"\nbudget_memory = \"24GB\"\nreserve_gb = 4\n");
    assert_eq!(short, 1, "{v:#}");
    assert_eq!(v["macs"][0]["workloads"][0]["requirements"][0]["limit"], "budget");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("plan.toml");
    std::fs::write(&path, "macs = [\"m4pro-20/48\"]\ngpu_limit = \"60\"\n").expect("written");
    let (code, _, err) = run(&format!("check {}", path.display()));
    assert!(code == 2 && err.contains("gpu_limit: '60' is no size"), "{err}");
}

#[test]
fn junit_counts_what_fails_and_what_is_uncertain() {
    let (code, xml, _) = run(&format!("{} --format junit", example("chat-server")));
    assert_eq!(code, 1);
    assert!(xml.starts_with("<?xml") && xml.contains("<testsuites name=\"chat server\""), "{xml}");
    assert_eq!(xml.matches("<testcase").count(), xml.matches("</testcase>").count());
    assert!(
        xml.contains("<failure message=") && xml.contains("<skipped message=\"uncertain"),
        "{xml}"
    );
    let (code, _, err) = run("macs --format junit");
    assert!(code == 2 && err.contains("only check"), "{err}");
}

#[test]
fn markdown_has_the_table() {
    let (_, text, _) = run(&format!("{} --format markdown", example("agents")));
    assert!(text.contains("| m5max-40/128 | all together | memory | pass |"), "{text}");
}

#[test]
fn a_mac_that_stands_twice_has_one_answer() {
    let text = |macs: &str| {
        format!("macs = [{macs}]\n[[workload]]\nmodel = \"qwen3-4b-4bit\"\nmin_tok_s = 5.0\n")
    };
    let (code, v) = plan(&text(r#""m4max-40/64", "m4max-40/64", "M4 Max 40-core 64GB""#));
    assert_eq!(code, 0);
    assert_eq!(v["macs"].as_array().expect("a list").len(), 1);
}

#[test]
fn a_plan_may_name_several_macs_that_run_a_model_together() {
    let text = |cluster: &str| {
        format!(
            "cluster = \"{cluster}\"\n[[workload]]\nmodel = \"qwen3-235b-a22b-8bit\"\ncontext = 2048\n"
        )
    };
    let (code, v) = plan(&text("2xm3ultra-80/256"));
    assert_eq!(code, 0, "{v:#}");
    assert_eq!(v["macs"][0]["machine"]["id"], "2 x m3ultra-80/256");
    let (code, v) = plan(&text("2xm4max-40/64"));
    assert_eq!(code, 1, "{v:#}");
}

#[test]
fn what_is_not_judged_on_a_cluster_is_no_plan_for_one() {
    let text = "cluster = \"2xm3ultra-80/256\"\n[[workload]]\nmodel = \"qwen3-8b-4bit\"\n\
                engine = \"mlx-lm-server\"\nrate = 0.1\n";
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("plan.toml");
    std::fs::write(&path, text).expect("written");
    let (code, out, err) = run(&format!("check {}", path.display()));
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("rate: is judged on single Macs alone"), "{err}");
}

/// A session is judged by its longest turn and its longest wait, as `predict --session` has them.
#[test]
fn a_session_is_judged_by_its_hardest_turns() {
    let session = "turns=12,system=6000,prompt=300,output=500,tool=1500";
    let text = |more: &str| {
        format!(
            "macs = [\"m4max-40/64\"]\n[[workload]]\nname = \"agent\"\nmodel = \"qwen3-8b-4bit\"\n\
             engine = \"mlx-lm-server\"\nprompt_cache = \"8GB\"\nsession = \"{session}\"\n{more}"
        )
    };
    let (code, v) = plan(&text("min_tok_s = 10\nmax_ttft_s = 60\n"));
    assert_eq!(code, 0, "{v:#}");
    let w = &v["macs"][0]["workloads"][0];
    let (_, s) = json(&format!(
        "predict --model qwen3-8b-4bit --mac m4max-40/64 --engine mlx-lm-server --prompt-cache 8GB \
         --session {session}"
    ));
    let turns = s["turns"].as_array().expect("turns");
    let waits = turns.iter().filter_map(|t| t["ttft_warm_s"].as_f64());
    let requirement = |kind: &str| {
        let all = w["requirements"].as_array().expect("requirements");
        all.iter().find(|r| r["kind"] == kind).expect("asked for").clone()
    };
    assert_eq!(requirement("ttft")["predicted"].as_f64(), waits.reduce(f64::max));
    let last = turns.last().expect("a turn");
    let total = last["depth_tokens"].as_f64().expect("tokens") + 500.0;
    assert_eq!(requirement("context")["predicted"].as_f64(), Some(total));
    assert_eq!(w["session"]["turns"], 12);
    assert_eq!(w["request"]["context_tokens"], last["depth_tokens"]);
    // A turn that waits too long fails it, and no shorter prompt is offered for a session.
    let (code, v) = plan(&text("max_ttft_s = 0.5\n"));
    assert_eq!(code, 1, "{v:#}");
    let changes = v["macs"][0]["workloads"][0]["changes"].as_array().expect("changes");
    assert!(changes.iter().all(|c| c["change"] != "context" && c["change"] != "users"));
    for (key, part) in
        [("context = 4096", "context"), ("users = 2", "users"), ("rate = 0.1", "rate")]
    {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("plan.toml");
        std::fs::write(&path, text(&format!("{key}\n"))).expect("written");
        let (code, _, err) = run(&format!("check {}", path.display()));
        assert!(
            code == 2 && err.contains(part) && err.contains("does not go with session"),
            "{err}"
        );
    }
}

#[test]
fn fine_tuning_is_planned_as_finetune_sizes_it() {
    let (code, v) = json(&example("finetune"));
    let mac = &v["macs"][0];
    let (adapters, long) = (&mac["fine_tunings"][0], &mac["fine_tunings"][1]);
    assert_eq!(
        (adapters["name"].as_str(), adapters["outcome"].as_str()),
        (Some("adapters"), Some("pass"))
    );
    let kinds: Vec<&str> = adapters["requirements"]
        .as_array()
        .expect("requirements")
        .iter()
        .filter_map(|r| r["kind"].as_str())
        .collect();
    assert_eq!(kinds, ["memory", "tok_s", "hours"]);
    let (_, f) = json("finetune --model qwen3-8b-4bit --mac m4pro-20/48");
    assert_eq!(long["peak_bytes"], f["memory"]["peak_bytes"]);
    assert_eq!(long["tokens_per_s"], f["speed"]["tokens_per_s"]);
    // What finetune says about the limits, check says too, and so it does of the changes.
    assert_eq!(f["memory"]["fits"], "no");
    assert_eq!((code, long["outcome"].as_str()), (1, Some("fail")));
    assert_eq!(long["changes"][0]["keys"], "grad_checkpoint = true", "{long:#}");
}

#[test]
fn fine_tuning_alone_is_a_plan_and_its_mistakes_have_places() {
    let one = "macs = [\"m4max-40/64\"]\n[finetune]\nmodel = \"qwen3-0.6b-4bit\"\nlongest = 200\n";
    let (code, v) = plan(one);
    assert_eq!(code, 0, "{v:#}");
    for (more, part) in [
        ("num_layers = 99", "this model has 28"),
        ("optimizer = \"lion\"", "\"adafactor\""),
        ("keys = [\"mlp\"]", "names no matrix"),
        ("engine = \"ollama\"", "only mlx-lm"),
        ("batchsize = 4", "did you mean \"batch_size\"?"),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("plan.toml");
        std::fs::write(&path, format!("{one}{more}\n")).expect("written");
        let (code, _, err) = run(&format!("check {}", path.display()));
        assert!(code == 2 && err.contains("plan.toml:") && err.contains(part), "{more}: {err}");
    }
}

#[test]
fn together_counts_fine_tuning_too() {
    let text =
        std::fs::read_to_string(format!("{}/examples/finetune.toml", env!("CARGO_MANIFEST_DIR")));
    let text = text.expect("readable").replace("macs =", "resident = \"together\"\nmacs =");
    let (code, v) = plan(&text);
    assert_eq!(code, 1);
    let mac = &v["macs"][0];
    let whole = mac["together"]["predicted"].as_f64().expect("bytes");
    let of = |list: &str| -> f64 {
        let all = mac[list].as_array().expect("a list").iter();
        all.filter_map(|w| w["peak_bytes"].as_f64().or(w["memory"]["peak_bytes"].as_f64())).sum()
    };
    let sum = of("workloads") + of("fine_tunings");
    assert!(whole >= sum && whole < sum + 2e9, "{whole} of {sum}");
    let changes = mac["together_changes"].as_array().expect("changes");
    assert!(changes.iter().any(|c| c["change"] == "leave_out" && c["workload"] == "long samples"));
}

/// A change that a model cannot have is not tried, however short the run: it would end the whole plan.
#[test]
fn a_model_with_windows_gets_an_answer_where_it_does_not_fit() {
    let text = "macs = [\"m1-8/8\"]\n[[workload]]\nname = \"w\"\nmodel = \"exaone-4.0-32b\"\nquant = \"4bit\"\n";
    let (code, v) = plan(text);
    assert_eq!((code, v["outcome"].as_str()), (1, Some("fail")));
    let (code, _, err) =
        run("predict --model exaone-4.0-32b --quant 4bit --mac m4max-40/64 --kv-bits 8");
    assert!(
        code == 2 && err.contains("keeps sliding windows") && err.contains("5000 tokens"),
        "{err}"
    );
}
