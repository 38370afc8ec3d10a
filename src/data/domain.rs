//! A domain out of a file.

use std::path::Path;

use super::arrays::{Cause, legible, one_line};
use super::mat::Mat;
use super::npy::Single;
use super::npz::Npz;
use super::{Features, Keys, Label, LabelColumn, csv, named};
use crate::error::{Error, Result};
use crate::files;

/// One domain: features, and labels where they are known.
#[derive(Clone, Debug, PartialEq)]
pub struct Domain {
    /// Name to show, from the file's.
    pub name: String,
    /// Samples, rows of unit length or zero.
    pub features: Features,
    /// Names of the features, where the file gives them: the header of a `.csv`.
    pub columns: Option<Vec<String>>,
    /// Whether they were [frequencies](Features::are_frequencies) before rows had unit length.
    pub frequencies: bool,
    /// One per sample.
    pub labels: Vec<Option<Label>>,
    /// Rows of each part that the file was read in; their sum is the number of samples.
    pub parts: Vec<usize>,
    /// What the user should know about how the file was read.
    pub notes: Vec<String>,
}

/// What a file, or one of several arrays in it, holds: features as they stand, a label per row.
pub(super) struct Part {
    pub name: String,
    pub features: Features,
    pub columns: Option<Vec<String>>,
    pub labels: Vec<Option<Label>>,
}

/// What labels are read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Labels {
    /// Those that cannot be read are an error.
    Needed,
    /// Samples alone are needed.
    Spare,
}

impl Labels {
    /// What comes of labels that cannot be read, for a `cause`: none, and a note, where they can be
    /// spared.
    pub(super) fn lost<T>(self, cause: String, notes: &mut Vec<String>) -> Cause<Option<T>> {
        match self {
            Labels::Needed => Err(cause),
            Labels::Spare => {
                notes.push(format!("labels are left out: {cause}"));
                Ok(None)
            }
        }
    }
}

/// File formats, known by their extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Mat,
    Npz,
    Npy,
    Csv,
}

impl Format {
    /// Extensions in the order in which a name is looked up.
    pub(super) const ALL: [(&'static str, Format); 4] = [
        ("mat", Format::Mat),
        ("npz", Format::Npz),
        ("npy", Format::Npy),
        ("csv", Format::Csv),
    ];

    pub(super) fn of(path: &Path) -> Option<Format> {
        let extension = path.extension()?.to_str()?;
        let known = |(name, _): &&(&str, Format)| extension.eq_ignore_ascii_case(name);
        Format::ALL.iter().find(known).map(|&(_, format)| format)
    }

    /// The format of a file that must have one.
    pub(super) fn known(path: &Path) -> Result<Format> {
        let unknown = "has an unknown extension: .mat, .npz, .npy or .csv is needed";
        Format::of(path).ok_or_else(|| Error::file(path, unknown))
    }
}

/// Reads the domain in a `.mat`, `.npz`, `.npy` or `.csv` file; its rows come out L2-normalised.
///
/// # Errors
/// The file is missing, damaged, of another kind, or holds no features as `keys` describe them.
pub fn read_domain(path: &Path, keys: &Keys) -> Result<Domain> {
    read(path, keys, Labels::Needed)
}

/// Reads what [`read_domain`] reads, for its samples: labels that cannot be read, or that are of other
/// samples, are left out, with a note.
///
/// # Errors
/// As [`read_domain`], but for labels; or `keys` name labels that the file has not.
pub fn read_samples(path: &Path, keys: &Keys) -> Result<Domain> {
    read(path, keys, Labels::Spare)
}

fn read(path: &Path, keys: &Keys, labels: Labels) -> Result<Domain> {
    let format = Format::known(path)?;
    let bytes = files::read(path)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    parse(&name, format, &bytes, keys, labels).map_err(|cause| Error::file(path, cause))
}

/// The domain in the bytes of a file.
pub(super) fn parse(
    name: &str,
    format: Format,
    bytes: &[u8],
    keys: &Keys,
    labels: Labels,
) -> Cause<Domain> {
    let mut notes = Vec::new();
    let parts = match format {
        Format::Mat => named::parts(&mut Mat::open(bytes)?, keys, labels, &mut notes)?,
        Format::Npz => named::parts(&mut Npz::open(bytes)?, keys, labels, &mut notes)?,
        Format::Npy => {
            let mut only = Keys::default();
            only.features.push(name.to_string());
            named::parts(
                &mut Single::open(bytes, name)?,
                &only,
                labels,
                &mut Vec::new(),
            )?
        }
        Format::Csv => vec![csv::read(name, bytes, keys, labels, &mut notes)?],
    };
    let keyed = !keys.features.is_empty() || !keys.labels.is_empty();
    if keyed && matches!(format, Format::Npy | Format::Csv) {
        notes.push("keys of features and labels play no part in this format".to_string());
    }
    if format == Format::Npy {
        notes.push("a .npy file has no labels; .npz or .csv can hold them".to_string());
    }
    let columns = keys.label_column != LabelColumn::default() || !keys.ignored_columns.is_empty();
    if format != Format::Csv && columns {
        notes.push("names of columns play no part in this format".to_string());
    }
    join(name, parts, notes)
}

/// Parts one below the other, checked and scaled.
fn join(name: &str, parts: Vec<Part>, notes: Vec<String>) -> Cause<Domain> {
    let (first, cols) = (legible(&parts[0].name), parts[0].features.cols());
    let columns = parts[0].columns.clone();
    let mut joined: Option<Features> = None;
    let (mut labels, mut rows) = (Vec::new(), Vec::new());
    for part in parts {
        let (here, features) = (legible(&part.name), part.features);
        if features.cols() != cols {
            return Err(format!(
                "parts differ in dimension: {first} has {cols} features, {here} has {}",
                features.cols()
            ));
        }
        if let Some((row, column, value)) = features.not_finite() {
            return Err(format!(
                "{here}: row {}, column {} (counted from 1, a sample per row) is {value}; every feature must be finite",
                row + 1,
                column + 1,
            ));
        }
        rows.push(features.rows());
        labels.extend(part.labels);
        match &mut joined {
            None => joined = Some(features),
            Some(joined) => joined.append(features),
        }
    }
    let features = joined.expect("at least one part");
    let mut domain = Domain {
        name: one_line(name),
        frequencies: features.are_frequencies(),
        features,
        columns,
        labels,
        parts: rows,
        notes,
    };
    domain.features.normalise_rows();
    let count = domain.features.zero_rows();
    if count > 0 {
        domain
            .notes
            .push(format!("all-zero rows that stay zero: {count}"));
    }
    match domain.labels.iter().filter(|label| label.is_none()).count() {
        0 => {}
        n if n == domain.labels.len() => domain.notes.push("no row has a label".to_string()),
        n => domain
            .notes
            .push(format!("rows without a label (empty, NaN or -1): {n}")),
    }
    Ok(domain)
}
