//! Pseudo-labels of the unlabelled target rows that a partition's networks are trained on late in
//! training: their vote beside that of the classes' means in the target's own feature space,
//! smoothed over the graph of nearest target rows, with the classes' masses evened out; then by the
//! clusters that the classes form, where they form some.
//!
//! The vote is the one that fits the target's neighbourhoods best ([`consensus`](super::select)) of
//! those heard since the first tenth of the training: networks that are given few labelled rows may
//! label best early, before they know these rows by heart.
//!
//! There are none where the vote puts most neighbours into different classes, for then the target's
//! own space, which all of this listens to, does not say what is alike.
//!
//! With `V` the vote's probabilities, and `C` the cosines of a row and the mean of each class's
//! labelled target rows, without its rows' means and divided by its deviation: `Y` is the product of
//! `V` and the softmax of `C`, divided by its rows' sums (one-hot on labelled rows). The means know
//! nothing of the source, so that they counteract a source that misleads the networks; where the
//! networks are sure, the means have little influence.
//! Then `F = (I − a·S)⁻¹ Y` ([`Neighbours::smooth`]), and with `m_k` the sum of `F_ik` over
//! unlabelled rows the label of row `i` is `argmax_k F_ik / m_k^b`. How far scores spread, `a`, is
//! the share of the graph's edges that join rows of one label by `Y`: where neighbours are mostly of
//! different classes, a row hears little of them. Without the division the graph's hubs draw rows to
//! the classes that are large already (class mass normalisation; Zhu, Ghahramani & Lafferty, ICML
//! 2003, is `b = 1` with known class sizes; half of it does not force sizes that nobody knows).
//! Last, rows take the class of the cluster they lie in ([`clusters`]), the clusters having begun with
//! these labels, up to three times over. Labelled rows tell whether the classes are clusters at all:
//! unless nine in ten of them lie in their own class's, the graph's labels stay.

use super::PartitionLabels;
use super::clusters::{clusters, directions};
use super::neighbours::Neighbours;
use crate::data::Features;
use crate::evaluation::largest;
use crate::ops::softmax_rows;
use crate::real::Real;

/// When and how pseudo-labels are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PseudoLabels {
    /// Weight of their cross-entropy in the objective.
    pub weight: f64,
    /// Share of the epochs after which they begin.
    pub from: f64,
    /// Epochs between two makings, and between two votes that are heard.
    pub every: usize,
    /// `b`, how much the classes' masses are evened out, in [0, 1].
    pub balance: f64,
}

/// Share of the graph's edges that must join rows of one class by the vote.
const ALIKE: f64 = 0.5;

/// Where scores spread further than this, only the graph's components and hubs are left to see.
const LARGEST_SPREAD: f64 = 0.95;

/// Share of the labelled rows that lie in their own class's cluster where clusters are heard.
const TRUSTED: f64 = 0.9;

/// How often clusters begin with the labels of those before.
const CLUSTERINGS: usize = 3;

/// The vote of a partition that labels are made from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Heard<T> {
    /// Its consensus.
    pub consensus: T,
    /// `n × K`; empty before the first.
    pub vote: Vec<T>,
}

impl<T: Real> Heard<T> {
    /// Before the first.
    pub fn nothing() -> Heard<T> {
        Heard {
            consensus: T::zero(),
            vote: Vec::new(),
        }
    }

    /// As one list, for a snapshot.
    pub fn to_values(&self) -> Vec<T> {
        [&[self.consensus][..], &self.vote].concat()
    }

    /// From such a list, of votes with `entries` entries; `None` where it is none.
    pub fn from_values(values: &[T], entries: usize) -> Option<Heard<T>> {
        let (&consensus, vote) = values.split_first()?;
        let fits = vote.is_empty() || vote.len() == entries;
        fits.then(|| Heard {
            consensus,
            vote: vote.to_vec(),
        })
    }

    /// Takes another vote instead where that fits no worse.
    pub fn hear(&mut self, consensus: f64, vote: &[f64]) {
        let consensus = T::of(consensus);
        if self.vote.is_empty() || consensus >= self.consensus {
            let vote = vote.iter().map(|&p| T::of(p)).collect();
            *self = Heard { consensus, vote };
        }
    }
}

impl PseudoLabels {
    /// The robust recipe's.
    pub const ROBUST: PseudoLabels = PseudoLabels {
        weight: 1.0,
        from: 0.7,
        every: 25,
        balance: 0.5,
    };

    /// Whether they are made anew before epoch `e` of `epochs`.
    pub fn due(&self, e: usize, epochs: usize) -> bool {
        let first = self.first(epochs);
        e >= first && (e - first).is_multiple_of(self.every)
    }

    /// Whether the vote is heard before epoch `e` of `epochs`: where they are made, and earlier.
    pub fn hears(&self, e: usize, epochs: usize) -> bool {
        let first = self.first(epochs);
        let before = e > epochs / 10 && e < first && (first - e).is_multiple_of(self.every);
        before || self.due(e, epochs)
    }

    /// The first epoch before which they are made.
    pub fn first(&self, epochs: usize) -> usize {
        (self.from * epochs as f64).ceil() as usize
    }

    /// The label of every row of the target's `rows [n, d]` in one partition, from its networks'
    /// `vote [n, K]`; −1 where the row is not unlabelled, and everywhere where neighbours are not
    /// mostly of one class.
    pub fn make(
        &self,
        rows: &Features,
        graph: &Neighbours,
        vote: &[f64],
        classes: usize,
        labels: &PartitionLabels,
    ) -> Vec<i32> {
        match graph.homophily(&labels.voted(vote, classes)) < ALIKE {
            true => vec![-1; rows.rows()],
            false => self.smoothed(rows, graph, vote, classes, labels),
        }
    }

    /// The same, however few neighbours are of one class.
    fn smoothed(
        &self,
        rows: &Features,
        graph: &Neighbours,
        vote: &[f64],
        classes: usize,
        labels: &PartitionLabels,
    ) -> Vec<i32> {
        let near = standard(nearness(rows, &labels.labelled, classes), classes);
        let mut scores = softmax_rows(&near, classes);
        let votes = scores
            .chunks_exact_mut(classes)
            .zip(vote.chunks_exact(classes));
        for (row, vote) in votes {
            row.iter_mut().zip(vote).for_each(|(x, p)| *x *= p);
            let sum: f64 = row.iter().sum();
            row.iter_mut()
                .for_each(|x| *x /= sum.max(f64::MIN_POSITIVE));
        }
        let unlabelled = |i: usize| labels.unlabelled[i] >= 0;
        for (i, row) in scores.chunks_exact_mut(classes).enumerate() {
            if !unlabelled(i) {
                row.fill(0.0);
            }
            if let Ok(class) = usize::try_from(labels.labelled[i]) {
                row[class] = 1.0;
            }
        }
        let now: Vec<usize> = scores.chunks_exact(classes).map(largest).collect();
        let spread = graph.homophily(&now).min(LARGEST_SPREAD);
        let mut smooth = graph.smooth(&scores, classes, spread);
        let mut masses = vec![0.0; classes];
        for (i, row) in smooth.chunks_exact(classes).enumerate() {
            if unlabelled(i) {
                masses.iter_mut().zip(row).for_each(|(m, x)| *m += x);
            }
        }
        let smooth_rows = smooth.chunks_exact_mut(classes).enumerate();
        let label = |(i, row): (usize, &mut [f64])| {
            let weights = row.iter_mut().zip(&masses);
            weights.for_each(|(x, &m): (&mut f64, &f64)| {
                *x /= m.max(f64::MIN_POSITIVE).powf(self.balance)
            });
            if unlabelled(i) {
                largest(row) as i32
            } else {
                -1
            }
        };
        clustered(rows, smooth_rows.map(label).collect(), classes, labels)
    }
}

/// `made`, or where the clusters that begin with it keep the labelled rows in their classes, theirs.
fn clustered(
    rows: &Features,
    mut made: Vec<i32>,
    classes: usize,
    labels: &PartitionLabels,
) -> Vec<i32> {
    let labelled = &labels.labelled;
    let known = labelled.iter().filter(|&&label| label >= 0).count();
    for _ in 0..CLUSTERINGS {
        let start = made.iter().zip(labelled);
        let start: Vec<i32> = start.map(|(&made, &label)| made.max(label)).collect();
        let found = clusters(rows, &start, classes);
        let kept = found.iter().zip(labelled);
        let kept = kept.filter(|(found, label)| **label >= 0 && found == label);
        if known == 0 || (kept.count() as f64) < TRUSTED * known as f64 {
            break;
        }
        let unlabelled = made.iter().map(|&label| label >= 0);
        let next = found.iter().zip(unlabelled);
        let next = next
            .map(|(&found, is)| if is { found } else { -1 })
            .collect();
        if next == made {
            break;
        }
        made = next;
    }
    made
}

/// `scores [n, K]` without their rows' means, divided by their deviation.
fn standard(mut scores: Vec<f64>, classes: usize) -> Vec<f64> {
    for row in scores.chunks_exact_mut(classes) {
        let mean = row.iter().sum::<f64>() / classes as f64;
        row.iter_mut().for_each(|x| *x -= mean);
    }
    let variance = scores.iter().map(|x| x * x).sum::<f64>() / scores.len() as f64;
    if variance > 0.0 {
        let deviation = variance.sqrt();
        scores.iter_mut().for_each(|x| *x /= deviation);
    }
    scores
}

/// Cosine of each of `rows`, which have unit length, and the mean of each class's `labelled` rows,
/// `[n, K]`; 0 for a class without any.
fn nearness(rows: &Features, labelled: &[i32], classes: usize) -> Vec<f64> {
    let means = directions(rows, labelled, classes);
    let mut cosines = vec![0.0; rows.rows() * classes];
    rows.times_transposed(&means.values, &mut cosines);
    cosines
}

#[cfg(test)]
mod tests {
    use super::super::clusters::three;
    use super::*;
    use crate::data::Matrix;

    #[test]
    fn the_vote_of_the_largest_consensus_is_kept() {
        let mut heard = Heard::<f32>::nothing();
        let mut hear = |consensus, vote: f64| {
            heard.hear(consensus, &[vote]);
            heard.vote[0]
        };
        let kept = [
            hear(0.0, 0.1),
            hear(0.4, 0.2),
            hear(0.3, 0.3),
            hear(0.4, 0.4),
        ];
        assert_eq!(kept, [0.1, 0.2, 0.2, 0.4], "of equals the last");
    }

    #[test]
    fn votes_are_heard_before_labels_are_made() {
        let how = PseudoLabels::ROBUST;
        let heard: Vec<usize> = (0..300).filter(|&e| how.hears(e, 300)).collect();
        assert_eq!(heard, [35, 60, 85, 110, 135, 160, 185, 210, 235, 260, 285]);
        let due: Vec<usize> = (0..300).filter(|&e| how.due(e, 300)).collect();
        assert_eq!(due, [210, 235, 260, 285]);
        let at_once = PseudoLabels { from: 0.0, ..how };
        assert!((0..60).all(|e| at_once.hears(e, 60) == (e % 25 == 0)));
    }

    /// Rows without neighbours hear the vote and the means alone, by hand.
    #[test]
    fn the_means_count_as_much_as_the_vote() {
        let rows = Matrix {
            rows: 4,
            cols: 4,
            values: [
                [1.0, 0.0, 0.0, 0.0],
                [0.0, 1.0, 0.0, 0.0],
                [-0.8, 0.0, -0.6, 0.0],
                [0.0, -0.6, 0.0, -0.8],
            ]
            .concat(),
        };
        let rows = Features::from(rows);
        assert_eq!(
            nearness(&rows, &[0, 1, -1, -1], 2),
            [1.0, 0.0, 0.0, 1.0, -0.8, 0.0, 0.0, -0.6]
        );
        let centred = [0.5, -0.5, -0.5, 0.5, -0.4, 0.4, 0.3, -0.3];
        let deviation = (1.5f64 / 8.0).sqrt();
        for (x, y) in standard(nearness(&rows, &[0, 1, -1, -1], 2), 2)
            .iter()
            .zip(centred)
        {
            approx::assert_relative_eq!(*x, y / deviation, epsilon = 1e-12);
        }
        let labels = PartitionLabels {
            source: Vec::new(),
            labelled: vec![0, 1, -1, -1],
            unlabelled: vec![-1, -1, 0, 0],
            truth: vec![-1; 4],
        };
        let graph = Neighbours::new(&rows);
        let made = |vote: &[f64]| PseudoLabels::ROBUST.smoothed(&rows, &graph, vote, 2, &labels);
        // A vote that says nothing leaves the last word to the means; one that is sure has it.
        assert_eq!(made(&[0.5; 8]), [-1, -1, 1, 0]);
        let sure = [0.9, 0.1, 0.1, 0.9, 0.9, 0.1, 0.1, 0.9];
        assert_eq!(made(&sure), [-1, -1, 0, 1]);
    }
    /// Rows without neighbours and without means hear their votes alone, each by its share, however
    /// it was scaled; with evened masses, the class that wins little elsewhere gets the rows that are
    /// in doubt.
    #[test]
    fn masses_are_evened_out() {
        let rows = Features::from(Matrix {
            rows: 3,
            cols: 2,
            values: vec![0.0; 6],
        });
        let labels = PartitionLabels {
            source: Vec::new(),
            labelled: vec![-1; 3],
            unlabelled: vec![0; 3],
            truth: vec![-1; 3],
        };
        let graph = Neighbours::new(&rows);
        let vote = [0.09, 0.01, 0.6, 0.4, 0.55, 0.45];
        let made = |balance| {
            let how = PseudoLabels {
                balance,
                ..PseudoLabels::ROBUST
            };
            how.smoothed(&rows, &graph, &vote, 2, &labels)
        };
        assert_eq!(made(0.0), [0, 0, 0]);
        // The masses are 0.9 + 0.6 + 0.55 and 0.1 + 0.4 + 0.45.
        assert_eq!(made(1.0), [0, 1, 1]);
    }

    /// The first nine rows are labelled.
    #[test]
    fn clusters_are_heard_where_they_keep_the_labelled_rows_together() {
        let (rows, truth) = three(12);
        let labels = |truth: &[i32]| PartitionLabels {
            source: Vec::new(),
            labelled: truth
                .iter()
                .enumerate()
                .map(|(i, &k)| if i < 9 { k } else { -1 })
                .collect(),
            unlabelled: (0..36).map(|i| if i < 9 { -1 } else { 0 }).collect(),
            truth: truth.to_vec(),
        };
        let mut made: Vec<i32> = (0..36).map(|i| if i < 9 { -1 } else { truth[i] }).collect();
        let right = made.clone();
        for i in [10, 17, 29] {
            made[i] = (made[i] + 1) % 3;
        }
        assert_eq!(clustered(&rows, made.clone(), 3, &labels(&truth)), right);
        // Two labelled rows of nine lie in another class's cluster.
        let mut astray = truth;
        astray[0] = 1;
        astray[4] = 2;
        assert_eq!(clustered(&rows, made.clone(), 3, &labels(&astray)), made);
        // Nor is anything to be told without labelled rows.
        let none = PartitionLabels {
            labelled: vec![-1; 36],
            ..labels(&astray)
        };
        assert_eq!(clustered(&rows, made.clone(), 3, &none), made);
    }
}
