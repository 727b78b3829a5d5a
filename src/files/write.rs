//! Writing a file whole or not at all.
//!
//! A regular file is replaced by a temporary file beside it, which then takes its name: a reader sees the old or the
//! new content, and a crash leaves the old. The name keeps its meaning: a symbolic link stays one, the mode stays, and a
//! file with several names keeps them. What is no regular file (a device, a pipe, `/dev/stdout`, `>(command)`) is
//! written through.

use std::fs::{Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tempfile::{Builder, NamedTempFile};

/// Mode of a new file, from which the system takes the user's mask.
const NEW: u32 = 0o666;
/// Links that are followed at most, as in Linux.
const LINKS: usize = 40;
/// Names that are tried for a new file.
const NAMES: usize = 1000;

/// Writes a file, or through what stands at its place.
///
/// # Errors
/// When the place cannot be written; what was there is untouched then, unless it is no regular file or has several
/// names.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let Some(target) = target(path)? else { return through(path, bytes) };
    match std::fs::metadata(&target) {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let temporary = temporary(&target, bytes, Permissions::from_mode(NEW))?;
            temporary.persist(&target).map(|_| ()).map_err(|e| e.error)
        }
        Err(e) => Err(e),
        Ok(old) if old.is_dir() => Err(io::Error::new(ErrorKind::IsADirectory, "it is a folder")),
        Ok(old) if !old.is_file() => through(&target, bytes),
        Ok(old) => replace(&target, &old, bytes),
    }
}

/// Writes a file under a name that nothing has yet: `stem.extension`, else `stem-2.extension`, and so on. Returns its
/// path.
///
/// # Errors
/// When the folder cannot be written, or has a thousand such files.
pub fn write_new(folder: &Path, stem: &str, extension: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    let mut file = temporary(&folder.join(stem), bytes, Permissions::from_mode(NEW))?;
    for n in 1..=NAMES {
        let suffix = if n == 1 { String::new() } else { format!("-{n}") };
        let path = folder.join(format!("{stem}{suffix}.{extension}"));
        match file.persist_noclobber(&path) {
            Ok(_) => return Ok(path),
            Err(e) if e.error.kind() == ErrorKind::AlreadyExists => file = e.file,
            Err(e) => return Err(e.error),
        }
    }
    Err(io::Error::new(ErrorKind::AlreadyExists, format!("{NAMES} files are named {stem}")))
}

/// The place that a name stands for, links followed, the last of which may lead to nothing. `None` for the open files of
/// this process, which have such names, too, and whose content must stay.
fn target(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut at = path.to_owned();
    for _ in 0..LINKS {
        if is_open_file(&at) {
            return Ok(None);
        }
        match std::fs::read_link(&at) {
            Ok(next) => at = folder(&at).join(next),
            Err(_) => return Ok(Some(at)),
        }
    }
    Err(io::Error::other("too many links lead there"))
}

/// Whether a name stands for a file that this process has open already.
fn is_open_file(path: &Path) -> bool {
    let named = matches!(path.to_str(), Some("/dev/stdout" | "/dev/stderr"));
    named || path.starts_with("/dev/fd") || path.starts_with("/proc/self/fd")
}

/// Writes into something that is there, behind what it holds.
fn through(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // These two may be sockets, which cannot be opened by name.
    let standard: Option<Box<dyn Write>> = match path.to_str() {
        Some("/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1") => Some(Box::new(io::stdout())),
        Some("/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2") => Some(Box::new(io::stderr())),
        _ => None,
    };
    let mut out = match standard {
        Some(out) => out,
        None => Box::new(OpenOptions::new().append(true).open(path)?),
    };
    out.write_all(bytes)?;
    out.flush()
}

/// Replaces a regular file.
fn replace(path: &Path, old: &Metadata, bytes: &[u8]) -> io::Result<()> {
    // A file that may not be written stays, even where its folder would let it be replaced.
    let mut file = OpenOptions::new().write(true).open(path)?;
    if old.nlink() > 1 {
        file.set_len(0)?;
        file.write_all(bytes)?;
        return file.sync_all();
    }
    let temporary = temporary(path, bytes, Permissions::from_mode(0o600))?;
    // Only root can give a file away; everybody else keeps the new file as their own.
    let _ = std::os::unix::fs::chown(temporary.path(), Some(old.uid()), Some(old.gid()));
    std::fs::set_permissions(temporary.path(), old.permissions())?;
    temporary.persist(path).map(|_| ()).map_err(|e| e.error)
}

/// A complete temporary file in the folder of `beside`, under a name that nobody can foresee. It goes when it is
/// dropped.
fn temporary(beside: &Path, bytes: &[u8], mode: Permissions) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    builder.prefix(".mlxplan-").suffix(".tmp").permissions(mode);
    let mut file = builder.tempfile_in(folder(beside))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// The folder of a path; of a bare name the current one.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(folder: &Path) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_file_keeps_its_mode_and_its_links() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("a"), folder.path().join("link"));
        std::fs::write(&file, "before").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("a", &link).unwrap();
        write(&link, b"after").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "after");
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
        std::fs::hard_link(&file, folder.path().join("b")).unwrap();
        write(&file, b"both").unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("b")).unwrap(), "both");
        assert_eq!(entries(folder.path()), 3);
    }

    #[test]
    fn a_link_to_nothing_is_filled() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("later", &link).unwrap();
        write(&link, b"x").unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("later")).unwrap(), "x");
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        std::os::unix::fs::symlink(&a, &b).unwrap();
        std::os::unix::fs::symlink(&b, &a).unwrap();
        assert!(write(&a, b"x").is_err());
    }

    #[test]
    fn new_files_follow_the_mask_and_may_have_long_names() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("n".repeat(250));
        write(&long, b"x").unwrap();
        std::fs::write(folder.path().join("plain"), "x").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&long), mode(&folder.path().join("plain")));
    }

    #[test]
    fn what_is_no_regular_file_is_written_through() {
        use std::io::Read;
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || {
                let mut text = String::new();
                std::fs::File::open(pipe).unwrap().read_to_string(&mut text).unwrap();
                text
            }
        });
        write(&pipe, b"through").unwrap();
        assert_eq!(reader.join().unwrap(), "through");
        assert_eq!(entries(folder.path()), 1);
        write(Path::new("/dev/null"), b"x").unwrap();
        assert_eq!(write(Path::new("/dev/full"), b"x").unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(write(folder.path(), b"x").unwrap_err().kind(), ErrorKind::IsADirectory);
    }

    #[test]
    fn nothing_is_left_behind_and_nothing_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let first = write_new(folder.path(), "a", "json", b"1").unwrap();
        let second = write_new(folder.path(), "a", "json", b"2").unwrap();
        assert_eq!(second, folder.path().join("a-2.json"));
        assert_eq!(std::fs::read_to_string(first).unwrap(), "1");
        assert!(write(&folder.path().join("none/x"), b"x").is_err());
        assert_eq!(entries(folder.path()), 2);
    }
}
