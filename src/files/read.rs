//! Reading regular files up to a limit.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// Opens a regular file, links followed. Anything else is refused before it is opened, because opening a pipe waits for
/// whoever writes into it.
///
/// # Errors
/// When there is no such file, it may not be read, or it is a folder, a pipe, a socket or a device.
pub fn open(path: &Path) -> io::Result<File> {
    regular(&std::fs::metadata(path)?)?;
    let file = File::open(path)?;
    // The name may stand for something else by now.
    regular(&file.metadata()?)?;
    Ok(file)
}

/// The content of a regular file of at most `limit` bytes.
///
/// # Errors
/// As [`open`]; [`ErrorKind::FileTooLarge`] when it is longer than the limit, however long its metadata calls it.
pub fn bytes(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(too_long(limit));
    }
    Ok(bytes)
}

/// The text of a regular file of at most `limit` bytes.
///
/// # Errors
/// As [`bytes`]; [`ErrorKind::InvalidData`] when it is no UTF-8.
pub fn text(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(bytes(path, limit)?)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is no UTF-8 text"))
}

fn too_long(limit: u64) -> io::Error {
    let size = match limit {
        n if n >= 1 << 20 => format!("{} MiB", n >> 20),
        n if n >= 1 << 10 => format!("{} KiB", n >> 10),
        n => format!("{n} bytes"),
    };
    io::Error::new(ErrorKind::FileTooLarge, format!("it is longer than {size}"))
}

fn regular(metadata: &std::fs::Metadata) -> io::Result<()> {
    let problem = match metadata {
        m if m.is_file() => return Ok(()),
        m if m.is_dir() => "it is a folder",
        _ => "it is a pipe, a socket or a device; only regular files are read",
    };
    Err(io::Error::new(ErrorKind::InvalidInput, problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, "twelve bytes").unwrap();
        assert_eq!(text(&path, 12).unwrap(), "twelve bytes");
        let error = text(&path, 11).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert_eq!(error.to_string(), "it is longer than 11 bytes");
        std::fs::write(&path, [0xff]).unwrap();
        assert_eq!(text(&path, 12).unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(bytes(&path, 12).unwrap(), [0xff]);
    }

    #[test]
    fn what_is_no_file_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        assert!(open(folder.path()).unwrap_err().to_string().contains("folder"));
        for path in ["/dev/zero", "/dev/null"] {
            assert!(text(Path::new(path), 10).unwrap_err().to_string().contains("device"));
        }
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(text(&pipe, 10).unwrap_err().to_string().contains("pipe"));
        let missing = folder.path().join("missing");
        assert_eq!(open(&missing).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
