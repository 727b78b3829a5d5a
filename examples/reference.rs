//! Writes docs/reference.md and the man pages, from the definitions of the arguments, and docs/schema, from the types of the
//! answers; `cargo xtask docs` runs it.

use mlxplan::cli::schemas;
use std::fs;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::create_dir_all(root.join("docs"))?;
    fs::write(root.join("docs/reference.md"), mlxplan::cli::reference::markdown())?;
    let man = root.join("target/man");
    fs::create_dir_all(&man)?;
    clap_mangen::generate_to(mlxplan::cli::reference::command(), &man)?;
    let folder = root.join("docs/schema");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    for (name, schema) in schemas::all() {
        fs::write(folder.join(schemas::file_name(name)), schemas::text(&schema))?;
    }
    println!("docs/reference.md, docs/schema and man pages in {}", man.display());
    Ok(())
}
