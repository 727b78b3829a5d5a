//! A model in one format, judged on any number of machines: what does not depend on the machine is computed once, what
//! depends on the kind of GPU once per kind.

use crate::estimate::memory::{MaxContext, Memory, budget, max_context};
use crate::estimate::speed::{Decode, Prefill, Speed, SpeedRequest};
use crate::estimate::{Engine, PredictError, Request, gpu};
use crate::graph::Graph;
use crate::hardware::machine::Machine;
use crate::ledger::peak::{Peak, PeakError, peak};
use crate::ledger::replay::Gpu;
use crate::roofline::{Coefficients, Silicon};
use crate::units::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A model in one format with a run, ready to be judged on machines. The figures are those of
/// [`crate::estimate::Prediction`] with mlx-lm.
pub struct Planner<'a> {
    graph: &'a Graph,
    request: Request,
    reserve: Option<Bytes>,
    coefficients: &'a Coefficients,
    speed: Speed,
    speed_request: SpeedRequest,
    peaks: Mutex<HashMap<Gpu, Arc<Peak>>>,
    contexts: Mutex<HashMap<(Gpu, Bytes), MaxContext>>,
}

/// Memory and speeds on one machine.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Peak memory and verdict.
    pub memory: Memory,
    /// Decode speed.
    pub decode: Decode,
    /// Prefill speed and time to first token.
    pub prefill: Prefill,
}

impl<'a> Planner<'a> {
    /// Reads what a model does in a step. `reserve` is the memory kept for macOS and other programs, `None` for the
    /// default.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn new(
        coefficients: &'a Coefficients,
        graph: &'a Graph,
        request: Request,
        reserve: Option<Bytes>,
    ) -> Result<Self, PredictError> {
        let speed_request = request.speed(Engine::Mlx);
        Ok(Self {
            graph,
            request,
            reserve,
            coefficients,
            speed: Speed::of(graph, &speed_request)?,
            speed_request,
            peaks: Mutex::default(),
            contexts: Mutex::default(),
        })
    }

    /// The same model with another run; its cache must be quantised alike.
    #[must_use]
    pub fn with_request(&self, request: Request) -> Self {
        debug_assert_eq!(request.kv, self.request.kv, "what a step does depends on the cache");
        Self {
            request,
            speed_request: request.speed(Engine::Mlx),
            speed: self.speed.clone(),
            peaks: Mutex::default(),
            contexts: Mutex::default(),
            ..*self
        }
    }

    /// The run.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The graph of the model.
    #[must_use]
    pub fn graph(&self) -> &'a Graph {
        self.graph
    }

    /// Memory of the run on a machine. Simulated once per kind of GPU.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn memory(&self, machine: &Machine) -> Result<Memory, PeakError> {
        let peak = self.peak(gpu(machine))?;
        Ok(Memory::judge(peak.as_ref().clone(), machine, self.reserve))
    }

    /// Decode and prefill speed on a machine, in microseconds.
    #[must_use]
    pub fn speeds(&self, machine: &Machine) -> (Decode, Prefill) {
        let (target, request) = (Silicon::of(machine), &self.speed_request);
        let decode = self.speed.decode(self.coefficients, &target, request);
        (decode, self.speed.prefill(self.coefficients, &target, request))
    }

    /// Everything but the longest context.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn on(&self, machine: &Machine) -> Result<Figures, PeakError> {
        let (decode, prefill) = self.speeds(machine);
        Ok(Figures { memory: self.memory(machine)?, decode, prefill })
    }

    /// The longest context on a machine. Searched once per kind of GPU and memory.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn max_context(&self, machine: &Machine) -> Result<MaxContext, PeakError> {
        let key = (gpu(machine), budget(machine, self.reserve));
        if let Some(known) = lock(&self.contexts).get(&key) {
            return Ok(*known);
        }
        let peak = self.peak(key.0)?;
        let found = max_context(self.graph, machine, &self.request, self.reserve, &peak)?;
        lock(&self.contexts).insert(key, found);
        Ok(found)
    }

    fn peak(&self, gpu: Gpu) -> Result<Arc<Peak>, PeakError> {
        if let Some(known) = lock(&self.peaks).get(&gpu) {
            return Ok(Arc::clone(known));
        }
        // Two threads may simulate the same; neither waits for the other.
        let found = Arc::new(peak(self.graph, &self.request.on(gpu))?);
        Ok(Arc::clone(lock(&self.peaks).entry(gpu).or_insert(found)))
    }
}

/// A panic elsewhere leaves these maps whole, because entries are only ever added.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
