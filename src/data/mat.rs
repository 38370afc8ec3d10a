//! MATLAB 5 to 7 files. The crate `mat5` decodes the arrays, one at a time; this file walks over
//! them first, for three reasons: variables that `mat5` refuses (text, cells, complex numbers) must
//! not spoil the others, a compressed variable must not expand beyond what it declares, and tags
//! that `mat5` would compute with must be sound.

use std::borrow::Cow;
use std::io::Read;
use std::ops::Range;

use flate2::read::ZlibDecoder;
use mat5::{MatFile, Matrix, SparseMatrix};

use super::Triplet;
use super::arrays::{Arrays, Cause, Entry, Values, from_columns};
use crate::memory::affordable;

const HEADER: usize = 128;
const HDF5: &[u8] = b"\x89HDF\r\n\x1a\n";
/// Enough of a variable to hold its flags, dimensions and name.
const HEAD: u64 = 4096;
/// What deflate can expand a byte to, at most.
const EXPANSION: u64 = 1032;
const TYPE_INT32: u32 = 5;
const TYPE_MATRIX: u32 = 14;
const TYPE_COMPRESSED: u32 = 15;
const CLASS_SPARSE: u8 = 5;
const CLASS_NAMES: [&str; 15] = [
    "cell", "struct", "object", "char", "sparse", "double", "single", "int8", "uint8", "int16",
    "uint16", "int32", "uint32", "int64", "uint64",
];
const FLAG_COMPLEX: u32 = 0x0800;
const FLAG_LOGICAL: u32 = 0x0200;

/// A MATLAB file in memory, its variables listed.
pub(super) struct Mat<'a> {
    bytes: &'a [u8],
    entries: Vec<Entry>,
    variables: Vec<Variable>,
}

/// Where a variable is, and what its flags say.
struct Variable {
    compressed: bool,
    at: Range<usize>,
    class: u8,
    complex: bool,
}

impl<'a> Mat<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Cause<Mat<'a>> {
        check_header(bytes)?;
        let mut mat = Mat {
            bytes,
            entries: Vec::new(),
            variables: Vec::new(),
        };
        let mut at = HEADER;
        while bytes.len() - at >= 8 {
            let tag = Tag::read(bytes, at)?;
            // A compressed element is followed by the next one without padding.
            at = match tag.kind {
                TYPE_COMPRESSED => tag.data.end,
                _ => tag.next.min(bytes.len()),
            };
            mat.list(tag)?;
        }
        Ok(mat)
    }

    /// Adds the variable under `tag` to the list.
    fn list(&mut self, tag: Tag) -> Cause<()> {
        let data = &self.bytes[tag.data.clone()];
        let compressed = tag.kind == TYPE_COMPRESSED;
        let head = match tag.kind {
            TYPE_MATRIX => Cow::Borrowed(data),
            TYPE_COMPRESSED => {
                let mut head = Vec::new();
                // A stream damaged further on shows when the variable is read.
                let _ = ZlibDecoder::new(data).take(HEAD).read_to_end(&mut head);
                if word(&head, 0)? != TYPE_MATRIX {
                    return Err(damaged("compressed data hold no variable"));
                }
                Cow::Owned(head.split_off(8.min(head.len())))
            }
            kind => return Err(damaged(format!("unknown element type {kind}"))),
        };
        let (entry, class, complex) = describe(&head)?;
        // MATLAB's own bookkeeping has no name.
        if !entry.name.is_empty() {
            self.entries.push(entry);
            self.variables.push(Variable {
                compressed,
                at: tag.data,
                class,
                complex,
            });
        }
        Ok(())
    }

    /// The file's header and one variable in plain form, which is a MATLAB file of its own.
    fn alone(&self, variable: &Variable) -> Cause<Vec<u8>> {
        let data = &self.bytes[variable.at.clone()];
        let mut file = self.bytes[..HEADER].to_vec();
        if variable.compressed {
            let mut tag = [0; 8];
            let mut stream = ZlibDecoder::new(data);
            let broken = |e| damaged(format!("compressed data: {e}"));
            stream.read_exact(&mut tag).map_err(broken)?;
            let size = u64::from(word(&tag, 4)?);
            if size > (data.len() as u64).saturating_mul(EXPANSION) {
                return Err(damaged("a variable claims more data than it can hold"));
            }
            affordable(size, 2)?;
            file.extend(tag);
            // Some bytes more than declared, to reach the checksum at the end.
            let read = stream.take(size + 64).read_to_end(&mut file);
            if (read.map_err(broken)? as u64) < size {
                return Err(damaged("a variable ends early"));
            }
            file.truncate(HEADER + 8 + size as usize);
        } else {
            file.extend(TYPE_MATRIX.to_le_bytes());
            file.extend((data.len() as u32).to_le_bytes());
            file.extend(data);
        }
        Ok(file)
    }
}

impl Arrays for Mat<'_> {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn read(&mut self, entry: usize) -> Cause<Values> {
        let (variable, entry) = (&self.variables[entry], &self.entries[entry]);
        if variable.complex || variable.class < CLASS_SPARSE {
            return Err(format!(
                "{entry} cannot be read: store numbers that are not complex (text labels work in .npz and .csv)"
            ));
        }
        let &[rows, cols] = &entry.shape[..] else {
            return Err(format!("{entry} cannot be read: store two dimensions"));
        };
        let count = rows.saturating_mul(cols);
        let file = self.alone(variable)?;
        let payload = &file[HEADER + 8..];
        let is_sparse = variable.class == CLASS_SPARSE;
        let (mut at, mut stored) = (0, 0);
        // Flags, dimensions, name, then the values, or three lists for a sparse matrix.
        for _ in 0..3 + if is_sparse { 3 } else { 1 } {
            let tag = Tag::read(payload, at)?;
            (at, stored) = (tag.next, tag.data.len() as u64);
        }
        let miscounted = || damaged(format!("{entry} has another number of values"));
        if !is_sparse && (stored < count || stored > count.saturating_mul(8)) {
            return Err(miscounted());
        }
        // `mat5` widens each value to as many as 24 bytes on its way to its type.
        match is_sparse {
            true => affordable(payload.len() as u64, 24)?,
            false => affordable(count, 32)?,
        }
        let arrays = MatFile::read_bytes(&file).map_err(damaged)?.arrays;
        match arrays.into_iter().next().map(|array| array.matrix) {
            Some(Matrix::Dense(dense)) if dense.values.len() as u64 == count => {
                let numbers = from_columns(dense.values.to_f64(), dense.rows, dense.cols);
                Ok(Values::Numbers(numbers))
            }
            Some(Matrix::Sparse(matrix))
                if [matrix.rows as u64, matrix.cols as u64] == [rows, cols] =>
            {
                sparse(&matrix).map_err(|cause| format!("{entry} {cause}"))
            }
            _ => Err(miscounted()),
        }
    }
}

/// Tells why a file is not one of MATLAB 5 to 7.
fn check_header(bytes: &[u8]) -> Cause<()> {
    if bytes.starts_with(HDF5)
        || bytes.get(512..).is_some_and(|rest| rest.starts_with(HDF5))
        || bytes.starts_with(b"MATLAB 7.3")
    {
        return Err(
            "is a MATLAB 7.3 (HDF5) file: save it with save(..., '-v7') in MATLAB, or with \
             scipy.io.savemat in Python"
                .to_string(),
        );
    }
    match bytes.get(HEADER - 2..HEADER) {
        Some(b"IM") => Ok(()),
        Some(b"MI") => Err("is a big-endian MATLAB file: save it again on a PC".to_string()),
        _ => Err("is not a MATLAB 5, 6 or 7 file: save it with save(..., '-v7')".to_string()),
    }
}

/// Name, shape and type of a variable from its first bytes; class and whether it is complex.
fn describe(head: &[u8]) -> Cause<(Entry, u8, bool)> {
    let flags = Tag::read(head, 0)?;
    let dimensions = Tag::read(head, flags.next)?;
    let name = Tag::read(head, dimensions.next)?;
    if dimensions.kind != TYPE_INT32 {
        return Err(damaged("a variable without dimensions"));
    }
    let word_of_flags = word(&head[flags.data], 0)?;
    let sizes = head[dimensions.data].chunks_exact(4);
    let shape: Option<Vec<u64>> = sizes
        .map(|b| u64::try_from(i32::from_le_bytes([b[0], b[1], b[2], b[3]])).ok())
        .collect();
    let class = word_of_flags as u8;
    let Some(&class_name) = CLASS_NAMES.get(usize::from(class).wrapping_sub(1)) else {
        return Err(damaged(format!("unknown array class {class}")));
    };
    let complex = word_of_flags & FLAG_COMPLEX != 0;
    let kind = match (complex, word_of_flags & FLAG_LOGICAL != 0) {
        (true, _) => format!("complex {class_name}"),
        (_, true) if class == CLASS_SPARSE => "sparse logical".to_string(),
        (_, true) => "logical".to_string(),
        _ => class_name.to_string(),
    };
    let name = String::from_utf8_lossy(&head[name.data]);
    let entry = Entry {
        name: name.trim_end_matches('\0').to_string(),
        shape: shape.ok_or_else(|| damaged("a negative dimension"))?,
        kind,
    };
    Ok((entry, class, complex))
}

/// A sparse matrix of the file.
fn sparse(matrix: &SparseMatrix) -> Cause<Values> {
    let (rows, cols, columns) = (matrix.rows, matrix.cols, &matrix.col_ptr);
    let stored = matrix.values.len();
    if columns.windows(2).any(|w| w[0] > w[1])
        || columns.len() != cols + 1
        || columns[cols] != stored
        || matrix.row_indices.len() != stored
        || matrix.row_indices.iter().any(|&i| i >= rows)
    {
        return Err(damaged("a sparse matrix points outside itself"));
    }
    let mut triplets = Vec::with_capacity(stored);
    for col in 0..cols {
        let places = columns[col]..columns[col + 1];
        triplets.extend(places.map(|k| Triplet {
            row: matrix.row_indices[k],
            col,
            value: matrix.values.at_f64(k),
        }));
    }
    Values::sparse(rows, cols, &triplets)
}

/// The type of a data element, where its data are and where the next element begins.
struct Tag {
    kind: u32,
    data: Range<usize>,
    next: usize,
}

impl Tag {
    fn read(bytes: &[u8], at: usize) -> Cause<Tag> {
        let first = word(bytes, at)?;
        // Up to four bytes of data share the tag's eight, their number in its upper half.
        let (kind, start, len) = match first >> 16 {
            0 => (first, at + 8, word(bytes, at + 4)? as usize),
            len => (first & 0xffff, at + 4, len as usize),
        };
        let small = start == at + 4;
        if small && len > 4 || len > bytes.len().saturating_sub(start) {
            return Err(damaged(format!("{len} bytes are claimed beyond the end")));
        }
        let next = if small {
            at + 8
        } else {
            start + len.next_multiple_of(8)
        };
        let data = start..start + len;
        Ok(Tag { kind, data, next })
    }
}

/// The number in four bytes.
fn word(bytes: &[u8], at: usize) -> Cause<u32> {
    let four = bytes.get(at..).and_then(|rest| rest.first_chunk());
    let four = four.ok_or_else(|| damaged("the data end early"))?;
    Ok(u32::from_le_bytes(*four))
}

fn damaged(what: impl std::fmt::Display) -> String {
    format!("is truncated or damaged ({what}): fetch or save it again")
}
