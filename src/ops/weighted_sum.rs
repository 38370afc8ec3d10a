//! `y = Σ_j c_j x_j`: the total of loss terms with constant weights.

use super::Op;
use crate::device::Buffers;
use crate::device::launch::{Arg, Launch};
use crate::graph::{Graph, Var, Want};
use crate::real::Real;

/// Terms that one launch of a kernel takes.
const ARITY: usize = 8;

struct WeightedSum<T> {
    terms: Vec<(Var, T)>,
    y: Var,
}

/// Records the weighted sum of variables of one shape.
pub fn weighted_sum<T: Real>(g: &mut Graph<T>, terms: &[(Var, f64)]) -> Var {
    let inputs: Vec<Var> = terms.iter().map(|(x, _)| *x).collect();
    let shape = inputs[0].shape;
    assert!(
        inputs.iter().all(|x| x.shape == shape),
        "weighted_sum: terms of one shape"
    );
    let y = g.computed("weighted_sum", shape.rows, shape.cols, &inputs);
    let terms = terms.iter().map(|&(x, c)| (x, T::of(c))).collect();
    g.push(WeightedSum { terms, y });
    y
}

impl<T: Real> Op<T> for WeightedSum<T> {
    fn name(&self) -> &'static str {
        "weighted_sum"
    }

    fn inputs(&self) -> Vec<Var> {
        self.terms.iter().map(|(x, _)| *x).collect()
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }

    fn forward(&self, buffers: &Buffers<T>) {
        let mut y = buffers.value_mut(self.y);
        y.fill(T::zero());
        for (x, c) in &self.terms {
            for (y, &x) in y.iter_mut().zip(buffers.value(*x).iter()) {
                *y += *c * x;
            }
        }
    }

    fn backward(&self, buffers: &Buffers<T>, wants: &[Want]) {
        let dy = buffers.grad(self.y);
        for ((x, c), &want) in self.terms.iter().zip(wants) {
            if want != Want::No {
                for (dx, &dy) in buffers.grad_mut(*x).iter_mut().zip(dy.iter()) {
                    want.put(dx, *c * dy);
                }
            }
        }
    }

    fn launches(&self) -> Vec<Launch> {
        let (n, partitions) = (self.y.shape.block(), self.y.shape.partitions);
        let launch = |(i, terms): (usize, &[(Var, T)])| {
            let padded = || terms.iter().chain(std::iter::repeat(&terms[0])).take(ARITY);
            let mut args: Vec<Arg> = padded().map(|(x, _)| Arg::value(*x)).collect();
            args.push(Arg::value_mut(self.y));
            args.extend(padded().map(|(_, c)| Arg::real(*c)));
            args.extend([Arg::int(terms.len()), Arg::int(n), Arg::flag(i == 0)]);
            Launch::per_element("weighted_sum", n, partitions, args)
        };
        self.terms.chunks(ARITY).enumerate().map(launch).collect()
    }

    fn backward_launches(&self, wants: &[Want]) -> Vec<Launch> {
        let (n, partitions) = (self.y.shape.block(), self.y.shape.partitions);
        let launch = |(terms, wants): (&[(Var, T)], &[Want])| {
            let padded = || terms.iter().chain(std::iter::repeat(&terms[0])).take(ARITY);
            let mut args = vec![Arg::grad(self.y)];
            args.extend(padded().map(|(x, _)| Arg::grad_mut(*x)));
            args.extend(padded().map(|(_, c)| Arg::real(*c)));
            let wants = wants.iter().enumerate();
            let wants = wants.map(|(j, &want)| (want as i32) << (2 * j)).sum();
            args.extend([Arg::int(n), Arg::Int(wants)]);
            Launch::per_element("weighted_sum_backward", n, partitions, args)
        };
        let chunks = self.terms.chunks(ARITY).zip(wants.chunks(ARITY));
        chunks.map(launch).collect()
    }
}
