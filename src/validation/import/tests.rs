use super::*;

fn imported(file: &str, text: &str) -> ImportedRows {
    let models = Models::built_in().expect("the built-in catalog");
    import(file, text, &models, &Macs::embedded()).expect("readable").expect("a known format")
}

#[test]
fn llama_bench_times_prompts_and_tokens_apart() {
    let text = include_str!("../../../tests/data/imports/llama-bench.jsonl");
    let found = imported("a.jsonl", text);
    assert_eq!(found.format, ResultFormat::LlamaBench);
    let [prompt, tokens] = found.rows.as_slice() else { panic!("{found:?}") };
    assert_eq!((prompt.prompt_tokens, prompt.prefill_tok_s), (Some(512), Some(745.585)));
    assert_eq!((tokens.context_tokens, tokens.gen_tokens), (Some(512), Some(128)));
    assert_eq!((tokens.decode_tok_s, tokens.prefill_tok_s), (Some(64.2485), None));
    assert_eq!(tokens.quant, "gguf-q4_k_m");
    assert_eq!(tokens.chips, ["m3max-30", "m3max-40"], "the file does not tell the bin");
    assert_eq!(tokens.engine_setup().version.map(|v| v.to_string()).as_deref(), Some("b8500"));
    let array = format!("[{}]", text.trim().replace('\n', ","));
    assert_eq!(imported("a.json", &array).rows.len(), 2, "-o json is an array of the same");
}

#[test]
fn llama_bench_off_the_gpu_or_over_two_things_is_left_out() {
    let text = include_str!("../../../tests/data/imports/llama-bench.jsonl");
    let with = |from: &str, to: &str| {
        let found = imported("a.jsonl", &format!("{text}{}", text.replace(from, to)));
        (found.rows.len(), found.left_out.first().map(|(_, why)| why.clone()).unwrap_or_default())
    };
    let (rows, why) = with("\"n_gpu_layers\": 99", "\"n_gpu_layers\": 0");
    assert!(rows == 2 && why.contains("no layer on the GPU"), "{rows} {why}");
    let (rows, why) = with("\"n_prompt\": 0, \"n_gen\": 128", "\"n_prompt\": 512, \"n_gen\": 128");
    assert!(rows == 3 && why.contains("together"), "{rows} {why}");
    let (rows, why) = with("Apple M3 Max", "Apple M1 Ultra (Virtual)");
    assert!(rows == 2 && why.contains("Apple chip"), "{rows} {why}");
    let packed = imported("a.jsonl", &text.replace("\"type_k\": \"f16\"", "\"type_k\": \"q8_0\""));
    assert!(packed.rows.iter().all(|r| r.not_plain().is_some_and(|why| why.contains("q8_0"))));
}

#[test]
fn llmfit_times_whole_requests_of_servers() {
    let found = imported("a.json", include_str!("../../../tests/data/imports/llmfit-m4pro.json"));
    let [row] = found.rows.as_slice() else { panic!("{found:?}") };
    assert_eq!(row.rate_kind, RateKind::EndToEnd);
    assert_eq!((row.decode_tok_s, row.memory_gib), (Some(118.51), Some(48)));
    assert_eq!((row.model_id.as_str(), row.quant.as_str()), ("Qwen/Qwen3.8-27B", "affine-4-g64"));
    assert_eq!(row.chips, ["m4pro-16", "m4pro-20"]);
}

#[test]
fn chronos_tells_decode_from_requests_since_its_version_0_4() {
    let old = imported("a.json", include_str!("../../../tests/data/imports/chronos-m1max.json"));
    let new = imported("b.json", include_str!("../../../tests/data/imports/chronos-m5pro.json"));
    let ([old], [new]) = (old.rows.as_slice(), new.rows.as_slice()) else { panic!() };
    assert_eq!((old.rate_kind, old.decode_tok_s), (RateKind::EndToEnd, Some(49.554)));
    assert_eq!((new.rate_kind, new.decode_tok_s), (RateKind::Served, Some(88.5)));
    assert_eq!(new.engine_setup().program, Program::Omlx);
    assert_eq!(new.engine_setup().macos.map(|v| v.to_string()).as_deref(), Some("26.5.2"));
    assert_eq!((new.gen_tokens, new.ttft_s), (Some(100), Some(0.177)));
    assert!(new.is_plain() && new.chips.iter().all(|c| c.starts_with("m5pro")));
}

#[test]
fn texts_name_no_mac() {
    let mlx = imported("a.txt", include_str!("../../../tests/data/imports/mlx-lm.txt"));
    let [row] = mlx.rows.as_slice() else { panic!("{mlx:?}") };
    assert_eq!((row.model_id.as_str(), row.quant.as_str()), ("Qwen/Qwen3.5-4B", "affine-4-g64"));
    assert_eq!((row.prefill_tok_s, row.decode_tok_s), (Some(359.376), Some(38.759)));
    assert_eq!((row.prompt_tokens, row.gen_tokens, row.batch), (Some(1024), Some(64), 1));
    assert!(row.chips.is_empty() && row.peak_memory_gb == Some(3.503));
    let omlx = imported("b.txt", include_str!("../../../tests/data/imports/omlx.txt"));
    assert_eq!(omlx.rows.len(), 4);
    assert_eq!(omlx.rows[3].context_tokens, Some(16_384));
    assert_eq!(omlx.rows[3].decode_tok_s, Some(21.6));
    assert!(omlx.rows.iter().all(|r| r.peak_memory_gb.is_none() && r.quant == "mxfp4"));
    assert_eq!(omlx.rows[0].engine_setup().program, Program::Omlx);
    assert_eq!(omlx.left_out.len(), 2, "several requests at once are no rows");
}

#[test]
fn what_is_no_result_is_none_and_what_is_damaged_says_so() {
    let models = Models::built_in().expect("the built-in catalog");
    let read = |text: &str| import("x", text, &models, &Macs::embedded());
    for text in ["", "{}", "id,engine\n", "[1, 2]", "{\"schema\": \"mlxplan.bench/1\"}"] {
        assert!(read(text).expect("nothing").is_none(), "{text}");
    }
    let cut = &include_str!("../../../tests/data/imports/llmfit-m4pro.json")[..600];
    assert!(matches!(read(cut), Err(ImportError::Content { .. })));
    let linux = r#"{"n_prompt": 8, "n_gen": 0, "avg_ts": 5.0, "gpu_info": "RTX 5090"}"#;
    let error = read(linux).expect_err("no Apple chip").to_string();
    assert!(error.contains("not on the GPU of an Apple chip"), "{error}");
}

/// Rows of measurements quote what other programs print, and are none of their results.
#[test]
fn shipped_measurements_are_no_result_of_another_program() {
    for shipped in
        [include_str!("../../../data/measurements.csv"), include_str!("../../../data/beyond.csv")]
    {
        assert_eq!(ResultFormat::of(shipped), None);
    }
}

#[test]
fn formats_of_llama_bench_are_those_of_files() {
    for (text, format) in [
        ("Q4_K - Medium", "gguf-q4_k_m"),
        ("Q6_K", "gguf-q6_k"),
        ("IQ4_XS - 4.25 bpw", "gguf-iq4_xs"),
        ("MXFP4 MoE", "gguf-mxfp4"),
    ] {
        assert_eq!(format_of(text).as_deref(), Some(format), "{text}");
    }
}
