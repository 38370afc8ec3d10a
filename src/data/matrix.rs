//! A dense row-major matrix of features.

use serde::{Deserialize, Serialize};

/// How rows are brought to unit length (`--normalise`).
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
        for row in self.values.chunks_exact_mut(self.cols) {
            // By the largest entry first, so that squares neither overflow nor vanish.
            let largest = row.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
            if largest > 0.0 {
                row.iter_mut().for_each(|x| *x /= largest);
                let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
                row.iter_mut().for_each(|x| *x /= norm);
            }
        }
    }

    /// Normalises every row; where that takes a mean off, the rows' own, which is returned.
    pub fn normalise(&mut self, how: Normalisation) -> Option<Vec<f64>> {
        self.scale(how);
        how.centres().then(|| {
            let mean = self.mean_row();
            self.centre(&mean);
            mean
        })
    }

    /// Normalises every row as those that [`Matrix::normalise`] returned `mean` for.
    pub fn normalise_about(&mut self, how: Normalisation, mean: Option<&[f64]>) {
        self.scale(how);
        if let Some(mean) = mean {
            self.centre(mean);
        }
    }

    /// What comes before centring.
    fn scale(&mut self, how: Normalisation) {
        if how == Normalisation::Rooted {
            let root = |x: &mut f64| *x = x.abs().sqrt().copysign(*x);
            self.values.iter_mut().for_each(root);
        }
        self.normalise_rows();
    }

    fn mean_row(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.cols];
        for row in self.values.chunks_exact(self.cols) {
            mean.iter_mut().zip(row).for_each(|(m, x)| *m += x);
        }
        mean.iter_mut().for_each(|m| *m /= self.rows as f64);
        mean
    }

    /// Takes `mean` off every row and scales them to unit length again.
    fn centre(&mut self, mean: &[f64]) {
        for row in self.values.chunks_exact_mut(self.cols) {
            row.iter_mut().zip(mean).for_each(|(x, m)| *x -= m);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centred_rows_have_unit_length_about_the_mean() {
        let mut rows = Matrix {
            rows: 3,
            cols: 2,
            values: vec![0.6, 0.8, 0.6, 0.0, 0.0, 0.4],
        };
        let again = rows.clone();
        let mean = rows.normalise(Normalisation::Centred);
        let [a, b] = [1.6 / 3.0, 1.8 / 3.0];
        approx::assert_relative_eq!(mean.as_ref().unwrap()[..], [a, b], epsilon = 1e-12);
        let unit = |x: f64, y: f64| [x / x.hypot(y), y / x.hypot(y)];
        let expected = [unit(0.6 - a, 0.8 - b), unit(1.0 - a, -b), unit(-a, 1.0 - b)];
        approx::assert_relative_eq!(rows.values[..], expected.as_flattened(), epsilon = 1e-12);
        let mut one = again.select_rows(&[1]);
        one.normalise_about(Normalisation::Centred, mean.as_deref());
        assert_eq!(one.row(0), rows.row(1));
    }

    #[test]
    fn roots_keep_their_sign() {
        let mut rows = Matrix {
            rows: 2,
            cols: 2,
            values: vec![9.0, -16.0, 0.0, 4.0],
        };
        let mean = rows.normalise(Normalisation::Rooted).unwrap();
        approx::assert_relative_eq!(mean[..], [0.3, 0.1], epsilon = 1e-12);
        let norm = 0.3f64.hypot(0.9);
        let expected = [0.3 / norm, -0.9 / norm, -0.3 / norm, 0.9 / norm];
        approx::assert_relative_eq!(rows.values[..], expected, epsilon = 1e-12);
    }
}
