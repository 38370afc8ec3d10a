//! Which target rows are labelled in each partition.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::{Split, Task};
use crate::error::{Error, Result};

/// How the labelled target rows are chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Labelling {
    /// So many of each class, drawn anew for every partition.
    PerClass(usize),
    /// As given, the same for every partition.
    Fixed(Split),
    /// Rows of the target file's first part that have a label; all others are unlabelled.
    Parts,
    /// Rows that have a label in the file.
    Given,
}

impl Task {
    /// Source rows that have a label.
    pub(super) fn source_rows(&self) -> Vec<usize> {
        let rows = 0..self.source_labels.len();
        rows.filter(|&i| self.source_labels[i].is_some()).collect()
    }

    /// The labelling that the data suggest: by parts if the target has several, else by the labels
    /// that it lacks, else `per_class` of each class.
    pub fn default_labelling(&self, per_class: usize) -> Labelling {
        if self.target.parts.len() > 1 {
            Labelling::Parts
        } else if self.target_labels.contains(&None) {
            Labelling::Given
        } else {
            Labelling::PerClass(per_class)
        }
    }

    /// One split per partition. Draws of partition `p` depend on `seed` and `p` alone: they come
    /// from stream `2·p` of a ChaCha8 generator.
    ///
    /// # Errors
    /// The data cannot be labelled so: too few rows of a class, no labelled or no unlabelled row.
    pub fn splits(
        &self,
        labelling: &Labelling,
        partitions: usize,
        seed: u64,
    ) -> Result<Vec<Split>> {
        if partitions == 0 {
            return Err(Error::Usage(
                "0 partitions: one is needed at least".to_string(),
            ));
        }
        let same = |split: Split| vec![split; partitions];
        match labelling {
            Labelling::PerClass(n) => (0..partitions).map(|p| self.draw(*n, p, seed)).collect(),
            Labelling::Fixed(split) => {
                let names = ["source", "labelled", "unlabelled"];
                let split = split.clone().checked(self, names, 0);
                split
                    .map(same)
                    .map_err(|cause| Error::Data(format!("the split: {cause}")))
            }
            Labelling::Parts if self.target.parts.len() < 2 => Err(Error::Usage(format!(
                "target {} has one part, so parts do not tell what is labelled",
                self.target.name
            ))),
            Labelling::Parts => self.label_first(self.target.parts[0]).map(same),
            Labelling::Given => self.label_first(self.target_labels.len()).map(same),
        }
    }

    /// Labels every row among the first `rows` that can be.
    fn label_first(&self, rows: usize) -> Result<Split> {
        let labels = self.target_labels.iter().enumerate();
        let (labelled, unlabelled): (Vec<_>, Vec<_>) =
            labels.partition(|(i, label)| *i < rows && label.is_some());
        let rows = |list: Vec<(usize, _)>| list.into_iter().map(|(i, _)| i).collect();
        self.usable(rows(labelled), rows(unlabelled))
    }

    /// Draws `n` rows of each class, in class order.
    fn draw(&self, n: usize, partition: usize, seed: u64) -> Result<Split> {
        let target = &self.target.name;
        if n == 0 {
            return Err(Error::Usage(
                "--labelled-per-class 0: one is needed at least".to_string(),
            ));
        }
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(2 * partition as u64);
        let mut chosen = vec![false; self.target_labels.len()];
        for (k, class) in self.classes.iter().enumerate() {
            let rows = 0..self.target_labels.len();
            let mut rows: Vec<usize> = rows.filter(|&i| self.target_labels[i] == Some(k)).collect();
            match rows.len() {
                0 => {
                    return Err(Error::Data(format!(
                        "class {class} has no labelled row in target {target}, so none can be drawn: choose rows with --split"
                    )));
                }
                has if has < n => {
                    return Err(Error::Data(format!(
                        "class {class} has {has} labelled rows in target {target}, {n} are asked for: pass --labelled-per-class {has} or less"
                    )));
                }
                _ => {}
            }
            for &mut row in rows.partial_shuffle(&mut random, n).0 {
                chosen[row] = true;
            }
        }
        let (labelled, unlabelled) = (0..chosen.len()).partition(|&i| chosen[i]);
        self.usable(labelled, unlabelled)
    }

    fn usable(&self, labelled: Vec<usize>, unlabelled: Vec<usize>) -> Result<Split> {
        let (target, per_class) = (&self.target.name, "--labelled-per-class");
        if labelled.is_empty() {
            return Err(Error::Data(format!(
                "no row of target {target} is labelled: give it some labels, a few per class"
            )));
        }
        if unlabelled.is_empty() {
            return Err(Error::Data(format!(
                "every row of target {target} is labelled, none is left to be: lower {per_class} or choose rows with --split"
            )));
        }
        Ok(Split {
            source: self.source_rows(),
            labelled,
            unlabelled,
        })
    }
}
