//! A dense row-major matrix of features.

/// How rows are brought to unit length (`--normalise`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalisation {
    /// Each is divided by its L2 norm: the released code.
    L2,
    /// That, then the domain's mean row is taken off, and each is divided by its norm again.
    Centred,
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

    /// Takes the mean row off every row and scales them to unit length again; returns the mean.
    pub fn centre_rows(&mut self) -> Vec<f64> {
        let mut mean = vec![0.0; self.cols];
        for row in self.values.chunks_exact(self.cols) {
            mean.iter_mut().zip(row).for_each(|(m, x)| *m += x);
        }
        mean.iter_mut().for_each(|m| *m /= self.rows as f64);
        self.subtract(&mean);
        self.normalise_rows();
        mean
    }

    /// Takes `mean` off every row.
    pub fn subtract(&mut self, mean: &[f64]) {
        for row in self.values.chunks_exact_mut(self.cols) {
            row.iter_mut().zip(mean).for_each(|(x, m)| *x -= m);
        }
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
        let mean = rows.centre_rows();
        approx::assert_relative_eq!(mean[..], [0.4, 0.4], epsilon = 1e-12);
        let norm = 0.2f64.hypot(0.4);
        let expected = [0.2 / norm, 0.4 / norm, 0.2 / norm, -0.4 / norm, -1.0, 0.0];
        approx::assert_relative_eq!(rows.values[..], expected, epsilon = 1e-12);
    }
}
