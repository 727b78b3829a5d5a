//! The line that starts a program with a model, with the name of a repository that is known to be there.

use super::settings::converted_name;
use crate::model::Scheme;
use crate::run::Program;

/// Where the files of a model are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Files<'a> {
    /// A repository that holds them as they run.
    Repository(&'a str),
    /// No repository in this format is known: the original is converted.
    Original {
        /// The original.
        id: &'a str,
        /// The format.
        scheme: Scheme,
    },
    /// A repository of GGUF files, and the type of the file, as `Q4_K_M`.
    Gguf(&'a str, &'a str),
}

/// The line that starts a program with these files. `None` where no such line is known.
#[must_use]
pub fn start_line(program: Program, files: &Files<'_>) -> Option<String> {
    let chat = match program {
        Program::MlxLm => "mlx_lm.chat",
        Program::MlxServer => "mlx_lm.server",
        Program::MlxVlm => "mlx_vlm.chat",
        Program::LlamaCpp | Program::Ollama => return gguf(program, files),
        _ => return None,
    };
    match files {
        Files::Repository(repo) => Some(format!("{chat} --model {repo}")),
        Files::Original { id, scheme } => {
            let (name, options) = (converted_name(id, *scheme), options(*scheme)?);
            let convert = if program == Program::MlxVlm { "mlx_vlm" } else { "mlx_lm" };
            Some(format!(
                "{convert}.convert --hf-path {id} {options} --mlx-path {name} && {chat} --model {name}"
            ))
        }
        Files::Gguf(..) => None,
    }
}

/// Whether a line can be known for a program.
#[must_use]
pub fn has_start_line(program: Program) -> bool {
    matches!(
        program,
        Program::MlxLm | Program::MlxServer | Program::MlxVlm | Program::LlamaCpp | Program::Ollama
    )
}

fn gguf(program: Program, files: &Files<'_>) -> Option<String> {
    let Files::Gguf(repo, kind) = files else { return None };
    Some(match program {
        Program::Ollama => format!("ollama run hf.co/{repo}:{kind}"),
        _ => format!("llama-server -hf {repo}:{kind}"),
    })
}

/// The options of `convert` that make a scheme.
fn options(scheme: Scheme) -> Option<String> {
    match scheme {
        Scheme::Affine { bits, group } => {
            Some(format!("-q --q-bits {bits} --q-group-size {group}"))
        }
        Scheme::Mxfp4 => Some("-q --q-mode mxfp4".to_owned()),
        Scheme::Nvfp4 => Some("-q --q-mode nvfp4".to_owned()),
        Scheme::Mxfp8 => Some("-q --q-mode mxfp8".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_what_the_program_takes() {
        let known = Files::Repository("mlx-community/Qwen3-32B-4bit");
        let line = |program, files: &Files<'_>| start_line(program, files).expect("known");
        assert_eq!(
            line(Program::MlxServer, &known),
            "mlx_lm.server --model mlx-community/Qwen3-32B-4bit"
        );
        let original = Files::Original { id: "Qwen/Qwen3-32B", scheme: Scheme::DEFAULT };
        assert_eq!(
            line(Program::MlxLm, &original),
            "mlx_lm.convert --hf-path Qwen/Qwen3-32B -q --q-bits 4 --q-group-size 64 --mlx-path Qwen3-32B-4bit && \
             mlx_lm.chat --model Qwen3-32B-4bit"
        );
        let files = Files::Gguf("unsloth/Qwen3-32B-GGUF", "Q4_K_M");
        assert_eq!(
            line(Program::LlamaCpp, &files),
            "llama-server -hf unsloth/Qwen3-32B-GGUF:Q4_K_M"
        );
        assert_eq!(line(Program::Ollama, &files), "ollama run hf.co/unsloth/Qwen3-32B-GGUF:Q4_K_M");
        assert_eq!(start_line(Program::Ollama, &known), None);
    }
}
