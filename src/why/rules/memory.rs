//! Memory: weights that are not wired, limits exceeded, layers on the CPU.

use super::{Brings, SuspectList};
use crate::hardware::tier::Tier;
use crate::run::{EngineSetup, Program, Version};
use crate::why::{GapCase, GapCause, GapError};

/// Weights from which their residency decides, bytes: 22B in 8 bits is as fast unwired, 70B is not.
const LARGE: f64 = 30e9;
/// macOS from which MLX can wire memory.
const WIRING: Version = Version::new(15, 0, 0);
/// Releases from which programs wire the weights: Ollama's MLX runner, mlx-lm.
const OLLAMA_WIRES: Version = Version::new(0, 32, 4);
const MLX_LM_WIRES: Version = Version::new(0, 19, 2);

pub(super) fn find(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    let share = share(found.case);
    unwired(found, share)?;
    swap(found, share)?;
    cpu(found, share)
}

/// The need over the limit that is nearest.
fn share(case: &GapCase<'_>) -> f64 {
    let part = |l: &crate::estimate::memory::Limit| {
        l.need_bytes.0 as f64 / (l.limit_bytes.0 as f64).max(1.0)
    };
    let hard = case.memory.judgment.limits.iter().filter(|l| l.kind.is_hard());
    hard.map(part).fold(0.0, f64::max)
}

/// Whether weights are left to the system, as far as that is known.
fn leaves_weights_unwired(engine: &EngineSetup) -> bool {
    let older = |than: Version| engine.version.is_some_and(|v| v < than);
    engine.macos.is_some_and(|m| m < WIRING)
        || match engine.program {
            Program::MlxSwift => true,
            Program::OllamaMlx => older(OLLAMA_WIRES),
            Program::MlxLm | Program::MlxServer => older(MLX_LM_WIRES),
            _ => false,
        }
}

const SWAP_TEST: &str = "sysctl vm.swapusage iogpu.wired_limit_mb; memory_pressure -Q";

fn unwired(found: &mut SuspectList<'_, '_>, share: f64) -> Result<(), GapError> {
    let (case, engine) = (found.case, found.case.run().engine);
    if engine.program.runs_gguf() || case.features.weight_bytes < LARGE {
        return Ok(());
    }
    let row = found.row(GapCause::MemoryPressure, Some("unwired"))?;
    let times = match (leaves_weights_unwired(&engine), share > 0.6) {
        (true, _) => 1.0,
        (false, true) => 0.15,
        (false, false) => 0.03,
    };
    found.add(row, times, Brings::of(row), SWAP_TEST.to_owned());
    Ok(())
}

fn swap(found: &mut SuspectList<'_, '_>, share: f64) -> Result<(), GapError> {
    let row = found.row(GapCause::MemoryPressure, Some("swap"))?;
    let times = match share {
        s if s < 0.4 => 0.1,
        s if s < 0.7 => 0.5,
        s if s < 0.9 => 1.5,
        s if s < 1.0 => 3.0,
        _ => 8.0,
    };
    let mut brings = Brings::of(row);
    if let Some(swap) = found.case.memory.judgment.swap {
        brings.decode[1] = (1.0 / swap.slowdown[0]).clamp(brings.decode[0], 1.0);
        brings.computed = true;
    }
    let test = format!("{SWAP_TEST}\n{}", found.predict("--explain  # lists the limits"));
    found.add(row, times, brings, test);
    Ok(())
}

fn cpu(found: &mut SuspectList<'_, '_>, share: f64) -> Result<(), GapError> {
    let (case, program) = (found.case, found.case.run().engine.program);
    let variant = match case.machine.tier.value {
        Tier::Pro => "pro",
        Tier::Max => "max",
        Tier::Ultra => "ultra",
        _ => "base",
    };
    // MLX computes on the GPU unless it is told otherwise; llama.cpp's layers go there only where they fit.
    let times = match (program.runs_gguf(), share > 0.95) {
        (false, _) => 0.1,
        (true, false) => 1.0,
        (true, true) => 2.0,
    };
    let test = match program {
        Program::Ollama | Program::OllamaMlx => "ollama ps  # 100% GPU?",
        Program::LmStudio | Program::LmStudioGguf => {
            "lms ps  # and GPU offload in the model's settings"
        }
        p if p.runs_gguf() => "llama-bench -m MODEL.gguf -ngl 0,99",
        _ => "python3 -c \"import mlx.core as mx; print(mx.default_device())\"",
    };
    let row = found.row(GapCause::CpuFallback, Some(variant))?;
    found.add(row, times, Brings::of(row), test.to_owned());
    if program.runs_gguf() {
        let row = found.row(GapCause::CpuFallback, Some("container"))?;
        found.add(row, 1.0, Brings::of(row), test.to_owned());
    }
    Ok(())
}
