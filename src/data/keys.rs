//! What the user may say about where features and labels are in a file.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// Where a file keeps features and labels.
///
/// Several entries are several parts, joined in order; an empty list means the usual names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Names of the feature matrices (`.mat`, `.npz`).
    pub features: Vec<String>,
    /// Names of the label vectors, one per feature matrix; the last parts may go without.
    pub labels: Vec<String>,
    /// The label column (`.csv`).
    pub label_column: LabelColumn,
    /// Columns that are left out, as the header calls them (`.csv`).
    pub ignored_columns: Vec<String>,
}

/// The column of a `.csv` file that holds the labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LabelColumn {
    /// The first.
    First,
    /// The last.
    #[default]
    Last,
    /// The one that the header calls so.
    Named(String),
    /// None: all columns are features.
    Absent,
}

impl FromStr for LabelColumn {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<LabelColumn, Infallible> {
        Ok(match text {
            "first" => LabelColumn::First,
            "last" => LabelColumn::Last,
            "none" => LabelColumn::Absent,
            name => LabelColumn::Named(name.to_string()),
        })
    }
}

impl fmt::Display for LabelColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LabelColumn::First => "first",
            LabelColumn::Last => "last",
            LabelColumn::Absent => "none",
            LabelColumn::Named(name) => name,
        })
    }
}
