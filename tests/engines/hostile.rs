//! What a server may do wrong, and what must be made of it.

use crate::fake::{Conduct, Fake, MODEL, Program};
use mlxplan::bench::http::{Address, ApiKey, HttpError, Limits, Server, ServerKind};
use mlxplan::bench::{CountSource, FailureKind, Prompt, Trial, TrialFlag};
use std::time::{Duration, Instant};

/// Limits that a test can wait for.
fn limits() -> Limits {
    Limits {
        silence: Duration::from_millis(600),
        total: Duration::from_millis(2500),
        line_bytes: 1 << 20,
        answer_bytes: 8 << 20,
        ..Limits::default()
    }
}

fn connect(fake: &Fake) -> Server {
    let address = Address::parse(&fake.address, false).unwrap();
    Server::connect(&address, None, None, limits()).unwrap()
}

fn prompt() -> Prompt {
    Prompt::user("Tell me about the sea and the ships on it", 20)
}

fn run(program: Program, conduct: Conduct) -> Result<Trial, HttpError> {
    let fake = Fake::start(program, conduct);
    connect(&fake).generate(&prompt()).map(|g| Trial::of(&g, 20))
}

/// Flags other than a stall, which a busy test machine can cause.
fn odd(trial: &Trial) -> Vec<TrialFlag> {
    trial.flags.iter().copied().filter(|f| *f != TrialFlag::Stall).collect()
}

#[test]
fn a_good_server_is_measured() {
    for program in [Program::OpenAi, Program::LlamaCpp, Program::Ollama, Program::LmStudio] {
        let t = run(program, Conduct::Good).unwrap();
        assert!(odd(&t).is_empty(), "{program:?}: {:?}", t.flags);
        assert_eq!((t.prompt_tokens, t.generated_tokens), (Some(10), Some(20)), "{program:?}");
        assert_eq!(t.token_times_s.len(), 20, "{program:?}");
        let rate = t.decode_tokens_per_s.unwrap();
        // Not compared with the server's pace: a busy machine hands over what has waited all at once.
        let span = t.token_times_s[19] - t.token_times_s[0];
        assert!((rate * span - 19.0).abs() < 1e-6 && rate > 1.0, "{program:?}: {rate}");
        assert!(t.ttft_s.unwrap() >= 0.002 && t.ttft_s < t.total_s, "{program:?}");
    }
}

#[test]
fn servers_are_recognized() {
    let info = |program| connect(&Fake::start(program, Conduct::Good)).info().clone();
    let llama = info(Program::LlamaCpp);
    assert_eq!((llama.kind, llama.slots), (ServerKind::LlamaCpp, Some(2)));
    assert_eq!(llama.version.as_deref(), Some("b9999-abcdef"));
    assert_eq!(llama.model.context_tokens, Some(4096));
    let ollama = info(Program::Ollama);
    assert_eq!(ollama.version.as_deref(), Some("0.12.3"));
    assert_eq!(ollama.model.quant.as_deref(), Some("Q4_1"));
    assert_eq!(ollama.model.parameters, Some(134_515_008));
    let studio = info(Program::LmStudio);
    assert_eq!((studio.kind, studio.model.id.as_str()), (ServerKind::LmStudio, MODEL));
    assert_eq!(studio.model.format.as_deref(), Some("mlx"));
    assert_eq!(info(Program::OpenAi).kind, ServerKind::OpenAiCompatible);
}

#[test]
fn engines_own_timings_are_read() {
    let llama = run(Program::LlamaCpp, Conduct::Good).unwrap();
    assert_eq!(llama.own_decode_tokens_per_s, Some(500.0));
    let ollama = run(Program::Ollama, Conduct::Good).unwrap();
    assert_eq!(ollama.count_source, Some(CountSource::Ollama));
    assert_eq!(ollama.own.load_s, Some(1.5));
    assert_eq!(ollama.own_decode_tokens_per_s, Some(500.0));
    assert_eq!(ollama.own_prefill_tokens_per_s, Some(200.0));
}

#[test]
fn a_slow_server_is_slow_and_nothing_else() {
    let t = run(Program::OpenAi, Conduct::Slow(Duration::from_millis(30))).unwrap();
    assert!(odd(&t).is_empty(), "{:?}", t.flags);
    assert!((1.0..34.0).contains(&t.decode_tokens_per_s.unwrap()));
}

#[test]
fn a_short_stall_is_flagged_and_a_long_one_ends_the_trial() {
    let t = run(Program::OpenAi, Conduct::Stall(10, Duration::from_millis(400))).unwrap();
    assert_eq!(t.flags, [TrialFlag::Stall]);
    // The token before may have been read late.
    assert!(t.longest_gap_s.unwrap() >= 0.3);
    let started = Instant::now();
    let e = run(Program::OpenAi, Conduct::Stall(10, Duration::from_secs(30))).unwrap_err();
    assert_eq!(e.kind(), FailureKind::Timeout, "{e}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_broken_answer_fails_the_trial() {
    let cases = [
        (Conduct::CutOff(5), FailureKind::CutOff),
        (Conduct::CutOffChunked(5), FailureKind::CutOff),
        (Conduct::CutOff(0), FailureKind::CutOff),
        (Conduct::WrongJson, FailureKind::Protocol),
        (Conduct::WrongTypes, FailureKind::Protocol),
        (Conduct::ErrorEvent, FailureKind::Reported),
        (Conduct::Garbage, FailureKind::CutOff),
        (Conduct::Redirect("http://127.0.0.1:1/"), FailureKind::Protocol),
        (Conduct::Status(500, "{\"error\":{\"message\":\"boom\"}}"), FailureKind::Status),
        (Conduct::Status(429, "slow down"), FailureKind::RateLimited),
    ];
    for (conduct, expected) in cases {
        let e = run(Program::OpenAi, conduct.clone()).unwrap_err();
        assert_eq!(e.kind(), expected, "{conduct:?}: {e}");
    }
    for conduct in [Conduct::CutOff(5), Conduct::WrongJson, Conduct::ErrorEvent] {
        assert!(run(Program::Ollama, conduct.clone()).is_err(), "{conduct:?}");
    }
    let e = run(Program::OpenAi, Conduct::Status(500, "{\"error\":{\"message\":\"boom\"}}"));
    assert_eq!(e.unwrap_err().to_string(), "the server answered 500: boom");
}

#[test]
fn answers_without_end_are_given_up() {
    for (conduct, expected) in [
        (Conduct::Endless, FailureKind::Timeout),
        (Conduct::HugeLine, FailureKind::TooLong),
        (Conduct::Comments, FailureKind::Timeout),
    ] {
        let started = Instant::now();
        let e = run(Program::OpenAi, conduct.clone()).unwrap_err();
        assert!([expected, FailureKind::TooLong].contains(&e.kind()), "{conduct:?}: {e}");
        assert!(started.elapsed() < Duration::from_secs(10), "{conduct:?}");
    }
}

#[test]
fn signs_of_life_alone_prolong_nothing_and_progress_does() {
    for program in [Program::OpenAi, Program::Ollama] {
        let e = run(program, Conduct::EmptyPieces).unwrap_err();
        assert!(matches!(e, HttpError::Idle(_)), "{program:?}: {e}");
    }
    let e = run(Program::OpenAi, Conduct::Comments).unwrap_err();
    assert!(matches!(e, HttpError::Idle(_)) && e.to_string().contains("--stall-timeout"), "{e}");
    assert_eq!(e.kind(), FailureKind::Timeout);
    let t = run(Program::OpenAi, Conduct::Progress(Duration::from_millis(1200))).unwrap();
    assert!(t.ttft_s.unwrap() > 1.0, "{t:?}");
}

#[test]
fn pieces_are_never_counted_as_tokens() {
    for program in [Program::OpenAi, Program::Ollama] {
        let t = run(program, Conduct::NoUsage).unwrap();
        assert_eq!((t.generated_tokens, t.decode_tokens_per_s), (None, None), "{program:?}");
        assert!(t.flags.contains(&TrialFlag::NoTokenCount));
        assert!(t.ttft_s.is_some());
    }
    let bundled = run(Program::OpenAi, Conduct::Bundled(4)).unwrap();
    assert_eq!((bundled.generated_tokens, bundled.token_times_s.len()), (Some(20), 5));
    assert_eq!(bundled.flags, [TrialFlag::BundledTokens]);
}

#[test]
fn wrong_counts_give_no_rates() {
    for (prompt, generated) in [(10, 4000), (10, 2)] {
        let t = run(Program::OpenAi, Conduct::WrongCounts(prompt, generated)).unwrap();
        assert!(t.flags.contains(&TrialFlag::CountsDisagree), "{generated}: {:?}", t.flags);
        assert_eq!((t.decode_tokens_per_s, t.end_to_end_tokens_per_s), (None, None));
    }
}

#[test]
fn a_timed_request_is_sent_once() {
    for conduct in [Conduct::Status(500, ""), Conduct::Status(429, ""), Conduct::CutOff(3)] {
        let fake = Fake::start(Program::OpenAi, conduct);
        assert!(connect(&fake).generate(&prompt()).is_err());
        assert_eq!(fake.generations(), 1);
    }
}

#[test]
fn an_answer_without_streaming_has_no_decode_rate() {
    let fake = Fake::start(Program::OpenAi, Conduct::Good);
    let g = connect(&fake).generate(&Prompt { stream: false, ..prompt() }).unwrap();
    let t = Trial::of(&g, 20);
    assert_eq!(t.flags, [TrialFlag::NotStreamed]);
    assert_eq!((t.ttft_s, t.decode_tokens_per_s), (None, None));
    assert!(t.end_to_end_tokens_per_s.is_some());
}

#[test]
fn a_server_that_does_not_stream_is_still_measured_end_to_end() {
    let t = run(Program::OpenAi, Conduct::NeverStreams).unwrap();
    assert_eq!((t.flags, t.generated_tokens), (vec![TrialFlag::NotStreamed], Some(20)));
    assert!(t.end_to_end_tokens_per_s.is_some() && t.ttft_s.is_none());
    // LM Studio answers some errors with 200 and one object.
    let said = Conduct::Status(200, "{\"error\":{\"message\":\"no model loaded\"}}");
    let e = run(Program::OpenAi, said).unwrap_err();
    assert_eq!(
        (e.kind(), e.to_string().contains("no model loaded")),
        (FailureKind::Reported, true)
    );
}

#[test]
fn keys_go_to_the_server_and_into_no_message() {
    let fake = Fake::start(Program::OpenAi, Conduct::RepeatsKey);
    let address = Address::parse(&fake.address, false).unwrap();
    // Only this test reads the variable.
    unsafe { std::env::set_var("MLXPLAN_TEST_KEY", "sk-very-secret") };
    let key = ApiKey::from_env("MLXPLAN_TEST_KEY");
    let server = Server::connect(&address, None, key.clone(), limits()).unwrap();
    let e = server.generate(&prompt()).unwrap_err();
    let sent = fake.requests.lock().unwrap().last().unwrap().1.clone();
    assert_eq!(sent.as_deref(), Some("Bearer sk-very-secret"));
    let shown = format!("{e} {e:?} {key:?} {server:?}");
    assert!(!shown.contains("very-secret"), "{shown}");
    let remote = Address::parse("http://192.0.2.1:1", true).unwrap();
    let e = Server::connect(&remote, None, key, limits()).unwrap_err();
    assert!(matches!(e, HttpError::PlainKey(_)), "{e}");
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let address = Address::parse("http://127.0.0.1:9", false).unwrap();
    let e = Server::connect(&address, None, None, limits()).unwrap_err();
    assert_eq!(e.kind(), FailureKind::Connection);
    assert!(e.to_string().contains("127.0.0.1:9"), "{e}");
}

#[test]
fn an_answer_that_was_held_back_has_no_rate() {
    let t = run(Program::OpenAi, Conduct::HeldBack(Duration::from_millis(300))).unwrap();
    assert_eq!(t.flags, [TrialFlag::Burst]);
    let figures = (t.ttft_s, t.decode_tokens_per_s, t.prefill_tokens_per_s);
    assert_eq!(figures, (None, None, None));
    assert!(t.end_to_end_tokens_per_s.is_some());
    // 10 of the 20 tokens stood in a buffer: a rate from the others' times would be twice as high.
    let half = run(Program::OpenAi, Conduct::HalfHeldBack).unwrap();
    assert!(half.flags.contains(&TrialFlag::Burst), "{:?}", half.flags);
    assert_eq!((half.ttft_s, half.decode_tokens_per_s), (None, None));
}
