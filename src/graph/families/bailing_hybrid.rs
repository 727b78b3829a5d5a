//! `bailing_hybrid`, the name of two generations: mlx-lm tells Ling 3 from Ling 2.5 by the architecture that the configuration names.

use super::{bailing_linear, bailing_v3};
use crate::graph::parts::prelude::*;
use serde_json::Value;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let is_v3 = |v: &Value| v.as_str() == Some(bailing_v3::ARCHITECTURE);
    match c.get("architectures") {
        Some(Value::Array(list)) if list.iter().any(is_v3) => bailing_v3::build(c, p),
        Some(name) if is_v3(name) => bailing_v3::build(c, p),
        _ => bailing_linear::build_hybrid(c, p),
    }
}
