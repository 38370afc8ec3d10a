//! Which rows take part, and as what.

/// Rows of one partition, as sorted indices. A row in none of them takes no part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Source rows.
    pub source: Vec<usize>,
    /// Target rows whose label is used in training.
    pub labelled: Vec<usize>,
    /// Target rows to be labelled.
    pub unlabelled: Vec<usize>,
}
