//! NumPy's `.npz`: `.npy` arrays in a zip archive.

use std::io::{Cursor, Read};
use std::path::Path;

use zip::ZipArchive;

use super::Matrix;
use super::arrays::{Arrays, Cause, Entry, Values, legible};
use super::npy::{HEAD, Npy};
use crate::error::{Error, Result};
use crate::files;
use crate::memory::affordable;

/// What deflate can expand a byte to, at most.
const EXPANSION: u64 = 1032;

/// An archive in memory, its arrays listed.
pub(super) struct Npz<'a> {
    archive: ZipArchive<Cursor<&'a [u8]>>,
    entries: Vec<Entry>,
    /// Place of each entry in the archive.
    places: Vec<usize>,
}

impl<'a> Npz<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Cause<Npz<'a>> {
        plausible(bytes)?;
        let archive = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
        let mut npz = Npz {
            archive,
            entries: Vec::new(),
            places: Vec::new(),
        };
        for place in 0..npz.archive.len() {
            let mut file = npz.archive.by_index(place).map_err(damaged)?;
            let name = file.name().to_string();
            let Some(name) = name.strip_suffix(".npy") else {
                continue;
            };
            let mut head = Vec::new();
            let limited = file.by_ref().take(HEAD as u64);
            let read = { limited }.read_to_end(&mut head);
            let npy = read.map_err(damaged).and_then(|_| Npy::open(&head));
            let npy = npy.map_err(|e| format!("{}: {e}", legible(name)))?;
            npz.entries.push(npy.entry(name));
            npz.places.push(place);
        }
        Ok(npz)
    }
}

impl Arrays for Npz<'_> {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn read(&mut self, entry: usize) -> Cause<Values> {
        let place = self.places[entry];
        let mut read = || {
            let mut file = self.archive.by_index(place).map_err(damaged)?;
            let mut bytes = Vec::new();
            let limited = file.by_ref().take(HEAD as u64);
            { limited }.read_to_end(&mut bytes).map_err(damaged)?;
            let npy = Npy::open(&bytes)?;
            let size = npy.size()?;
            if size > file.compressed_size().saturating_mul(EXPANSION) {
                return Err("claims more data than it can hold".to_string());
            }
            affordable(size, 1)?;
            let rest = size.saturating_sub(bytes.len() as u64);
            // One byte more than declared, to reach the checksum at the end.
            let limited = file.take(rest + 1);
            { limited }.read_to_end(&mut bytes).map_err(damaged)?;
            npy.values(&bytes)
        };
        read().map_err(|cause| format!("{} {cause}", self.entries[entry]))
    }
}

fn damaged(what: impl std::fmt::Display) -> String {
    format!("is no .npz archive, or is truncated or damaged ({what}): fetch or save it again")
}

/// Refuses an archive whose end says that it lists more files than its bytes have room for, before
/// anything is reserved for them.
fn plausible(bytes: &[u8]) -> Cause<()> {
    /// Bytes of a file's entry in the list, at least, and of the end record.
    const ENTRY: usize = 46;
    const END: usize = 22;
    // The record is the last thing in the file but for a comment.
    let comment = usize::from(u16::MAX);
    let from = bytes.len().saturating_sub(END + comment);
    let ends = bytes[from..].windows(END);
    for end in ends.filter(|window| window.starts_with(b"PK\x05\x06")) {
        for at in [8, 10] {
            let files = usize::from(u16::from_le_bytes([end[at], end[at + 1]]));
            if files * ENTRY > bytes.len() {
                return Err(format!(
                    "is damaged: it says that it holds {files} files, which {} bytes cannot list",
                    bytes.len()
                ));
            }
        }
    }
    Ok(())
}

/// The arrays `names` of numbers in a `.npz` file; a vector as a column.
///
/// # Errors
/// The file cannot be read or is none, or an array is missing or no matrix of numbers.
pub(crate) fn read_arrays<const N: usize>(path: &Path, names: &[&str; N]) -> Result<[Matrix; N]> {
    let bytes = files::read(path)?;
    let read = || -> Cause<[Matrix; N]> {
        let mut file = Npz::open(&bytes)?;
        let mut all = Vec::new();
        for name in names {
            let found = file.entries().iter().position(|entry| entry.name == *name);
            let at = found.ok_or_else(|| format!("has no array {name}"))?;
            let shape = file.entries()[at].shape.clone();
            let Values::Numbers(values) = file.read(at)? else {
                return Err(format!("{name} holds no numbers"));
            };
            let cols = match shape[..] {
                [_] => 1,
                [_, cols] if cols > 0 => cols as usize,
                _ => return Err(format!("{name} is no matrix")),
            };
            all.push(Matrix {
                rows: values.len() / cols,
                cols,
                values,
            });
        }
        let all: [Matrix; N] = all.try_into().expect("one for each name");
        Ok(all)
    };
    read().map_err(|cause| Error::file(path, cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_cannot_list_more_than_it_has_room_for() {
        let mut bytes = include_bytes!("../../datasets/digits/digits_fourier.npz").to_vec();
        assert!(Npz::open(&bytes).is_ok());
        let end = bytes.len() - 22;
        assert!(bytes[end..].starts_with(b"PK\x05\x06"));
        bytes[end + 10..end + 12].copy_from_slice(&[255, 255]);
        let cause = Npz::open(&bytes).map(|_| ()).unwrap_err();
        assert!(cause.contains("65535 files"), "{cause}");
    }
}
