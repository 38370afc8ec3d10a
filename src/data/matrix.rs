//! A dense row-major matrix of features.

use std::fmt::{Display, Formatter};

use serde::{Deserialize, Serialize};

use super::Domain;

/// How a domain's rows are brought to unit length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Normalisation {
    /// Each is divided by its L2 norm: the released code.
    #[serde(rename = "l2")]
    L2,
    /// That, then the domain's mean row is taken off, and each is divided by its norm again.
    #[serde(rename = "l2-centre-l2")]
    Centred,
    /// The same of the square roots of the features, with their signs. Of histograms, the scalar
    /// product of rows is then the Hellinger kernel, in which frequent features outweigh rare ones
    /// less (Perronnin, Sánchez & Mensink, ECCV 2010; Arandjelović & Zisserman, CVPR 2012).
    #[serde(rename = "root-l2-centre-l2")]
    Rooted,
}

impl Normalisation {
    /// Whether the mean row is taken off.
    pub fn centres(self) -> bool {
        self != Normalisation::L2
    }
}

impl Display for Normalisation {
    fn fmt(&self, f: &mut Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Normalisation::L2 => "scaled to unit length",
            Normalisation::Centred => "scaled to unit length, centred, scaled again",
            Normalisation::Rooted => {
                "square roots with their signs, scaled to unit length, centred, scaled again"
            }
        })
    }
}

/// How the rows of both domains are brought to unit length (`--normalise`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalise {
    /// Both alike.
    Both(Normalisation),
    /// Centred, and rooted before where the features are [frequencies](super::Features::are_frequencies).
    /// Square roots bring out neighbours there, and blur them where features are measurements.
    ByFeatures,
}

impl Normalise {
    /// What is done with the rows of `domain`.
    pub fn of(self, domain: &Domain) -> Normalisation {
        match self {
            Normalise::Both(how) => how,
            Normalise::ByFeatures if domain.frequencies => Normalisation::Rooted,
            Normalise::ByFeatures => Normalisation::Centred,
        }
    }
}

/// Features of one domain, a sample per row.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Number of samples.
    pub rows: usize,
    /// Dimension of the feature space.
    pub cols: usize,
    /// `rows · cols` values, row by row.
    pub values: Vec<f64>,
}

impl Matrix {
    /// One sample.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.cols..(i + 1) * self.cols]
    }

    /// Scales every row to unit L2 norm; an all-zero row stays zero.
    pub fn normalise_rows(&mut self) {
        self.values
            .chunks_exact_mut(self.cols)
            .for_each(normalise_row);
    }

    /// Normalises every row as those that [`Features::normalise`](super::Features::normalise)
    /// returned `mean` for.
    pub fn normalise_about(&mut self, how: Normalisation, mean: Option<&[f64]>) {
        self.scale(how);
        if let Some(mean) = mean {
            self.centre(mean);
        }
    }

    /// What comes before centring.
    pub(super) fn scale(&mut self, how: Normalisation) {
        if how == Normalisation::Rooted {
            self.values.iter_mut().for_each(root);
        }
        self.normalise_rows();
    }

    /// Takes `mean` off every row and scales them to unit length again; a row that is the mean but for
    /// rounding becomes 0.
    pub(crate) fn centre(&mut self, mean: &[f64]) {
        let square = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>();
        let of_mean = square(mean);
        for row in self.values.chunks_exact_mut(self.cols) {
            let before = square(row);
            row.iter_mut().zip(mean).for_each(|(x, m)| *x -= m);
            if square(row) <= ROUNDING * (before + of_mean) {
                row.fill(0.0);
            }
        }
        self.normalise_rows();
    }

    /// Rows and columns exchanged.
    pub fn transposed(&self) -> Matrix {
        let mut values = Vec::with_capacity(self.values.len());
        for j in 0..self.cols {
            values.extend((0..self.rows).map(|i| self.values[i * self.cols + j]));
        }
        Matrix {
            rows: self.cols,
            cols: self.rows,
            values,
        }
    }

    /// The rows `rows`, in that order.
    pub fn select_rows(&self, rows: &[usize]) -> Matrix {
        let values = rows.iter().flat_map(|&i| self.row(i)).copied().collect();
        Matrix {
            rows: rows.len(),
            cols: self.cols,
            values,
        }
    }
}

/// Of the squared lengths of a row and the mean: a squared difference that is smaller is their
/// rounding.
pub(super) const ROUNDING: f64 = 1e-14;

/// The square root of `x`, with its sign.
pub(super) fn root(x: &mut f64) {
    *x = x.abs().sqrt().copysign(*x);
}

/// Scales the values of a row to unit L2 norm, unless all are 0.
pub(super) fn normalise_row(row: &mut [f64]) {
    // By the largest entry first, so that squares neither overflow nor vanish.
    let largest = row.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    if largest > 0.0 {
        row.iter_mut().for_each(|x| *x /= largest);
        let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        row.iter_mut().for_each(|x| *x /= norm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row that differs from the mean by rounding alone has no direction.
    #[test]
    fn a_row_that_is_the_mean_becomes_zero() {
        let row = [0.1, 0.7, 0.3];
        let mut matrix = Matrix {
            rows: 4,
            cols: 3,
            values: [row, row, row.map(|x| x + 1e-17), [0.1, 0.7, 0.31]].concat(),
        };
        let mean = row.map(|x| (x + x + x) / 3.0);
        assert_ne!(mean, row, "or rounding is not tried");
        matrix.centre(&mean);
        assert_eq!(matrix.values[..9], [0.0; 9]);
        approx::assert_relative_eq!(matrix.row(3)[2], 1.0, epsilon = 1e-12);
    }
}
