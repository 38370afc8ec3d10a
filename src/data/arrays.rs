//! A file of named arrays, whatever its format: listed first, each array read on demand.

use std::fmt;

use super::Matrix;
pub(super) use crate::error::Cause;

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
