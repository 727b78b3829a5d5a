use super::*;
use crate::estimate::gpu::gpu;
use crate::graph::Graph;
use crate::hardware::{Macs, spec};
use crate::ledger::peak::{self, PeakError};
use crate::ledger::replay::Gpu;
use crate::model::{Config, Scheme};
use crate::run::{EngineSetup, Run};
use proptest::prelude::*;

impl Memory {
    /// Simulates a generation by itself and judges it.
    pub(crate) fn of(graph: &Graph, machine: &Machine, run: &Run) -> Result<Self, PeakError> {
        let peak = peak::peak(graph, run, gpu(machine, &run.engine))?;
        Ok(judged(peak, machine, run.engine.reserve))
    }
}

fn qwen3(layers: u32, hidden: u32) -> Graph {
    let config = Config::parse(&format!(
        r#"{{"model_type":"qwen3","hidden_size":{hidden},"num_hidden_layers":{layers},"num_attention_heads":32,
            "num_key_value_heads":8,"head_dim":128,"intermediate_size":{},"vocab_size":151936,
            "max_position_embeddings":131072,"tie_word_embeddings":false}}"#,
        hidden * 3
    ));
    Graph::quantized(&config.expect("valid JSON"), Scheme::DEFAULT).expect("a known family")
}

fn machine(text: &str) -> Machine {
    spec::resolve(text, &Macs::embedded()).expect("a known Mac")
}

/// The longest context within a number of bytes.
fn within(
    graph: &Graph,
    run: &Run,
    gpu: Gpu,
    budget: Bytes,
    known: Option<&Peak>,
) -> Result<MaxContext, PeakError> {
    context::within(&Ends::of(graph, run, gpu)?, budget, known)
}

/// A peak of the given size and nothing else that could matter.
fn stated(peak_bytes: u64) -> Peak {
    Peak {
        peak_bytes,
        weights_bytes: peak_bytes / 2,
        kv_bytes: 0,
        state_bytes: 0,
        attention_scratch_bytes: 0,
        run_ahead_bytes: 0,
        kept_bytes: 0,
        largest_buffer_bytes: 1,
        resident_bytes: peak_bytes,
        phase: peak::Phase::Prefill,
        context_tokens: 1,
        steps: Vec::new(),
    }
}

/// A peak that is judged as if it were known exactly.
fn judged(peak: Peak, mac: &Machine, reserve: Option<Bytes>) -> Memory {
    let expected = Bytes(peak.peak_bytes);
    let engine = EngineSetup { reserve, ..EngineSetup::default() };
    Memory::judge_between(peak, [expected; 2], mac, &engine)
}

const GIB: f64 = (1u64 << 30) as f64;

/// github.com/antirez/ds4 #890, #893 and #909: a plan of 108.01 GiB failed in the first chunk on a 128 GB M5 Max with
/// the stock limit of 107.52 GiB, and worked with a limit of 112 GiB.
#[test]
fn half_a_gibibyte_over_the_limit_does_not_fit() {
    let stock = machine("m5max-40/128");
    assert!((stock.gpu_limit.bytes.gib() - 107.52).abs() < 0.01);
    let need = (108.01 * GIB) as u64;
    let peak = stated(need);
    let process = Process::of(&peak, &stock, Program::MlxLm);
    let exact = [Bytes(need); 2];
    let judged = Judgment::of(
        (&peak).into(),
        exact,
        process.runtime_bytes,
        &stock,
        default_reserve(stock.memory.value),
    );
    assert_eq!((judged.verdict, judged.fits), (Fit::No, Fits::No));

    let mut raised = stock.clone();
    raised.gpu_limit = raised.gpu_limit.with_wired_limit(112 * 1024);
    let judged = Judgment::of(
        (&peak).into(),
        exact,
        process.runtime_bytes,
        &raised,
        default_reserve(raised.memory.value),
    );
    assert_ne!(judged.fits, Fits::No, "{judged:?}");
}

/// Somebody reported of a 256 GB M5 Ultra that a model of 172.9 GB ran a prompt of 200k tokens, and died at 227k to 234k
/// tokens of a growing history. The report does not name the model. This one has as many bytes, and a cache of 283 kB a token,
/// the middle of what those lengths leave under the limit: the longest context must come out between them, and it is the
/// peak at its end that decides, not the average of the session.
#[test]
fn a_growing_history_ends_where_its_peak_reaches_the_limit() {
    let config = Config::parse(
        r#"{"model_type":"qwen3_moe","hidden_size":4096,"num_hidden_layers":69,"num_attention_heads":64,
            "num_key_value_heads":8,"head_dim":128,"intermediate_size":12288,"vocab_size":151936,"num_experts":252,
            "num_experts_per_tok":8,"moe_intermediate_size":1408,"decoder_sparse_step":1,"norm_topk_prob":true,
            "mlp_only_layers":[],"rms_norm_eps":1e-6,"rope_theta":1e6,"max_position_embeddings":1048576,
            "tie_word_embeddings":false}"#,
    );
    let graph = Graph::quantized(&config.expect("valid JSON"), Scheme::DEFAULT).expect("known");
    let weights = crate::ledger::weights::Weights::of(&graph).bytes;
    assert!((weights as f64 / 1e9 - 172.9).abs() < 1.0, "{weights}");
    let mac = machine("m5ultra-80/256");
    let at = |context_tokens| {
        let run = Run::default().with_context(context_tokens);
        Memory::of(&graph, &mac, &run).expect("runs").judgment.fits
    };
    assert_ne!(at(200_000), Fits::No);
    assert_eq!(at(115_000), Fits::Yes, "the average of the session");
    assert_eq!(at(234_000), Fits::No);
    let longest = within(
        &graph,
        &Run::default(),
        gpu(&mac, &EngineSetup::default()),
        context::budget(&mac, None),
        None,
    );
    let tokens = longest.expect("runs").tokens;
    assert!((200_000..234_000).contains(&tokens), "{tokens}");
}

#[test]
fn a_need_whose_interval_straddles_the_limit_is_uncertain() {
    let mac = machine("m5max-40/128");
    let limit = mac.gpu_limit.bytes.0;
    let verdict = |peak: u64| judged(stated(peak), &mac, None).judgment.verdict;
    assert_eq!(verdict(limit - 200_000_000), Fit::Uncertain);
    assert_eq!(verdict(limit / 2), Fit::Yes);
    assert_eq!(verdict(limit - limit / 40), Fit::Tight);
    assert_eq!(verdict(limit + 2_000_000_000), Fit::No);
    // Before macOS 26 the limit of this size was lower: a Mac that may run either is uncertain in between.
    let m4 = machine("m4max-40/128");
    let between = (m4.gpu_limit.range[0].0 + m4.gpu_limit.range[1].0) / 2;
    assert_eq!(judged(stated(between), &m4, None).judgment.verdict, Fit::Uncertain);
}

#[test]
fn swapping_is_a_no_that_says_how_slow() {
    let mac = machine("m5max-40/128");
    let judged = judged(stated(90_000_000_000), &mac, Some(Bytes::from_gb(60.0))).judgment;
    assert_eq!(judged.fits, Fits::No);
    let swap = judged.swap.expect("memory does not suffice");
    assert!(swap.slowdown[0] > 2.0 && swap.slowdown[1] > swap.slowdown[0], "{swap:?}");
}

#[test]
fn the_longest_context_fits_and_a_longer_one_does_not() {
    let graph = qwen3(36, 4096);
    let mac = machine("m3-10/16");
    let asked = Run::default();
    let budget = context::budget(&mac, None);
    let found = within(
        &graph,
        &asked,
        gpu(&mac, &EngineSetup::default()),
        context::budget(&mac, None),
        None,
    )
    .expect("runs");
    assert_eq!(found.bound, ContextBound::Memory);
    let peak_at = |total: u32| {
        let run = asked.with_context(total - asked.work.generate_tokens);
        peak::full(&graph, &run, gpu(&mac, &EngineSetup::default())).expect("runs").peak_bytes
    };
    assert!(peak_at(found.tokens) <= budget.0, "{found:?}");
    assert!(peak_at(found.tokens + 1024) > budget.0, "{found:?}");
}

#[test]
fn a_model_that_cannot_be_loaded_has_no_context() {
    let graph = qwen3(80, 8192);
    let found = {
        let mac = machine("m3-10/16");
        within(
            &graph,
            &Run::default(),
            gpu(&mac, &EngineSetup::default()),
            context::budget(&mac, None),
            None,
        )
    }
    .expect("runs");
    assert_eq!(found.tokens, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn more_memory_never_holds_less_context(gb in 4.0f64..40.0, more in 0.0f64..0.2, layers in 2u32..12, step in 0usize..3) {
        let graph = qwen3(layers, 2048);
        let mac = machine("m4max-40/64");
        let asked = Run::default().with_prefill_step([256, 512, 2048][step]);
        let at = |gb: f64| within(&graph, &asked, gpu(&mac, &EngineSetup::default()), Bytes::from_gb(gb), None).unwrap().tokens;
        let (less, same, more) = (at(gb), at(gb + more), at(gb + 20.0 * more));
        prop_assert!(less <= same && same <= more, "{less} {same} {more}");
    }

    #[test]
    fn no_longer_length_fits(gb in 4.0f64..12.0, layers in 2u32..12, step in 0usize..3) {
        let graph = qwen3(layers, 2048);
        let mac = machine("m4max-40/64");
        let asked = Run::default().with_prefill_step([256, 512, 2048][step]);
        let known = peak::peak(&graph, &asked, gpu(&mac, &EngineSetup::default())).unwrap();
        let budget = Bytes::from_gb(gb);
        let found = within(&graph, &asked, gpu(&mac, &EngineSetup::default()), budget, Some(&known)).unwrap();
        let end_at = |total: u32| {
            let run = asked.with_context(total - asked.work.generate_tokens);
            peak::end(&graph, &run, gpu(&mac, &EngineSetup::default())).unwrap().peak_bytes
        };
        if found.bound == ContextBound::Memory && found.tokens > 512 {
            prop_assert!(end_at(found.tokens) <= budget.0, "{:?}", found);
            // Lengths that are tried lie 256 apart, and further beyond 32768.
            let next = found.tokens + (256 << (found.tokens / 32_768).max(1).ilog2());
            prop_assert!(end_at(next) > budget.0, "{:?}", found);
        }
    }

    #[test]
    fn what_was_asked_for_lies_within_the_longest_context(cells in 2u32..100, spare in 0u64..50_000_000, step in 0usize..3) {
        let graph = qwen3(8, 2048);
        let mac = machine("m4max-40/64");
        let asked = Run::default().with_prefill_step([256, 512, 2048][step]);
        let asked = asked.with_context(256 * cells - asked.work.generate_tokens);
        let known = peak::peak(&graph, &asked, gpu(&mac, &EngineSetup::default())).unwrap();
        let found = within(&graph, &asked, gpu(&mac, &EngineSetup::default()), Bytes(known.peak_bytes + spare), Some(&known)).unwrap();
        prop_assert!(found.tokens >= 256 * cells, "{:?}", found);
    }

    #[test]
    fn the_bound_that_saves_simulations_changes_nothing(gb in 4.0f64..80.0, layers in 2u32..12, kv in 0usize..2) {
        let graph = qwen3(layers, 2048);
        let mac = machine("m4max-40/64");
        let kv = [None, Some(crate::graph::cache::KvQuantization::bits(8))][kv];
        let asked = Run::default().with_kv(kv).with_prefill_step(512);
        let peak = peak::peak(&graph, &asked, gpu(&mac, &EngineSetup::default())).unwrap();
        let at = |known| within(&graph, &asked, gpu(&mac, &EngineSetup::default()), Bytes::from_gb(gb), known).unwrap();
        prop_assert_eq!(at(None), at(Some(&peak)));
    }

    #[test]
    fn smaller_caches_chunks_and_batches_never_hold_less_context(layers in 8u32..40) {
        let graph = qwen3(layers, 4096);
        let mac = machine("m3-10/16");
        let at = |run: Run| within(&graph, &run, gpu(&mac, &EngineSetup::default()), context::budget(&mac, None), None).unwrap().tokens;
        let plain = at(Run::default());
        // Fewer bits hold more, but a quantized cache can hold less than a plain one: its attention is not fused, and
        // the scores of a chunk against a long context take more room than the bits save.
        let kv = |bits| Some(crate::graph::cache::KvQuantization::bits(bits));
        let small = Run::default().with_prefill_step(128);
        let eight = at(small.with_kv(kv(8)));
        let four = at(small.with_kv(kv(4)));
        prop_assert!(eight <= four, "{eight} {four}");
        let four_users = at(Run::default().with_batch(4));
        prop_assert!(four_users <= plain, "{four_users} {plain}");
        let small_chunks = at(Run::default().with_prefill_step(512));
        prop_assert!(small_chunks >= plain, "{small_chunks} {plain}");
    }

    #[test]
    fn the_search_ends_for_any_batch(batch in 1u32..2048, generate in 1u32..4096, gb in 0.5f64..64.0, told in 0usize..2) {
        let graph = qwen3(2, 512);
        let mac = machine("m4max-40/64");
        let asked = Run::default().with_batch(batch).with_generated(generate);
        let known = peak::peak(&graph, &asked, gpu(&mac, &EngineSetup::default())).unwrap();
        let known = [None, Some(&known)][told];
        let found = within(&graph, &asked, gpu(&mac, &EngineSetup::default()), Bytes::from_gb(gb), known).unwrap();
        prop_assert!(found.tokens <= 131_072, "{:?}", found);
    }
}

/// What the longest context is does not hang on the prompt that is asked about.
#[test]
fn the_longest_context_does_not_hang_on_the_prompt() {
    let graph = qwen3(36, 4096);
    let mac = machine("m3-10/16");
    let coefficients = crate::roofline::Coefficients::embedded().expect("built in");
    let at = |tokens: u32| {
        let run = Run::default().with_context(tokens);
        let estimator = crate::estimate::Estimator::of_graph(coefficients, &graph, run);
        let safe = estimator.safe_context(&mac).expect("runs");
        (safe, estimator.max_context(&mac).expect("runs"))
    };
    let default = at(4096);
    assert_eq!(default.1.bound, ContextBound::Memory);
    for tokens in [1, 2049, 10_240, 20_000, 60_000] {
        assert_eq!(at(tokens), default, "{tokens}");
    }
}

/// A context that is all output is found as well, and the next length does not fit.
#[test]
fn the_longest_context_of_a_very_long_output_is_found() {
    let graph = qwen3(2, 512);
    let mac = machine("m4max-40/64");
    let asked = Run::default().with_context(1).with_generated(1_048_576);
    let within =
        |gb| within(&graph, &asked, gpu(&mac, &asked.engine), Bytes::from_gb(gb), None).unwrap();
    let at = |tokens: u32| {
        let run = asked.with_generated(tokens - 1);
        peak::end(&graph, &run, gpu(&mac, &asked.engine)).unwrap().peak_bytes
    };
    for gb in [0.2, 0.4, 0.8] {
        let found = within(gb);
        assert_eq!(found.bound, ContextBound::Memory, "{gb} GB: {found:?}");
        let budget = Bytes::from_gb(gb).0;
        assert!(
            at(found.tokens) <= budget && at(found.tokens + 1024) > budget,
            "{gb} GB: {found:?}"
        );
    }
}

/// The safe context fits at the upper end of the interval of the peak and under the lowest limit, whether the search
/// starts from the longest context or not.
#[test]
fn the_safe_context_is_safe() {
    let graph = qwen3(36, 4096);
    let asked = Run::default();
    for text in ["m3-10/16", "m2-10/24"] {
        let mac = machine(text);
        let (most, less) = (context::budget(&mac, None), context::safe_budget(&mac, None));
        let at = |budget| {
            within(&graph, &asked, gpu(&mac, &EngineSetup::default()), budget, None).expect("runs")
        };
        let longest = at(most);
        let known = peak::peak(&graph, &asked, gpu(&mac, &EngineSetup::default())).expect("runs");
        let below = (&known, longest, most);
        let ends = Ends::of(&graph, &asked, gpu(&mac, &EngineSetup::default())).expect("runs");
        let quick = context::within_less(&ends, less, below).expect("runs");
        for safe in [at(less), quick] {
            assert_eq!(safe.bound, ContextBound::Memory);
            assert!(safe.tokens < longest.tokens, "{safe:?} {longest:?}");
            let run = asked.with_context(safe.tokens - asked.work.generate_tokens);
            let memory = Memory::of(&graph, &mac, &run).expect("runs");
            assert!(memory.judgment.verdict <= Fit::Tight, "{:?}", memory.judgment);
        }
    }
}

/// Heads of 256 on matrix units: whole chunks are fused, a last chunk of less than 1024 rows builds scores, so that many
/// shorter prompts need more than a longer one.
fn wide_heads() -> Graph {
    let config = Config::parse(
        r#"{"model_type":"qwen3","hidden_size":2048,"num_hidden_layers":4,"num_attention_heads":16,
            "num_key_value_heads":2,"head_dim":256,"intermediate_size":6144,"vocab_size":151936,
            "max_position_embeddings":262144,"tie_word_embeddings":false}"#,
    );
    Graph::quantized(&config.expect("valid JSON"), Scheme::DEFAULT).expect("a known family")
}

/// The longest context of [`wide_heads`] within so many gigabytes, if it is longer than two chunks, and the peaks at shares
/// of it less the room, bytes.
fn beyond_room(gb: f64, shares: &[f64]) -> Option<(MaxContext, Vec<i64>)> {
    let graph = wide_heads();
    let mac = machine("m5max-40/64");
    let asked = Run::default();
    let gpu = gpu(&mac, &EngineSetup::default());
    let room = Room { peak: Bytes::from_gb(gb), buffer: mac.gpu_limit.max_buffer() };
    let known = peak::peak(&graph, &asked, gpu).expect("runs");
    let ends = Ends::of(&graph, &asked, gpu).expect("runs");
    let found = context::within(&ends, room.peak, None).expect("runs");
    let found = below(&ends, room, &known, found).expect("runs");
    let beyond = |share: &f64| {
        let total = (share * f64::from(found.tokens)) as u32;
        let run = asked.with_context(total - asked.work.generate_tokens);
        peak::peak(&graph, &run, gpu).expect("runs").peak_bytes as i64 - room.peak.0 as i64
    };
    (found.tokens > 4096).then(|| (found, shares.iter().map(beyond).collect()))
}

/// Lengths between those that are tried may need a little more; the safe context has room for it.
const A_LITTLE: i64 = 100_000_000;

/// Four whole chunks and 1023 further rows do not fit, and neither do 1022 or 1000 of them, whose scores are as large.
#[test]
fn rows_before_the_first_that_do_not_fit_fit() {
    let (found, beyond) = beyond_room(1.5, &[0.9, 0.95, 0.998_824_464, 1.0]).expect("long");
    assert!(beyond.iter().all(|bytes| *bytes <= A_LITTLE), "{found:?}: {beyond:?}");
}

/// A model whose heads no kernel fuses, so that every chunk builds scores.
fn scored() -> Graph {
    let config = Config::parse(
        r#"{"model_type":"qwen3","hidden_size":2048,"num_hidden_layers":6,"num_attention_heads":16,
            "num_key_value_heads":4,"head_dim":192,"intermediate_size":6144,"vocab_size":151936,
            "max_position_embeddings":262144,"tie_word_embeddings":false}"#,
    );
    Graph::quantized(&config.expect("valid JSON"), Scheme::DEFAULT).expect("a known family")
}

/// Halving finds every chunk that does not fit, at any budget at which the last one does.
#[test]
fn a_chunk_before_the_end_that_does_not_fit_is_found() {
    const COUNT: u32 = 24;
    let graph = scored();
    let run = Run::default().with_prefill_step(512);
    let ends = Ends::of(&graph, &run, Gpu::REFERENCE).expect("runs");
    let chunk = |n: u32| ends.last_chunk((n + 1) * 512 + 1).expect("runs");
    let all: Vec<PromptEnd> = (0..COUNT).map(chunk).collect();
    let last = all[COUNT as usize - 1];
    assert!(last.builds_scores && all.iter().any(|e| e.command_buffers != last.command_buffers));
    let most = 2 * last.beyond;
    for budget in all.iter().map(|e| e.peak).filter(|&peak| peak >= last.peak) {
        let whole = chunks::WholeChunks { ends: &ends, budget, most };
        let fit = all.iter().all(|e| e.peak <= budget);
        assert_eq!(whole.fit(COUNT).expect("runs"), fit, "{budget}");
    }
}

#[test]
fn no_smaller_chunk_or_cache_helps_where_the_weights_alone_exceed_the_limit() {
    let graph = qwen3(60, 8192);
    let mac = machine("m3-10/16");
    let coefficients = crate::roofline::Coefficients::embedded().expect("embedded");
    let estimator = crate::estimate::Estimator::of_graph(coefficients, &graph, Run::default());
    let memory = estimator.memory(&mac).expect("runs");
    let context = estimator.max_context(&mac).expect("runs");
    assert_eq!((memory.judgment.fits, context.tokens), (Fits::No, 0));
    let advised = advise(&estimator, &mac, (&memory, context));
    let smaller = |a: &Advice| matches!(a.what, Change::PrefillStep { .. } | Change::KvBits { .. });
    assert!(!advised.changes.iter().any(smaller), "{advised:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn below_the_longest_context_every_prompt_fits(gb in 1.5f64..6.0, shares in proptest::collection::vec(0.3f64..1.0, 6)) {
        let found = beyond_room(gb, &shares);
        prop_assume!(found.is_some());
        let (found, beyond) = found.expect("assumed");
        prop_assert!(beyond.iter().all(|bytes| *bytes <= A_LITTLE), "{found:?}: {beyond:?}");
    }
}
