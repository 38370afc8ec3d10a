//! Labels from the numbers and words that files hold.
//!
//! A word is an integer only where it is written as integers are: a class called `01` or `1e3` keeps
//! its name, by which its user knows it. No label is what is empty, NaN or −1, as a number or as a
//! word; and, in a `.csv`, `NA` without quotes, as R writes it: there a class of that name is `"NA"`.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::arrays::{Cause, legible, one_line};

/// A class as a file names it. As JSON: a number or a string.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Label {
    /// An integer.
    Integer(i64),
    /// Anything else.
    Text(String),
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Label::Integer(value) => value.fmt(f),
            Label::Text(text) => f.write_str(&one_line(text)),
        }
    }
}

impl Label {
    /// The same label as text, to compare with text.
    pub(super) fn into_text(self) -> Label {
        match self {
            Label::Integer(value) => Label::Text(value.to_string()),
            text => text,
        }
    }

    /// The label that a number stands for; NaN and −1 stand for none.
    pub(super) fn from_number(value: f64) -> Cause<Option<Label>> {
        if value.is_nan() || value == -1.0 {
            Ok(None)
        } else if value.fract() != 0.0 || value.abs() >= EXACT {
            Err(format!(
                "{value} is no label: numeric labels are integers below 2^53, -1 or NaN where unknown"
            ))
        } else {
            Ok(Some(Label::Integer(value as i64)))
        }
    }

    /// The label that a word stands for: an integer where it is one, else its text; empty, `NaN` and
    /// −1 stand for none.
    pub(super) fn from_text(text: &str) -> Option<Label> {
        let text = text.trim();
        if text.is_empty() || text.parse().is_ok_and(f64::is_nan) {
            return None;
        }
        match integer(text).or_else(|| scientific(text)) {
            Some(-1) => None,
            Some(value) => Some(Label::Integer(value)),
            None => Some(Label::Text(text.to_string())),
        }
    }
}

/// Beyond 2⁵³ an f64 no longer tells neighbouring integers apart.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// An integer as it is printed, or with `.0` after it, as pandas writes a column of integers that
/// has gaps.
fn integer(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    let printed = digits == "0" || digits.starts_with(|c| ('1'..='9').contains(&c));
    let zeros = !fraction.is_empty() && fraction.bytes().all(|b| b == b'0');
    whole.parse().ok().filter(|_| printed && zeros)
}

/// An integer as `numpy.savetxt` writes every number, `%.18e`: `1.000000000000000000e+00`.
fn scientific(text: &str) -> Option<i64> {
    let (mantissa, exponent) = text.split_once('e')?;
    let (whole, decimals) = mantissa.split_once('.')?;
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    let printed = digits.len() == 1 && decimals.len() >= 6 && exponent.starts_with(['+', '-']);
    let value: f64 = text.parse().ok()?;
    let whole = printed && value.fract() == 0.0 && value.abs() < EXACT;
    whole.then_some(value as i64)
}

/// The class of each label, by its place among `classes`; labels that are compared with text are
/// text.
///
/// # Errors
/// A label is none of them.
pub fn class_indices(
    labels: &[Option<Label>],
    classes: &[Label],
) -> Result<Vec<Option<usize>>, String> {
    let places: HashMap<&Label, usize> = classes.iter().zip(0..).collect();
    let textual = classes.iter().any(|class| matches!(class, Label::Text(_)));
    let find = |label: &Label| match textual {
        true => places.get(&label.clone().into_text()).copied(),
        false => places.get(label).copied(),
    };
    let found = labels.iter().map(|label| label.as_ref().map(find));
    let found: Vec<Option<Option<usize>>> = found.collect();
    let strangers = labels.iter().zip(&found).filter(|(_, f)| **f == Some(None));
    let strangers: BTreeSet<&Label> = strangers.filter_map(|(label, _)| label.as_ref()).collect();
    match strangers.is_empty() {
        true => Ok(found.into_iter().map(Option::flatten).collect()),
        false => Err(format!(
            "has labels that the model does not know: {}; it knows {}",
            list(strangers.into_iter()),
            list(classes.iter())
        )),
    }
}

/// Up to ten labels as a list to read.
pub(super) fn list<'a>(labels: impl ExactSizeIterator<Item = &'a Label>) -> String {
    let more = labels.len().saturating_sub(10);
    let shown: Vec<String> = labels.take(10).map(|l| legible(&l.to_string())).collect();
    match more {
        0 => shown.join(", "),
        _ => format!("{} and {more} more", shown.join(", ")),
    }
}
