//! `bailing_hybrid`, the name of two generations: mlx-lm tells Ling 3 from Ling 2.5 by the architecture that the configuration names.

use super::{bailing_linear, bailing_v3};
use crate::graph::parallel::{Division, LeftOver};
use crate::graph::parts::prelude::*;
use serde_json::Value;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let is_v3 = |v: &Value| v.as_str() == Some(bailing_v3::ARCHITECTURE);
    let v3 = match c.get("architectures") {
        Some(Value::Array(list)) => list.iter().any(is_v3),
        name => name.is_some_and(is_v3),
    };
    if v3 {
        // Its class has neither shard() nor pipeline().
        let division = Some(Division { tensor: None, pipeline: None });
        return Ok(Built { division, ..bailing_v3::build(c, p)? });
    }
    let built = bailing_linear::build_hybrid(c, p)?;
    // Every Mac needs a layer of latent attention, which ends each group.
    let groups = LeftOver::LastGroups(c.positive("layer_group_size")?);
    Ok(Built { division: Some(Division { tensor: None, pipeline: Some(groups) }), ..built })
}
