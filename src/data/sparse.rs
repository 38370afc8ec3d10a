//! Rows of which only what is not 0 is kept: text data, which never become dense on their way in.
//!
//! Centring keeps them sparse: with the mean row `m`, row `i` is `s_i·(x_i − m)`, and what is kept are
//! the sparse `x_i`, `m` and the numbers `s_i`.

use std::ops::Range;

use rayon::prelude::*;

use super::matrix::{ROUNDING, normalise_row, root};
use super::{Matrix, Normalisation};
use crate::device::cpu::for_rows;
use crate::real::Real;

/// A matrix by rows (CSR), centred where it says so.
#[derive(Clone, Debug, PartialEq)]
pub struct Sparse {
    cols: usize,
    /// Where the entries of each row begin, and where the last one's end.
    starts: Vec<usize>,
    /// Columns in ascending order within a row, each once.
    columns: Vec<u32>,
    values: Vec<f64>,
    centre: Option<Centre>,
}

/// What makes `s_i·(x_i − m)` of the rows.
#[derive(Clone, Debug, PartialEq)]
struct Centre {
    /// `m`.
    mean: Vec<f64>,
    /// `s_i` of each row.
    scales: Vec<f64>,
}

/// A value and its place, of a matrix that is being read.
#[derive(Clone, Copy, Debug)]
pub struct Triplet {
    /// Row.
    pub row: usize,
    /// Column.
    pub col: usize,
    /// Value.
    pub value: f64,
}

impl Sparse {
    /// Rows, and columns, that can be told apart: more do not fit the indices.
    pub const MOST: usize = u32::MAX as usize;

    /// The `rows × cols` matrix with these entries, in any order; values of one place add up.
    ///
    /// # Panics
    /// An entry lies outside, or there are more than [`Sparse::MOST`] rows or columns.
    pub fn new(rows: usize, cols: usize, entries: &[Triplet]) -> Sparse {
        assert!(rows.max(cols) <= Sparse::MOST, "sizes of a sparse matrix");
        let inside = entries.iter().all(|entry| entry.col < cols);
        assert!(inside, "entries inside the matrix");
        let starts = starts(rows, entries.iter().map(|entry| entry.row));
        let mut next = starts.clone();
        let mut placed = vec![(0, 0.0); entries.len()];
        for entry in entries {
            placed[next[entry.row]] = (entry.col as u32, entry.value);
            next[entry.row] += 1;
        }
        let mut sparse = Sparse {
            cols,
            starts: vec![0],
            columns: Vec::with_capacity(entries.len()),
            values: Vec::with_capacity(entries.len()),
            centre: None,
        };
        for ends in starts.windows(2) {
            let row = &mut placed[ends[0]..ends[1]];
            // Stable: sums of one place run in the order of the entries.
            row.sort_by_key(|&(col, _)| col);
            for same in row.chunk_by(|a, b| a.0 == b.0) {
                let value: f64 = same.iter().map(|&(_, x)| x).sum();
                if value != 0.0 {
                    sparse.columns.push(same[0].0);
                    sparse.values.push(value);
                }
            }
            sparse.starts.push(sparse.values.len());
        }
        sparse
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Values that are kept.
    pub fn stored(&self) -> usize {
        self.values.len()
    }

    /// Where a value that is no finite number is: row, column, value.
    pub fn not_finite(&self) -> Option<(usize, usize, f64)> {
        let at = self.values.iter().position(|x| !x.is_finite())?;
        let row = self.starts.partition_point(|&start| start <= at) - 1;
        Some((row, self.columns[at] as usize, self.values[at]))
    }

    /// Rows without a value.
    pub fn empty_rows(&self) -> usize {
        self.starts.windows(2).filter(|w| w[0] == w[1]).count()
    }

    fn row(&self, i: usize) -> impl Iterator<Item = (usize, f64)> {
        let at = self.starts[i]..self.starts[i + 1];
        let columns = self.columns[at.clone()].iter().map(|&j| j as usize);
        columns.zip(self.values[at].iter().copied())
    }

    /// The rows `rows`, in that order.
    pub fn select_rows(&self, rows: &[usize]) -> Sparse {
        let mut selected = Sparse {
            starts: vec![0],
            columns: Vec::new(),
            values: Vec::new(),
            cols: self.cols,
            centre: self.centre.as_ref().map(|centre| Centre {
                mean: centre.mean.clone(),
                scales: rows.iter().map(|&i| centre.scales[i]).collect(),
            }),
        };
        for &i in rows {
            let at = self.starts[i]..self.starts[i + 1];
            selected.columns.extend(&self.columns[at.clone()]);
            selected.values.extend(&self.values[at]);
            selected.starts.push(selected.values.len());
        }
        selected
    }

    /// The rows of `other` below.
    pub fn append(&mut self, other: &Sparse) {
        let stored = self.stored();
        self.columns.extend(&other.columns);
        self.values.extend(&other.values);
        let starts = other.starts[1..].iter().map(|&start| start + stored);
        self.starts.extend(starts);
    }

    /// Values that are stored, row by row.
    pub(super) fn values(&self) -> &[f64] {
        &self.values
    }

    /// The rows `rows`, zeros included.
    pub fn dense(&self, rows: Range<usize>) -> Matrix {
        let mut dense = vec![0.0; rows.len() * self.cols];
        for (i, row) in rows.clone().zip(dense.chunks_exact_mut(self.cols)) {
            self.add_row(i, row);
        }
        Matrix {
            rows: rows.len(),
            cols: self.cols,
            values: dense,
        }
    }

    /// Adds row `i` to `sums`.
    pub fn add_row(&self, i: usize, sums: &mut [f64]) {
        let scale = self.scale(i);
        for (j, x) in self.row(i) {
            sums[j] += scale * x;
        }
        if let Some(centre) = &self.centre {
            let mean = sums.iter_mut().zip(&centre.mean);
            mean.for_each(|(sum, m)| *sum -= scale * m);
        }
    }

    /// What comes before centring.
    pub(super) fn scale_rows(&mut self, how: Normalisation) {
        if how == Normalisation::Rooted {
            self.values.iter_mut().for_each(root);
        }
        self.normalise_rows();
    }

    /// Scales every row to unit L2 norm, as [`Matrix::normalise_rows`].
    pub fn normalise_rows(&mut self) {
        for ends in self.starts.windows(2) {
            normalise_row(&mut self.values[ends[0]..ends[1]]);
        }
    }

    /// Takes `mean` off every row and scales them to unit length again.
    pub(super) fn centre(&mut self, mean: &[f64]) {
        let square = mean.iter().map(|m| m * m).sum::<f64>();
        let scale = |i: usize| {
            let (mut norm, mut own) = (square, 0.0);
            for (j, x) in self.row(i) {
                norm += x * (x - 2.0 * mean[j]);
                own += x * x;
            }
            if norm > ROUNDING * (own + square) {
                norm.sqrt().recip()
            } else {
                0.0
            }
        };
        let scales = (0..self.rows()).map(scale).collect();
        self.centre = Some(Centre {
            mean: mean.to_vec(),
            scales,
        });
    }

    fn scale(&self, i: usize) -> f64 {
        self.centre.as_ref().map_or(1.0, |centre| centre.scales[i])
    }

    /// As [`Features::similarities`](super::Features::similarities), each sum in `f64`.
    pub fn similarities<T: Real>(&self, block: usize, mut take: impl FnMut(usize, Vec<T>)) {
        let (n, transposed) = (self.rows(), self.transposed());
        // x·m of every row, and m·m.
        let about = self.centre.as_ref().map(|centre| {
            let dot = |i| self.row(i).map(|(j, x)| x * centre.mean[j]).sum::<f64>();
            let dots: Vec<f64> = (0..n).map(dot).collect();
            (dots, centre.mean.iter().map(|m| m * m).sum::<f64>())
        });
        for start in (0..n).step_by(block) {
            let rows = start..n.min(start + block);
            let mut products = vec![T::zero(); rows.len() * n];
            let lines = rows.into_par_iter().zip(products.par_chunks_exact_mut(n));
            lines.for_each_init(
                || vec![0.0; n],
                |sums, (i, out)| {
                    sums.fill(0.0);
                    for (j, x) in self.row(i) {
                        for (other, y) in transposed.row(j) {
                            sums[other] += x * y;
                        }
                    }
                    for (other, (out, &sum)) in out.iter_mut().zip(&*sums).enumerate() {
                        let product = match &about {
                            None => sum,
                            Some((dots, square)) => {
                                let sum = sum - dots[i] - dots[other] + square;
                                self.scale(i) * self.scale(other) * sum
                            }
                        };
                        *out = T::of(product);
                    }
                },
            );
            take(start, products);
        }
    }

    /// `out = X·wᵀ` with `w [h, d]`; `out` is `n × h`.
    pub fn times_transposed<T: Real>(&self, w: &[T], out: &mut [T]) {
        let (d, h) = (self.cols, w.len() / self.cols);
        // The columns of w one after the other: a value meets h of its numbers.
        let mut columns = vec![T::zero(); w.len()];
        for_rows(h, [(&mut columns, h)], |j, [column]| {
            for (x, row) in column.iter_mut().zip(w.chunks_exact(d)) {
                *x = row[j];
            }
        });
        let mean = self.centre.as_ref().map(|centre| {
            let mut mean = vec![0.0; h];
            for (m, column) in centre.mean.iter().zip(columns.chunks_exact(h)) {
                let sums = mean.iter_mut().zip(column);
                sums.for_each(|(sum, w): (&mut f64, &T)| *sum += m * w.wide());
            }
            mean
        });
        let cost = h * (1 + self.stored() / self.rows());
        for_rows(cost, [(out, h)], |i, [out]| {
            let mut sums = match &mean {
                Some(mean) => mean.iter().map(|m| -m).collect(),
                None => vec![0.0; h],
            };
            for (j, x) in self.row(i) {
                let column = columns[j * h..][..h].iter();
                let sums = sums.iter_mut().zip(column);
                sums.for_each(|(sum, w)| *sum += x * w.wide());
            }
            let scale = self.scale(i);
            let out = out.iter_mut().zip(&sums);
            out.for_each(|(out, sum)| *out = T::of(scale * sum));
        });
    }

    /// `w += cᵀ·X` with `c [n, h]` and `w [h, d]`.
    pub fn add_products(&self, c: &[f64], w: &mut [f64]) {
        let (d, n) = (self.cols, self.rows());
        let h = w.len() / d;
        let cost = d + self.stored();
        for_rows(cost, [(w, d)], |k, [row]| {
            let mut sums = vec![0.0; d];
            let mut total = 0.0;
            for i in 0..n {
                let scaled = self.scale(i) * c[i * h + k];
                total += scaled;
                self.row(i).for_each(|(j, x)| sums[j] += x * scaled);
            }
            for (j, (w, sum)) in row.iter_mut().zip(sums).enumerate() {
                let mean = self.centre.as_ref().map_or(0.0, |centre| centre.mean[j]);
                *w += sum - mean * total;
            }
        });
    }

    /// Rows and columns exchanged, before rows are centred.
    pub fn transposed(&self) -> Sparse {
        let starts = starts(self.cols, self.columns.iter().map(|&j| j as usize));
        let mut next = starts.clone();
        let mut columns = vec![0; self.stored()];
        let mut values = vec![0.0; self.stored()];
        for i in 0..self.rows() {
            for (j, x) in self.row(i) {
                (columns[next[j]], values[next[j]]) = (i as u32, x);
                next[j] += 1;
            }
        }
        Sparse {
            cols: self.rows(),
            starts,
            columns,
            values,
            centre: None,
        }
    }
}

/// Where the entries of each of `rows` rows begin, and where the last one's end, from the row of each
/// entry.
fn starts(rows: usize, of: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut starts = vec![0; rows + 1];
    of.for_each(|i| starts[i + 1] += 1);
    for i in 0..rows {
        starts[i + 1] += starts[i];
    }
    starts
}
