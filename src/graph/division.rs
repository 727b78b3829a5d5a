//! A model divided among several Macs, by what its family says of that.

use super::parallel::{ALONE, Division, LeftOver, ShardError, Split, layer_of, own_name};
use super::params::{Module, ModuleKind};
use super::{Graph, families};

impl Graph {
    /// How mlx-lm divides the model among several Macs.
    #[must_use]
    pub fn parallel(&self) -> &Division {
        let of_family = || families::find(self.model_type()).map_or(&ALONE, |f| f.parallel);
        self.built.division.as_ref().unwrap_or_else(of_family)
    }

    /// In how many parts every module is split among `nodes` Macs by `Model.shard`, in the order of the modules; 1 for what
    /// every Mac has. `key_heads` are those of its attention.
    ///
    /// # Errors
    /// When mlx-lm cannot split the model so.
    pub fn tensor_ways(&self, nodes: u32, key_heads: u32) -> Result<Vec<u32>, ShardError> {
        let Some(shards) = &self.parallel().tensor else {
            return Err(ShardError::NoShard(self.model_type().to_owned()));
        };
        let ways = |module: &Module| match shards.split(module) {
            Some(split) => shards.ways(module, split, nodes, key_heads),
            None => Ok(1),
        };
        self.params().modules().iter().map(ways).collect()
    }

    /// How many sums over all Macs one call makes when the model is split: one behind every attention or other mixer and
    /// every MLP, one for all experts of a layer together, one where the head is split.
    #[must_use]
    pub fn tensor_sums(&self) -> u32 {
        let Some(shards) = &self.parallel().tensor else { return 0 };
        let modules = self.params().modules();
        let shared =
            |m: &Module| m.path.contains("shared_expert") || m.path.contains("share_expert");
        let sums = |m: &&Module| {
            let alone = m.kind != ModuleKind::SwitchLinear && !shared(m);
            alone && shards.split(m) == Some(Split::Inputs)
        };
        let head =
            modules.iter().any(|m| own_name(&m.path) == "lm_head" && shards.split(m).is_some());
        (modules.iter().filter(sums).count() + self.layers_with_experts() + usize::from(head))
            as u32
    }

    /// How many layers have routed experts.
    #[must_use]
    pub fn layers_with_experts(&self) -> usize {
        let routed = self.params().modules().iter();
        let routed = routed.filter(|m| m.kind == ModuleKind::SwitchLinear);
        let mut layers: Vec<u64> = routed.filter_map(|m| layer_of(&m.path)).collect();
        // A layer's modules stand together.
        layers.dedup();
        layers.len()
    }

    /// First layer and the one after the last of every rank of a pipeline of mlx-lm, rank 0 first.
    ///
    /// # Errors
    /// When mlx-lm cannot run the model so.
    pub fn pipeline_ranges(&self, nodes: u32) -> Result<Vec<[u64; 2]>, ShardError> {
        match self.parallel().pipeline {
            Some(left_over) => self.even_layers(nodes, left_over),
            None => Err(ShardError::NoPipeline(self.model_type().to_owned())),
        }
    }

    /// The same of programs that split the layers of any model evenly.
    ///
    /// # Errors
    /// When there are fewer layers, or groups of them, than Macs.
    pub fn even_layers(
        &self,
        nodes: u32,
        left_over: LeftOver,
    ) -> Result<Vec<[u64; 2]>, ShardError> {
        let (layers, n) = (self.layers(), u64::from(nodes.max(1)));
        let group = match left_over {
            LeftOver::LastGroups(group) => group.max(1),
            LeftOver::Last | LeftOver::First => 1,
        };
        let (groups, behind) = (layers / group, layers % group);
        if n > 1 && groups < n {
            return Err(match group {
                1 => ShardError::Layers { layers, nodes },
                _ => ShardError::Groups { layers, group, nodes },
            });
        }
        let (base, extra) = (groups / n, groups % n);
        // Rank 0 runs the last layers.
        let size = |rank: u64| {
            let more = match left_over {
                LeftOver::Last | LeftOver::LastGroups(_) => rank < extra,
                LeftOver::First => n - rank - 1 < extra,
            };
            let behind = if rank == 0 { behind } else { 0 };
            (base + u64::from(more)) * group + behind
        };
        let range = |rank: u64| {
            let start: u64 = (rank + 1..n).map(size).sum();
            [start, start + size(rank)]
        };
        Ok((0..n).map(range).collect())
    }
}
