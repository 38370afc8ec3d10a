//! Clustering that starts from the rows' labels: where a class forms a cluster, the cluster's border
//! says more of a row's class than labels near it, of which some are wrong.
//!
//! Rows are first seen along the directions that tell the labels' classes apart, with `M` the classes'
//! means, `S = Σ_k Σ_{i∈k} (x_i − m_k)(x_i − m_k)ᵀ` the scatter about them, and `d` features:
//!
//! ```text
//! Z = X·(S + r·I)⁻¹·Mᵀ,  r = 0.1·tr S/d
//! ```
//!
//! where a row of 0 counts in tr S as one of unit length (regularised discriminant analysis; Friedman,
//! JASA 1989), less its mean row, in unit length. There
//! k-means of cosines (Dhillon & Modha, Machine Learning 2001) begins with the classes' means.

use crate::data::{Features, Matrix};
use crate::evaluation::largest;
use crate::ops::dot;

/// `r` in units of the scatter's mean eigenvalue.
const SHRINKAGE: f64 = 0.1;

/// Conjugate gradients end where the residual is so small a share of the right-hand side, or after so
/// many steps.
const RESIDUAL: f64 = 1e-6;
const MOST_STEPS: usize = 100;

/// k-means ends after so many rounds if rows still change clusters.
const MOST_ROUNDS: usize = 100;

/// The class whose cluster each of the `rows [n, d]` lies in, where the clusters began with `labels`; rows
/// have unit length or are 0. A row labelled −1 has no part and stays −1; a class without rows gets
/// none.
pub(super) fn clusters(rows: &Features, labels: &[i32], classes: usize) -> Vec<i32> {
    let z = Features::from(discriminants(rows, labels, classes));
    let exists: Vec<bool> = (0..classes as i32).map(|k| labels.contains(&k)).collect();
    let mut clusters = labels.to_vec();
    let mut centres = directions(&z, labels, classes);
    let mut cosines = vec![0.0; z.rows() * classes];
    for _ in 0..MOST_ROUNDS {
        z.times_transposed(&centres.values, &mut cosines);
        let nearest = |(row, &cluster): (&mut [f64], &i32)| {
            let absent = row.iter_mut().zip(&exists).filter(|(_, exists)| !**exists);
            absent.for_each(|(cosine, _)| *cosine = f64::NEG_INFINITY);
            if cluster < 0 { -1 } else { largest(row) as i32 }
        };
        let next = cosines.chunks_exact_mut(classes).zip(&clusters);
        let next: Vec<i32> = next.map(nearest).collect();
        if next == clusters {
            break;
        }
        clusters = next;
        let moved = directions(&z, &clusters, classes);
        for (k, centre) in centres.values.chunks_exact_mut(classes).enumerate() {
            // A cluster that has lost its rows stays where it was.
            if clusters.contains(&(k as i32)) {
                centre.copy_from_slice(moved.row(k));
            }
        }
    }
    clusters
}

/// Direction of the sum of the `rows [n, d]` with each label, `[K, d]`; 0 of a class without any.
pub(super) fn directions(rows: &Features, labels: &[i32], classes: usize) -> Matrix {
    let cols = rows.cols();
    let mut sums = Matrix {
        rows: classes,
        cols,
        values: vec![0.0; classes * cols],
    };
    for (i, &label) in labels.iter().enumerate() {
        if let Ok(class) = usize::try_from(label) {
            rows.add_row(i, &mut sums.values[class * cols..][..cols]);
        }
    }
    sums.normalise_rows();
    sums
}

/// `Z [n, K]`.
fn discriminants(rows: &Features, labels: &[i32], classes: usize) -> Matrix {
    let (n, d) = (rows.rows(), rows.cols());
    let labels: Vec<Option<usize>> = labels.iter().map(|&k| usize::try_from(k).ok()).collect();
    let mut counts = vec![0.0; classes];
    labels.iter().flatten().for_each(|&k| counts[k] += 1.0);
    let mut shares = vec![0.0; n * classes];
    for (row, label) in shares.chunks_exact_mut(classes).zip(&labels) {
        if let Some(k) = *label {
            row[k] = 1.0 / counts[k];
        }
    }
    let mut means = vec![0.0; classes * d];
    rows.add_products(&shares, &mut means);
    let within: f64 = counts
        .iter()
        .zip(means.chunks_exact(d))
        .map(|(count, mean)| count * (1.0 - dot(mean, mean)))
        .sum();
    let ridge = (SHRINKAGE * within / d as f64).max(1e-12);
    // (S + r·I)·w for each row of w.
    let apply = |w: &[f64]| {
        let mut z = vec![0.0; n * classes];
        rows.times_transposed(w, &mut z);
        let mut sums = vec![0.0; classes * classes];
        for (row, label) in z.chunks_exact(classes).zip(&labels) {
            if let Some(k) = *label {
                add(&mut sums[k * classes..][..classes], row, 1.0 / counts[k]);
            }
        }
        for (row, label) in z.chunks_exact_mut(classes).zip(&labels) {
            match *label {
                Some(k) => add(row, &sums[k * classes..][..classes], -1.0),
                None => row.fill(0.0),
            }
        }
        let mut product: Vec<f64> = w.iter().map(|x| ridge * x).collect();
        rows.add_products(&z, &mut product);
        product
    };
    let mut z = Matrix {
        rows: n,
        cols: classes,
        values: vec![0.0; n * classes],
    };
    rows.times_transposed(&conjugate_gradients(apply, means, d), &mut z.values);
    let used = labels.iter().flatten().count().max(1) as f64;
    let mut mean = vec![0.0; classes];
    for (i, _) in labels.iter().enumerate().filter(|(_, l)| l.is_some()) {
        add(&mut mean, z.row(i), 1.0 / used);
    }
    z.centre(&mean);
    z
}

/// The solution `w [K, d]` of `A·w_k = b_k` for each row of `b`, with a symmetric positive definite `A`
/// that `apply` multiplies all rows by (Hestenes & Stiefel 1952).
fn conjugate_gradients(apply: impl Fn(&[f64]) -> Vec<f64>, b: Vec<f64>, d: usize) -> Vec<f64> {
    let squares = |rows: &[f64]| -> Vec<f64> { rows.chunks_exact(d).map(|r| dot(r, r)).collect() };
    let mut w = vec![0.0; b.len()];
    let mut residual = b;
    let mut direction = residual.clone();
    let mut square = squares(&residual);
    let small: Vec<f64> = square.iter().map(|s| s * RESIDUAL * RESIDUAL).collect();
    for _ in 0..MOST_STEPS {
        if square.iter().zip(&small).all(|(s, small)| s <= small) {
            break;
        }
        let applied = apply(&direction);
        for k in 0..square.len() {
            if square[k] <= small[k] {
                continue;
            }
            let at = k * d..(k + 1) * d;
            let (direction, applied) = (&mut direction[at.clone()], &applied[at.clone()]);
            let step = square[k] / dot(direction, applied);
            add(&mut w[at.clone()], direction, step);
            let residual = &mut residual[at];
            add(residual, applied, -step);
            let next = dot(residual, residual);
            let keep = next / square[k];
            square[k] = next;
            let both = direction.iter_mut().zip(residual.iter());
            both.for_each(|(p, r)| *p = r + keep * *p);
        }
    }
    w
}

/// `to += factor·row`.
fn add(to: &mut [f64], row: &[f64], factor: f64) {
    let both = to.iter_mut().zip(row);
    both.for_each(|(x, y)| *x += factor * y);
}

/// `per` rows near each of three directions of five, in turn, and the class of each.
#[cfg(test)]
pub(super) fn three(per: usize) -> (Features, Vec<i32>) {
    let mut values = Vec::new();
    let mut truth = Vec::new();
    for i in 0..3 * per {
        let mut row = [0.0; 5];
        row[i % 3] = 1.0;
        row[3] = 0.4 * ((i * 7 % 11) as f64 / 11.0 - 0.5);
        row[4] = 0.4 * ((i * 5 % 13) as f64 / 13.0 - 0.5);
        values.extend(row);
        truth.push((i % 3) as i32);
    }
    let mut rows = Matrix {
        rows: 3 * per,
        cols: 5,
        values,
    };
    rows.normalise_rows();
    (rows.into(), truth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_labels_within_a_cluster_are_set_right() {
        let (rows, truth) = three(12);
        let mut labels = truth.clone();
        for i in [0, 7, 11, 22, 30] {
            labels[i] = (labels[i] + 1) % 3;
        }
        labels[35] = -1;
        let mut expected = truth;
        expected[35] = -1;
        assert_eq!(clusters(&rows, &labels, 3), expected);
    }

    #[test]
    fn a_class_without_rows_gets_none() {
        let (rows, truth) = three(6);
        let labels: Vec<i32> = truth.iter().map(|k| k + 1).collect();
        assert_eq!(clusters(&rows, &labels, 5), labels);
    }

    #[test]
    fn rows_that_are_all_alike_or_nothing_have_a_cluster() {
        for values in [vec![0.0; 4], vec![1.0; 4]] {
            let rows = Matrix {
                rows: 4,
                cols: 1,
                values,
            };
            let found = clusters(&rows.into(), &[0, 1, -1, 1], 2);
            assert_eq!(found[2], -1);
            assert!(found.iter().all(|&k| k < 2), "{found:?}");
        }
    }

    /// Against the solution by hand: `[[4, 1], [1, 3]]·(1/11, 7/11) = (1, 2)`.
    #[test]
    fn conjugate_gradients_solve() {
        let apply = |w: &[f64]| -> Vec<f64> {
            let rows = w.chunks_exact(2);
            rows.flat_map(|w| [4.0 * w[0] + w[1], w[0] + 3.0 * w[1]])
                .collect()
        };
        let w = conjugate_gradients(apply, vec![1.0, 2.0, 0.0, 0.0, 10.0, 20.0], 2);
        for (x, eleventh) in w.iter().zip([1.0, 7.0, 0.0, 0.0, 10.0, 70.0]) {
            approx::assert_relative_eq!(*x, eleventh / 11.0, epsilon = 1e-9);
        }
    }
}
