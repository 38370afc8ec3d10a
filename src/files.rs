//! Reading files that fit into memory, and writing them so that a failure leaves what was there.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};
use crate::memory::affordable;

/// All bytes of a file.
///
/// # Errors
/// It cannot be read, does not fit into memory, or is no regular file: a device may never end.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let unreadable = |e: std::io::Error| Error::file(path, format!("cannot be read: {e}"));
    let data = std::fs::metadata(path).map_err(unreadable)?;
    if !data.is_file() {
        return Err(Error::file(path, "is no regular file: name a data file"));
    }
    affordable(data.len(), 1).map_err(|cause| Error::file(path, cause))?;
    std::fs::read(path).map_err(unreadable)
}

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
                let file = NamedTempFile::new_in(directory).map_err(failed)?;
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
                file.persist(&path).map_err(|e| failed(e.error))?;
            }
            Target::Direct(mut writer) => writer.flush().map_err(failed)?,
        }
        Ok(())
    }
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
