//! Fused element-wise chains, member by member.

use super::error::EngineError;
use super::node;
use super::ops::{Array, Ops};
use crate::graph::op::Op;
use crate::graph::tape::{Body, BodyRef};

/// The array of an operation that makes one.
fn only(made: Vec<Array>) -> Result<Array, EngineError> {
    let none = || EngineError::Unsupported("an operation without a result".into());
    made.into_iter().next().ok_or_else(none)
}

/// Runs the members of a chain. Broadcasts are left out: element-wise operations broadcast by themselves.
pub(super) fn run(ops: &Ops, body: &Body, inputs: &[&Array]) -> Result<Vec<Array>, EngineError> {
    let mut made: Vec<Array> = Vec::with_capacity(body.nodes.len());
    for member in &body.nodes {
        let value = {
            let read: Vec<&Array> = member
                .inputs
                .iter()
                .map(|r| match *r {
                    BodyRef::Input(i) => inputs.get(i as usize).copied(),
                    BodyRef::Member(i) => made.get(i as usize),
                })
                .collect::<Option<_>>()
                .ok_or_else(|| EngineError::Unsupported("a fused chain without inputs".into()))?;
            match (&member.op, read.as_slice()) {
                (Op::Broadcast, [x, ..]) => (*x).clone(),
                (op, read) => {
                    let made = node::run(ops, op, read, &[(member.shape, member.dtype)])?;
                    only(made)?
                }
            }
        };
        made.push(value);
    }
    Ok(body.outputs.iter().filter_map(|&i| made.get(i as usize).cloned()).collect())
}
