//! Which of the states that a run goes through is kept: `--select`.
//!
//! A candidate is the state after every sixtieth of the epochs, rounded down but at least one epoch,
//! the last one included; the first tenth of the run has none. For each partition its networks' vote labels the unlabelled rows, and
//! the consensus is
//!
//! ```text
//! (share of the edges of the graph of nearest target rows that join rows of one label)
//!     · (entropy of the labels' shares) / ln K
//! ```
//!
//! which needs no test label: rows that lie close in the target's own feature space are mostly of
//! one class, and an epoch that has gone astray labels neighbours differently, or nearly all rows
//! alike. On late training with the paper's settings the two together picked better epochs than
//! confidence, the agreement of networks and prototypes, or either alone (`benches/RESULTS.md`).

use serde::{Deserialize, Serialize};

use super::neighbours::Neighbours;
use super::{Options, PartitionLabels};
use crate::real::Real;

/// Which state of a partition's networks is the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// The last.
    Last,
    /// The candidate of the largest consensus; of equals the last.
    Consensus,
    /// The mean of the parameters of the last third's candidates (stochastic weight averaging;
    /// Izmailov et al., UAI 2018).
    Average,
    /// The candidate of the largest accuracy on the test labels: an **oracle**, for comparison
    /// alone; of equals the last.
    BestTest,
}

/// Candidates of a run, about.
const CANDIDATES: usize = 60;

impl Select {
    /// Whether the state after `done` of `epochs` epochs is a candidate.
    pub fn is_candidate(self, done: usize, epochs: usize) -> bool {
        let begin = match self {
            Select::Last => return false,
            Select::Consensus | Select::BestTest => epochs / 10,
            Select::Average => 2 * epochs / 3,
        };
        done > begin && (epochs - done).is_multiple_of((epochs / CANDIDATES).max(1))
    }

    /// The first candidate after `done` epochs; beyond `epochs` where none is left.
    pub fn next(self, done: usize, epochs: usize) -> usize {
        let left = (done + 1..=epochs).find(|&e| self.is_candidate(e, epochs));
        left.unwrap_or(usize::MAX)
    }
}

/// What is kept of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    /// Epochs trained before it.
    pub epochs: usize,
    /// Its consensus, or accuracy; of an average the number of states in it.
    pub score: f64,
    /// Epochs after which that score was first reached.
    pub risen: usize,
}

/// The states kept so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection<T> {
    /// Of each partition; empty before the first candidate.
    pub chosen: Vec<Chosen>,
    /// Values of all parameters of all networks, in the graph's order.
    pub values: Vec<Vec<T>>,
}

impl<T: Real> Selection<T> {
    /// Before the first candidate.
    pub(super) fn new() -> Selection<T> {
        Selection {
            chosen: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Takes a candidate after `epochs` epochs into the mean.
    pub(super) fn average(&mut self, partitions: usize, epochs: usize, values: Vec<Vec<T>>) {
        let before = self.chosen.first().map_or(0.0, |chosen| chosen.score);
        let score = before + 1.0;
        let chosen = Chosen {
            epochs,
            score,
            risen: epochs,
        };
        self.chosen = vec![chosen; partitions];
        if self.values.is_empty() {
            self.values = values;
            return;
        }
        for (mean, new) in self.values.iter_mut().zip(&values) {
            for (mean, &new) in mean.iter_mut().zip(new) {
                *mean += (new - *mean) / T::of(score);
            }
        }
    }

    /// Partitions of whose candidate after `epochs` epochs the score is no less than what is kept;
    /// they are kept from now on.
    pub(super) fn better(&mut self, epochs: usize, scores: &[f64]) -> Vec<usize> {
        if self.chosen.is_empty() {
            let none = Chosen {
                epochs: 0,
                score: f64::NEG_INFINITY,
                risen: 0,
            };
            self.chosen = vec![none; scores.len()];
        }
        let all = self.chosen.iter_mut().zip(scores).enumerate();
        let better = all.filter_map(|(p, (chosen, &score))| {
            (score >= chosen.score).then(|| {
                if score > chosen.score {
                    chosen.risen = epochs;
                }
                (chosen.epochs, chosen.score) = (epochs, score);
                p
            })
        });
        better.collect()
    }

    /// The first epoch after which nothing better has come, of any partition; an equal is not better.
    pub(super) fn settled(&self) -> usize {
        let epochs = self.chosen.iter().map(|chosen| chosen.risen);
        epochs.max().unwrap_or(0)
    }
}

/// Consensus of a partition's `vote [n, K]` with these `labels`, in [0, 1].
pub(super) fn consensus(
    graph: &Neighbours,
    vote: &[f64],
    labels: &PartitionLabels,
    classes: usize,
) -> f64 {
    let classes_of = labels.voted(vote, classes);
    let mut shares = vec![0.0; classes];
    for (class, unlabelled) in classes_of.iter().zip(&labels.unlabelled) {
        if *unlabelled >= 0 {
            shares[*class] += 1.0;
        }
    }
    let rows: f64 = shares.iter().sum();
    let terms = shares.iter().filter(|&&n| n > 0.0);
    let entropy: f64 = terms.map(|n| -(n / rows) * (n / rows).ln()).sum();
    graph.homophily(&classes_of) * entropy / (classes as f64).ln()
}

impl Options {
    /// Whether the graph of nearest target rows is needed.
    pub(super) fn needs_neighbours(&self) -> bool {
        self.pseudo_labels.is_some() || self.select == Select::Consensus
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Matrix;

    #[test]
    fn the_last_state_is_a_candidate_and_none_comes_early() {
        for epochs in [1, 7, 59, 60, 61, 187, 300, 3000] {
            for how in [Select::Consensus, Select::Average, Select::BestTest] {
                assert!(how.is_candidate(epochs, epochs), "{how:?} {epochs}");
                let mut all = Vec::new();
                let mut at = 0;
                while how.next(at, epochs) <= epochs {
                    at = how.next(at, epochs);
                    all.push(at);
                }
                assert_eq!(all.last(), Some(&epochs));
                assert!(all.len() < 2 * CANDIDATES, "{all:?}");
                assert!(all[0] > epochs / 10);
                if how == Select::Average {
                    assert!(3 * all[0] > 2 * epochs);
                }
            }
            assert_eq!(Select::Last.next(0, epochs), usize::MAX);
        }
    }

    #[test]
    fn neighbours_are_found_where_something_asks_for_them() {
        for select in [Select::Last, Select::Consensus, Select::Average] {
            for recipe in [Options::PAPER, Options::ROBUST] {
                let options = Options { select, ..recipe };
                let asked = recipe == Options::ROBUST || select == Select::Consensus;
                assert_eq!(options.needs_neighbours(), asked, "{select:?}");
            }
        }
    }

    #[test]
    fn the_mean_of_states_is_their_mean() {
        let mut selection = Selection::<f64>::new();
        for (epochs, x) in [(1, 3.0), (2, 5.0), (3, 10.0)] {
            selection.average(2, epochs, vec![vec![x], vec![-x, 1.0]]);
        }
        assert_eq!(selection.chosen[1].epochs, 3);
        approx::assert_relative_eq!(selection.values[0][..], [6.0], epsilon = 1e-12);
        approx::assert_relative_eq!(selection.values[1][..], [-6.0, 1.0], epsilon = 1e-12);
    }

    #[test]
    fn of_equals_the_last_is_kept() {
        let mut selection = Selection::<f64>::new();
        assert_eq!(selection.better(5, &[0.5, 0.9]), [0, 1]);
        assert_eq!(selection.better(6, &[0.4, 0.9]), [1]);
        assert_eq!(selection.better(7, &[0.6, 0.8]), [0]);
        let epochs: Vec<usize> = selection.chosen.iter().map(|c| c.epochs).collect();
        assert_eq!(epochs, [7, 6]);
        assert_eq!(selection.settled(), 7);
        // An equal is kept, but nothing has risen.
        assert_eq!(selection.better(8, &[0.6, 0.9]), [0, 1]);
        assert_eq!(selection.settled(), 7);
    }

    /// Two pairs of near rows, two classes; by hand.
    #[test]
    fn consensus_wants_neighbours_of_one_label_and_all_classes() {
        let values = vec![1.0, 0.0, 0.96, 0.28, -1.0, 0.0, -0.96, 0.28];
        let rows = Matrix {
            rows: 4,
            cols: 2,
            values,
        };
        let graph = Neighbours::new(&rows.into());
        let labels = PartitionLabels {
            source: Vec::new(),
            labelled: vec![0, -1, -1, -1],
            unlabelled: vec![-1, 0, 0, 0],
            truth: vec![-1; 4],
        };
        let of = |classes: [usize; 4]| {
            let sure = classes.iter().flat_map(|&k| [1.0 - k as f64, k as f64]);
            consensus(&graph, &sure.collect::<Vec<f64>>(), &labels, 2)
        };
        let third = 1.0f64 / 3.0;
        let entropy = -(third * third.ln() + 2.0 * third * (2.0 * third).ln()) / 2.0f64.ln();
        approx::assert_relative_eq!(of([0, 0, 1, 1]), entropy, epsilon = 1e-12);
        // A labelled row has its label, whatever is said of it.
        approx::assert_relative_eq!(of([1, 0, 1, 1]), entropy, epsilon = 1e-12);
        approx::assert_relative_eq!(of([0, 1, 1, 0]), 0.0, epsilon = 1e-12);
        assert_eq!(of([0, 1, 1, 1]), 0.0, "one class alone");
    }
}
