//! Rules of the house that no compiler holds: a type name is declared once, and files import one another in one direction.

mod dead;
mod imports;
mod source;

use crate::project::Project;
use anyhow::Result;
pub use dead::run as dead;
use imports::Imports;
use source::Source;
use std::collections::BTreeMap;
use std::path::PathBuf;
use xshell::cmd;

/// What came into the graph after its loop, frame and parts had been made one, in files of its own, with what brought it.
const LATER: [(&str, &[&str]); 5] = [
    (
        "towers, and the text models that only mlx-vlm has",
        &[
            "src/graph/towers/",
            "src/graph/families/vision_text.rs",
            "src/graph/families/mlx_vlm_text.rs",
            "src/graph/families/molmo2.rs",
            "src/graph/families/mllama.rs",
        ],
    ),
    (
        "model types that came out since",
        &[
            "src/graph/families/glm5_next.rs",
            "src/graph/families/hy_v3.rs",
            "src/graph/families/hy_v4.rs",
            "src/graph/families/qwen4_exp.rs",
            "src/graph/parts/block_index.rs",
            "src/graph/parts/group_index.rs",
            "src/graph/parts/hashed_table.rs",
            "src/graph/parts/stream_mix.rs",
        ],
    ),
    (
        "training",
        &[
            "src/graph/training/",
            "src/graph/op/training.rs",
            "src/graph/tape/trained.rs",
            "src/graph/tape/steps.rs",
            "src/graph/nn/adapted.rs",
            "src/graph/cache/absent.rs",
        ],
    ),
    (
        "models on several Macs",
        &["src/graph/parallel.rs", "src/graph/traits.rs", "src/graph/division.rs"],
    ),
    (
        "kernels by version of MLX, padded sequences of servers, caches that only prompts fill",
        &[
            "src/graph/tape/routing.rs",
            "src/graph/cache/sequences.rs",
            "src/graph/cache/projected.rs",
        ],
    ),
];

/// Prints what there is of everything that is counted, here or in a commit.
pub fn run(project: &Project, at: Option<&str>) -> Result<()> {
    let root = match at {
        None => project.shell.current_dir(),
        Some(commit) => checked_out(project, commit)?,
    };
    let sources = source::read(&root)?;
    println!("{:6} files", sources.len());
    if let Some(most) = sources.iter().max_by_key(|s| s.lines) {
        println!("{:6} lines of the longest, {}", most.lines, most.file);
    }
    let within = |folder: &str| {
        let inside = sources.iter().filter(|s| s.file.starts_with(folder));
        inside.map(|s| s.code).sum::<usize>()
    };
    for folder in
        ["src/", "src/graph/", "src/graph/families/", "src/graph/parts/", "src/graph/towers/"]
    {
        println!(
            "{:6} lines of code in {folder}, without blanks, comments and tests",
            within(folder)
        );
    }
    let graph: usize = within("src/graph/");
    let later = LATER.map(|(what, files)| (what, files.iter().map(|file| within(file)).sum()));
    let added: usize = later.iter().map(|(_, lines)| lines).sum();
    println!(
        "{:6} lines of code in src/graph/ without files that came with later capabilities:",
        graph - added
    );
    for (what, lines) in later {
        println!("       {lines:6} {what}");
    }
    println!("{:6} items that are pub", sources.iter().map(|s| s.public).sum::<usize>());
    let front = std::fs::read_to_string(root.join("src/lib.rs"))?;
    for (how, modules) in doors(&front) {
        let inside =
            sources.iter().filter(|s| s.module.first().is_some_and(|m| modules.contains(m)));
        println!(
            "       {:6} in modules that lib.rs {how}",
            inside.map(|s| s.public).sum::<usize>()
        );
    }
    let json: usize =
        sources.iter().filter(|s| s.file.starts_with("src/cli/")).map(|s| s.json).sum();
    println!("{json:6} json! in the commands");
    let doubled = doubled(&sources);
    println!("{:6} visible type names declared more than once", doubled.len());
    doubled.iter().for_each(|line| println!("       {line}"));
    println!("{:6} type names that are private to several files", private_doubles(&sources));
    let circles = Imports::of(&sources).circles();
    println!("{:6} circles of imports", circles.len());
    circles.iter().for_each(|circle| println!("       {}", circle.join(", ")));
    Ok(())
}

/// The modules of the library by what a user sees of them: those that its front shows, hides and closes.
fn doors(front: &str) -> [(&'static str, Vec<String>); 3] {
    let mut doors = ["shows", "hides", "closes"].map(|how| (how, Vec::new()));
    let mut hidden = false;
    for line in front.lines() {
        let module = |start| line.strip_prefix(start).and_then(|rest: &str| rest.strip_suffix(';'));
        let (door, name) = match (module("pub mod "), module("mod ")) {
            (Some(name), _) => (usize::from(hidden), name),
            (None, Some(name)) => (2, name),
            (None, None) => {
                hidden = line == "#[doc(hidden)]";
                continue;
            }
        };
        doors[door].1.push(name.to_owned());
        hidden = false;
    }
    doors
}

/// A folder with the sources of a commit.
fn checked_out(project: &Project, commit: &str) -> Result<PathBuf> {
    let folder = project.target.join("house").join(commit);
    let shell = &project.shell;
    shell.remove_path(&folder)?;
    shell.create_dir(&folder)?;
    let archive = folder.join("src.tar");
    cmd!(shell, "git archive --output {archive} {commit} src").run()?;
    cmd!(shell, "tar --extract --file {archive} --directory {folder}").run()?;
    Ok(folder)
}

/// How many type names several files declare for themselves alone, or one for itself and another for all.
fn private_doubles(sources: &[Source]) -> usize {
    let mut all: BTreeMap<&str, usize> = BTreeMap::new();
    for name in sources.iter().flat_map(|s| s.types.union(&s.own_types)) {
        *all.entry(name).or_default() += 1;
    }
    all.values().filter(|&&files| files > 1).count()
}

/// The visible type names that several files declare, with the files.
fn doubled(sources: &[Source]) -> Vec<String> {
    let mut all: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for source in sources {
        for name in &source.types {
            all.entry(name).or_default().push(&source.file);
        }
    }
    all.retain(|_, files| files.len() > 1);
    all.into_iter().map(|(name, files)| format!("{name}: {}", files.join(", "))).collect()
}

/// The root of the repository, for tests.
#[cfg(test)]
fn root() -> &'static std::path::Path {
    std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[cfg(test)]
mod tests {
    use super::{Imports, Source, doors, doubled, root, source};

    fn sources() -> Vec<Source> {
        source::read(root()).expect("the sources are Rust")
    }

    #[test]
    fn a_type_name_is_declared_once() {
        let doubled = doubled(&sources());
        assert!(doubled.is_empty(), "declared more than once:\n{}", doubled.join("\n"));
    }

    #[test]
    fn files_import_one_another_in_one_direction() {
        let sources = sources();
        let circles = Imports::of(&sources).circles();
        let lines: Vec<String> = circles.iter().map(|circle| circle.join(", ")).collect();
        assert!(lines.is_empty(), "circles of imports:\n{}", lines.join("\n"));
    }

    #[test]
    fn modules_are_shown_hidden_or_closed() {
        let front = "pub mod a;\n#[doc(hidden)]\npub mod b;\nmod c;\npub mod d;\npub use a::A;\n";
        let names = doors(front).map(|(_, modules)| modules.concat());
        assert_eq!(names, ["ad", "b", "c"]);
    }

    #[test]
    fn circles_and_doubles_are_found() {
        let file = |name: &str, text: &str| Source::parse(name, text).expect("Rust");
        let sources = [
            file("src/lib.rs", "mod a; mod b; mod c;"),
            file("src/a.rs", "use crate::b::B; pub struct A;"),
            file("src/b.rs", "pub use super::c::A; pub(crate) struct B; fn f() { super::a::g() }"),
            file("src/c.rs", "pub enum A {} #[cfg(test)] mod tests { use crate::a::A; }"),
        ];
        assert_eq!(doubled(&sources), ["A: src/a.rs, src/c.rs"]);
        assert_eq!(Imports::of(&sources).circles(), [["src/a.rs", "src/b.rs"]]);
    }
}
