//! What training is for: the labels of the unlabelled target rows, of each partition and by vote,
//! as a table.

use serde::{Deserialize, Serialize};

use crate::data::{Label, Split};
use crate::evaluation::largest;
use crate::train::{Opinions, target_rows};

/// The label of one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Row of the target file, from 0.
    pub row: usize,
    /// Partition, or `None` for the vote of all in which the row is unlabelled.
    pub partition: Option<usize>,
    /// Index of the class.
    pub class: usize,
    /// The network's probability of it; in a vote, the mean over networks.
    pub probability: f64,
    /// Whether the most similar prototype is of that class; in a vote, of more than half of the
    /// networks. Always so without a second opinion.
    pub prototypes_agree: bool,
}

/// Labels of the unlabelled rows of a run, partition by partition as they are trained, and the sums
/// behind the vote of all: opinions need not be kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Predictions {
    of_partitions: Vec<Prediction>,
    all: Votes,
}

impl Predictions {
    /// Before the first partition of a run with these `splits`.
    pub fn new(splits: &[Split], classes: usize) -> Predictions {
        Predictions {
            of_partitions: Vec::new(),
            all: Votes::new(target_rows(splits).len(), classes),
        }
    }

    /// Takes the next partitions, numbered from `first`, of those with these `splits`: `opinions`
    /// of each of their networks, partition by partition, `members` each. A partition's own labels
    /// are the vote of its networks.
    pub fn take(&mut self, splits: &[Split], first: usize, opinions: &[Opinions], members: usize) {
        let rows = target_rows(splits);
        for (i, opinions) in opinions.chunks_exact(members).enumerate() {
            let mut own = Votes::new(rows.len(), self.all.classes);
            let unlabelled = &splits[first + i].unlabelled;
            self.of_partitions.reserve_exact(unlabelled.len());
            for &row in unlabelled {
                let at = rows.binary_search(&row).expect("a row in use");
                for opinion in opinions {
                    own.add(at, opinion);
                    self.all.add(at, opinion);
                }
                let label = own.label(at, row, Some(first + i));
                self.of_partitions.push(label);
            }
        }
    }

    /// Whether it is of as many rows and classes as `other`.
    pub fn fits(&self, other: &Predictions) -> bool {
        let sizes = |of: &Votes| [of.sums.len(), of.nearest.len(), of.voters.len()];
        let classes = self.all.classes;
        sizes(&self.all) == sizes(&other.all)
            && classes == other.all.classes
            && self.of_partitions.iter().all(|label| label.class < classes)
    }

    /// All labels, those of the partitions and then of the vote, each in row order.
    pub fn finish(mut self, splits: &[Split]) -> Vec<Prediction> {
        for (at, row) in target_rows(splits).into_iter().enumerate() {
            if self.all.voters[at] > 0 {
                self.of_partitions.push(self.all.label(at, row, None));
            }
        }
        self.of_partitions
    }
}

/// Labels of new rows by the vote of the networks behind `opinions`.
pub fn labels(opinions: &[Opinions], classes: usize) -> Vec<Prediction> {
    let rows = opinions[0].probabilities.len() / classes;
    let mut votes = Votes::new(rows, classes);
    for row in 0..rows {
        opinions.iter().for_each(|opinion| votes.add(row, opinion));
    }
    (0..rows).map(|row| votes.label(row, row, None)).collect()
}

/// What networks say of `n` rows, added up. A vote is for the class of the largest mean
/// probability, ties to the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Votes {
    classes: usize,
    /// Sums of the probabilities, `n × K`.
    sums: Vec<f64>,
    /// Networks whose most similar prototype is of the class, `n × K`.
    nearest: Vec<u32>,
    /// Networks that were asked of each row.
    voters: Vec<u32>,
}

impl Votes {
    fn new(rows: usize, classes: usize) -> Votes {
        Votes {
            classes,
            sums: vec![0.0; rows * classes],
            nearest: vec![0; rows * classes],
            voters: vec![0; rows],
        }
    }

    /// Adds what a network says of the row at `at`.
    fn add(&mut self, at: usize, opinion: &Opinions) {
        let row = at * self.classes..(at + 1) * self.classes;
        let sums = self.sums[row.clone()].iter_mut();
        sums.zip(&opinion.probabilities[row])
            .for_each(|(sum, p)| *sum += p);
        if let Some(nearest) = &opinion.nearest {
            self.nearest[at * self.classes + nearest[at] as usize] += 1;
        }
        self.voters[at] += 1;
    }

    /// The label of the row at `at`, which is `row` of the file.
    fn label(&self, at: usize, row: usize, partition: Option<usize>) -> Prediction {
        let place = at * self.classes..(at + 1) * self.classes;
        let voters = self.voters[at];
        let means = self.sums[place.clone()].iter();
        let means: Vec<f64> = means.map(|sum| sum / f64::from(voters)).collect();
        let class = largest(&means);
        let nearest = &self.nearest[place];
        Prediction {
            row,
            partition,
            class,
            probability: means[class],
            // No network has prototypes, or all have.
            prototypes_agree: nearest.iter().all(|&n| n == 0) || 2 * nearest[class] > voters,
        }
    }
}

/// The table as CSV with the header `row,partition,class,probability,prototypes_agree`; the
/// partition of a vote is `vote`.
pub fn to_csv(predictions: &[Prediction], classes: &[Label]) -> Vec<u8> {
    let partition = |p: &Prediction| p.partition.map_or("vote".to_string(), |p| p.to_string());
    table(predictions, classes, &[("partition", &partition)])
}

/// The table of [`labels`] as CSV with the header `row,class,probability,prototypes_agree`.
pub fn labels_to_csv(predictions: &[Prediction], classes: &[Label]) -> Vec<u8> {
    table(predictions, classes, &[])
}

/// A column of a table.
type Column<'a> = (&'a str, &'a dyn Fn(&Prediction) -> String);

/// The row, what `between` says, and the label, as CSV.
fn table(predictions: &[Prediction], classes: &[Label], between: &[Column]) -> Vec<u8> {
    let class = |p: &Prediction| classes[p.class].to_string();
    let mut columns: Vec<Column> = vec![("row", &|p| p.row.to_string())];
    columns.extend(between);
    columns.extend([
        ("class", &class as &dyn Fn(&Prediction) -> String),
        ("probability", &|p| format!("{:.6}", p.probability)),
        ("prototypes_agree", &|p| p.prototypes_agree.to_string()),
    ]);
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = columns.iter().map(|(name, _)| name.to_string()).collect();
    let records = predictions
        .iter()
        .map(|p| columns.iter().map(|(_, of)| of(p)).collect());
    for record in std::iter::once::<Vec<String>>(header).chain(records) {
        writer.write_record(record).expect("memory can be written");
    }
    writer.into_inner().expect("memory can be written")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows 2 and 5 of the target, two partitions that have one of them unlabelled or both.
    #[test]
    fn each_partition_and_the_vote_label_what_is_unlabelled() {
        let split = |labelled: &[usize], unlabelled: &[usize]| Split {
            source: vec![0],
            labelled: labelled.to_vec(),
            unlabelled: unlabelled.to_vec(),
        };
        let splits = [split(&[7], &[2, 5]), split(&[2, 7], &[5])];
        let opinions = [
            Opinions {
                probabilities: vec![0.9, 0.1, 0.4, 0.6, 0.0, 1.0],
                nearest: Some(vec![0, 0, 1]),
            },
            Opinions {
                probabilities: vec![0.2, 0.8, 0.9, 0.1, 0.0, 1.0],
                nearest: Some(vec![1, 0, 1]),
            },
        ];
        let mut found = Predictions::new(&splits, 2);
        found.take(&splits, 0, &opinions[..1], 1);
        found.take(&splits, 1, &opinions[1..], 1);
        let found = found.finish(&splits);
        let table = to_csv(&found, &[Label::Text("a,b".into()), Label::Integer(3)]);
        let expected = "row,partition,class,probability,prototypes_agree\n\
                        2,0,\"a,b\",0.900000,true\n\
                        5,0,3,0.600000,false\n\
                        5,1,\"a,b\",0.900000,true\n\
                        2,vote,\"a,b\",0.900000,true\n\
                        5,vote,\"a,b\",0.650000,true\n";
        assert_eq!(String::from_utf8(table).unwrap(), expected);
    }

    /// Where there is no second opinion, nothing disagrees: not networks that differ among themselves.
    #[test]
    fn without_prototypes_all_agree() {
        let opinions = [[0.9, 0.1], [0.4, 0.6], [0.4, 0.6]].map(|probabilities| Opinions {
            probabilities: probabilities.to_vec(),
            nearest: None,
        });
        let [label] = &labels(&opinions, 2)[..] else {
            panic!("one row");
        };
        assert_eq!((label.class, label.prototypes_agree), (0, true));
    }
}
