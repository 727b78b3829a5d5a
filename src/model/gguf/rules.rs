//! Which type `llama-quantize` gives every tensor.
//!
//! Source: `llama_tensor_get_type_impl`, `tensor_get_category` and `tensor_type_fallback` in `src/llama-quant.cpp` of
//! llama.cpp at 007dbbf3. Tensors come in the order of the tool: by layer, then by name, because some rules count.

use super::{FileType, GgmlType, GgufMix, MixRecipe};
use FileType as F;
use GgmlType as T;

/// What a tensor is for, as far as the rules care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Category {
    /// The output head.
    Output,
    /// The token embedding, and the one that each layer of Gemma 3n and 4 adds.
    Embedding,
    /// Values, fused queries, keys and values, and what expands a latent to keys and values.
    Value,
    /// Keys.
    Key,
    /// Queries.
    Query,
    /// The projection behind attention.
    AttentionOutput,
    /// Gates of an MLP or of experts.
    Gate,
    /// Up projections.
    Up,
    /// Down projections.
    Down,
    /// Any other matrix that may be quantized.
    Other,
    /// Kept in float32: norms, biases, routers, convolutions.
    Float32,
    /// Kept in 16 bit: small matrices that the tool leaves alone.
    Kept,
}

impl Category {
    /// The category of a tensor by its name in a GGUF file.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        let has = |part: &str| name.contains(part);
        match name {
            "output.weight" => return Self::Output,
            "token_embd.weight" | "per_layer_token_embd.weight" => return Self::Embedding,
            _ => {}
        }
        let attention = [
            ("attn_qkv.weight", Self::Value),
            ("attn_kv_b.weight", Self::Value),
            ("attn_v.weight", Self::Value),
            ("attn_k.weight", Self::Key),
            ("attn_q.weight", Self::Query),
            ("attn_output.weight", Self::AttentionOutput),
            ("ffn_up", Self::Up),
            ("ffn_gate", Self::Gate),
            ("ffn_down", Self::Down),
        ];
        attention.into_iter().find(|(part, _)| has(part)).map_or(Self::Other, |(_, c)| c)
    }
}

/// A tensor to be given a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// What it is for.
    pub category: Category,
    /// Its layer; 0 outside of layers.
    pub layer: u64,
    /// Rows of all experts together.
    pub rows: u64,
    /// Weights of a row.
    pub columns: u64,
    /// Whether it holds the matrices of many experts.
    pub experts: bool,
}

/// What the rules ask of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MixFacts {
    /// Layers.
    pub layers: u64,
    /// Query heads per key head of the first layer; 0 when that has no attention.
    pub grouped_queries: u64,
    /// Experts of a layer.
    pub experts: u64,
    /// Tensors of category [`Category::Value`].
    pub values: u64,
    /// Whether the embedding serves as head.
    pub tied: bool,
    /// Whether llama.cpp takes it for a 70B Llama or 72B Qwen 2: those architectures with 80 layers.
    pub seventy_billion: bool,
    /// Falcon, which has rules of its own.
    pub falcon: bool,
}

/// Chooses the types of one file, tensor by tensor.
#[derive(Clone, Debug)]
pub struct Chooser {
    file_type: FileType,
    large_ends: bool,
    importance: bool,
    facts: MixFacts,
    values: u64,
    downs: u64,
}

/// `use_more_bits` of llama.cpp.
const fn more_bits(i: u64, n: u64) -> bool {
    let eighth = n / 8;
    i < eighth || i >= 7 * n / 8 || (i - eighth) % 3 == 2
}

impl Chooser {
    /// For a file of format `mix`, made with or without an importance matrix. Mixes that only the file tells get the
    /// rules of their file type.
    #[must_use]
    pub fn new(mix: GgufMix, importance: bool, facts: MixFacts) -> Self {
        let large_ends = mix.recipe == MixRecipe::LargeEnds;
        Self { file_type: mix.file_type, large_ends, importance, facts, values: 0, downs: 0 }
    }

    /// The type of the next tensor.
    pub fn next(&mut self, m: &Matrix) -> GgmlType {
        let default = self.file_type.default_type();
        match m.category {
            Category::Float32 => return T::F32,
            Category::Kept if self.file_type == F::F32 => return T::F32,
            Category::Kept if self.file_type == F::BF16 => return T::BF16,
            Category::Kept => return T::F16,
            _ if self.file_type.is_float() => return default,
            _ => {}
        }
        self.wanted(m, default).fitting(m.columns)
    }

    fn wanted(&mut self, m: &Matrix, default: GgmlType) -> GgmlType {
        let ends = matches!(m.category, Category::Output | Category::Embedding);
        let is_head = m.category == Category::Output
            || (self.facts.tied && m.category == Category::Embedding);
        if ends && self.large_ends {
            T::Q8_0
        } else if is_head {
            self.head(m, default)
        } else if self.file_type == F::MXFP4 {
            if m.experts { T::MXFP4 } else { T::Q8_0 }
        } else if ends {
            self.embedding(default)
        } else if matches!(
            self.file_type,
            F::IQ1_S | F::IQ1_M | F::IQ2_XXS | F::IQ2_XS | F::IQ2_S | F::IQ2_M
        ) {
            self.low(m, default)
        } else {
            self.ordinary(m, default)
        }
    }

    fn head(&self, m: &Matrix, default: GgmlType) -> GgmlType {
        match self.file_type {
            F::MXFP4 => T::Q8_0,
            _ if self.facts.falcon || m.columns % default.block_weights() != 0 => T::Q8_0,
            F::IQ1_S | F::IQ1_M | F::IQ2_XXS | F::IQ2_XS | F::IQ2_S | F::IQ2_M | F::IQ3_XXS => {
                T::Q5_K
            }
            F::Q8_0 => T::Q8_0,
            _ => T::Q6_K,
        }
    }

    const fn embedding(&self, default: GgmlType) -> GgmlType {
        match self.file_type {
            F::IQ1_S | F::IQ1_M | F::IQ2_XXS | F::IQ2_XS => T::Q2_K,
            F::IQ2_S | F::IQ2_M | F::IQ3_XXS => T::IQ3_S,
            F::TQ1_0 | F::TQ2_0 | F::Q2_0 => T::Q4_K,
            _ => default,
        }
    }

    /// The file types of two bits and less.
    fn low(&mut self, m: &Matrix, default: GgmlType) -> GgmlType {
        let better = matches!(self.file_type, F::IQ2_S | F::IQ2_M);
        let raised = if better { T::IQ3_S } else { T::Q2_K };
        let one_bit = matches!(self.file_type, F::IQ1_S | F::IQ1_M);
        match m.category {
            Category::Value => {
                let wide = self.facts.grouped_queries >= 4 || self.facts.experts >= 4;
                if wide { T::Q4_K } else { raised }
            }
            Category::Key if self.facts.experts == 8 => T::Q4_K,
            Category::Down => {
                let i = self.downs;
                self.downs += 1;
                if i < self.facts.layers / 8 { raised } else { default }
            }
            Category::AttentionOutput if self.facts.experts == 8 => T::Q5_K,
            Category::AttentionOutput if one_bit => T::IQ2_XXS,
            Category::AttentionOutput if better => T::IQ3_S,
            _ => default,
        }
    }

    fn ordinary(&mut self, m: &Matrix, default: GgmlType) -> GgmlType {
        let eight = self.facts.experts == 8;
        match (m.category, self.file_type) {
            (Category::Value, _) => self.value(default),
            (Category::Key, _) if eight => T::Q8_0,
            (Category::Key | Category::Query, F::IQ3_XS) => T::IQ3_XXS,
            (Category::Key | Category::Query, F::IQ3_XXS) => T::IQ2_S,
            (Category::Down, _) => self.down(m, default),
            (Category::AttentionOutput, _) => self.attention_output(default),
            (Category::Gate | Category::Up, F::IQ3_XS) => {
                let n = self.facts.layers;
                let middle = m.layer >= n / 8 && m.layer < 7 * n / 8;
                if middle { T::IQ3_XXS } else { default }
            }
            _ => default,
        }
    }

    fn value(&mut self, default: GgmlType) -> GgmlType {
        let i = self.values;
        self.values += 1;
        let wide = self.facts.grouped_queries >= 4;
        let chosen = match self.file_type {
            F::Q2_K => {
                if wide {
                    T::Q4_K
                } else {
                    T::Q3_K
                }
            }
            F::Q2_K_S | F::IQ3_XXS | F::IQ3_XS | F::IQ3_S if wide => T::Q4_K,
            F::IQ3_XXS if !self.importance => T::IQ3_S,
            F::IQ3_M => T::Q4_K,
            F::Q3_K_M if i < 2 => T::Q5_K,
            F::Q3_K_M => T::Q4_K,
            F::Q3_K_L => T::Q5_K,
            F::IQ4_NL | F::IQ4_XS if wide => T::Q5_K,
            F::Q4_K_M | F::Q5_K_M if more_bits(i, self.facts.values) => T::Q6_K,
            F::Q4_K_S if i < 4 => T::Q5_K,
            _ => default,
        };
        if self.facts.experts == 8 {
            T::Q8_0
        } else if self.facts.seventy_billion && (chosen == T::Q3_K || chosen == T::Q4_K) {
            T::Q5_K
        } else {
            chosen
        }
    }

    fn down(&mut self, m: &Matrix, default: GgmlType) -> GgmlType {
        // With experts the tool reads the layer off the name; without, it counts.
        let i = if self.facts.experts > 1 { m.layer } else { self.downs };
        self.downs += 1;
        let (n, falcon) = (self.facts.layers, self.facts.falcon);
        let (first, more) = (i < n / 8, more_bits(i, n));
        match self.file_type {
            F::Q2_K => T::Q3_K,
            F::Q2_K_S if first => T::Q4_K,
            F::IQ3_XXS if !self.importance && first => T::Q4_K,
            F::IQ3_XXS if !self.importance => T::Q3_K,
            F::Q3_K_M if i < n / 16 => T::Q5_K,
            F::Q3_K_M if falcon && !more => T::Q3_K,
            F::Q3_K_M => T::Q4_K,
            F::IQ3_M if first || (self.facts.experts == 8 && more) => T::Q4_K,
            F::Q3_K_L if falcon => T::Q4_K,
            F::Q3_K_L => T::Q5_K,
            F::Q4_K_M if falcon && i >= n / 16 && more => T::Q5_K,
            F::Q4_K_M if falcon && i >= n / 16 => T::Q4_K,
            F::Q4_K_M if falcon || more => T::Q6_K,
            F::Q5_K_M if more => T::Q6_K,
            F::IQ4_NL | F::IQ4_XS if first && !self.importance => T::Q5_K,
            F::Q4_K_S if first && !falcon => T::Q5_K,
            F::Q4_0 if first && self.importance => T::Q4_1,
            F::Q5_0 if first && self.importance => T::Q5_1,
            _ => default,
        }
    }

    const fn attention_output(&self, default: GgmlType) -> GgmlType {
        if self.facts.falcon {
            return if matches!(self.file_type, F::Q3_K_L) { T::Q4_K } else { default };
        }
        if self.facts.experts == 8 {
            return match self.file_type {
                F::Q2_K
                | F::IQ3_XS
                | F::IQ3_XXS
                | F::Q3_K_S
                | F::Q3_K_M
                | F::IQ4_NL
                | F::Q4_K_S
                | F::Q4_K_M
                | F::IQ3_S
                | F::IQ3_M
                | F::IQ4_XS => T::Q5_K,
                _ => default,
            };
        }
        match self.file_type {
            F::Q2_K => T::Q3_K,
            F::IQ3_XXS => T::IQ3_S,
            F::Q3_K_M | F::IQ3_M => T::Q4_K,
            F::Q3_K_L => T::Q5_K,
            _ => default,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(file_type: FileType, category: Category, facts: MixFacts, importance: bool) -> Vec<T> {
        let mut chooser = Chooser::new(GgufMix::plain(file_type), importance, facts);
        let matrix =
            |layer| Matrix { category, layer, rows: 64, columns: 512, experts: facts.experts > 1 };
        (0..facts.layers).map(|layer| chooser.next(&matrix(layer))).collect()
    }

    const PLAIN: MixFacts = MixFacts {
        layers: 32,
        grouped_queries: 4,
        experts: 0,
        values: 32,
        tied: false,
        seventy_billion: false,
        falcon: false,
    };

    #[test]
    fn the_m_mixes_spend_bits_on_outer_and_every_third_layer() {
        let down = types(F::Q4_K_M, Category::Down, PLAIN, true);
        assert_eq!((down[0], down[4], down[6], down[31]), (T::Q6_K, T::Q4_K, T::Q6_K, T::Q6_K));
        assert_eq!(down, types(F::Q4_K_M, Category::Value, PLAIN, true));
        assert!(types(F::Q4_K_M, Category::Gate, PLAIN, true).iter().all(|t| *t == T::Q4_K));
    }

    #[test]
    fn q3_k_m_never_leaves_down_projections_at_three_bits() {
        let down = types(F::Q3_K_M, Category::Down, PLAIN, true);
        assert_eq!((down[1], down[2]), (T::Q5_K, T::Q4_K));
        assert!(down.iter().skip(2).all(|t| *t == T::Q4_K));
        let falcon = MixFacts { falcon: true, ..PLAIN };
        assert!(types(F::Q3_K_M, Category::Down, falcon, true).contains(&T::Q3_K));
        assert_eq!(types(F::Q3_K_M, Category::AttentionOutput, PLAIN, true)[0], T::Q4_K);
    }

    #[test]
    fn an_importance_matrix_changes_the_first_down_projections() {
        let first = |file_type, importance| types(file_type, Category::Down, PLAIN, importance)[0];
        assert_eq!((first(F::Q4_0, true), first(F::Q4_0, false)), (T::Q4_1, T::Q4_0));
        assert_eq!((first(F::IQ4_XS, true), first(F::IQ4_XS, false)), (T::IQ4_XS, T::Q5_K));
    }

    #[test]
    fn large_models_and_eight_experts_have_rules_of_their_own() {
        let large = MixFacts { seventy_billion: true, ..PLAIN };
        assert!(!types(F::Q4_K_M, Category::Value, large, true).contains(&T::Q4_K));
        let eight = MixFacts { experts: 8, ..PLAIN };
        assert_eq!(types(F::Q4_K_M, Category::Value, eight, true)[0], T::Q8_0);
        assert_eq!(types(F::Q4_K_M, Category::AttentionOutput, eight, true)[0], T::Q5_K);
    }

    #[test]
    fn narrow_matrices_fall_back_to_small_blocks() {
        for (wanted, columns, got) in [
            (T::Q4_K, 256, T::Q4_K),
            (T::Q4_K, 288, T::Q5_0),
            (T::Q6_K, 2880, T::Q8_0),
            (T::IQ3_S, 96, T::IQ4_NL),
            (T::Q4_K, 40, T::F16),
        ] {
            assert_eq!(wanted.fitting(columns), got, "{wanted} of {columns}");
        }
        assert_eq!(T::Q4_K.bytes(1, 256), 144);
    }

    #[test]
    fn names_of_tensors_tell_the_category() {
        for (name, category) in [
            ("output.weight", Category::Output),
            ("per_layer_token_embd.weight", Category::Embedding),
            ("blk.3.attn_qkv.weight", Category::Value),
            ("blk.3.ffn_down_exps.weight", Category::Down),
            ("blk.3.attn_k_b.weight", Category::Other),
            ("blk.3.ssm_out.weight", Category::Other),
        ] {
            assert_eq!(Category::of_name(name), category, "{name}");
        }
    }
}
