//! Which rows take part, and as what.

use std::collections::BTreeSet;

use super::Task;
use super::arrays::Cause;
use super::label::list;

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

impl Split {
    /// The split in sorted order, once it fits `task`. Messages call the three lists by `names`
    /// and count rows from `base`.
    pub(super) fn checked(mut self, task: &Task, names: [&str; 3], base: usize) -> Cause<Split> {
        let lists = [
            (&mut self.source, &task.source_labels, true),
            (&mut self.labelled, &task.target_labels, true),
            (&mut self.unlabelled, &task.target_labels, false),
        ];
        for ((rows, labels, needed), name) in lists.into_iter().zip(names) {
            rows.sort_unstable();
            let counted = format!("(counted from {base})");
            if rows.is_empty() {
                return Err(format!("{name} lists no row"));
            }
            if let Some(&row) = rows.iter().find(|&&row| row >= labels.len()) {
                return Err(format!(
                    "{name} lists row {} {counted}, but there are {} rows",
                    row.saturating_add(base),
                    labels.len()
                ));
            }
            if let Some(twice) = rows.windows(2).find(|w| w[0] == w[1]) {
                return Err(format!(
                    "{name} lists row {} {counted} twice",
                    twice[0] + base
                ));
            }
            if let Some(row) = rows.iter().find(|&&row| needed && labels[row].is_none()) {
                return Err(format!(
                    "{name} lists row {} {counted}, which has no label",
                    row + base
                ));
            }
        }
        let both = |row: &&usize| self.unlabelled.binary_search(row).is_ok();
        if let Some(row) = self.labelled.iter().find(both) {
            return Err(format!(
                "row {} (counted from {base}) is both in {} and in {}",
                row + base,
                names[1],
                names[2]
            ));
        }
        let present: BTreeSet<_> = self.source.iter().map(|&i| task.source_labels[i]).collect();
        let absent = (0..task.classes.len()).filter(|&k| !present.contains(&Some(k)));
        let absent: Vec<_> = absent.map(|k| &task.classes[k]).collect();
        match absent.is_empty() {
            true => Ok(self),
            false => Err(format!(
                "{} lists no row of class {}; every class needs one",
                names[0],
                list(absent.into_iter())
            )),
        }
    }
}
