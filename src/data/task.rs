//! A source and a target domain with one class list.

use super::Matrix;

/// A class as a file names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Label {
    /// An integer.
    Integer(i64),
    /// Anything else.
    Text(String),
}

/// One domain: features, and labels where they are known.
#[derive(Clone, Debug, PartialEq)]
pub struct Domain {
    /// Name to show, from the file's.
    pub name: String,
    /// Samples, rows of unit length or zero.
    pub features: Matrix,
    /// One per sample.
    pub labels: Vec<Option<Label>>,
    /// Rows of each part that the file was read in; their sum is the number of samples.
    pub parts: Vec<usize>,
    /// What the user should know about how the file was read.
    pub notes: Vec<String>,
}

/// What is to be learnt: both domains and their common classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// The labelled domain.
    pub source: Domain,
    /// The domain to be labelled.
    pub target: Domain,
    /// Classes in sorted order.
    pub classes: Vec<Label>,
    /// Class index of each source row.
    pub source_labels: Vec<Option<usize>>,
    /// Class index of each target row, where known.
    pub target_labels: Vec<Option<usize>>,
    /// What the user should know about the classes.
    pub notes: Vec<String>,
}
