//! The graph of nearest target rows, and smoothing of class scores over it.
//!
//! Rows that lie close in their own feature space are mostly of one class, whether labelled or not.
//! The weight of an edge is the cosine of two rows, where one is among the `k` nearest of the other
//! and the cosine is positive; `S = D^(−1/2) W D^(−1/2)` with the degrees `D` (Zhou et al.,
//! "Learning with Local and Global Consistency", NeurIPS 2003).

use rayon::prelude::*;

use crate::data::Features;

/// Neighbours of a row.
const NEAREST: usize = 10;

/// Rows whose similarities to all others are held at a time.
const BLOCK: usize = 256;

/// A symmetric sparse `n × n` matrix `S`.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbours {
    /// Where the edges of each row begin, and where the last ends.
    starts: Vec<usize>,
    /// Column and value of each edge, in column order within a row.
    edges: Vec<(u32, f64)>,
}

impl Neighbours {
    /// The graph of `rows` of unit length or 0.
    pub fn new(rows: &Features) -> Neighbours {
        let n = rows.rows();
        let mut pairs = Vec::new();
        rows.similarities(BLOCK, |start, cosines: Vec<f32>| {
            let nearest = cosines.par_chunks(n).enumerate().map(|(i, cosines)| {
                let i = start + i;
                nearest(i, cosines)
                    .into_iter()
                    .map(move |j| (i, j, cosines[j]))
            });
            pairs.par_extend(nearest.flat_map_iter(|edges| edges));
        });
        Neighbours::symmetric(n, &pairs)
    }

    /// The normalised graph that has every edge of `pairs` in both directions.
    fn symmetric(n: usize, pairs: &[(usize, usize, f32)]) -> Neighbours {
        let mut lists: Vec<Vec<(u32, f64)>> = vec![Vec::new(); n];
        for &(i, j, cosine) in pairs {
            lists[i].push((j as u32, f64::from(cosine)));
            lists[j].push((i as u32, f64::from(cosine)));
        }
        for list in &mut lists {
            // Both ends may have named the edge, with cosines of different rounding.
            list.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
            list.dedup_by_key(|edge| edge.0);
        }
        let scale = |list: &Vec<(u32, f64)>| {
            let degree: f64 = list.iter().map(|edge| edge.1).sum();
            if degree > 0.0 {
                degree.sqrt().recip()
            } else {
                0.0
            }
        };
        let scales: Vec<f64> = lists.iter().map(scale).collect();
        let mut starts = vec![0];
        let mut edges = Vec::new();
        for (i, list) in lists.iter().enumerate() {
            let scaled = |&(j, w): &(u32, f64)| (j, w * (scales[i] * scales[j as usize]));
            edges.extend(list.iter().map(scaled));
            starts.push(edges.len());
        }
        Neighbours { starts, edges }
    }

    /// Share of the edges that join two rows of one label; 0 without edges.
    pub fn homophily(&self, labels: &[usize]) -> f64 {
        let rows = self.starts.windows(2).zip(labels);
        let alike = rows.map(|(ends, label)| {
            let edges = &self.edges[ends[0]..ends[1]];
            edges
                .iter()
                .filter(|(j, _)| labels[*j as usize] == *label)
                .count()
        });
        alike.sum::<usize>() as f64 / self.edges.len().max(1) as f64
    }

    /// `F = (I − a·S)⁻¹ Y` for scores `Y [n, K]` and `a` in [0, 1): every row's scores and, ever
    /// fainter, those of its neighbours, of theirs, …; up to a relative 1e-6, by `F ← a·S·F + Y`.
    pub fn smooth(&self, scores: &[f64], classes: usize, a: f64) -> Vec<f64> {
        let steps = if a > 0.0 {
            (1e-6f64.ln() / a.ln()).ceil() as usize
        } else {
            0
        };
        let mut smooth = scores.to_vec();
        for _ in 0..steps {
            let mut next = scores.to_vec();
            next.par_chunks_mut(classes)
                .enumerate()
                .for_each(|(i, row)| {
                    for &(j, weight) in &self.edges[self.starts[i]..self.starts[i + 1]] {
                        let other = &smooth[j as usize * classes..][..classes];
                        for (x, y) in row.iter_mut().zip(other) {
                            *x += a * weight * y;
                        }
                    }
                });
            smooth = next;
        }
        smooth
    }
}

/// The rows of the largest positive `cosines`, without `i` itself; ties to the lower index.
fn nearest(i: usize, cosines: &[f32]) -> Vec<usize> {
    let mut others: Vec<usize> = (0..cosines.len())
        .filter(|&j| j != i && cosines[j] > 0.0)
        .collect();
    let nearer = |a: &usize, b: &usize| cosines[*b].total_cmp(&cosines[*a]).then(a.cmp(b));
    if others.len() > NEAREST {
        others.select_nth_unstable_by(NEAREST, nearer);
        others.truncate(NEAREST);
    }
    others
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Matrix;

    /// Two pairs of rows: each is the other's only neighbour, so `S` swaps them, and
    /// `(I − aS)⁻¹ = (I + aS)/(1 − a²)`.
    #[test]
    fn scores_flow_to_neighbours_alone() {
        let rows = Matrix {
            rows: 5,
            cols: 3,
            values: vec![
                1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.8, 0.0, 0.6, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0,
            ],
        };
        let graph = Neighbours::new(&rows.into());
        let smooth = graph.smooth(&[1.0, 0.0, 0.0, 2.0, 3.0], 1, 0.5);
        let expected = [1.0 / 0.75, 1.0 / 0.75, 0.5 / 0.75, 2.0 / 0.75, 3.0];
        for (x, y) in smooth.iter().zip(expected) {
            approx::assert_relative_eq!(*x, y, max_relative = 1e-5);
        }
    }

    /// A row between two others, which hear of each other through it: with
    /// `w_ij = c_ij/√(d_i·d_j)`, `F = Y + a·S·Y + a²·S²·Y + …`.
    #[test]
    fn scores_flow_by_weight() {
        let graph = Neighbours::symmetric(3, &[(0, 1, 0.8), (1, 2, 0.2)]);
        let (strong, weak) = (0.8f64.sqrt(), 0.2f64.sqrt());
        for (row, expected) in [vec![strong], vec![strong, weak], vec![weak]]
            .into_iter()
            .enumerate()
        {
            let edges = &graph.edges[graph.starts[row]..graph.starts[row + 1]];
            assert_eq!(edges.len(), expected.len());
            for ((_, found), expected) in edges.iter().zip(expected) {
                approx::assert_relative_eq!(*found, expected, max_relative = 1e-6);
            }
        }
        // S² of the middle row is 1: F_1 = 1/(1 − a²), the others a·w·F_1.
        let smooth = graph.smooth(&[0.0, 1.0, 0.0], 1, 0.5);
        let expected = [0.5 * strong / 0.75, 1.0 / 0.75, 0.5 * weak / 0.75];
        for (x, y) in smooth.iter().zip(expected) {
            approx::assert_relative_eq!(*x, y, max_relative = 1e-5);
        }
    }

    /// As many others as a row may name: all of them.
    #[test]
    fn a_few_rows_are_all_linked() {
        let rows = Matrix {
            rows: NEAREST + 1,
            cols: 1,
            values: vec![1.0; NEAREST + 1],
        };
        let graph = Neighbours::new(&rows.into());
        assert_eq!(graph.edges.len(), (NEAREST + 1) * NEAREST);
    }

    #[test]
    fn only_the_nearest_are_linked() {
        let angle = |i: usize| (i as f64 / 40.0).sin_cos();
        let values = (0..30).flat_map(|i| [angle(i).0, angle(i).1]).collect();
        let rows = Matrix {
            rows: 30,
            cols: 2,
            values,
        };
        let graph = Neighbours::new(&rows.into());
        // The first row's ten nearest are the next ten; rows up to the tenth name it too.
        let columns: Vec<u32> = graph.edges[..graph.starts[1]].iter().map(|e| e.0).collect();
        assert_eq!(columns, (1..=10).collect::<Vec<u32>>());
        assert_eq!(graph.homophily(&[3; 30]), 1.0);
        let alternating: Vec<usize> = (0..30).map(|i| i % 2).collect();
        assert!((0.3..0.6).contains(&graph.homophily(&alternating)));
        for i in 0..30 {
            for &(j, w) in &graph.edges[graph.starts[i]..graph.starts[i + 1]] {
                let back = &graph.edges[graph.starts[j as usize]..graph.starts[j as usize + 1]];
                assert!(back.contains(&(i as u32, w)), "{i} {j}");
            }
        }
    }
}
