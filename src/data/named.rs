//! Features and labels out of a file of named arrays.

use super::arrays::{Arrays, Cause, Entry, Values, legible, list, locate};
use super::domain::{Labels, Part};
use super::{Keys, Label};

const FEATURES: [&str; 6] = ["features", "fts", "feas", "fea", "data", "X"];
const LABELS: [&str; 5] = ["labels", "label", "Y", "y", "gnd"];

/// The parts that `keys` name, or the one part under the usual names.
pub(super) fn parts(
    file: &mut dyn Arrays,
    keys: &Keys,
    needed: Labels,
    notes: &mut Vec<String>,
) -> Cause<Vec<Part>> {
    let (features, labels) = select(file, keys, needed, notes)?;
    let mut labels = labels.into_iter();
    let mut parts = Vec::new();
    for features in features {
        parts.push(part(file, features, labels.next(), needed, notes)?);
    }
    Ok(parts)
}

/// Places of the feature matrices and of their labels.
pub(super) fn select(
    file: &dyn Arrays,
    keys: &Keys,
    needed: Labels,
    notes: &mut Vec<String>,
) -> Cause<(Vec<usize>, Vec<usize>)> {
    let entries = file.entries();
    let usual = |names: &[&str], what: &str, notes: &mut Vec<String>| {
        let found = locate(entries, names)?;
        let name = &entries[found].name;
        let usual = |name: &str| names.iter().any(|n| n.eq_ignore_ascii_case(name));
        let candidates = entries.iter().filter(|e| usual(&e.name)).count();
        if candidates > 1 || !names.contains(&name.as_str()) {
            notes.push(format!("{what} are read from `{}`", legible(name)));
        }
        Some(found)
    };
    let named = |names: &[String], option: &str| {
        let find = |name: &String| {
            locate(entries, &[name]).ok_or_else(|| {
                let held = list(entries);
                format!("has no `{}` ({option}); it holds {held}", legible(name))
            })
        };
        names.iter().map(find).collect::<Cause<Vec<usize>>>()
    };
    let features = match &keys.features[..] {
        [] => vec![usual(&FEATURES, "features", notes).ok_or_else(|| {
            format!(
                "has no features under {}; it holds {}: choose with --features-key and --labels-key",
                FEATURES.join(", "),
                list(entries)
            )
        })?],
        names => named(names, "--features-key")?,
    };
    let labels = match &keys.labels[..] {
        // Which are of which part is not known.
        [] if features.len() > 1 && needed == Labels::Spare => Vec::new(),
        [] if features.len() > 1 => {
            return Err(format!(
                "features come in {} parts: name the labels of each with --labels-key; it holds {}",
                features.len(),
                list(entries)
            ));
        }
        [] => usual(&LABELS, "labels", notes).into_iter().collect(),
        names => named(names, "--labels-key")?,
    };
    if labels.len() > features.len() {
        return Err(format!(
            "--labels-key names {} arrays, --features-key {}: name one of each per part",
            labels.len(),
            features.len()
        ));
    }
    if keys.labels.is_empty() && labels.is_empty() && needed == Labels::Needed {
        notes.push(format!(
            "no labels under {}; the file holds {}: --labels-key chooses",
            LABELS.join(", "),
            list(entries)
        ));
    }
    Ok((features, labels))
}

/// One feature matrix and its labels.
fn part(
    file: &mut dyn Arrays,
    features: usize,
    entry: Option<usize>,
    needed: Labels,
    notes: &mut Vec<String>,
) -> Cause<Part> {
    let mut labels = match entry.map(|entry| read_labels(file, entry)) {
        None => None,
        Some(Ok(labels)) => Some(labels),
        Some(Err(cause)) => needed.lost(cause, notes)?,
    };
    let shown = file.entries()[features].to_string();
    let &[rows, cols] = &file.entries()[features].shape[..] else {
        return Err(format!(
            "{shown} is no feature matrix: two dimensions are needed, a sample per row"
        ));
    };
    if rows == 0 || cols == 0 {
        return Err(format!(
            "{shown} is empty: samples and features are needed, at least one each"
        ));
    }
    // Labels that cannot be read have a number all the same.
    let entry = entry.map(|entry| &file.entries()[entry]);
    let count = entry.filter(|entry| are_labels(entry));
    let count = count.map(|entry| entry.shape.iter().product::<u64>());
    let transpose = match count {
        Some(n) if n == rows => false,
        Some(n) if n == cols => true,
        None => false,
        Some(n) => {
            let names = entry.map(Entry::to_string).unwrap_or_default();
            let cause = format!(
                "{shown} and {names} do not fit: {n} labels for {rows} rows or {cols} columns; choose others with --features-key and --labels-key"
            );
            labels = needed.lost(cause, notes)?;
            false
        }
    };
    let values = file.read(features)?;
    let Some(matrix) = values.features(rows as usize, cols as usize) else {
        return Err(format!("{shown} holds text: features are numbers"));
    };
    if transpose {
        notes.push(format!(
            "features were transposed: {shown} has a sample per column, as its {cols} labels show"
        ));
    }
    let name = &file.entries()[features].name;
    if labels.is_none() {
        notes.push(format!("`{}` has no labels", legible(name)));
    }
    let features = if transpose {
        matrix.transposed()
    } else {
        matrix
    };
    Ok(Part {
        columns: None,
        name: name.clone(),
        labels: labels.unwrap_or_else(|| vec![None; features.rows()]),
        features,
    })
}

/// Whether an array has a label per sample, as far as its shape says.
fn are_labels(entry: &Entry) -> bool {
    (1..=2).contains(&entry.shape.len()) && entry.shape.iter().filter(|&&n| n != 1).count() <= 1
}

fn read_labels(file: &mut dyn Arrays, entry: usize) -> Cause<Vec<Option<Label>>> {
    let shown = file.entries()[entry].to_string();
    if !are_labels(&file.entries()[entry]) {
        return Err(format!(
            "{shown} are no labels: n×1 or 1×n is needed, one per sample; choose with --labels-key"
        ));
    }
    let labels: Cause<Vec<Option<Label>>> = match file.read(entry)? {
        Values::Text(values) => Ok(values.iter().map(|text| Label::from_text(text)).collect()),
        values => {
            let numbers = values.numbers()?.unwrap_or_default();
            numbers.into_iter().map(Label::from_number).collect()
        }
    };
    labels.map_err(|cause| format!("{shown}: {cause}; --labels-key chooses other labels"))
}
