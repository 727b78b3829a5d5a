//! What a user should know about a model's files.

use super::gguf::GgufInfo;
use super::packings::ModulePackings;
use super::parts::PartBytes;
use super::quant_block::QuantBlock;
use crate::model::quant::{Mode, Packing};
use crate::units::Bytes;
use std::fmt;

/// A remark about a model's files. Displays as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceNote {
    /// There is a configuration but no weights; sizes are computed.
    NoWeights,
    /// The configuration says another packing than most of the weights have.
    BlockDisagrees {
        /// Packing by `config.json`.
        stated: Packing,
        /// Packing that most bytes have by the headers; `None` for none.
        found: Option<Packing>,
    },
    /// Modules whose packing the shapes leave open.
    Ambiguous {
        /// One of them.
        example: String,
        /// How many there are.
        count: usize,
    },
    /// Parts that mlx-lm does not load.
    Dropped(PartBytes),
    /// Weight files that the index does not list, but mlx-lm loads.
    Unlisted(Vec<String>),
    /// There is no tokenizer, without which mlx-lm runs nothing.
    NoTokenizer,
    /// A GGUF file whose architecture has no mapping, or lacks a key.
    GgufWithoutConfig(String),
    /// A GGUF file that is read as a plain decoder, and why.
    GgufStandIn(String),
    /// Read earlier and kept, because the hub was not asked or did not answer.
    KeptCopy {
        /// Days since the hub was last asked.
        days: u64,
        /// Why it was not now.
        reason: String,
    },
    /// The index states other bytes than the files hold.
    TotalDisagrees {
        /// Bytes by the index.
        stated: u64,
        /// Bytes by the headers.
        found: u64,
    },
    /// The index of files that are not here.
    IndexWithoutFiles {
        /// Bytes of all tensors by the index.
        total_bytes: u64,
    },
    /// So many files that only the index was read.
    IndexOnly {
        /// Number of files.
        files: usize,
        /// Bytes of all tensors by the index, where stated.
        total_bytes: Option<u64>,
    },
}

impl SourceNote {
    /// What can be said of a GGUF file without a graph, and why there is none.
    pub(super) fn gguf_facts(info: &GgufInfo, problem: &str) -> Self {
        let mut facts = vec![
            format!("{} ({} B) of tensors", Bytes(info.total_bytes()), info.total_bytes()),
            format!("{:.2} bits per weight", info.bits_per_weight()),
        ];
        let types = info.by_type();
        let types = types.iter().map(|t| format!("{} {}", Bytes(t.bytes), t.kind));
        facts.push(types.collect::<Vec<_>>().join(", "));
        facts.extend(info.architecture_value("block_count").map(|n| format!("{n} layers")));
        facts.extend(info.context_length().map(|n| format!("context {n}")));
        Self::GgufWithoutConfig(format!("{problem}; the file holds {}", facts.join("; ")))
    }

    /// Whether it may make a figure wrong, so that it belongs among the warnings.
    #[must_use]
    pub const fn is_warning(&self) -> bool {
        match self {
            Self::BlockDisagrees { .. }
            | Self::Ambiguous { .. }
            | Self::Unlisted(_)
            | Self::TotalDisagrees { .. }
            | Self::GgufWithoutConfig(_)
            | Self::GgufStandIn(_) => true,
            Self::NoWeights
            | Self::Dropped(_)
            | Self::NoTokenizer
            | Self::KeptCopy { .. }
            | Self::IndexWithoutFiles { .. }
            | Self::IndexOnly { .. } => false,
        }
    }
}

impl fmt::Display for SourceNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoWeights => f.write_str("no weights found; sizes are computed from config.json"),
            Self::BlockDisagrees { stated, found } => write!(
                f,
                "config.json says {}, but most weights are {}; the file headers count",
                packing(Some(*stated)),
                packing(*found)
            ),
            Self::Ambiguous { example, count } => write!(
                f,
                "the packing of {count} modules ({example}, …) does not follow from their shapes; bytes are exact, \
                 bits per weight assumed"
            ),
            Self::Dropped(parts) => {
                f.write_str("mlx-lm does not load ")?;
                let list = [
                    ("the vision tower", parts.vision),
                    ("the audio part", parts.audio),
                    ("the prediction layers (MTP)", parts.mtp),
                ];
                let shown: Vec<String> = list
                    .iter()
                    .filter(|(_, bytes)| *bytes > 0)
                    .map(|(name, bytes)| format!("{name} ({})", Bytes(*bytes)))
                    .collect();
                f.write_str(&shown.join(", "))
            }
            Self::Unlisted(files) => write!(
                f,
                "model.safetensors.index.json does not list {}, but mlx-lm loads every model*.safetensors",
                files.join(", ")
            ),
            Self::NoTokenizer => {
                f.write_str("there is no tokenizer here; mlx-lm cannot run the model")
            }
            Self::GgufWithoutConfig(problem) => f.write_str(problem),
            Self::GgufStandIn(problem) => write!(
                f,
                "{problem}: bytes are those of the file, the cache follows from its keys, and the speed is that of a \
                 plain decoder of the same shape"
            ),
            Self::KeptCopy { days, reason } => {
                let age = match days {
                    0 => "today".to_owned(),
                    1 => "a day ago".to_owned(),
                    days => format!("{days} days ago"),
                };
                write!(f, "as the hub had it {age}: {reason}")
            }
            Self::TotalDisagrees { stated, found } => write!(
                f,
                "model.safetensors.index.json states {} ({stated} B) of tensors, but the files hold {} ({found} B); the \
                 files count",
                Bytes(*stated),
                Bytes(*found)
            ),
            Self::IndexWithoutFiles { total_bytes } => write!(
                f,
                "the weight files are not here; model.safetensors.index.json states {} ({total_bytes} B) of tensors",
                Bytes(*total_bytes)
            ),
            Self::IndexOnly { files, total_bytes } => {
                write!(f, "{files} files; their headers were not read")?;
                match total_bytes {
                    Some(bytes) => write!(f, ", the index states {} in total", Bytes(*bytes)),
                    None => Ok(()),
                }
            }
        }
    }
}

fn packing(packing: Option<Packing>) -> String {
    match packing {
        None => "not quantized".to_owned(),
        Some(Packing { mode: Mode::Affine, bits, group }) => {
            format!("affine {bits}-bit in groups of {group}")
        }
        Some(p) => p.mode.name().to_owned(),
    }
}

/// Remarks that follow from the headers.
pub(super) fn about_weights(
    block: Option<&QuantBlock>,
    packings: &ModulePackings,
    parts: &PartBytes,
) -> Vec<SourceNote> {
    let mut notes = Vec::new();
    let found = packings.dominant();
    if let Some(block) = block {
        let mentioned = block
            .overrides
            .values()
            .any(|o| matches!(o, super::quant_block::Override::Packed(p) if Some(*p) == found));
        if found != Some(block.default) && !mentioned {
            notes.push(SourceNote::BlockDisagrees { stated: block.default, found });
        }
    }
    let mut open = packings.modules().iter().filter(|(_, m)| m.ambiguous).map(|(path, _)| path);
    if let Some(example) = open.next() {
        notes.push(SourceNote::Ambiguous { example: example.clone(), count: 1 + open.count() });
    }
    if parts.dropped() > 0 {
        notes.push(SourceNote::Dropped(*parts));
    }
    notes
}
