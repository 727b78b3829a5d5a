use super::*;
use crate::hardware::Tier;
use crate::roofline::decode::{DecodeStep, Rates};
use crate::roofline::features::StepFeatures;
use crate::roofline::{Coefficients, Silicon};
use crate::run::{Program, Version};

fn step(mlx: Version, program: Program) -> DecodeStep {
    DecodeStep {
        program,
        old_build: false,
        flash: true,
        fp16: false,
        tokens: 0.0,
        generated: 0.0,
        batch: 1.0,
        server: None,
        rows: 1.0,
        mlx,
    }
}

fn bare() -> StepFeatures {
    StepFeatures {
        dispatches: 0.0,
        dispatches_long: 0.0,
        layers: 1,
        matrices: Vec::new(),
        attention: Vec::new(),
        other_bytes: 0.0,
        state_bytes: 0.0,
        recurrent_layers: 0,
        gated_delta: false,
        fp16: false,
        weight_bytes: 0.0,
        parameters: 0.0,
        prefill: crate::roofline::features::PrefillWork::default(),
    }
}

fn rates(silicon: &Silicon, mlx: Version) -> Rates {
    let law = Coefficients::embedded().expect("built in").decode_law(Program::MlxLm);
    law.rates(&bare(), silicon, step(mlx, Program::MlxLm))
}

fn silicon(generation: u32, tier: Tier, [gbs, cores, ghz]: [f64; 3]) -> Silicon {
    let matrix_units = generation >= 5;
    Silicon { bandwidth: gbs * 1e9, cores, ghz, generation, tier, matrix_units, fanless: false }
}

fn m3_max() -> Silicon {
    silicon(3, Tier::Max, [400.0, 40.0, 1.38])
}

fn matrix(inner: u64, outer: u64, coding: Coding, bits: f64) -> Matrices {
    let weights = (inner * outer) as f64;
    let (part, bytes) = (MatrixRole::Layer, weights * bits / 8.0);
    Matrices { part, coding, launches: 1.0, bytes, weights, inner, outer, experts: 1, chosen: 1 }
}

fn experts(all: u64, chosen: u64) -> Matrices {
    let one = matrix(2048, 768, Coding::Grouped, 4.5);
    let n = chosen as f64;
    let (bytes, weights) = (n * one.bytes, n * one.weights);
    Matrices { part: MatrixRole::Expert, bytes, weights, experts: all, chosen, ..one }
}

const NEW: Version = Version::new(0, 32, 4);
const OLD: Version = Version::new(0, 31, 2);

fn seconds(m: &Matrices, silicon: &Silicon, mlx: Version, rows: f64) -> f64 {
    matrix_seconds(m, &rates(silicon, mlx), rows).0
}

/// M3 Max, 5120 × 17408: 0.51 ms from 10 to 32 rows, nearly twice that at 33.
#[test]
fn a_tile_costs_as_much_as_its_rows() {
    let m = matrix(5120, 17_408, Coding::Grouped, 4.5);
    let at = |rows| seconds(&m, &m3_max(), NEW, rows);
    assert_eq!(at(13.0), at(32.0));
    assert!((at(32.0) / 0.51e-3 - 1.0).abs() < 0.1, "{}", at(32.0));
    assert!((at(33.0) / at(32.0) - 1.95).abs() < 0.1, "{}", at(33.0) / at(32.0));
}

/// M3 Max, 4096 × 24576 at 4 bits: 1.47 times one row for four with MLX 0.32.0, 1.89 before; 2.69 and 3.44 for eight.
#[test]
fn the_wide_kernel_came_with_a_version() {
    let m = matrix(4096, 24_576, Coding::Grouped, 4.5);
    let ratio = |mlx, rows| seconds(&m, &m3_max(), mlx, rows) / seconds(&m, &m3_max(), mlx, 1.0);
    for (mlx, rows, measured) in
        [(NEW, 4.0, 1.47), (OLD, 4.0, 1.89), (NEW, 8.0, 2.69), (OLD, 8.0, 3.44)]
    {
        let predicted = ratio(mlx, rows);
        assert!((predicted / measured - 1.0).abs() < 0.25, "{mlx} {rows}: {predicted}");
        assert!(ratio(OLD, rows) > ratio(NEW, rows));
    }
}

/// 16-bit weights cost two rows from the second on, until MLX 0.32.2.
#[test]
fn sixteen_bits_cost_twice_one_row_or_about_once() {
    let m = matrix(5120, 17_408, Coding::Plain, 16.0);
    let ultra = silicon(3, Tier::Ultra, [819.0, 80.0, 1.38]);
    let ratio = |mlx, rows| seconds(&m, &ultra, mlx, rows) / seconds(&m, &ultra, mlx, 1.0);
    for rows in [2.0, 4.0, 8.0, 16.0] {
        assert!((ratio(Version::new(0, 32, 0), rows) - 2.0).abs() < 0.05);
    }
    assert!((ratio(NEW, 15.0) - 1.1).abs() < 0.02);
    assert!((ratio(NEW, 16.0) - 2.0).abs() < 0.05);
}

/// M1 and M2 unpack again for every row: nothing is gained before the matrix kernel.
#[test]
fn early_chips_gain_from_the_matrix_kernel_only() {
    let m = matrix(4096, 14_336, Coding::Grouped, 4.5);
    let m2_max = silicon(2, Tier::Max, [400.0, 38.0, 1.4]);
    let ratio = |rows| seconds(&m, &m2_max, NEW, rows) / seconds(&m, &m2_max, NEW, 1.0);
    assert!(ratio(3.0) > 1.8, "{}", ratio(3.0));
    assert_eq!(ratio(7.0), ratio(32.0));
    let fp = Matrices { coding: Coding::Simple, ..m };
    assert!(RowKernels::of(&m2_max, Some(NEW)).wide(fp.coding));
}

#[test]
fn experts_are_read_once_and_multiplied_for_every_pair() {
    let m = experts(128, 8);
    let (silicon, one) = (m3_max(), seconds(&experts(128, 8), &m3_max(), NEW, 1.0));
    let four = seconds(&m, &silicon, NEW, 4.0) / one;
    assert!(four > 2.0 && four < 4.0, "{four}");
    assert_eq!(RowKernels::experts_matrix_from(128, 8.0), 64.0);
    assert_eq!(RowKernels::experts_matrix_from(256, 8.0), 128.0);
}

/// For every chip, size, format and version: one more row is never faster, and never dearer than a row of its own would be
/// with the whole tile.
#[test]
fn more_rows_are_never_faster() {
    let chips = [
        silicon(1, Tier::Base, [68.0, 8.0, 1.278]),
        silicon(2, Tier::Ultra, [800.0, 76.0, 1.4]),
        m3_max(),
        silicon(3, Tier::Ultra, [819.0, 80.0, 1.38]),
        silicon(4, Tier::Pro, [273.0, 20.0, 1.58]),
        silicon(5, Tier::Max, [614.0, 40.0, 1.62]),
    ];
    let mut matrices: Vec<Matrices> = Vec::new();
    for (inner, outer) in [(1024, 2048), (4096, 4096), (5120, 17_408), (8192, 151_936)] {
        matrices.push(matrix(inner, outer, Coding::Grouped, 4.5));
        matrices.push(matrix(inner, outer, Coding::Grouped, 8.5));
        matrices.push(matrix(inner, outer, Coding::Simple, 4.25));
        matrices.push(matrix(inner, outer, Coding::Plain, 16.0));
    }
    matrices.push(experts(128, 8));
    matrices.push(experts(8, 2));
    for (chip, mlx) in chips.iter().flat_map(|c| [(c, OLD), (c, NEW)]) {
        for m in &matrices {
            let mut before = 0.0;
            for rows in 1..=160 {
                let now = seconds(m, chip, mlx, f64::from(rows));
                assert!(now >= before, "{m:?} on {chip:?}, {rows} rows: {now} < {before}");
                before = now;
            }
        }
    }
}
