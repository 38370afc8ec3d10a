//! Comma-separated values: a sample per line, one column with the label. A column that numbers or
//! names the rows, as pandas and R write it, is known by its place, the first, and by its header,
//! which is empty or pandas' `Unnamed: 0`; it is left out, and so are columns that the user names.
//! Semicolons and tabs separate cells too, where the first lines say so.

use csv::{ByteRecord, Reader, ReaderBuilder, StringRecord};

use super::arrays::{Cause, legible, one_line};
use super::domain::{Labels, Part};
use super::{Keys, Label, LabelColumn, Matrix, Role};
use crate::memory::affordable;

/// A first line of column numbers could be data; with this many it is not.
const NUMBERED: usize = 4;

/// Lines that show what separates cells.
const SAMPLED: usize = 20;

/// Reads the bytes of a file.
pub(super) fn read(
    name: &str,
    bytes: &[u8],
    keys: &Keys,
    needed: Labels,
    notes: &mut Vec<String>,
) -> Cause<Part> {
    // A cell takes two bytes at least, and becomes eight.
    affordable(bytes.len() as u64, 4)?;
    let bytes = utf8(bytes)?;
    let separator = separator(bytes);
    let by = match separator {
        b',' => return rows(name, bytes, separator, keys, needed, notes),
        b';' => "cells are separated by semicolons",
        _ => "cells are separated by tabs",
    };
    notes.push(by.to_string());
    rows(name, bytes, separator, keys, needed, notes).map_err(|cause| format!("{cause} ({by})"))
}

/// The bytes without the mark before them that says that they are UTF-8.
fn utf8(bytes: &[u8]) -> Cause<&[u8]> {
    // Without a mark, half of the bytes of plain letters and digits are zero.
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => {
            Err("is UTF-16: save it as UTF-8".to_string())
        }
        _ => Ok(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)),
    }
}

/// What separates cells: a comma, unless semicolons or tabs split the first lines alike, and commas
/// do not, or leave more that is no number.
fn separator(bytes: &[u8]) -> u8 {
    let sample = |separator| -> Vec<ByteRecord> {
        let lines = reader(bytes, separator).into_byte_records();
        lines.map_while(|line| line.ok()).take(SAMPLED).collect()
    };
    let width = |lines: &[ByteRecord]| lines.first().map_or(0, ByteRecord::len);
    let alike = |lines: &[ByteRecord]| {
        width(lines) > 1 && lines.iter().all(|line| line.len() == width(lines))
    };
    // The first line may be a header.
    let words = |lines: &[ByteRecord]| {
        let cells = lines.iter().skip(1).flatten();
        cells
            .filter(|cell| !is_numeric(String::from_utf8_lossy(cell).trim()))
            .count()
    };
    let commas = sample(b',');
    let others = [b';', b'\t'].map(|separator| (separator, sample(separator)));
    let better =
        |lines: &[ByteRecord]| alike(lines) && !(alike(&commas) && words(&commas) <= words(lines));
    let found = others.iter().find(|(_, lines)| better(lines));
    // Lines of different lengths are refused, but not for want of commas.
    let only = || others.iter().find(|(_, lines)| width(lines) > 1);
    let found = found.or_else(|| only().filter(|_| width(&commas) == 1));
    found.map_or(b',', |&(separator, _)| separator)
}

fn reader(bytes: &[u8], separator: u8) -> Reader<&[u8]> {
    let mut builder = ReaderBuilder::new();
    builder
        .delimiter(separator)
        .has_headers(false)
        .flexible(true);
    builder.from_reader(bytes)
}

/// Reads a sample per line, cells apart by `separator`.
fn rows(
    name: &str,
    bytes: &[u8],
    separator: u8,
    keys: &Keys,
    needed: Labels,
    notes: &mut Vec<String>,
) -> Cause<Part> {
    let mut reader = reader(bytes, separator);
    let mut lines = reader
        .records()
        .map(|line| line.map_err(|e| legible(&e.to_string())));
    let first = lines
        .next()
        .ok_or("is empty: a sample per line is needed")??;
    let width = first.len();
    let layout = Layout::of(&first, keys)?;
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
    let missing = keys
        .ignored_columns
        .iter()
        .filter(|name| column(&first, name).is_none());
    for name in missing {
        notes.push(format!(
            "no column to leave out: {}",
            no_column(&first, name)
        ));
    }
    let mut features = Matrix {
        rows: 0,
        cols: layout.features(&first).count(),
        values: Vec::new(),
    };
    let columns = layout.header.then(|| {
        let names = layout.features(&first);
        names.map(|(_, name)| name.to_string()).collect()
    });
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
            let quoted = || is_quoted(bytes.get(start..)?, column, separator);
            found.label(&line[column], at, || quoted().unwrap_or(false))
        }));
        features.rows += 1;
    }
    if let Err(cause) = found.told(labels.iter().flatten().count(), notes) {
        needed.lost::<()>(cause, notes)?;
        labels.fill(None);
    }
    match features.rows {
        0 => Err("has a header and no samples".to_string()),
        _ => Ok(Part {
            name: name.to_string(),
            features: features.into(),
            columns,
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
fn is_quoted(bytes: &[u8], column: usize, separator: u8) -> Option<bool> {
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
        at = find(at, separator)? + 1;
    }
    Some(bytes.get(at)? == &b'"')
}

/// The cells of the first line, and what they are.
pub(super) fn outline(bytes: &[u8], keys: &Keys) -> Cause<(Vec<String>, Layout)> {
    let bytes = utf8(bytes)?;
    let mut reader = reader(bytes, separator(bytes));
    let first = reader.records().next();
    let first = first.ok_or("is empty: a sample per line is needed")?;
    let first = first.map_err(|e| legible(&e.to_string()))?;
    let layout = Layout::of(&first, keys)?;
    let cells = first.iter().map(|cell| cell.trim().to_string());
    Ok((cells.collect(), layout))
}

/// What columns are, and whether the first line is a header.
pub(super) struct Layout {
    /// Columns of the rows' index, the first ones.
    pub index: usize,
    /// The column of the labels.
    pub label: Option<usize>,
    /// Columns that are left out as the user wishes.
    pub ignored: Vec<usize>,
    pub header: bool,
}

impl Layout {
    fn of(first: &StringRecord, keys: &Keys) -> Cause<Layout> {
        let label = &keys.label_column;
        let ignored = keys.ignored_columns.iter();
        let ignored: Vec<usize> = ignored.filter_map(|name| column(first, name)).collect();
        let column = label_column(first, label, &ignored)?;
        let mut words = first[0].split_whitespace();
        if first.len() == 1 && words.next().and_then(number).is_some() && words.next().is_some() {
            return Err("separates cells by spaces: separate them by commas, as numpy.savetxt does with delimiter=\",\"".to_string());
        }
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
            ignored,
            header: true,
        };
        let named = matches!(label, LabelColumn::Named(_));
        // What columns are called, the user knows from the header.
        if layout.ignored.is_empty() && !layout.has_header(first, named) {
            layout.index = 0;
            layout.header = false;
        }
        if !layout.header && named {
            return Err(format!(
                "has no header, so no label column called {label}: pass first, last or none"
            ));
        }
        if layout.features(first).next().is_none() {
            return Err("has no column of features beside index and labels".to_string());
        }
        Ok(layout)
    }

    /// Whether the first line names columns: something in it that is no number, or their own numbers,
    /// or growing ones (wavelengths, years) beside what is called as columns of labels are or, where
    /// they are `named`, is called so.
    fn has_header(&self, first: &StringRecord, named: bool) -> bool {
        const USUAL: [&str; 7] = [
            "label", "labels", "class", "classes", "target", "category", "y",
        ];
        let cells = first.iter().map(str::trim).enumerate();
        let mut cells = cells.filter(|&(i, _)| Some(i) != self.label);
        let words = cells.any(|(_, cell)| !cell.is_empty() && !is_numeric(cell));
        let counts_from = |start: usize| {
            let mut cells = self.features(first).enumerate();
            cells.all(|(i, (_, cell))| cell.parse() == Ok(start + i))
        };
        let least = if self.index > 0 { 1 } else { NUMBERED };
        let enough = self.features(first).count() >= least;
        let numbers = self.features(first).map(|(_, cell)| number(cell));
        let numbers: Option<Vec<f64>> = numbers.collect();
        let grows = |all: Vec<f64>| all.len() >= NUMBERED && all.is_sorted_by(|a, b| a < b);
        let grows = numbers.is_some_and(grows);
        let called = self.label.map(|i| first[i].trim());
        let usual = called.is_some_and(|name| USUAL.iter().any(|u| u.eq_ignore_ascii_case(name)));
        words || enough && (counts_from(0) || counts_from(1)) || grows && (named || usual)
    }

    /// Cells of features, with their columns.
    fn features<'a>(&'a self, line: &'a StringRecord) -> impl Iterator<Item = (usize, &'a str)> {
        let cells = line.iter().map(str::trim).enumerate();
        cells.filter(|&(i, _)| self.role(i) == Some(Role::Features))
    }

    /// What is in column `i`.
    pub fn role(&self, i: usize) -> Option<Role> {
        if Some(i) == self.label {
            Some(Role::Labels)
        } else if i < self.index || self.ignored.contains(&i) {
            None
        } else {
            Some(Role::Features)
        }
    }
}

/// Which column holds the labels, first and last being counted among those that are not `ignored`.
fn label_column(
    first: &StringRecord,
    label: &LabelColumn,
    ignored: &[usize],
) -> Cause<Option<usize>> {
    let mut others = (0..first.len()).filter(|i| !ignored.contains(i));
    match label {
        LabelColumn::First => Ok(others.next()),
        LabelColumn::Last => Ok(others.next_back()),
        LabelColumn::Absent => Ok(None),
        LabelColumn::Named(name) => match column(first, name) {
            Some(i) if ignored.contains(&i) => Err(format!(
                "column {} cannot both hold the labels and be left out",
                legible(name)
            )),
            None => Err(no_column(first, name)),
            found => Ok(found),
        },
    }
}

/// The column that the header calls so, in other letters at least.
fn column(first: &StringRecord, name: &str) -> Option<usize> {
    let mut cells = first.iter().map(str::trim);
    let exact = cells.clone().position(|cell| cell == name);
    exact.or_else(|| cells.position(|cell| cell.eq_ignore_ascii_case(name)))
}

fn no_column(first: &StringRecord, name: &str) -> String {
    let mut shown: Vec<String> = first.iter().take(30).map(legible).collect();
    if first.len() > shown.len() {
        shown.push("…".to_string());
    }
    format!(
        "has no column called {}; its first line is {}",
        legible(name),
        shown.join(", ")
    )
}

fn number(cell: &str) -> Option<f64> {
    cell.parse().ok()
}

/// Whether a cell is a number to people, if with a decimal comma.
fn is_numeric(cell: &str) -> bool {
    number(&cell.replace(',', ".")).is_some()
}

/// What is wrong with a cell of a feature.
fn refusal(cell: &str) -> String {
    match (cell, number(cell)) {
        ("", _) => "the cell is empty; every feature needs a number".to_string(),
        (_, Some(value)) => format!("{value} is not finite; every feature must be"),
        _ if is_numeric(cell) => {
            format!("`{cell}` has a decimal comma: write numbers with a point")
        }
        _ => {
            let shown: String = one_line(cell).chars().take(40).collect();
            format!(
                "`{shown}` is no number; --label-column chooses the label column, --ignore-columns leaves out others"
            )
        }
    }
}
