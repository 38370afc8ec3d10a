//! NumPy's `.npz`: `.npy` arrays in a zip archive.

use std::io::{Cursor, Read};
use std::path::Path;

use zip::ZipArchive;

use super::arrays::{Arrays, Cause, Entry, Values, legible};
use super::npy::{HEAD, Npy};
use super::{Matrix, Triplet};
use crate::error::{Error, Result};
use crate::files;
use crate::memory::affordable;

/// What deflate can expand a byte to, at most.
const EXPANSION: u64 = 1032;

/// An archive in memory, its arrays listed.
pub(super) struct Npz<'a> {
    archive: ZipArchive<Cursor<&'a [u8]>>,
    entries: Vec<Entry>,
    /// Where each entry is in the archive.
    places: Vec<Place>,
}

enum Place {
    /// An array.
    Array(usize),
    /// A matrix as `scipy.sparse.save_npz` keeps it: its values and where they belong.
    Sparse {
        format: Layout,
        data: usize,
        places: [usize; 2],
    },
}

/// What the two arrays of places of a sparse matrix are.
#[derive(Clone, Copy, PartialEq)]
enum Layout {
    /// Where the values of each row begin, and the column of each.
    Csr,
    /// Where the values of each column begin, and the row of each.
    Csc,
    /// Row and column of each value.
    Coo,
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
            npz.places.push(Place::Array(place));
        }
        npz.join_sparse()?;
        Ok(npz)
    }

    /// Lists the arrays of a matrix that `scipy.sparse.save_npz` wrote as the matrix that they are.
    fn join_sparse(&mut self) -> Cause<()> {
        let find = |name: &str| self.entries.iter().position(|entry| entry.name == name);
        let [Some(format), Some(shape), Some(data)] = ["format", "shape", "data"].map(find) else {
            return Ok(());
        };
        // What cannot be read as text is something else of that name.
        let Ok(Values::Text(name)) = self.read(format) else {
            return Ok(());
        };
        let find = |name: &str| self.entries.iter().position(|entry| entry.name == name);
        let pair = |[a, b]: [&str; 2]| Some([find(a)?, find(b)?]);
        let (ends, places) = (pair(["indptr", "indices"]), pair(["row", "col"]));
        let name = name.first().map_or("?", String::as_str);
        let (layout, places) = match (name, ends, places) {
            ("csr", Some(places), _) => (Layout::Csr, places),
            ("csc", Some(places), _) => (Layout::Csc, places),
            ("coo", _, Some(places)) => (Layout::Coo, places),
            ("csr" | "csc" | "coo", ..) => return Ok(()),
            // The values of others could pass for a matrix of features.
            (_, None, None) if !["bsr", "dia"].contains(&name) => return Ok(()),
            _ => {
                return Err(format!(
                    "holds a sparse matrix in the format {}: save it as csr, csc or coo",
                    legible(name)
                ));
            }
        };
        let sizes = self.read(shape)?.numbers()?.unwrap_or_default();
        let whole = |n: &f64| n.fract() == 0.0 && *n >= 0.0;
        let [rows, cols] = sizes[..] else {
            return Err("holds a sparse array that is no matrix".to_string());
        };
        if !sizes.iter().all(whole) {
            return Err(format!("holds a sparse matrix of {rows} × {cols} values"));
        }
        let entry = Entry {
            name: "data".to_string(),
            shape: vec![rows as u64, cols as u64],
            kind: format!("sparse {}", self.entries[data].kind),
        };
        let array = |at: usize| match self.places[at] {
            Place::Array(place) => place,
            Place::Sparse { .. } => unreachable!("only arrays are listed"),
        };
        let place = Place::Sparse {
            format: layout,
            data: array(data),
            places: places.map(array),
        };
        let parts = [format, shape, data, places[0], places[1]];
        let mut at = 0..;
        self.entries
            .retain(|_| !parts.contains(&at.next().expect("endless")));
        let mut at = 0..;
        self.places
            .retain(|_| !parts.contains(&at.next().expect("endless")));
        self.entries.push(entry);
        self.places.push(place);
        Ok(())
    }

    /// Reads the array at `place` of the archive.
    fn array(&mut self, place: usize) -> Cause<Values> {
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
    }

    /// Reads a sparse `rows × cols` matrix.
    fn sparse(
        &mut self,
        format: Layout,
        [data, first, second]: [usize; 3],
        [rows, cols]: [usize; 2],
    ) -> Cause<Values> {
        let mut read = |place| -> Cause<Vec<f64>> {
            let numbers = self.array(place)?.numbers()?;
            numbers.ok_or_else(|| "holds text where numbers belong".to_string())
        };
        let (values, first, second) = (read(data)?, read(first)?, read(second)?);
        affordable(values.len() as u64, 52)?;
        let outside = || "points outside itself: save it again".to_string();
        let index = |x: f64, end: usize| match x.fract() == 0.0 && x >= 0.0 && x < end as f64 {
            true => Ok(x as usize),
            false => Err(outside()),
        };
        if second.len() != values.len() {
            return Err(outside());
        }
        // Row, or column where the matrix lies by columns, of each value.
        let major = match format {
            Layout::Coo => first,
            Layout::Csr | Layout::Csc => {
                let lines = if format == Layout::Csr { rows } else { cols };
                let ends: Vec<usize> = first
                    .iter()
                    .map(|&x| index(x, values.len() + 1))
                    .collect::<Cause<_>>()?;
                let whole = ends.first() == Some(&0) && ends.last() == Some(&values.len());
                if ends.len() != lines + 1 || !whole || !ends.is_sorted() {
                    return Err(outside());
                }
                let lines = ends.windows(2).enumerate();
                let repeated =
                    lines.flat_map(|(line, w)| std::iter::repeat_n(line as f64, w[1] - w[0]));
                repeated.collect()
            }
        };
        if major.len() != values.len() {
            return Err(outside());
        }
        let triplets = values.iter().zip(major.iter().zip(&second));
        let triplets = triplets.map(|(&value, (&major, &minor))| {
            let (row, col) = match format {
                Layout::Csc => (minor, major),
                Layout::Csr | Layout::Coo => (major, minor),
            };
            Ok(Triplet {
                row: index(row, rows)?,
                col: index(col, cols)?,
                value,
            })
        });
        Values::sparse(rows, cols, &triplets.collect::<Cause<Vec<_>>>()?)
    }
}

impl Arrays for Npz<'_> {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn read(&mut self, entry: usize) -> Cause<Values> {
        let read = match self.places[entry] {
            Place::Array(place) => self.array(place),
            Place::Sparse {
                format,
                data,
                places: [first, second],
            } => match self.entries[entry].shape[..] {
                [rows, cols] => {
                    let shape = [rows, cols].map(|n| n as usize);
                    self.sparse(format, [data, first, second], shape)
                }
                _ => unreachable!("two sizes were read"),
            },
        };
        read.map_err(|cause| format!("{} {cause}", self.entries[entry]))
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
            let Some(values) = file.read(at)?.numbers()? else {
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
