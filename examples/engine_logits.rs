//! Runs random models and writes what a comparison with mlx-lm needs: weights, tokens, logits.
//!
//! `engine_logits CASES.json OUT`: a list of `{ "name", "config", "scheme", "calls": [tokens, …] }`; per case a folder.

#[cfg(mlx)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(cases), Some(out)) = (args.next(), args.next()) else {
        return Err("usage: engine_logits CASES.json OUT".into());
    };
    let cases: Vec<serde_json::Value> = serde_json::from_str(&std::fs::read_to_string(cases)?)?;
    for case in &cases {
        let name = case["name"].as_str().unwrap_or("case");
        let folder = std::path::Path::new(&out).join(name);
        std::fs::create_dir_all(&folder)?;
        if let Err(e) = run(case, &folder) {
            std::fs::write(folder.join("error.txt"), e.to_string())?;
        }
    }
    Ok(())
}

#[cfg(mlx)]
fn run(
    case: &serde_json::Value,
    folder: &std::path::Path,
) -> Result<(), Box<dyn std::error::Error>> {
    use mlxplan::engine::mlx::{Model, Weights};
    use mlxplan::graph::Graph;
    use mlxplan::model::{Config, DType, Scheme};
    let config = Config::new(case["config"].as_object().ok_or("no config")?.clone());
    let mut graph = Graph::new(&config, DType::F32)?;
    if let Some(scheme) = case["scheme"].as_str() {
        graph.quantise(scheme.parse::<Scheme>()?)?;
    }
    let weights = Weights::random(graph.params(), 1)?;
    weights.save(graph.params(), &folder.join("model.safetensors"))?;
    let vocabulary = config.opt_dim("vocab_size")?.unwrap_or(64);
    let model = Model::new(&graph, weights)?;
    let mut session = model.session(1, None);
    let mut calls = Vec::new();
    let mut logits = Vec::new();
    let mut next = 1u64;
    for n in case["calls"].as_array().ok_or("no calls")? {
        let ids: Vec<u32> = (0..n.as_u64().unwrap_or(1))
            .map(|_| {
                next = next * 31 % 65_537;
                (next % vocabulary) as u32
            })
            .collect();
        let tokens = model.tokens(&ids, 1)?;
        logits.extend(session.logits(&tokens)?);
        calls.push(ids);
    }
    std::fs::write(folder.join("tokens.json"), serde_json::to_string(&calls)?)?;
    std::fs::write(folder.join("case.json"), serde_json::to_string(case)?)?;
    let bytes: Vec<u8> = logits.iter().flat_map(|x| x.to_le_bytes()).collect();
    std::fs::write(folder.join("logits.bin"), bytes)?;
    Ok(())
}

#[cfg(not(mlx))]
fn main() {
    eprintln!("this example needs the feature mlx: cargo xtask run --example engine_logits");
}
