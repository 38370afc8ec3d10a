//! `l_i = argmax_c x_ic`, ties to the lowest `c`; off the tape (SSAN: pseudo-labels).

use super::Op;
use crate::device::Buffers;
use crate::device::cpu::for_rows;
use crate::device::launch::{Arg, Launch};
use crate::graph::{Graph, Labels, Var};
use crate::real::Real;

struct Argmax {
    x: Var,
    labels: Labels,
}

/// Records the column of the largest entry of each row of `x [P, n, K]`: `[P, n]`.
pub fn argmax<T: Real>(g: &mut Graph<T>, x: Var) -> Labels {
    let labels = g.labels(x.shape.rows);
    g.push(Argmax { x, labels });
    labels
}

impl<T: Real> Op<T> for Argmax {
    fn name(&self) -> &'static str {
        "argmax"
    }

    fn forward(&self, buffers: &Buffers<T>) {
        let x = buffers.value(self.x);
        let cols = self.x.shape.cols;
        for_rows(
            cols,
            [(&mut buffers.labels_mut(self.labels), 1)],
            |i, [label]| {
                let row = &x[i * cols..(i + 1) * cols];
                let best = (1..cols).fold(0, |best, c| if row[c] > row[best] { c } else { best });
                label[0] = best as i32;
            },
        );
    }

    fn launches(&self) -> Vec<Launch> {
        let shape = self.x.shape;
        let args = vec![
            Arg::value(self.x),
            Arg::labels_mut(self.labels),
            Arg::int(shape.rows),
            Arg::int(shape.cols),
        ];
        vec![Launch::per_row(
            "argmax",
            shape.rows,
            shape.partitions,
            args,
        )]
    }
}
