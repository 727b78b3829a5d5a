//! Times a model's step from a few layers and whole: `layer_timing CONFIG.json SCHEME DEPTH ROUNDS`.

#[cfg(mlx)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use mlxplan::engine::mlx::{LayerTimer, LoadedWeights, Model};
    use mlxplan::graph::Graph;
    use mlxplan::model::{Config, DType};
    use mlxplan::stats::spread_of;
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [config, scheme, depth, rounds] = args.as_slice() else {
        return Err("usage: layer_timing CONFIG.json SCHEME DEPTH ROUNDS".into());
    };
    let config = Config::parse(&std::fs::read_to_string(config)?)?;
    let mut graph = Graph::new(&config, DType::F32)?;
    if scheme != "fp32" {
        graph.quantize(scheme.parse()?)?;
    }
    let (depth, rounds): (u32, u32) = (depth.parse()?, rounds.parse()?);
    let start = std::time::Instant::now();
    let mut timer = LayerTimer::new(&graph, depth, None, 4_000_000_000)?;
    println!("prepared in {:.1} s", start.elapsed().as_secs_f64());
    let weights = LoadedWeights::random(graph.params(), 1)?;
    let model = Model::new(&graph, weights)?;
    let mut whole = Vec::new();
    model.session_at(depth, None)?.time_steps(2)?;
    for _ in 0..rounds {
        timer.round(4)?;
        let mut session = model.session_at(depth, None)?;
        whole.push(session.time_steps(4)?);
    }
    let estimate = timer.estimate().ok_or("no rounds")?;
    let measured = spread_of(&whole).ok_or("no rounds")?;
    println!("{estimate:?}\n{measured:?}");
    println!("error {:+.2} %", 100.0 * (estimate.seconds_per_token / measured.median - 1.0));
    Ok(())
}

#[cfg(not(mlx))]
fn main() {
    eprintln!("this example needs the feature mlx");
}
