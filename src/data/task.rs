//! A source and a target domain with one class list.

use std::collections::BTreeSet;

use super::label::list;
use super::{Domain, Label};
use crate::error::{Error, Result};

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

impl Task {
    /// Joins two domains. Their classes are the source's, which must include the target's;
    /// integers are in numeric order unless either domain has other labels too.
    ///
    /// # Errors
    /// The source has no labels or fewer than two classes, or the target has a class that the
    /// source lacks.
    pub fn new(mut source: Domain, mut target: Domain) -> Result<Task> {
        let mut notes = Vec::new();
        unify(&mut source, &mut target, &mut notes);
        let set = |domain: &Domain| -> BTreeSet<Label> {
            domain.labels.iter().flatten().cloned().collect()
        };
        let (classes, seen) = (set(&source), set(&target));
        let (of, to) = (&source.name, &target.name);
        if classes.is_empty() {
            return Err(Error::Data(format!(
                "source {of} has no labels, and training needs them: choose where they are, or another file"
            )));
        }
        let missing: Vec<&Label> = seen.difference(&classes).collect();
        if !missing.is_empty() {
            return Err(Error::Data(format!(
                "target {to} has labels that no sample of source {of} has: {}; the source has {}: name classes alike in both files, or drop these rows",
                list(missing.into_iter()),
                list(classes.iter())
            )));
        }
        if classes.len() < 2 {
            return Err(Error::Data(format!(
                "source {of} has the single class {}: two are needed at least, and -1 is none but says that there is no label",
                list(classes.iter())
            )));
        }
        let unlabelled = source.labels.iter().filter(|label| label.is_none()).count();
        if unlabelled > 0 {
            notes.push(format!(
                "source rows without a label (empty, NaN or -1) take no part: {unlabelled}"
            ));
        }
        let unseen: Vec<&Label> = classes.difference(&seen).collect();
        if !unseen.is_empty() {
            let unseen = list(unseen.into_iter());
            notes.push(format!(
                "classes without a labelled sample in target {to}: {unseen}"
            ));
        }
        let classes: Vec<Label> = classes.into_iter().collect();
        let index = |domain: &Domain| {
            let labels = domain.labels.iter().map(Option::as_ref);
            labels
                .map(|label| label.and_then(|label| classes.binary_search(label).ok()))
                .collect()
        };
        Ok(Task {
            source_labels: index(&source),
            target_labels: index(&target),
            source,
            target,
            classes,
            notes,
        })
    }
}

/// Makes all labels text if any is.
fn unify(source: &mut Domain, target: &mut Domain, notes: &mut Vec<String>) {
    let both = || source.labels.iter().chain(&target.labels).flatten();
    let texts = both()
        .filter(|label| matches!(label, Label::Text(_)))
        .count();
    if texts == 0 {
        return;
    }
    if texts < both().count() {
        notes.push("some labels are integers and some text: all are compared as text".to_string());
    }
    for label in source.labels.iter_mut().chain(&mut target.labels) {
        *label = label.take().map(Label::into_text);
    }
}
