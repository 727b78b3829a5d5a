//! Executing a trace.

use super::error::EngineError;
use super::ops::{Array, Ops};
use super::weights::LoadedWeights;
use super::{fused, node};
use crate::graph::op::Op;
use crate::graph::params::Part;
use crate::graph::shape::Shape;
use crate::graph::tape::{Derived, FrequencyTable, Node, Source, Trace, ValueId};
use crate::model::DType;
use std::collections::HashMap;

type Result<T> = std::result::Result<T, EngineError>;

/// Arrays that are the same in every call: constants, frequency tables, vectors derived from tensors.
#[derive(Default)]
pub(super) struct Memo {
    constants: HashMap<(u64, DType), Array>,
    tables: Vec<(FrequencyTable, Shape, Array)>,
    derived: Vec<(Derived, Array)>,
    converted: HashMap<(usize, u8, DType), Array>,
}

impl Memo {
    fn constant(&mut self, ops: &Ops, value: f64, dtype: DType) -> Result<Array> {
        if let Some(known) = self.constants.get(&(value.to_bits(), dtype)) {
            return Ok(known.clone());
        }
        let array = ops.numbers(&[value], &Shape::SCALAR, dtype)?;
        self.constants.insert((value.to_bits(), dtype), array.clone());
        Ok(array)
    }

    fn table(
        &mut self,
        ops: &Ops,
        table: &FrequencyTable,
        shape: Shape,
        dtype: DType,
    ) -> Result<Array> {
        if let Some(known) = self.tables.iter().find(|(t, s, _)| t == table && *s == shape) {
            return Ok(known.2.clone());
        }
        let array = ops.numbers(&table.values(), &shape, dtype)?;
        self.tables.push((table.clone(), shape, array.clone()));
        Ok(array)
    }

    fn derived(&mut self, ops: &Ops, weights: &LoadedWeights, derived: Derived) -> Result<Array> {
        if let Some(known) = self.derived.iter().find(|(d, _)| *d == derived) {
            return Ok(known.1.clone());
        }
        let array = match derived {
            Derived::ScaledRow { norm, row } => {
                let norm = ops.as_type(weights.get(norm, Part::Weight)?, DType::F32)?;
                let row = weights.get(row, Part::Weight)?;
                let row = ops.reshape(row, &super::kernels::shape_of(&norm))?;
                ops.binary("multiply", mlx_sys::mlx_multiply, &norm, &row)?
            }
            Derived::Shifted { weight, by } => {
                let weight = weights.get(weight, Part::Weight)?;
                let dtype = weights.dtype_of(weight)?;
                let by = self.constant(ops, by, dtype)?;
                ops.binary("add", mlx_sys::mlx_add, weight, &by)?
            }
        };
        super::ops::eval(&[&array])?;
        self.derived.push((derived, array.clone()));
        Ok(array)
    }
}

/// Everything a call reads besides its trace.
pub(super) struct Inputs<'a> {
    pub ops: &'a Ops,
    pub weights: &'a LoadedWeights,
    pub memo: &'a mut Memo,
    pub tokens: &'a Array,
    /// Arrays of the cache slots.
    pub cache: &'a [Option<Array>],
}

/// What a call returns: its results, and the arrays of the cache slots after it.
pub(super) struct Outputs {
    pub results: Vec<Array>,
    pub cache: Vec<Option<Array>>,
}

/// Builds MLX's graph of a call. Nothing is computed before the results are evaluated.
pub(super) fn execute(trace: &Trace, mut inputs: Inputs<'_>) -> Result<Outputs> {
    if trace.host_decision {
        let what = "this model: it reads values back from MLX and decides by them what to run next";
        return Err(EngineError::Unsupported(what.to_owned()));
    }
    let mut values: Vec<Option<Array>> = vec![None; trace.values().len()];
    for n in trace.nodes() {
        for &var in trace.inputs(n) {
            if values[var.index()].is_none() {
                values[var.index()] = Some(load(trace, var, &mut inputs)?);
            }
        }
        let made = {
            let read: Vec<&Array> =
                trace.inputs(n).iter().filter_map(|v| values[v.index()].as_ref()).collect();
            run_node(inputs.ops, trace, n, &read)?
        };
        for (&var, array) in trace.outputs(n).iter().zip(made) {
            values[var.index()] = Some(array);
        }
    }
    let mut take = |var: ValueId| match &values[var.index()] {
        Some(array) => Ok(array.clone()),
        None => load(trace, var, &mut inputs),
    };
    let results = trace.results.iter().map(|&v| take(v)).collect::<Result<_>>()?;
    let slots = trace.cache.iter().map(|&(slot, _)| slot as usize + 1).max().unwrap_or(0);
    let mut cache = vec![None; slots];
    for &(slot, var) in &trace.cache {
        cache[slot as usize] = Some(take(var)?);
    }
    Ok(Outputs { results, cache })
}

/// Executes one operation of a trace.
pub(super) fn run_node(
    ops: &Ops,
    trace: &Trace,
    node: &Node,
    read: &[&Array],
) -> Result<Vec<Array>> {
    match &node.op {
        Op::Compiled(body) => fused::run(ops, trace.body(*body), read),
        op => {
            let out: Vec<(Shape, DType)> = trace
                .outputs(node)
                .iter()
                .map(|&v| (trace.value(v).shape, trace.value(v).dtype))
                .collect();
            node::run(ops, op, read, &out)
        }
    }
}

/// The array of a value that no operation of the trace makes.
pub(super) fn load(trace: &Trace, var: ValueId, inputs: &mut Inputs<'_>) -> Result<Array> {
    let value = trace.value(var);
    let ops = inputs.ops;
    match value.source {
        Source::Param(module, part) => {
            let array = inputs.weights.get(module, part)?;
            if inputs.weights.dtype_of(array)? == value.dtype {
                return Ok(array.clone());
            }
            let key = (module.index(), part as u8, value.dtype);
            if let Some(known) = inputs.memo.converted.get(&key) {
                return Ok(known.clone());
            }
            let converted = ops.as_type(array, value.dtype)?;
            inputs.memo.converted.insert(key, converted.clone());
            Ok(converted)
        }
        Source::Cache(slot) => {
            inputs.cache.get(slot as usize).and_then(Clone::clone).ok_or_else(|| {
                EngineError::Unsupported(format!("cache slot {slot}, which is empty"))
            })
        }
        Source::Table(i) => {
            inputs.memo.table(ops, &trace.tables()[i as usize], value.shape, value.dtype)
        }
        Source::Derived(i) => inputs.memo.derived(ops, inputs.weights, trace.derived()[i as usize]),
        Source::Tokens => Ok(inputs.tokens.clone()),
        Source::Integers(i) => {
            let numbers: Vec<f64> =
                trace.integers()[i as usize].iter().map(|&n| n as f64).collect();
            ops.numbers(&numbers, &value.shape, value.dtype)
        }
        Source::Constant(i) => {
            let (number, dtype) = trace.constants()[i as usize];
            if value.shape == Shape::SCALAR {
                return inputs.memo.constant(ops, number, dtype);
            }
            let numbers = vec![number; value.shape.elements() as usize];
            ops.numbers(&numbers, &value.shape, dtype)
        }
        Source::Node | Source::Invalid => {
            Err(EngineError::Unsupported("a value that no operation makes".into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ops::eval;
    use super::super::weights::{dtype_of, random_array};
    use super::*;
    use crate::graph::params::Parameters;
    use crate::graph::tape::every;

    /// MLX makes of every operation what the tape says it makes.
    #[test]
    fn every_operation_runs() {
        let (ops, trace, params) = (Ops::new(), every::trace(), Parameters::default());
        let mut cache = Vec::new();
        for value in trace.values().iter().filter(|v| matches!(v.source, Source::Cache(_))) {
            let array = match value.dtype {
                // The first index always exists.
                DType::U32 => {
                    let zeros = vec![0.0; value.shape.elements() as usize];
                    ops.numbers(&zeros, &value.shape, DType::U32)
                }
                dtype => random_array(&ops, &value.shape, dtype, 1),
            };
            cache.push(Some(array.expect("an array")));
        }
        let tokens = ops.numbers(&[0.0], &Shape::SCALAR, DType::I32).expect("an array");
        let inputs = Inputs {
            ops: &ops,
            weights: &LoadedWeights::empty(&params),
            memo: &mut Memo::default(),
            tokens: &tokens,
            cache: &cache,
        };
        let made = execute(&trace, inputs).expect("runs").results;
        assert_eq!(made.len(), trace.results.len());
        for node in trace.nodes() {
            for &var in trace.outputs(node) {
                let place = trace.results.iter().position(|&r| r == var).expect("a result");
                let (name, value) = (trace.name(node), trace.value(var));
                eval(&[&made[place]]).unwrap_or_else(|e| panic!("{name}: {e}"));
                let shape = super::super::kernels::shape_of(&made[place]);
                let dtype = dtype_of(&made[place]).expect("a known type");
                assert_eq!((shape, dtype), (value.shape, value.dtype), "{name}");
            }
        }
    }
}
