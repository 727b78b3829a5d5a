//! The Rust side of a new family: its file, and its lines in `families/mod.rs`.

use crate::project::Project;
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;

/// Writes `families/NAME.rs` as a copy of `families/LIKE.rs`, unless it is there.
pub fn skeleton(project: &Project, name: &str, like: &str) -> Result<()> {
    let file = folder(project).join(format!("{name}.rs"));
    if file.exists() {
        return Ok(());
    }
    let text = project
        .shell
        .read_file(folder(project).join(format!("{like}.rs")))
        .with_context(|| format!("--like: there is no src/graph/families/{like}.rs"))?;
    project.shell.write_file(&file, headed(&text, name, like))?;
    eprintln!("{}: a copy of {like}.rs; make it what mlx-lm's {name}.py does", file.display());
    Ok(())
}

/// Declares the module and adds the family's row, unless they are there.
pub fn register(project: &Project, name: &str, like: &str, model_type: &str) -> Result<()> {
    let file = folder(project).join("mod.rs");
    let text = project.shell.read_file(&file)?;
    if text.contains(&format!("mod {name};")) {
        return Ok(());
    }
    ensure!(
        !text.contains(&format!("\"{model_type}\"")),
        "the type {model_type} has a family already; see FAMILIES in {}",
        file.display()
    );
    let text = declared(&text, name).context("families/mod.rs declares no modules")?;
    let text = listed(&text, name, builder(&text, like), model_type)
        .context("families/mod.rs has no list FAMILIES")?;
    project.shell.write_file(&file, text)?;
    eprintln!("{}: {name} for the type {model_type}", file.display());
    Ok(())
}

fn folder(project: &Project) -> PathBuf {
    project.shell.current_dir().join("src/graph/families")
}

/// The copied text with a head comment of its own.
fn headed(text: &str, name: &str, like: &str) -> String {
    let body = text.lines().skip_while(|line| line.starts_with("//!")).collect::<Vec<_>>();
    format!("//! {name}: like {like}, but …\n{}\n", body.join("\n"))
}

/// `text` with `mod NAME;` at its place in the alphabet.
fn declared(text: &str, name: &str) -> Option<String> {
    let is_module = |line: &&str| line.starts_with("mod ") && line.ends_with(';');
    let new = format!("mod {name};");
    let after = text.lines().filter(is_module).find(|line| **line > *new);
    match after {
        Some(line) => {
            let at = text.find(&format!("{line}\n"))?;
            Some(format!("{}{new}\n{}", &text[..at], &text[at..]))
        }
        None => {
            let last = text.lines().rfind(is_module)?;
            let at = text.find(&format!("{last}\n"))? + last.len() + 1;
            Some(format!("{}{new}\n{}", &text[..at], &text[at..]))
        }
    }
}

/// `text` with the family as the last of `FAMILIES`.
fn listed(text: &str, name: &str, build: &str, model_type: &str) -> Option<String> {
    let list = text.find("FAMILIES: &[Family] = &[")?;
    let end = list + text[list..].find("\n];")? + 1;
    let row = format!("    Family::of(&[\"{model_type}\"], {name}::{build}),\n");
    Some(format!("{}{row}{}", &text[..end], &text[end..]))
}

/// The function that builds the family whose file was copied.
fn builder<'a>(text: &'a str, like: &str) -> &'a str {
    let call = format!(" {like}::");
    let rest = text.split_once(&call).map_or("build", |(_, rest)| rest);
    rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or("build")
}

#[cfg(test)]
mod tests {
    use super::{builder, declared, headed, listed};

    const TEXT: &str = "mod afm7;\nmod olmoe;\n\npub const FAMILIES: &[Family] = &[\n    \
                        Family::of(&[\"olmoe\"], olmoe::build_all),\n];\n";

    #[test]
    fn a_family_is_declared_in_order_and_listed_last() {
        let text = declared(TEXT, "llama").expect("modules");
        assert!(text.starts_with("mod afm7;\nmod llama;\nmod olmoe;\n"), "{text}");
        assert!(declared(TEXT, "zamba").expect("modules").contains("mod olmoe;\nmod zamba;\n\n"));
        let text = listed(&text, "llama", builder(&text, "olmoe"), "llama2").expect("a list");
        assert!(text.ends_with("    Family::of(&[\"llama2\"], llama::build_all),\n];\n"), "{text}");
    }

    #[test]
    fn a_copy_says_what_it_is() {
        let text = headed("//! OLMoE: norms.\n//! More.\n\nuse x;\n", "new", "olmoe");
        assert_eq!(text, "//! new: like olmoe, but …\n\nuse x;\n");
    }
}
