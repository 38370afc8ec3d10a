//! What a data file holds, and how training would read it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::arrays::{Arrays, Entry};
use super::domain::{Format, Labels, parse};
use super::mat::Mat;
use super::npy::Single;
use super::npz::Npz;
use super::{Domain, Keys, Label, csv, named};
use crate::error::{Cause, Error, Result};
use crate::files;

/// A data file.
#[derive(Clone, Debug, Serialize)]
pub struct Contents {
    /// Its extension.
    pub format: &'static str,
    /// What it lists.
    pub fields: Vec<Field>,
    /// What it is read as, if it can be.
    pub reading: Option<Reading>,
    /// Why it cannot be read.
    pub refusal: Option<String>,
}

/// An array, or a range of columns of a `.csv`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its sizes as they are in the file.
    pub shape: Vec<u64>,
    /// The type of its entries.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is read as; `None` where it is left alone.
    pub role: Option<Role>,
}

/// What a field is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Samples.
    Features,
    /// Their classes.
    Labels,
}

/// A file as a domain.
#[derive(Clone, Debug, Serialize)]
pub struct Reading {
    /// Number of samples.
    pub samples: usize,
    /// Dimension of a sample.
    pub features: usize,
    /// Samples of each part that it is read in.
    pub parts: Vec<usize>,
    /// Share of the features that are 0.
    pub zeros: f64,
    /// Whether [`Normalise::ByFeatures`](super::Normalise::ByFeatures) takes their square roots.
    pub frequencies: bool,
    /// Samples all features of which are 0.
    pub zero_rows: usize,
    /// Classes and their samples.
    pub classes: Vec<(Label, usize)>,
    /// Samples without a label.
    pub unlabelled: usize,
    /// How it would serve as source.
    pub as_source: String,
    /// How it would serve as target, unless options say otherwise.
    pub as_target: String,
    /// What else there is to know.
    pub notes: Vec<String>,
}

/// Looks into the data file at `path`, which `keys` say how to read.
///
/// # Errors
/// The file is missing, damaged or of another kind. One that merely cannot be trained on is none.
pub fn inspect(path: &Path, keys: &Keys) -> Result<Contents> {
    let format = Format::known(path)?;
    let bytes = files::read(path)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let fields = fields(&name, format, &bytes, keys).map_err(|cause| Error::file(path, cause))?;
    let names = Format::ALL.iter();
    let extension = names.into_iter().find(|(_, known)| *known == format);
    let mut contents = Contents {
        format: extension.expect("every format has an extension").0,
        fields,
        reading: None,
        refusal: None,
    };
    match parse(&name, format, &bytes, keys, Labels::Needed) {
        Ok(domain) => contents.reading = Some(Reading::of(&domain)),
        Err(cause) => contents.refusal = Some(cause),
    }
    Ok(contents)
}

fn fields(name: &str, format: Format, bytes: &[u8], keys: &Keys) -> Cause<Vec<Field>> {
    match format {
        Format::Mat => Ok(arrays(&Mat::open(bytes)?, keys)),
        Format::Npz => Ok(arrays(&Npz::open(bytes)?, keys)),
        Format::Npy => {
            let mut fields = arrays(&Single::open(bytes, name)?, &Keys::default());
            fields
                .iter_mut()
                .for_each(|field| field.role = Some(Role::Features));
            Ok(fields)
        }
        Format::Csv => columns(bytes, keys),
    }
}

fn arrays(file: &dyn Arrays, keys: &Keys) -> Vec<Field> {
    // What cannot be selected is told by the refusal to read.
    let selected = named::select(file, keys, Labels::Needed, &mut Vec::new());
    let (features, labels) = selected.unwrap_or_default();
    let field = |(i, entry): (usize, &Entry)| Field {
        name: entry.name.clone(),
        shape: entry.shape.clone(),
        kind: entry.kind.clone(),
        role: match (features.contains(&i), labels.contains(&i)) {
            (true, _) => Some(Role::Features),
            (_, true) => Some(Role::Labels),
            _ => None,
        },
    };
    file.entries().iter().enumerate().map(field).collect()
}

/// Columns of a `.csv`, neighbours of one kind together.
fn columns(bytes: &[u8], keys: &Keys) -> Cause<Vec<Field>> {
    let (first, layout) = csv::outline(bytes, keys)?;
    let name = |at: usize| match layout.header {
        true => format!("column {} `{}`", at + 1, first[at]),
        false => format!("column {}", at + 1),
    };
    let kind = |at: usize| match layout.role(at) {
        Some(Role::Features) => "numbers",
        Some(Role::Labels) => "integers or text",
        None if at < layout.index => "the rows' index",
        None => "left out",
    };
    let all: Vec<usize> = (0..first.len()).collect();
    let fields = all.chunk_by(|&a, &b| kind(a) == kind(b)).map(|run| Field {
        name: match run {
            &[one] => name(one),
            run => format!("{} to {}", name(run[0]), name(run[run.len() - 1])),
        },
        shape: vec![run.len() as u64],
        kind: kind(run[0]).to_string(),
        role: layout.role(run[0]),
    });
    Ok(fields.collect())
}

impl Reading {
    fn of(domain: &Domain) -> Reading {
        let features = &domain.features;
        let values = features.rows() as f64 * features.cols() as f64;
        let mut classes: BTreeMap<&Label, usize> = BTreeMap::new();
        for label in domain.labels.iter().flatten() {
            *classes.entry(label).or_default() += 1;
        }
        let unlabelled = domain.labels.iter().filter(|label| label.is_none()).count();
        let labelled = domain.labels.len() - unlabelled;
        let as_source = match classes.len() {
            0 => "cannot serve: training needs its labels".to_string(),
            1 => "cannot serve: it has a single class".to_string(),
            n => format!("{labelled} samples of {n} classes"),
        };
        let fewest = classes.values().min().copied().unwrap_or(0);
        let as_target = if labelled == 0 {
            "cannot serve: a few samples of each class need a label".to_string()
        } else if domain.parts.len() > 1 {
            let first = domain.parts[0];
            let labels = domain.labels[..first].iter().flatten().count();
            format!("{labels} labelled samples in its first part, the rest to label")
        } else if unlabelled > 0 {
            format!("{labelled} labelled samples, {unlabelled} to label")
        } else if fewest < 3 {
            format!("--labelled-per-class {fewest} at most, the samples of its smallest class")
        } else {
            "3 labelled samples of each class, drawn, the rest to label and to check".to_string()
        };
        Reading {
            samples: domain.features.rows(),
            features: domain.features.cols(),
            parts: domain.parts.clone(),
            zeros: 1.0 - features.nonzeros() as f64 / values,
            frequencies: domain.frequencies,
            zero_rows: features.zero_rows(),
            classes: classes
                .into_iter()
                .map(|(label, n)| (label.clone(), n))
                .collect(),
            unlabelled,
            as_source,
            as_target,
            notes: domain.notes.clone(),
        }
    }
}
