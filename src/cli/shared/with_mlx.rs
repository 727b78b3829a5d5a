//! MLX for the commands that run models: in this process, or in a second program that a Python wheel brings.
//!
//! A program that is linked against libmlx does not start where libmlx is missing, so the wheel carries two: the planner,
//! which starts everywhere, and beside it the same program with MLX. Where MLX is needed the planner becomes the other.

use crate::versions::MLX_LINKED;
use anyhow::Result;

/// Makes sure that MLX is in this process, in the version that it was built against.
///
/// # Errors
/// What is missing, and how to get it.
#[cfg(mlx)]
pub(in crate::cli) fn needed() -> Result<()> {
    let found = crate::engine::mlx::version();
    anyhow::ensure!(found == MLX_LINKED, "{}", other_version("this process", &found));
    Ok(())
}

/// Becomes the program with MLX, with the same arguments, where a wheel brought it.
///
/// # Errors
/// What is missing, and how to get it. It returns in no other way.
#[cfg(not(mlx))]
pub(in crate::cli) fn needed() -> Result<std::convert::Infallible> {
    use std::os::unix::process::CommandExt;
    use wheel::Wheel;

    let program = std::env::current_exe().and_then(std::fs::canonicalize);
    let wheel = program.ok().and_then(|program| Wheel::of(&program));
    let Some(wheel) = wheel else {
        anyhow::bail!(
            "this mlxplan was built without MLX, which this needs; `pip install mlxplan` brings one with it, and from the \
             source folder `cargo xtask run -- ARGS` builds it in and runs it"
        )
    };
    wheel.check()?;
    let failed =
        std::process::Command::new(wheel.program()).args(std::env::args_os().skip(1)).exec();
    Err(anyhow::Error::new(failed).context(format!("cannot start {}", wheel.program().display())))
}

/// Said of libmlx in another version than the one that is linked.
fn other_version(place: &str, found: &str) -> String {
    format!(
        "this mlxplan was built against MLX {MLX_LINKED}, and {place} has MLX {found}; give mlxplan an environment of its \
         own (`uvx mlxplan`, `pipx install mlxplan`), where it brings the MLX that it needs"
    )
}

#[cfg(not(mlx))]
mod wheel {
    //! What a wheel put into the folder of Python's packages.

    use super::other_version;
    use crate::files;
    use crate::versions::MLX_LINKED;
    use anyhow::{Result, ensure};
    use std::path::{Path, PathBuf};

    /// The Python package with libmlx.
    const LIBMLX: &str = if cfg!(target_os = "macos") { "mlx-metal" } else { "mlx-cpu" };
    const LIBRARY: &str =
        if cfg!(target_os = "macos") { "mlx/lib/libmlx.dylib" } else { "mlx/lib/libmlx.so" };
    /// Longest header that is read, bytes.
    const LONGEST: u64 = 1 << 16;

    /// A folder of packages with the program that has MLX.
    pub(super) struct Wheel {
        packages: PathBuf,
    }

    impl Wheel {
        /// The wheel that `program` came from: its scripts stand in `bin`, packages in `lib/python3.X/site-packages`, or
        /// with `pip install --target` beside `bin`.
        pub(super) fn of(program: &Path) -> Option<Self> {
            let root = program.parent()?.parent()?;
            let mut folders = vec![root.to_owned()];
            for lib in ["lib", "lib64"] {
                let inside = std::fs::read_dir(root.join(lib)).into_iter().flatten().flatten();
                let pythons =
                    inside.filter(|e| e.file_name().to_string_lossy().starts_with("python3"));
                for python in pythons {
                    folders.push(python.path().join("site-packages"));
                    folders.push(python.path().join("dist-packages"));
                }
            }
            folders.into_iter().map(|packages| Self { packages }).find(|w| w.program().is_file())
        }

        /// The program with MLX.
        pub(super) fn program(&self) -> PathBuf {
            self.packages.join("mlxplan/mlxplan-mlx")
        }

        /// Whether libmlx lies beside it, in the version that it is linked against.
        ///
        /// # Errors
        /// What is missing or another version, and what to do.
        pub(super) fn check(&self) -> Result<()> {
            let place = self.packages.display();
            ensure!(
                self.packages.join(LIBRARY).is_file(),
                "this needs MLX, and {place} has none; `pip install {LIBMLX}=={MLX_LINKED}` in that environment brings it. \
                 Planning needs none"
            );
            let header = self.packages.join("mlx/include/mlx/version.h");
            // Without it the program itself says which version it meets.
            let found = files::text(&header, LONGEST).ok().and_then(|text| version(&text));
            let other = found.filter(|found| found != MLX_LINKED);
            ensure!(
                other.is_none(),
                "{}",
                other_version(&place.to_string(), &other.unwrap_or_default())
            );
            Ok(())
        }
    }

    /// The version in MLX's header.
    fn version(header: &str) -> Option<String> {
        let part = |name: &str| {
            let define = format!("#define MLX_VERSION_{name} ");
            let rest = header.lines().find_map(|line| line.strip_prefix(&define))?;
            rest.trim().parse::<u32>().ok()
        };
        Some(format!("{}.{}.{}", part("MAJOR")?, part("MINOR")?, part("PATCH")?))
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use std::fs;

        fn write(path: &Path, text: &str) {
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        }

        fn header(minor: u32) -> String {
            format!(
                "#pragma once\n#define MLX_VERSION_MAJOR 0\n#define MLX_VERSION_MINOR {minor}\n#define MLX_VERSION_PATCH 2\n"
            )
        }

        #[test]
        fn a_wheel_is_found_wherever_pip_puts_it_and_another_libmlx_is_refused() {
            for packages in ["lib/python3.12/site-packages", "lib64/python3.10/dist-packages", "."]
            {
                let root = tempfile::tempdir().expect("a folder");
                let program = root.path().join("bin/mlxplan");
                assert!(Wheel::of(&program).is_none());
                let packages = root.path().join(packages);
                write(&packages.join("mlxplan/mlxplan-mlx"), "");
                let wheel = Wheel::of(&program).expect("found");
                let missing = wheel.check().expect_err("no libmlx").to_string();
                assert!(missing.contains(&format!("{LIBMLX}=={MLX_LINKED}")), "{missing}");
                write(&packages.join(LIBRARY), "");
                write(&packages.join("mlx/include/mlx/version.h"), &header(33));
                let other = wheel.check().expect_err("another version").to_string();
                assert!(other.contains("has MLX 0.33.2"), "{other}");
                write(&packages.join("mlx/include/mlx/version.h"), &header(32));
                assert!(wheel.check().is_ok());
            }
        }
    }
}
