//! `mlxplan compare`.

use crate::{json, run};

#[test]
fn compare_and_predict_say_the_same() {
    let (code, v) =
        json("compare --model qwen3-14b-4bit --mac m3pro-18/36 m4max-40/128 --context 10000");
    assert_eq!(code, 0);
    assert_eq!(v["schema"], "mlxplan.comparison/1");
    let (_, p) = json("predict --model qwen3-14b-4bit --mac m3pro-18/36 --context 10000");
    let row = &v["rows"][0];
    assert_eq!(row["memory"]["peak_bytes"], p["memory"]["peak_bytes"]);
    assert_eq!(row["memory"]["max_context_tokens"], p["memory"]["max_context_tokens"]);
    assert_eq!(row["decode"]["tokens_per_s"], p["decode"]["tokens_per_s"]);
    assert_eq!(row["prefill"]["ttft_interval_90_s"], p["prefill"]["ttft_interval_90_s"]);
    assert_eq!(v["rows"][1]["machine"]["bandwidth_gbs"], 546);
    assert_eq!(v["rows"][1]["largest_quant_that_fits"], "bf16");
}

#[test]
fn watts_and_prices_are_null_where_they_are_not_known() {
    let (_, v) = json("compare --model qwen3-8b-4bit --mac m4max-40/64 m5max-40/64");
    assert_eq!(v["rows"][0]["decode_gpu_w"], 37.0);
    assert!(v["rows"][1]["decode_gpu_w"].is_null());
    assert!(v["rows"][0]["price"]["usd_now"].is_null());
    assert_eq!(v["rows"][1]["price"]["usd_now"], 3499);
    assert_eq!(v["rows"][1]["price"]["price_confidence"], "medium");
}

#[test]
fn the_upgrade_path_names_what_changes() {
    let (code, v) = json("compare --model qwen3-8b-4bit --mac m4max-40/128 --from m4-10/32");
    assert_eq!(code, 0);
    let faster = &v["rows"][0]["faster_than_from"];
    let (times, ends) = (faster["decode"].as_f64(), &faster["decode_interval_90"]);
    assert!(ends[0].as_f64() < times && times < ends[1].as_f64());
    assert!(times > Some(3.0), "{faster}");
    let new = v["new_models"][0]["models"].as_array().expect("a list");
    assert!(!new.is_empty() && new.iter().all(|m| m["peak_bytes"].as_u64() > Some(21_000_000_000)));
}

#[test]
fn new_models_come_as_they_are_published() {
    let (_, v) = json("compare --model qwen3-8b-4bit --mac m4max-40/128 --from m4-10/32");
    let all = v["new_models"][0]["models"].as_array().expect("a list");
    let gpt = all.iter().find(|m| m["id"].as_str().is_some_and(|id| id.contains("gpt-oss")));
    assert_eq!(gpt.expect("gpt-oss-120b fits 128 GB only")["quant"], "mxfp4", "{all:?}");
}

#[test]
fn a_purchase_lists_what_meets_the_needs() {
    let (code, v) = json(
        "compare --buy --model qwen3-32b-4bit --min-tok-s 20 --max-ttft 30 --budget 6000 --usd-per-kwh 0.3 \
         --api-usd-per-mtok 1 --tokens-per-day 100000",
    );
    assert_eq!(code, 0);
    let choices = v["choices"].as_array().expect("a list");
    assert!(choices.len() > 3);
    for c in choices {
        let p = c["probability"].as_f64().expect("a number");
        assert!(p > 0.05 && p <= 1.0);
        assert!(c["offer"]["usd_now"].as_u64().is_none_or(|usd| usd <= 6000));
        if c["outcome"] == "pass" {
            assert!(c["runs"][0]["decode"]["interval_90"][0].as_f64() >= Some(20.0));
        }
        assert!(
            c["decode_gpu_w"].is_null()
                == c["costs"]["gpu_energy_usd_per_million_tokens"].is_null()
        );
    }
    assert_eq!(v["smallest"]["mac"], choices[0]["offer"]["mac"]);
    let counted = [&v["failed"], &v["over_budget"]].iter().filter_map(|n| n.as_u64()).sum::<u64>();
    assert_eq!(v["considered"].as_u64(), Some(counted + choices.len() as u64));
}

#[test]
fn exit_codes_say_whether_any_mac_will_do() {
    let (code, text, _) = run("compare --buy --model qwen3-8b-4bit --min-tok-s 5000");
    assert_eq!(code, 1);
    assert!(text.contains("None of"), "{text}");
    let (code, text, _) = run("compare --buy --model 8B-4bit --min-tok-s 10 --limit 3");
    assert_eq!(code, 0);
    assert!(text.contains("stands for it") && text.contains("smallest that works"), "{text}");
    let (code, _, err) = run("compare --buy --model qwen3-8b --min-tok-s 0");
    assert_eq!(code, 2);
    assert!(err.contains("a number from 0.001"), "{err}");
    let (code, _, err) = run("compare --model qwen3-8b-4bit");
    assert_eq!(code, 2);
    assert!(err.contains("--mac"), "{err}");
}

#[test]
fn own_prices_override_the_catalog() {
    let dir = tempfile::tempdir().expect("a folder");
    let price = "[[price]]\nmac = \"mini-m5pro-20-2026\"\nmemory_gib = 64\nusd_now = 1234\nsource = \"a friend\"\n";
    std::fs::write(dir.path().join("prices.toml"), price).expect("written");
    let dir = dir.path().display();
    let (_, v) = json(&format!(
        "compare --model qwen3-8b-4bit --mac mini-m5pro-20-2026/64 --data-dir {dir}"
    ));
    assert_eq!(v["rows"][0]["price"]["usd_now"], 1234);
    assert_eq!(v["rows"][0]["price"]["price_source"], "a friend");
}

#[test]
fn several_macs_are_compared_with_one() {
    let (code, v) = json("compare --model qwen3-30b-a3b-4bit --cluster 4xm3ultra-80/512");
    assert_eq!((code, v["schema"].as_str()), (0, Some("mlxplan.cluster/1")));
    let rows = v["rows"].as_array().expect("a list");
    let nodes: Vec<u64> = rows.iter().filter_map(|r| r["nodes"].as_u64()).collect();
    assert_eq!(nodes, [1, 2, 2, 4, 4]);
    assert_eq!(rows[0]["verdict"], "alone");
    assert_eq!(
        (rows[1]["parallelism"].as_str(), rows[1]["verdict"].as_str()),
        (Some("tensor"), Some("slower"))
    );
    assert!(
        rows[1]["reason"].as_str().is_some_and(|r| r.contains("slower than one Mac")),
        "{}",
        rows[1]
    );
    assert!(rows[1]["prefill_speedup"]["value"].as_f64() > Some(1.2));
    assert!(rows[1]["bytes_per_node"].as_u64() < rows[0]["bytes_per_node"].as_u64());
    assert!(
        v["copies"][0]["total_tokens_per_s"].as_f64() > rows[0]["decode_tokens_per_s"].as_f64()
    );
    let new = v["becomes_possible"].as_array().expect("a list");
    assert!(!new.is_empty(), "{new:?}");
    let risk = v["settings"].as_array().expect("a list").iter().any(|s| s["risk"].is_string());
    assert!(risk);
}

#[test]
fn what_several_macs_cannot_do_has_its_reason() {
    let (code, v) = json("compare --model gemma-3-27b-it-4bit --cluster 2xm4-10/32 --link jaccl");
    assert_eq!(code, 0, "one of them holds it");
    let reason = |i: usize| v["rows"][i]["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason(1).contains("Thunderbolt 4"), "{v:#}");
    assert!(v["rows"][1]["decode_tokens_per_s"].is_null());
    let (_, v) = json("compare --model gemma-3-27b-it-4bit --macs m4-10/32,m4pro-20/48");
    let reasons: Vec<&str> =
        v["rows"].as_array().expect("a list").iter().filter_map(|r| r["reason"].as_str()).collect();
    assert!(reasons.iter().any(|r| r.contains("no shard()")), "{reasons:?}");
    let (code, _, err) = run("compare --model qwen3-8b-4bit --mac m4-10/32 --link ring");
    assert!(code == 2 && err.contains("--cluster"), "{err}");
}

#[test]
fn choices_of_fine_tuning_are_varied_in_words() {
    let of = |what: &str| {
        json(&format!(
            "compare --model qwen3-0.6b-4bit --mac m4max-40/64 --max-seq-length 513 --vary {what}"
        ))
    };
    let (code, v) = of("checkpoint");
    assert_eq!((code, v["schema"].as_str()), (0, Some("mlxplan.variants/1")));
    assert_eq!(v["varied"], "checkpoint");
    let answer = v["answer"][0].as_str().expect("words");
    assert!(answer.starts_with("Is --grad-checkpoint worth it? not needed"), "{answer}");
    let peak = |i: usize| v["rows"][i]["peak_bytes"].as_u64().expect("bytes");
    assert!(peak(1) < peak(0));
    let flops = |i: usize| v["rows"][i]["training"]["flops_per_iteration"].as_u64();
    assert!(flops(1) > flops(0));
    let (_, f) = json("finetune --model qwen3-0.6b-4bit --mac m4max-40/64 --max-seq-length 513");
    assert_eq!(v["rows"][0]["peak_bytes"], f["memory"]["peak_bytes"]);
    assert_eq!(v["rows"][0]["tokens_per_s"], f["speed"]["tokens_per_s"]);
    let (_, v) = of("layers");
    let names: Vec<&str> =
        v["rows"].as_array().expect("rows").iter().filter_map(|r| r["name"].as_str()).collect();
    assert_eq!(names, ["4", "8", "16", "all 28"]);
    let (_, v) = of("batch");
    assert_eq!(v["rows"].as_array().map(Vec::len), Some(5));
    assert_eq!(v["training"]["seq_tokens"], 512);
}

#[test]
fn options_of_fine_tuning_need_what_they_are_for() {
    let (code, _, err) = run("compare --model qwen3-0.6b-4bit --mac m4max-40/64 --rank 16");
    assert!(code == 2 && err.contains("--vary checkpoint, layers or batch"), "{err}");
}
