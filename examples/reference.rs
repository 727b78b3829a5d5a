//! Writes docs/reference.md and the man pages, from the definitions of the arguments; `cargo xtask docs` runs it.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::create_dir_all(root.join("docs"))?;
    std::fs::write(root.join("docs/reference.md"), mlxplan::cli::reference::markdown())?;
    let man = root.join("target/man");
    std::fs::create_dir_all(&man)?;
    clap_mangen::generate_to(mlxplan::cli::reference::command(), &man)?;
    println!("docs/reference.md and man pages in {}", man.display());
    Ok(())
}
