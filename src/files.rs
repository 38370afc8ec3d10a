//! Reading files that fit into memory, and writing them so that a failure leaves what was there.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::data::legible;
use crate::error::{Cause, Error, Result};
use crate::memory::affordable;

/// All bytes of a file.
///
/// # Errors
/// It cannot be read, does not fit into memory, or is no regular file: a device may never end.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let unreadable = |e: std::io::Error| Error::file(path, format!("cannot be read: {e}"));
    let data = std::fs::metadata(path).map_err(unreadable)?;
    if !data.is_file() {
        let cause = match data.is_dir() {
            true => "is a folder, no regular file: name a file, for instance one in it",
            false => "is no regular file: name one",
        };
        return Err(Error::file(path, cause));
    }
    affordable(data.len(), 1).map_err(|cause| Error::file(path, cause))?;
    std::fs::read(path).map_err(unreadable)
}

/// The text in a file.
///
/// # Errors
/// As [`read`], and what is no UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).map_err(|_| Error::file(path, "is no text"))
}

/// A value out of TOML; else what is wrong in which line.
pub(crate) fn parse_toml<T: DeserializeOwned>(text: &str) -> Cause<T> {
    toml::from_str(text).map_err(|e: toml::de::Error| {
        let line = e.span().map_or(1, |span| {
            1 + text[..span.start.min(text.len())].matches('\n').count()
        });
        format!("line {line}: {}", legible(e.message()))
    })
}

/// SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// As [`read`].
pub fn fingerprint(path: &Path) -> Result<String> {
    Ok(hexadecimal(&Sha256::digest(read(path)?)))
}

/// Bytes as hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Prefix and suffix of the names of files that are being written: what a killed process leaves of
/// them can be told by these.
pub(crate) const UNFINISHED: [&str; 2] = [".ssan-", ".tmp"];

/// A file being written beside its final place; [`AtomicFile::commit`] moves it there. What is no
/// regular file, for instance `/dev/stdout`, is written directly.
pub struct AtomicFile {
    path: PathBuf,
    target: Target,
}

enum Target {
    Beside(BufWriter<NamedTempFile>),
    Direct(BufWriter<File>),
}

impl AtomicFile {
    /// Starts a file that will stand at `path`, or where the link `path` points to.
    ///
    /// # Errors
    /// `path` is a directory, or nothing can be written beside it.
    pub fn create(path: &Path) -> Result<AtomicFile> {
        let failed = |e: std::io::Error| Error::file(path, format!("cannot be written: {e}"));
        let (path, target) = match std::fs::metadata(path) {
            Ok(there) if there.is_dir() => {
                return Err(Error::file(path, "is a directory; name a file"));
            }
            Ok(there) if !there.is_file() => {
                let file = File::options().write(true).open(path).map_err(failed)?;
                (path.to_path_buf(), Target::Direct(BufWriter::new(file)))
            }
            there => {
                let path = match there {
                    Ok(_) => path.canonicalize().map_err(failed)?,
                    Err(_) => path.to_path_buf(),
                };
                let directory = match path.parent() {
                    Some(parent) if parent != Path::new("") => parent,
                    _ => Path::new("."),
                };
                let file = beside(directory).map_err(failed)?;
                (path, Target::Beside(BufWriter::new(file)))
            }
        };
        Ok(AtomicFile { path, target })
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// The file system refuses, for instance when it is full.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = match &mut self.target {
            Target::Beside(writer) => writer.write_all(bytes),
            Target::Direct(writer) => writer.write_all(bytes),
        };
        written.map_err(|e| Error::file(&self.path, format!("cannot be written: {e}")))
    }

    /// Moves the file to its place, over what was there.
    ///
    /// # Errors
    /// The file system refuses; what was there stays.
    pub fn commit(self) -> Result<()> {
        let path = self.path;
        let failed = |e: std::io::Error| Error::file(&path, format!("cannot be written: {e}"));
        match self.target {
            Target::Beside(writer) => {
                let file = writer.into_inner().map_err(|e| failed(e.into_error()))?;
                // Else a crash of the machine could leave an empty file in the old one's place.
                file.as_file().sync_all().map_err(failed)?;
                file.persist(&path).map_err(|e| failed(e.error))?;
            }
            Target::Direct(mut writer) => writer.flush().map_err(failed)?,
        }
        Ok(())
    }
}

/// A temporary file in `directory`, with the permissions of any new file there.
fn beside(directory: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(UNFINISHED[0]).suffix(UNFINISHED[1]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The process's mask takes off what it does not want.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(directory)
}

/// Writes a whole file.
///
/// # Errors
/// The file system refuses; what was there stays.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write(bytes)?;
    file.commit()
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A link stays a link; what it points to is replaced.
    #[test]
    fn links_are_followed() {
        let folder = tempfile::TempDir::new().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        std::fs::write(&real, "old").unwrap();
        symlink("real", &link).unwrap();
        write_atomically(&link, b"new").unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read(&real).unwrap(), b"new");
    }

    /// What is no regular file is written to, not replaced; what cannot be written is told.
    #[cfg(target_os = "linux")]
    #[test]
    fn devices_are_written_to() {
        write_atomically(Path::new("/dev/null"), b"new").unwrap();
        let error = write_atomically(Path::new("/dev/full"), b"new").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/dev/full: cannot be written"), "{text}");
        assert!(!std::fs::metadata("/dev/full").unwrap().is_file());
    }

    /// As readable as any file that is made here, and nothing is left beside it.
    #[test]
    fn a_new_file_is_like_any_other() {
        let folder = tempfile::TempDir::new().unwrap();
        let (plain, whole) = (folder.path().join("plain"), folder.path().join("whole"));
        std::fs::write(&plain, "1").unwrap();
        write_atomically(&whole, b"1").unwrap();
        let mode = |path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&plain), mode(&whole));
        drop(AtomicFile::create(&folder.path().join("given up")).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
