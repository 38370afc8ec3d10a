//! Rows of the common space in two dimensions. The same rows give the same picture.

use crate::data::Matrix;

/// Steps of the orthogonal iteration: what is left of other directions is not seen.
const STEPS: usize = 60;

/// Coordinates of `rows` along their two principal components.
pub(super) fn principal_components(rows: &Matrix) -> Vec<(f64, f64)> {
    let (n, d) = (rows.rows, rows.cols);
    let mut mean = vec![0.0; d];
    for i in 0..n {
        mean.iter_mut()
            .zip(rows.row(i))
            .for_each(|(m, x)| *m += x / n as f64);
    }
    let project = |axis: &[f64]| -> Vec<f64> {
        let along = |i| {
            rows.row(i)
                .iter()
                .zip(&mean)
                .zip(axis)
                .map(|((x, m), a)| (x - m) * a)
                .sum()
        };
        (0..n).map(along).collect()
    };
    let mut axes: Vec<Vec<f64>> = (0..2)
        .map(|k| (0..d).map(|j| ((j * (k + 1)) as f64 * 0.7).cos()).collect())
        .collect();
    for _ in 0..STEPS {
        for k in 0..2 {
            let along = project(&axes[k]);
            let mut next = vec![0.0; d];
            for (i, c) in along.iter().enumerate() {
                let centred = rows.row(i).iter().zip(&mean).map(|(x, m)| x - m);
                next.iter_mut().zip(centred).for_each(|(a, x)| *a += c * x);
            }
            for other in &axes[..k] {
                let dot: f64 = next.iter().zip(other).map(|(a, b)| a * b).sum();
                next.iter_mut().zip(other).for_each(|(a, b)| *a -= dot * b);
            }
            let norm = next.iter().map(|x| x * x).sum::<f64>().sqrt();
            if norm > 0.0 {
                next.iter_mut().for_each(|x| *x /= norm);
            }
            axes[k] = next;
        }
    }
    project(&axes[0])
        .into_iter()
        .zip(project(&axes[1]))
        .collect()
}

/// t-SNE of `rows` (van der Maaten & Hinton, JMLR 2008), exact, starting from their principal
/// components; `None` of too few rows.
pub(super) fn t_sne(rows: &Matrix) -> Option<Vec<(f64, f64)>> {
    const PERPLEXITY: f64 = 30.0;
    const EPOCHS: usize = 500;
    if rows.rows < 12 {
        return None;
    }
    let start = principal_components(rows);
    let largest = start
        .iter()
        .map(|p| p.0.abs().max(p.1.abs()))
        .fold(1e-12, f64::max);
    let start: Vec<f64> = start
        .iter()
        .flat_map(|p| [p.0, p.1])
        .map(|x| 1e-2 * x / largest)
        .collect();
    // The search for each row's neighbourhood expects distances of about 1.
    let scale = spread(rows).max(f64::MIN_POSITIVE).recip();
    let scaled: Vec<f64> = rows.values.iter().map(|x| scale * x).collect();
    let samples: Vec<&[f64]> = scaled.chunks_exact(rows.cols).collect();
    // The exact form takes squared distances.
    let distance =
        |a: &&[f64], b: &&[f64]| -> f64 { a.iter().zip(*b).map(|(x, y)| (x - y) * (x - y)).sum() };
    // Sums in parallel come in another order every time, and t-SNE makes much of the difference.
    let one = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .ok()?;
    let flat = one.install(|| {
        let mut fit = bhtsne::tSNE::<f64, &[f64]>::new(&samples);
        fit.perplexity(PERPLEXITY.min((rows.rows - 1) as f64 / 3.0))
            .epochs(EPOCHS)
            .initial_embedding(start)
            .exact(distance);
        fit.embedding()
    });
    Some(flat.chunks_exact(2).map(|p| (p[0], p[1])).collect())
}

/// Root of the mean squared distance of rows from their mean.
fn spread(rows: &Matrix) -> f64 {
    let n = rows.rows as f64;
    let of_column = |j: usize| {
        let column = || rows.values.iter().skip(j).step_by(rows.cols);
        let mean = column().sum::<f64>() / n;
        column().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n
    };
    (0..rows.cols).map(of_column).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two groups far apart on a line, with little spread across it.
    fn groups() -> Matrix {
        let value = |i: usize, j: usize| {
            let side = if i < 20 { -1.0 } else { 1.0 };
            let spread = ((i * 7 + j * 5) % 11) as f64 / 100.0;
            if j == 2 { 3.0 * side + spread } else { spread }
        };
        Matrix {
            rows: 40,
            cols: 4,
            values: (0..40)
                .flat_map(|i| (0..4).map(move |j| value(i, j)))
                .collect(),
        }
    }

    #[test]
    fn the_first_component_is_where_rows_spread_most() {
        let points = principal_components(&groups());
        let along: Vec<f64> = points.iter().map(|p| p.0).collect();
        let sign = along[0].signum();
        assert!(
            along
                .iter()
                .enumerate()
                .all(|(i, x)| (x * sign > 2.9) == (i < 20))
        );
        assert!(points.iter().all(|p| p.1.abs() < 0.2));
        let dot: f64 = points.iter().map(|p| p.0 * p.1).sum();
        assert!(dot.abs() < 1e-6, "uncorrelated: {dot}");
    }

    #[test]
    fn neighbours_stay_neighbours_and_pictures_are_the_same() {
        let rows = groups();
        let points = t_sne(&rows).unwrap();
        assert_eq!(points, t_sne(&rows).unwrap());
        let square = |a: (f64, f64), b: (f64, f64)| (a.0 - b.0).powi(2) + (a.1 - b.1).powi(2);
        for i in 0..40 {
            let others = (0..40).filter(|&j| j != i);
            let nearest = others.min_by(|&a, &b| {
                square(points[i], points[a]).total_cmp(&square(points[i], points[b]))
            });
            assert_eq!(nearest.unwrap() < 20, i < 20, "row {i}");
        }
        assert!(t_sne(&rows.select_rows(&[0, 1, 2])).is_none());
    }
}
