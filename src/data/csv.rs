//! Comma-separated values: a sample per line, one column with the label. A column that numbers or
//! names the rows, as pandas and R write it, is known by its place, the first, and by its header,
//! which is empty or pandas' `Unnamed: 0`; it is left out.

use csv::{ReaderBuilder, StringRecord};

use super::arrays::{Cause, legible, one_line};
use super::domain::Part;
use super::{Label, LabelColumn, Matrix};
use crate::memory::affordable;

/// A first line of column numbers could be data; with this many it is not.
const NUMBERED: usize = 4;

/// Reads the bytes of a file.
pub(super) fn read(
    name: &str,
    bytes: &[u8],
    label: &LabelColumn,
    notes: &mut Vec<String>,
) -> Cause<Part> {
    // A cell takes two bytes at least, and becomes eight.
    affordable(bytes.len() as u64, 4)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut builder = ReaderBuilder::new();
    let mut reader = builder.has_headers(false).flexible(true).from_reader(bytes);
    let mut lines = reader
        .records()
        .map(|line| line.map_err(|e| legible(&e.to_string())));
    let first = lines
        .next()
        .ok_or("is empty: a sample per line is needed")??;
    let width = first.len();
    let layout = Layout::of(&first, label)?;
    if layout.header
        && layout
            .features(&first)
            .any(|(_, cell)| number(cell).is_some())
    {
        notes.push("the first line was taken for a header".to_string());
    }
    for column in 1..=layout.index {
        notes.push(format!(
            "column {column}, which the header gives no name, was taken for the rows' index and left out"
        ));
    }
    let mut features = Matrix {
        rows: 0,
        cols: layout.features(&first).count(),
        values: Vec::new(),
    };
    let mut labels = Vec::new();
    let mut found = Found::default();
    let data = (!layout.header)
        .then_some(Ok(first))
        .into_iter()
        .chain(lines);
    for line in data {
        let line = line?;
        let at = line.position().map_or(0, |p| p.line());
        if line.len() != width {
            return Err(format!(
                "line {at} has {} cells, the first line {width}",
                line.len()
            ));
        }
        for (i, cell) in layout.features(&line) {
            match number(cell) {
                Some(value) if value.is_finite() => features.values.push(value),
                _ => return Err(format!("line {at}, column {}: {}", i + 1, refusal(cell))),
            }
        }
        labels.push(layout.label.and_then(|column| {
            let start = line.position().map_or(0, |p| p.byte() as usize);
            let quoted = || is_quoted(bytes.get(start..)?, column);
            found.label(&line[column], at, || quoted().unwrap_or(false))
        }));
        features.rows += 1;
    }
    found.told(labels.iter().flatten().count(), notes)?;
    match features.rows {
        0 => Err("has a header and no samples".to_string()),
        _ => Ok(Part {
            name: name.to_string(),
            features: features.into(),
            labels,
        }),
    }
}

/// What is found in the column of the labels, beside labels.
#[derive(Default)]
struct Found {
    /// Labels that are numbers, but no integers: how many, and line and text of the first.
    fractions: usize,
    first: Option<(u64, String)>,
    /// `NA` without quotes.
    missing: usize,
}

impl Found {
    /// The label in a cell of a line.
    fn label(&mut self, cell: &str, line: u64, quoted: impl Fn() -> bool) -> Option<Label> {
        let cell = cell.trim();
        if number(cell).is_some_and(|x| x.is_finite() && x.fract() != 0.0) {
            self.fractions += 1;
            self.first.get_or_insert_with(|| (line, legible(cell)));
        }
        if cell == "NA" && !quoted() {
            self.missing += 1;
            return None;
        }
        Label::from_text(cell)
    }

    /// Tells what was found, or refuses a column that cannot be one of labels: half of the `labels`
    /// or more are measurements.
    fn told(&self, labels: usize, notes: &mut Vec<String>) -> Cause<()> {
        if let Some((line, text)) = &self.first {
            if 2 * self.fractions >= labels {
                return Err(format!(
                    "line {line}: {text} is no label: labels are integers or words, not mostly fractions; choose the label column with --label-column first, last, none or its name"
                ));
            }
            notes.push(format!(
                "labels that are fractions are read as words: {}, the first {text} in line {line}",
                self.fractions
            ));
        }
        if self.missing > 0 {
            notes.push(format!(
                "labels NA without quotes stand for none: {}; a class of that name is \"NA\"",
                self.missing
            ));
        }
        Ok(())
    }
}

/// Whether the cell in `column` of the line that `bytes` begin with is in quotes, which a reader takes
/// off; `None` past the end.
fn is_quoted(bytes: &[u8], column: usize) -> Option<bool> {
    let mut at = bytes.iter().position(|b| !b"\r\n".contains(b))?;
    let find = |at: usize, byte: u8| Some(at + bytes.get(at..)?.iter().position(|&b| b == byte)?);
    for _ in 0..column {
        if bytes.get(at) == Some(&b'"') {
            at = find(at + 1, b'"')?;
            // Two of them are one within the cell.
            while bytes.get(at + 1) == Some(&b'"') {
                at = find(at + 2, b'"')?;
            }
        }
        at = find(at, b',')? + 1;
    }
    Some(bytes.get(at)? == &b'"')
}

/// The cells of the first line, and what they are.
pub(super) fn outline(bytes: &[u8], label: &LabelColumn) -> Cause<(Vec<String>, Layout)> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut builder = ReaderBuilder::new();
    let mut reader = builder.has_headers(false).from_reader(bytes);
    let first = reader.records().next();
    let first = first.ok_or("is empty: a sample per line is needed")?;
    let first = first.map_err(|e| legible(&e.to_string()))?;
    let layout = Layout::of(&first, label)?;
    let cells = first.iter().map(|cell| cell.trim().to_string());
    Ok((cells.collect(), layout))
}

/// What columns are, and whether the first line is a header.
pub(super) struct Layout {
    /// Columns of the rows' index, the first ones.
    pub index: usize,
    /// The column of the labels.
    pub label: Option<usize>,
    pub header: bool,
}

impl Layout {
    fn of(first: &StringRecord, label: &LabelColumn) -> Cause<Layout> {
        let column = label_column(first, label)?;
        if column.is_some() && first.len() == 1 {
            return Err("has a single column and takes it for the labels: pass --label-column none if it is a feature".to_string());
        }
        // Labels that are asked for by place or name are labels, whatever the header is.
        let unnamed = |&(i, cell): &(usize, &str)| {
            Some(i) != column && (cell.is_empty() || cell.starts_with("Unnamed: 0"))
        };
        let mut cells = first.iter().map(str::trim).enumerate();
        let mut layout = Layout {
            index: cells.by_ref().take_while(unnamed).count(),
            label: column,
            header: true,
        };
        if !layout.has_header(first) {
            layout.index = 0;
            layout.header = false;
        }
        if !layout.header && matches!(label, LabelColumn::Named(_)) {
            return Err(format!(
                "has no header, so no label column called {label}: pass first, last or none"
            ));
        }
        if layout.features(first).next().is_none() {
            return Err("has no column of features beside index and labels".to_string());
        }
        Ok(layout)
    }

    /// Whether the first line names columns: something in it that is no number, or their own numbers.
    fn has_header(&self, first: &StringRecord) -> bool {
        let cells = first.iter().map(str::trim).enumerate();
        let mut cells = cells.filter(|&(i, _)| Some(i) != self.label);
        let words = cells.any(|(_, cell)| !cell.is_empty() && number(cell).is_none());
        let counts_from = |start: usize| {
            let mut cells = self.features(first).enumerate();
            cells.all(|(i, (_, cell))| cell.parse() == Ok(start + i))
        };
        let least = if self.index > 0 { 1 } else { NUMBERED };
        let enough = self.features(first).count() >= least;
        words || enough && (counts_from(0) || counts_from(1))
    }

    /// Cells of features, with their columns.
    fn features<'a>(&self, line: &'a StringRecord) -> impl Iterator<Item = (usize, &'a str)> {
        let (index, label) = (self.index, self.label);
        let cells = line.iter().map(str::trim).enumerate();
        cells.filter(move |&(i, _)| i >= index && Some(i) != label)
    }
}

/// Which column holds the labels.
fn label_column(first: &StringRecord, label: &LabelColumn) -> Cause<Option<usize>> {
    let LabelColumn::Named(name) = label else {
        return Ok(match label {
            LabelColumn::First => Some(0),
            LabelColumn::Absent => None,
            _ => Some(first.len() - 1),
        });
    };
    let mut cells = first.iter().map(str::trim);
    let exact = cells.clone().position(|cell| cell == name);
    let found = exact.or_else(|| cells.position(|cell| cell.eq_ignore_ascii_case(name)));
    found.map(Some).ok_or_else(|| {
        let mut shown: Vec<String> = first.iter().take(30).map(legible).collect();
        if first.len() > shown.len() {
            shown.push("…".to_string());
        }
        format!(
            "has no column called {}; its first line is {}",
            legible(name),
            shown.join(", ")
        )
    })
}

fn number(cell: &str) -> Option<f64> {
    cell.parse().ok()
}

/// What is wrong with a cell of a feature.
fn refusal(cell: &str) -> String {
    match (cell, number(cell)) {
        ("", _) => "the cell is empty; every feature needs a number".to_string(),
        (_, Some(value)) => format!("{value} is not finite; every feature must be"),
        _ => {
            let shown: String = one_line(cell).chars().take(40).collect();
            format!("`{shown}` is no number; --label-column chooses the label column")
        }
    }
}
