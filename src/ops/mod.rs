//! The operations: one file each, with its equation, shapes, forward and backward.
//!
//! An operation is a struct of handles. A recording function (`linear`, `softmax`, …) makes its
//! output variables and appends it to the graph; a device calls [`Op::forward`] and
//! [`Op::backward`] at each replay. Adding one is adding a file, a line below, and its gradient
//! check in `tests/gradients.rs`.
//!
//! Rules that hold for all of them:
//! - a row labelled −1 weighs nothing, a class without rows weighs nothing, nothing divides by 0;
//! - sums run in row order, so that the same step gives the same bytes;
//! - ties (argmax, nearest centroid) go to the lowest index; LeakyReLU'(0) is the slope.

mod accuracy;
mod adam;
mod argmax;
mod class_means;
mod cross_entropy;
mod domain_bce;
mod gradient_reversal;
mod gram_linear;
mod l2_normalize;
mod leaky_relu;
mod linear;
mod metrics;
mod pairwise_alignment;
mod refine;
mod schedule;
mod sgd;
mod similarity;
mod soft_correlation;
mod softmax;
mod triplet_margin;
mod weighted_sum;

pub use accuracy::count_correct;
pub use adam::Adam;
pub use argmax::argmax;
pub use class_means::{ClassMeans, class_means};
pub use cross_entropy::cross_entropy;
pub use domain_bce::{DomainRows, domain_bce};
pub use gradient_reversal::gradient_reversal;
pub use gram_linear::{GramLayer, gram_linear};
pub use l2_normalize::l2_normalize;
pub(crate) use l2_normalize::norm;
pub use leaky_relu::leaky_relu;
pub(crate) use leaky_relu::value as leaky_relu_value;
pub use linear::linear;
pub use metrics::record_metrics;
pub use pairwise_alignment::{Prototypes, pairwise_alignment};
pub use refine::{Refined, refine};
pub use schedule::{LearningRate, Schedule, advance, schedule};
pub use sgd::Sgd;
pub use similarity::{Similarity, similarity};
pub use soft_correlation::soft_correlation;
pub use softmax::softmax;
pub(crate) use softmax::softmax_rows;
pub use triplet_margin::triplet_margin;
pub use weighted_sum::weighted_sum;

use crate::device::Buffers;
use crate::device::launch::Launch;
use crate::graph::{Var, Want};
use crate::real::Real;

/// The contract of an operation.
pub trait Op<T: Real>: Send + Sync {
    /// Its name, as its file's.
    fn name(&self) -> &'static str;

    /// The inputs that a gradient can flow to. Empty for operations off the tape.
    fn inputs(&self) -> Vec<Var> {
        Vec::new()
    }

    /// The output whose gradient [`Op::backward`] reads. `None` off the tape.
    fn output(&self) -> Option<Var> {
        None
    }

    /// Computes the outputs from the inputs, of one partition on the CPU.
    fn forward(&self, buffers: &Buffers<T>);

    /// Adds to, or writes, the gradient of each input as `wants` says, of one partition on the CPU, in
    /// the order of [`Op::inputs`]. The output's gradient may be used up: nothing reads it afterwards.
    fn backward(&self, _buffers: &Buffers<T>, _wants: &[Want]) {
        unreachable!("{} is off the tape", self.name());
    }

    /// The kernel launches that compute the outputs of all partitions, as [`Op::forward`] of each.
    fn launches(&self) -> Vec<Launch>;

    /// The kernel launches of the backward pass of all partitions, as [`Op::backward`] of each.
    fn backward_launches(&self, _wants: &[Want]) -> Vec<Launch> {
        unreachable!("{} is off the tape", self.name());
    }

    /// Takes a LeakyReLU of the output into the operation itself, where it can.
    fn fuse_leaky_relu(&mut self, _slope: T) -> bool {
        false
    }
}

/// `log Σ_j exp(row_j)` without overflow.
pub(crate) fn log_sum_exp<T: Real>(row: impl Iterator<Item = T> + Clone) -> T {
    let max = row.clone().fold(T::neg_infinity(), T::max);
    max + row.map(|x| (x - max).exp()).sum::<T>().ln()
}

/// The class of a label, unless it is −1.
fn class(label: i32) -> Option<usize> {
    usize::try_from(label).ok()
}

/// `Σ_j f(a_j, b_j)` over two rows of one length, in eight running sums that the compiler can keep
/// in vector registers.
fn sum_over<T: Real>(a: &[T], b: &[T], f: impl Fn(T, T) -> T) -> T {
    let mut lanes = [T::zero(); 8];
    let (heads, tails) = (a.chunks_exact(8), a.len() / 8 * 8);
    for (a, b) in heads.zip(b.chunks_exact(8)) {
        for ((lane, &a), &b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += f(a, b);
        }
    }
    let rest = a[tails..].iter().zip(&b[tails..]);
    lanes.into_iter().sum::<T>() + rest.map(|(&a, &b)| f(a, b)).sum::<T>()
}

/// Scalar product.
pub(crate) fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    sum_over(a, b, |a, b| a * b)
}

/// Squared Euclidean distance.
fn squared_distance<T: Real>(a: &[T], b: &[T]) -> T {
    sum_over(a, b, |a, b| (a - b) * (a - b))
}
