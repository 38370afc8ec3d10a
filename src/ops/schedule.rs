//! What changes from epoch to epoch, computed inside the step from the epoch counter `e` of `E`,
//! since a captured step freezes its arguments; off the tape.
//!
//! - reversal coefficient `λ = 2/(1 + exp(−10 e/E)) − 1` (Ganin & Lempitsky 2015);
//! - cosine threshold `1/(1 + exp(−0.8(e + 1))) − 0.01` (SSAN, `Cosine_threshold`);
//! - learning rate `η_e = η · min(1, (e + 1)/w) · d(e)` with `w` epochs of warm-up, and `d = 1`, or
//!   `d(e) = (1 + cos(π e/E))/2` with cosine decay (Loshchilov & Hutter 2017, without restarts).

use std::f64::consts::PI;

use super::Op;
use crate::device::Buffers;
use crate::device::launch::{Arg, Launch, WARP};
use crate::graph::{Graph, Var};
use crate::real::Real;

/// The scalars of the current epoch, each `[1, 1, 1]`.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// The epoch `e`, from 0.
    pub epoch: Var,
    /// Reversal coefficient λ.
    pub lambda: Var,
    /// Threshold of the cosine similarity.
    pub threshold: Var,
    /// Learning rate.
    pub rate: Var,
}

/// The learning rate over the epochs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearningRate {
    /// η, the largest.
    pub peak: f64,
    /// Epochs in which it rises to it, in equal steps; 0 or 1: none.
    pub warm_up: usize,
    /// Whether it falls to 0 along a cosine; else it stays.
    pub cosine: bool,
}

impl LearningRate {
    /// The same rate in every epoch.
    pub fn constant(rate: f64) -> LearningRate {
        LearningRate {
            peak: rate,
            warm_up: 0,
            cosine: false,
        }
    }

    /// The rate of epoch `e` of `epochs`.
    pub fn at(&self, e: f64, epochs: f64) -> f64 {
        let rise = ((e + 1.0) / self.warm_up.max(1) as f64).min(1.0);
        let decay = match self.cosine {
            true => 0.5 * (1.0 + (PI * e / epochs).cos()),
            false => 1.0,
        };
        self.peak * rise * decay
    }
}

struct SetSchedule {
    schedule: Schedule,
    epochs: usize,
    rate: LearningRate,
}

struct Advance {
    epoch: Var,
}

/// Records the scalars of the epoch, of `epochs` in all. [`advance`] moves on to the next.
pub fn schedule<T: Real>(g: &mut Graph<T>, epochs: usize, rate: LearningRate) -> Schedule {
    let epoch = g.shared("epoch", 1, 1);
    g.remember(epoch);
    let schedule = Schedule {
        epoch,
        lambda: g.shared("lambda", 1, 1),
        threshold: g.shared("threshold", 1, 1),
        rate: g.shared("rate", 1, 1),
    };
    g.push(SetSchedule {
        schedule,
        epochs,
        rate,
    });
    schedule
}

/// Records `e ← e + 1` at the end of the update.
pub fn advance<T: Real>(g: &mut Graph<T>, epoch: Var) {
    g.push_update(Advance { epoch });
}

impl<T: Real> Op<T> for SetSchedule {
    fn name(&self) -> &'static str {
        "schedule"
    }

    fn forward(&self, buffers: &Buffers<T>) {
        let (e, epochs) = (
            buffers.value(self.schedule.epoch)[0].wide(),
            self.epochs as f64,
        );
        let lambda = 2.0 / (1.0 + (-10.0 * e / epochs).exp()) - 1.0;
        let threshold = 1.0 / (1.0 + (-0.8 * (e + 1.0)).exp()) - 0.01;
        buffers.value_mut(self.schedule.lambda)[0] = T::of(lambda);
        buffers.value_mut(self.schedule.threshold)[0] = T::of(threshold);
        buffers.value_mut(self.schedule.rate)[0] = T::of(self.rate.at(e, epochs));
    }

    fn launches(&self) -> Vec<Launch> {
        let args = vec![
            Arg::value(self.schedule.epoch),
            Arg::value_mut(self.schedule.lambda),
            Arg::value_mut(self.schedule.threshold),
            Arg::value_mut(self.schedule.rate),
            Arg::int(self.epochs),
            Arg::Real(self.rate.peak),
            Arg::int(self.rate.warm_up),
            Arg::flag(self.rate.cosine),
        ];
        vec![Launch::new("schedule", [1, 1, 1], WARP, args)]
    }
}

impl<T: Real> Op<T> for Advance {
    fn name(&self) -> &'static str {
        "advance"
    }

    fn forward(&self, buffers: &Buffers<T>) {
        buffers.value_mut(self.epoch)[0] += T::one();
    }

    fn launches(&self) -> Vec<Launch> {
        let args = vec![Arg::value_mut(self.epoch)];
        vec![Launch::new("schedule_advance", [1, 1, 1], WARP, args)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learning_rate_rises_and_falls() {
        let rate = LearningRate {
            peak: 0.5,
            warm_up: 4,
            cosine: true,
        };
        let at = |e: f64| rate.at(e, 8.0);
        let expected = |e: f64, rise: f64| 0.5 * rise * (1.0 + (PI * e / 8.0).cos()) / 2.0;
        for (e, rise) in [(0.0, 0.25), (1.0, 0.5), (3.0, 1.0), (4.0, 1.0)] {
            approx::assert_relative_eq!(at(e), expected(e, rise), max_relative = 1e-12);
        }
        approx::assert_relative_eq!(at(4.0), 0.25, max_relative = 1e-12);
        approx::assert_relative_eq!(at(8.0), 0.0, epsilon = 1e-12);
        assert_eq!(LearningRate::constant(0.1).at(7.0, 8.0), 0.1);
    }
}
