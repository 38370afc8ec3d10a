//! A file of named arrays, whatever its format: listed first, each array read on demand.

use std::fmt;

use super::{Features, Matrix, Sparse, Triplet};
pub(super) use crate::error::Cause;
use crate::memory::affordable;

/// An array as the file lists it.
pub(super) struct Entry {
    pub name: String,
    pub shape: Vec<u64>,
    /// The number type, or what else it is.
    pub kind: String,
}

/// Content of an array of one or two dimensions, row by row.
pub(super) enum Values {
    Numbers(Vec<f64>),
    Text(Vec<String>),
    Sparse(Sparse),
}

/// Zeros that a sparse matrix may imply for each value that it stores, and for none: a size is
/// easily claimed, and takes memory when the zeros are written out.
const SPARSITY: u64 = 16_384;
const FREE: u64 = 1 << 16;

/// Refuses to make `implied` numbers of the `stored` ones of a sparse array.
fn plausible(implied: u64, stored: usize) -> Cause<()> {
    match implied > (stored as u64).saturating_mul(SPARSITY).max(FREE) {
        true => Err(format!(
            "stores {stored} values, fewer than one in {SPARSITY}: drop empty samples and features"
        )),
        false => affordable(implied, 32),
    }
}

impl Values {
    /// A sparse `rows × cols` matrix; every value lies inside.
    pub fn sparse(rows: usize, cols: usize, triplets: &[Triplet]) -> Cause<Values> {
        // No row or column costs more than a number until a value is in it.
        plausible(rows.max(cols) as u64, triplets.len())?;
        if rows.max(cols) > Sparse::MOST {
            return Err(format!("has more than {} rows or columns", Sparse::MOST));
        }
        Ok(Values::Sparse(Sparse::new(rows, cols, triplets)))
    }

    /// All numbers, zeros included; `None` of text.
    pub fn numbers(self) -> Cause<Option<Vec<f64>>> {
        match self {
            Values::Numbers(numbers) => Ok(Some(numbers)),
            Values::Text(_) => Ok(None),
            Values::Sparse(sparse) => {
                let implied = (sparse.rows() as u64).saturating_mul(sparse.cols() as u64);
                plausible(implied, sparse.stored())?;
                Ok(Some(sparse.dense(0..sparse.rows()).values))
            }
        }
    }

    /// The features that they are, `rows × cols`; `None` of text.
    pub fn features(self, rows: usize, cols: usize) -> Option<Features> {
        match self {
            Values::Numbers(values) => Some(Matrix { rows, cols, values }.into()),
            Values::Text(_) => None,
            Values::Sparse(sparse) => Some(sparse.into()),
        }
    }
}

/// A file of named arrays.
pub(super) trait Arrays {
    fn entries(&self) -> &[Entry];

    /// Reads one array; as many values as its shape says.
    fn read(&mut self, entry: usize) -> Cause<Values>;
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape: Vec<String> = self.shape.iter().map(u64::to_string).collect();
        let (name, shape) = (legible(&self.name), legible(&shape.join("×")));
        write!(f, "{name} ({shape} {})", legible(&self.kind))
    }
}

/// Everything in a file, for an error message.
pub(super) fn list(entries: &[Entry]) -> String {
    let shown: Vec<String> = entries.iter().take(30).map(Entry::to_string).collect();
    match entries.len() {
        0 => "nothing".to_string(),
        n if n > 30 => format!("{} and {} more", shown.join(", "), n - 30),
        _ => shown.join(", "),
    }
}

/// The first of `names` that the file has: as spelt if it can be, else ignoring case.
pub(super) fn locate<S: AsRef<str>>(entries: &[Entry], names: &[S]) -> Option<usize> {
    let find = |same: &dyn Fn(&str, &str) -> bool| {
        let mut names = names.iter().map(AsRef::as_ref);
        names.find_map(|name| entries.iter().position(|e| same(&e.name, name)))
    };
    find(&|a, b| a == b).or_else(|| find(&|a, b| a.eq_ignore_ascii_case(b)))
}

/// Column-by-column values, as MATLAB and Fortran keep them, row by row.
pub(super) fn from_columns(values: Vec<f64>, rows: usize, cols: usize) -> Vec<f64> {
    if rows <= 1 || cols <= 1 {
        return values;
    }
    let columns = Matrix {
        rows: cols,
        cols: rows,
        values,
    };
    columns.transposed().values
}

/// Names and words out of files, fit for a message: on one line, and the beginning of long ones.
pub(crate) fn legible(text: &str) -> String {
    const LONGEST: usize = 160;
    let line = one_line(text);
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Words out of files on one line.
pub(super) fn one_line(text: &str) -> String {
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(plain).collect()
}
