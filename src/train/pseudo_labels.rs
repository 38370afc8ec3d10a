//! Pseudo-labels of the unlabelled target rows that a partition's networks are trained on late in
//! training: their vote, smoothed over the graph of nearest target rows, with the classes' masses
//! evened out.
//!
//! With the vote's probabilities `Y` (one-hot on labelled rows), `F = (I − a·S)⁻¹ Y`
//! ([`Neighbours::smooth`]), and `m_k` the sum of `F_ik` over unlabelled rows: the label of row `i`
//! is `argmax_k F_ik / m_k^b`. How far scores spread, `a`, is the share of the graph's edges that
//! join rows of one label by `Y`: where neighbours are mostly of different classes, a row hears
//! little of them. Without the division the graph's hubs draw rows to the classes that
//! are large already (class mass normalisation; Zhu, Ghahramani & Lafferty, ICML 2003, is `b = 1`
//! with known class sizes; half of it does not force sizes that nobody knows).

use super::PartitionLabels;
use super::neighbours::Neighbours;
use crate::evaluation::largest;

/// When and how pseudo-labels are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PseudoLabels {
    /// Weight of their cross-entropy in the objective.
    pub weight: f64,
    /// Share of the epochs after which they begin.
    pub from: f64,
    /// Epochs between two makings.
    pub every: usize,
    /// `b`, how much the classes' masses are evened out, in [0, 1].
    pub balance: f64,
}

/// Where scores spread further than this, only the graph's components and hubs are left to see.
const LARGEST_SPREAD: f64 = 0.95;

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
        let first = (self.from * epochs as f64).ceil() as usize;
        e >= first && (e - first).is_multiple_of(self.every)
    }

    /// The label of every target row of one partition from its networks' `vote [n, K]`; −1 where
    /// the row is not unlabelled.
    pub fn make(
        &self,
        graph: &Neighbours,
        vote: &[f64],
        classes: usize,
        labels: &PartitionLabels,
    ) -> Vec<i32> {
        let mut scores = vote.to_vec();
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
        let rows = smooth.chunks_exact_mut(classes).enumerate();
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
        rows.map(label).collect()
    }
}
