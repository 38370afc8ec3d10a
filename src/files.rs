//! Writing files so that a failure leaves what was there.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// A file being written beside its final place; [`AtomicFile::commit`] moves it there.
pub struct AtomicFile {
    path: PathBuf,
    writer: BufWriter<NamedTempFile>,
}

impl AtomicFile {
    /// Starts a file that will stand at `path`.
    ///
    /// # Errors
    /// `path` is a directory, or nothing can be written beside it.
    pub fn create(path: &Path) -> Result<AtomicFile> {
        if path.is_dir() {
            return Err(Error::file(path, "is a directory; name a file"));
        }
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let file = NamedTempFile::new_in(directory)
            .map_err(|e| Error::file(path, format!("cannot be written: {e}")))?;
        Ok(AtomicFile {
            path: path.to_path_buf(),
            writer: BufWriter::new(file),
        })
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// The file system refuses, for instance when it is full.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.writer.write_all(bytes);
        written.map_err(|e| Error::file(&self.path, e))
    }

    /// Moves the file to its place, over what was there.
    ///
    /// # Errors
    /// The file system refuses; what was there stays.
    pub fn commit(self) -> Result<()> {
        let path = self.path;
        let failed = |e: std::io::Error| Error::file(&path, e);
        let file = self
            .writer
            .into_inner()
            .map_err(|e| failed(e.into_error()))?;
        file.persist(&path).map_err(|e| failed(e.error))?;
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
