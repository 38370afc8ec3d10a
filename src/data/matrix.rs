//! A dense row-major matrix of features.

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
