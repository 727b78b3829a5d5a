//! SmolLM2-135M-Instruct, a real model, token by token like mlx-lm.

use crate::reference::{model_folder, python, subject};
use mlxplan::engine::mlx::{Finish, GenerationRequest, LoadedWeights, Model};
use mlxplan::engine::text::Text;
use std::ops::ControlFlow;

const PROMPTS: [&str; 3] = [
    "What is the capital of France?",
    "Write a haiku about the sea.",
    "Explain in two sentences why the sky is blue, to a child of six years.",
];

#[test]
fn greedy_tokens_are_those_of_mlx_lm() {
    let subject = subject();
    let weights = LoadedWeights::load(subject.graph.params(), &model_folder()).expect("weights");
    let model = Model::new(&subject.graph, weights).expect("a model");
    let text = Text::load(&model_folder()).expect("a tokenizer");
    let prompts: Vec<Vec<u32>> = PROMPTS
        .iter()
        .map(|p| text.encode(&text.prompt(p).expect("a template")).expect("tokens"))
        .collect();
    let ours: Vec<Vec<u32>> = prompts
        .iter()
        .map(|prompt| {
            let request = GenerationRequest::greedy(prompt.clone(), 64);
            let out = model.generate(&request, &mut |_| ControlFlow::Continue(()));
            let out = out.expect("a generation");
            assert_eq!((out.finish, out.times_s.len()), (Finish::Length, 64));
            out.tokens
        })
        .collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("prompts.json");
    std::fs::write(&file, serde_json::to_string(&prompts).expect("JSON")).expect("writable");
    let theirs = python("mlx/greedy.py", &[&model_folder(), &file]);
    let theirs: Vec<Vec<u32>> = serde_json::from_str(&theirs).expect("token lists");
    for (prompt, (ours, theirs)) in PROMPTS.iter().zip(ours.iter().zip(&theirs)) {
        assert_eq!(ours, theirs, "{prompt}");
    }
    let answer = text.decode(&ours[0]).expect("text");
    assert!(answer.contains("Paris"), "{answer}");
}
