//! What training is for: the labels of the unlabelled target rows, of each partition and by vote,
//! as a table.

use crate::data::{Label, Split};
use crate::evaluation::largest;
use crate::train::{Opinions, target_rows};

/// The label of one row.
#[derive(Clone, Debug, PartialEq)]
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

/// Labels of the unlabelled rows of `splits`, partition by partition and then by vote, each in row
/// order; a partition's own are the vote of its networks, `opinions` of each, partition by
/// partition. A vote is for the class of the largest mean probability, ties to the first.
pub fn predictions(splits: &[Split], opinions: &[Opinions], classes: usize) -> Vec<Prediction> {
    let members = opinions.len() / splits.len();
    let rows = target_rows(splits);
    let mut all = Vec::new();
    for (p, split) in splits.iter().enumerate() {
        for &row in &split.unlabelled {
            let voters: Vec<&Opinions> = opinions[p * members..][..members].iter().collect();
            all.push(predict(&rows, row, Some(p), &voters, classes));
        }
    }
    for &row in &rows {
        let unlabelled = |split: &Split| split.unlabelled.binary_search(&row).is_ok();
        let voters = splits.iter().zip(opinions.chunks_exact(members));
        let voters: Vec<&Opinions> = voters
            .filter(|(split, _)| unlabelled(split))
            .flat_map(|(_, opinions)| opinions)
            .collect();
        if !voters.is_empty() {
            all.push(predict(&rows, row, None, &voters, classes));
        }
    }
    all
}

/// Labels of new rows by the vote of the networks behind `opinions`.
pub fn labels(opinions: &[Opinions], classes: usize) -> Vec<Prediction> {
    let rows: Vec<usize> = (0..opinions[0].nearest.len()).collect();
    let voters: Vec<&Opinions> = opinions.iter().collect();
    let vote = |&row| predict(&rows, row, None, &voters, classes);
    rows.iter().map(vote).collect()
}

fn predict(
    rows: &[usize],
    row: usize,
    partition: Option<usize>,
    voters: &[&Opinions],
    classes: usize,
) -> Prediction {
    let at = rows.binary_search(&row).expect("a row in use");
    let mean = |class: usize| {
        let probabilities = voters.iter().map(|v| v.probabilities[at * classes + class]);
        probabilities.sum::<f64>() / voters.len() as f64
    };
    let means: Vec<f64> = (0..classes).map(mean).collect();
    let class = largest(&means);
    let agreeing = voters.iter().filter(|v| v.nearest[at] == class as i32);
    Prediction {
        row,
        partition,
        class,
        probability: means[class],
        prototypes_agree: 2 * agreeing.count() > voters.len(),
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
                nearest: vec![0, 0, 1],
            },
            Opinions {
                probabilities: vec![0.2, 0.8, 0.9, 0.1, 0.0, 1.0],
                nearest: vec![1, 0, 1],
            },
        ];
        let found = predictions(&splits, &opinions, 2);
        let table = to_csv(&found, &[Label::Text("a,b".into()), Label::Integer(3)]);
        let expected = "row,partition,class,probability,prototypes_agree\n\
                        2,0,\"a,b\",0.900000,true\n\
                        5,0,3,0.600000,false\n\
                        5,1,\"a,b\",0.900000,true\n\
                        2,vote,\"a,b\",0.900000,true\n\
                        5,vote,\"a,b\",0.650000,true\n";
        assert_eq!(String::from_utf8(table).unwrap(), expected);
    }
}
