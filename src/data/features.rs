//! The features of a domain, dense or sparse.

use std::ops::Range;

use super::{Matrix, Normalisation, Sparse};
use crate::device::cpu::{View, product};
use crate::real::Real;

/// Features of one domain, a sample per row.
#[derive(Clone, Debug, PartialEq)]
pub enum Features {
    /// Every value.
    Dense(Matrix),
    /// Values that are not 0.
    Sparse(Sparse),
}

/// Zeros per value below which a sparse matrix costs more than a dense one.
const ZEROS: usize = 8;

impl From<Matrix> for Features {
    fn from(matrix: Matrix) -> Features {
        Features::Dense(matrix)
    }
}

impl From<Sparse> for Features {
    /// Dense where few values are 0.
    fn from(sparse: Sparse) -> Features {
        match sparse.stored().saturating_mul(ZEROS) < sparse.rows().saturating_mul(sparse.cols()) {
            true => Features::Sparse(sparse),
            false => Features::Dense(sparse.dense(0..sparse.rows())),
        }
    }
}

impl Features {
    /// Number of samples.
    pub fn rows(&self) -> usize {
        match self {
            Features::Dense(matrix) => matrix.rows,
            Features::Sparse(sparse) => sparse.rows(),
        }
    }

    /// Dimension of the feature space.
    pub fn cols(&self) -> usize {
        match self {
            Features::Dense(matrix) => matrix.cols,
            Features::Sparse(sparse) => sparse.cols(),
        }
    }

    /// Numbers that are kept.
    pub fn stored(&self) -> usize {
        match self {
            Features::Dense(matrix) => matrix.values.len(),
            Features::Sparse(sparse) => sparse.stored(),
        }
    }

    /// Values other than 0, of rows that are not centred.
    pub fn nonzeros(&self) -> usize {
        match self {
            Features::Dense(matrix) => matrix.values.iter().filter(|&&x| x != 0.0).count(),
            Features::Sparse(sparse) => sparse.stored(),
        }
    }

    /// Whether values say how often something is there, as counts, histograms, word weights and
    /// activations do: none is negative, and all are whole numbers or a twentieth of them is 0. Of
    /// rows as they were read.
    pub fn are_frequencies(&self) -> bool {
        /// Values for each 0 that there must be.
        const PER_ZERO: usize = 20;
        let values = match self {
            Features::Dense(matrix) => &matrix.values,
            Features::Sparse(sparse) => sparse.values(),
        };
        let all = self.rows().saturating_mul(self.cols());
        let zeros = all - self.nonzeros();
        let whole = || values.iter().all(|x| x.fract() == 0.0);
        values.iter().all(|&x| x >= 0.0) && (zeros.saturating_mul(PER_ZERO) >= all || whole())
    }

    /// Rows of zeros, before they are centred.
    pub fn zero_rows(&self) -> usize {
        match self {
            Features::Dense(matrix) => {
                let rows = matrix.values.chunks_exact(matrix.cols);
                rows.filter(|row| row.iter().all(|&x| x == 0.0)).count()
            }
            Features::Sparse(sparse) => sparse.empty_rows(),
        }
    }

    /// Where a value that is no finite number is: row, column, value.
    pub fn not_finite(&self) -> Option<(usize, usize, f64)> {
        match self {
            Features::Dense(matrix) => {
                let at = matrix.values.iter().position(|x| !x.is_finite())?;
                Some((at / matrix.cols, at % matrix.cols, matrix.values[at]))
            }
            Features::Sparse(sparse) => sparse.not_finite(),
        }
    }

    /// The rows `rows`, zeros included.
    pub fn dense(&self, rows: Range<usize>) -> Matrix {
        match self {
            Features::Dense(matrix) => Matrix {
                rows: rows.len(),
                cols: matrix.cols,
                values: matrix.values[rows.start * matrix.cols..rows.end * matrix.cols].to_vec(),
            },
            Features::Sparse(sparse) => sparse.dense(rows),
        }
    }

    /// The rows `rows`, in that order.
    pub fn select_rows(&self, rows: &[usize]) -> Features {
        match self {
            Features::Dense(matrix) => matrix.select_rows(rows).into(),
            Features::Sparse(sparse) => Features::Sparse(sparse.select_rows(rows)),
        }
    }

    /// Rows and columns exchanged, before rows are centred.
    pub fn transposed(&self) -> Features {
        match self {
            Features::Dense(matrix) => matrix.transposed().into(),
            Features::Sparse(sparse) => Features::Sparse(sparse.transposed()),
        }
    }

    /// The rows of `other`, of as many columns, below, before either is centred.
    pub fn append(&mut self, other: Features) {
        match (&mut *self, &other) {
            (Features::Sparse(above), Features::Sparse(below)) => above.append(below),
            (Features::Dense(above), Features::Dense(below)) => {
                above.values.extend(&below.values);
                above.rows += below.rows;
            }
            _ => {
                let mut above = self.dense(0..self.rows());
                above.values.extend(other.dense(0..other.rows()).values);
                above.rows += other.rows();
                *self = above.into();
            }
        }
    }

    /// Adds row `i` to `sums`.
    pub fn add_row(&self, i: usize, sums: &mut [f64]) {
        match self {
            Features::Dense(matrix) => {
                let row = sums.iter_mut().zip(matrix.row(i));
                row.for_each(|(sum, x)| *sum += x);
            }
            Features::Sparse(sparse) => sparse.add_row(i, sums),
        }
    }

    /// Scales every row to unit L2 norm; an all-zero row stays zero.
    pub fn normalise_rows(&mut self) {
        match self {
            Features::Dense(matrix) => matrix.normalise_rows(),
            Features::Sparse(sparse) => sparse.normalise_rows(),
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

    /// What comes before centring.
    fn scale(&mut self, how: Normalisation) {
        match self {
            Features::Dense(matrix) => matrix.scale(how),
            Features::Sparse(sparse) => sparse.scale_rows(how),
        }
    }

    fn mean_row(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.cols()];
        (0..self.rows()).for_each(|i| self.add_row(i, &mut mean));
        mean.iter_mut().for_each(|m| *m /= self.rows() as f64);
        mean
    }

    /// Takes `mean` off every row and scales them to unit length again.
    fn centre(&mut self, mean: &[f64]) {
        match self {
            Features::Dense(matrix) => matrix.centre(mean),
            Features::Sparse(sparse) => sparse.centre(mean),
        }
    }

    /// `X·Xᵀ`, `block` rows at a time: calls `take` with the first of them and their products with
    /// all, row by row.
    pub fn similarities<T: Real>(&self, block: usize, mut take: impl FnMut(usize, Vec<T>)) {
        match self {
            Features::Dense(matrix) => {
                let (all, cols) = (T::of_all(&matrix.values), matrix.cols);
                for (b, rows) in all.chunks(block * cols).enumerate() {
                    let mut products = vec![T::zero(); rows.len() / cols * matrix.rows];
                    let all = View::new(&all, cols).transposed();
                    product(&mut products, View::new(rows, cols), all, false);
                    take(b * block, products);
                }
            }
            Features::Sparse(sparse) => sparse.similarities(block, take),
        }
    }

    /// `X·Xᵀ`, row by row.
    pub fn gram(&self) -> Vec<f64> {
        let mut gram = Vec::new();
        self.similarities(self.rows(), |_, products| gram = products);
        gram
    }

    /// `out = X·wᵀ` with `w [h, d]`; `out` is `n × h`.
    pub fn times_transposed<T: Real>(&self, w: &[T], out: &mut [T]) {
        match self {
            Features::Dense(matrix) => {
                let values = T::of_all(&matrix.values);
                let w = View::new(w, matrix.cols).transposed();
                product(out, View::new(&values, matrix.cols), w, false);
            }
            Features::Sparse(sparse) => sparse.times_transposed(w, out),
        }
    }

    /// `w += cᵀ·X` with `c [n, h]` and `w [h, d]`.
    pub fn add_products(&self, c: &[f64], w: &mut [f64]) {
        match self {
            Features::Dense(matrix) => {
                let c = View::new(c, c.len() / matrix.rows).transposed();
                product(w, c, View::new(&matrix.values, matrix.cols), true);
            }
            Features::Sparse(sparse) => sparse.add_products(c, w),
        }
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::data::{Normalise, Triplet};

    /// 23 rows of 70 features, one in eleven of them not 0, rows 5 and 6 empty, 7 and 8 alike.
    fn entries() -> Vec<Triplet> {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut entries = Vec::new();
        for row in (0..23).filter(|row| ![5, 6, 8].contains(row)) {
            for _ in 0..7 {
                let (col, value) = (rng.random_range(0..70), rng.random_range(-3.0..5.0));
                entries.push(Triplet { row, col, value });
                if row == 7 {
                    entries.push(Triplet { row: 8, col, value });
                }
            }
        }
        // A place twice, and one that comes to nothing.
        let [first, last] = [entries[0], entries[entries.len() - 1]];
        entries.push(Triplet {
            value: 0.5,
            ..first
        });
        entries.push(Triplet {
            value: -last.value,
            ..last
        });
        entries
    }

    fn both() -> [Features; 2] {
        let sparse = Features::from(Sparse::new(23, 70, &entries()));
        assert!(matches!(sparse, Features::Sparse(_)));
        let dense = sparse.dense(0..23).into();
        [sparse, dense]
    }

    /// Dense rows of two features.
    fn dense(rows: usize, values: Vec<f64>) -> Features {
        let cols = 2;
        Matrix { rows, cols, values }.into()
    }

    #[test]
    fn centred_rows_have_unit_length_about_the_mean() {
        let mut rows = dense(3, vec![0.6, 0.8, 0.6, 0.0, 0.0, 0.4]);
        let again = rows.clone();
        let mean = rows.normalise(Normalisation::Centred);
        let [a, b] = [1.6 / 3.0, 1.8 / 3.0];
        approx::assert_relative_eq!(mean.as_ref().unwrap()[..], [a, b], epsilon = 1e-12);
        let unit = |x: f64, y: f64| [x / x.hypot(y), y / x.hypot(y)];
        let expected = [unit(0.6 - a, 0.8 - b), unit(1.0 - a, -b), unit(-a, 1.0 - b)];
        approx::assert_relative_eq!(
            rows.dense(0..rows.rows()).values[..],
            expected.as_flattened(),
            epsilon = 1e-12
        );
        let mut one = again.dense(1..2);
        one.normalise_about(Normalisation::Centred, mean.as_deref());
        assert_eq!(one, rows.dense(1..2));
    }

    /// The bundled digits: Fourier coefficients are measurements, pixels are counts. Then what makes
    /// the difference.
    #[test]
    fn frequencies_are_rooted_and_measurements_are_not() {
        let (fourier, pixels) = crate::data::digits().unwrap();
        let how = Normalise::ByFeatures;
        assert_eq!(how.of(&fourier), Normalisation::Centred);
        assert_eq!(how.of(&pixels), Normalisation::Rooted);
        let both = Normalise::Both(Normalisation::L2);
        assert_eq!(both.of(&pixels), Normalisation::L2);

        let are = |first: f64, others: f64| {
            let mut values = vec![others; 40];
            values[0] = first;
            dense(20, values).are_frequencies()
        };
        assert!(are(3.0, 1.0), "whole numbers");
        assert!(!are(-3.0, 1.0), "one is negative");
        assert!(!are(0.5, 1.0), "neither whole nor with zeros");
        assert!(!are(0.0, 0.5), "one zero of forty");
        assert!(are(0.5, 0.0), "many zeros");
        for sign in [1.0, -1.0] {
            let entries = entries().into_iter().map(|entry| Triplet {
                value: if entry.row == 2 { sign } else { 1.0 } * entry.value.abs(),
                ..entry
            });
            let sparse = Sparse::new(23, 70, &entries.collect::<Vec<_>>());
            let dense = Features::from(sparse.dense(0..23));
            let sparse = Features::Sparse(sparse);
            assert_eq!(sparse.are_frequencies(), sign > 0.0);
            assert_eq!(dense.are_frequencies(), sign > 0.0);
        }
    }

    #[test]
    fn roots_keep_their_sign() {
        let mut rows = dense(2, vec![9.0, -16.0, 0.0, 4.0]);
        let mean = rows.normalise(Normalisation::Rooted).unwrap();
        approx::assert_relative_eq!(mean[..], [0.3, 0.1], epsilon = 1e-12);
        let norm = 0.3f64.hypot(0.9);
        let expected = [0.3 / norm, -0.9 / norm, -0.3 / norm, 0.9 / norm];
        approx::assert_relative_eq!(
            rows.dense(0..rows.rows()).values[..],
            expected,
            epsilon = 1e-12
        );
    }

    fn close(a: &[f64], b: &[f64]) {
        assert_relative_eq!(a, b, epsilon = 1e-12);
    }

    #[test]
    fn a_matrix_of_few_zeros_is_dense() {
        let mut expected = vec![0.0; 23 * 70];
        for entry in entries() {
            expected[entry.row * 70 + entry.col] += entry.value;
        }
        let [sparse, dense] = both();
        assert_eq!(
            dense,
            Matrix {
                rows: 23,
                cols: 70,
                values: expected
            }
            .into()
        );
        assert_eq!((sparse.stored(), sparse.zero_rows()), (dense.nonzeros(), 2));
        assert_eq!(dense.zero_rows(), 2);
        let few = Sparse::new(
            2,
            2,
            &[Triplet {
                row: 1,
                col: 0,
                value: 3.0,
            }],
        );
        let few = Features::from(few);
        assert_eq!(few, self::dense(2, vec![0.0, 0.0, 3.0, 0.0]));
    }

    /// Everything that training asks of sparse rows is what it gets of the same rows made dense.
    #[test]
    fn sparse_rows_are_what_dense_ones_are() {
        for how in [
            Normalisation::L2,
            Normalisation::Centred,
            Normalisation::Rooted,
        ] {
            let [mut sparse, mut dense] = both();
            let means = [sparse.normalise(how), dense.normalise(how)];
            if let [Some(a), Some(b)] = &means {
                close(a, b);
            }
            assert_eq!(means[0].is_some(), how.centres());
            let order = [4, 22, 5, 0, 8, 8];
            for (sparse, dense) in [
                (sparse.clone(), dense.clone()),
                (sparse.select_rows(&order), dense.select_rows(&order)),
            ] {
                let n = dense.rows();
                assert_eq!((sparse.rows(), sparse.cols()), (n, 70));
                close(&sparse.dense(0..n).values, &dense.dense(0..n).values);
                close(&sparse.dense(2..5).values, &dense.dense(2..5).values);
                close(&sparse.gram(), &dense.gram());
                let mut blocks = Vec::new();
                sparse.similarities(4, |start, products| {
                    assert_eq!(start * n, blocks.len());
                    blocks.extend::<Vec<f64>>(products);
                });
                assert_eq!(blocks, sparse.gram());
                let w: Vec<f64> = (0..3 * 70).map(|i| (i as f64).sin()).collect();
                let mut out = [vec![1.0; n * 3], vec![2.0; n * 3]];
                sparse.times_transposed(&w, &mut out[0]);
                dense.times_transposed(&w, &mut out[1]);
                close(&out[0], &out[1]);
                let mut weights = [w.clone(), w];
                sparse.add_products(&out[1], &mut weights[0]);
                dense.add_products(&out[1], &mut weights[1]);
                close(&weights[0], &weights[1]);
            }
            let mut new = both()[0].dense(0..23);
            new.normalise_about(how, means[0].as_deref());
            close(&sparse.dense(0..23).values, &new.values);
        }
    }

    #[test]
    fn rows_alike_are_nothing_about_their_mean() {
        let row = |row| [(3, 0.3), (50, 0.7)].map(|(col, value)| Triplet { row, col, value });
        let entries: Vec<Triplet> = (0..4).flat_map(row).collect();
        let mut alike = Features::from(Sparse::new(4, 100, &entries));
        alike.normalise(Normalisation::Centred);
        assert_eq!(alike.gram(), [0.0; 16]);
    }

    #[test]
    fn parts_join_and_turn() {
        let [sparse, dense] = both();
        for (a, b) in [(&sparse, &sparse), (&sparse, &dense), (&dense, &sparse)] {
            let mut joined = a.clone();
            joined.append(b.clone());
            let rows = joined.dense(0..46).values;
            assert_eq!(rows, dense.dense(0..23).values.repeat(2));
            assert_eq!(joined.rows(), 46);
        }
        let turned = sparse.transposed();
        assert!(matches!(turned, Features::Sparse(_)));
        assert_eq!(
            turned.dense(0..70),
            match dense.transposed() {
                Features::Dense(matrix) => matrix,
                Features::Sparse(_) => panic!("dense rows stay dense"),
            }
        );
    }

    #[test]
    fn numbers_that_are_none_are_found() {
        for how in [sparse_at, dense_at] {
            let found = how(3, 60, f64::NAN).not_finite();
            assert!(matches!(found, Some((3, 60, x)) if x.is_nan()));
            assert_eq!(how(3, 60, 1.0).not_finite(), None);
        }
    }

    fn sparse_at(row: usize, col: usize, value: f64) -> Features {
        let other = Triplet {
            row: 8,
            col: 0,
            value: 1.0,
        };
        Sparse::new(9, 70, &[Triplet { row, col, value }, other]).into()
    }

    fn dense_at(row: usize, col: usize, value: f64) -> Features {
        sparse_at(row, col, value).dense(0..9).into()
    }
}
