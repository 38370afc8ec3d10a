//! What changes from epoch to epoch, computed inside the step from the epoch counter `e` of `E`,
//! since a captured step freezes its arguments; off the tape.
//!
//! - reversal coefficient `λ = 2/(1 + exp(−10 e/E)) − 1` (Ganin & Lempitsky 2015);
//! - cosine threshold `1/(1 + exp(−0.8(e + 1))) − 0.01` (SSAN, `Cosine_threshold`).

use super::Op;
use crate::device::Cpu;
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
}

struct SetSchedule {
    schedule: Schedule,
    epochs: usize,
}

struct Advance {
    epoch: Var,
}

/// Records the scalars of the epoch, of `epochs` in all. [`advance`] moves on to the next.
pub fn schedule<T: Real>(g: &mut Graph<T>, epochs: usize) -> Schedule {
    let schedule = Schedule {
        epoch: g.shared("epoch", 1, 1),
        lambda: g.shared("lambda", 1, 1),
        threshold: g.shared("threshold", 1, 1),
    };
    g.push(SetSchedule { schedule, epochs });
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

    fn forward(&self, cpu: &Cpu<T>) {
        let (e, epochs) = (cpu.value(self.schedule.epoch)[0].wide(), self.epochs as f64);
        let lambda = 2.0 / (1.0 + (-10.0 * e / epochs).exp()) - 1.0;
        let threshold = 1.0 / (1.0 + (-0.8 * (e + 1.0)).exp()) - 0.01;
        cpu.value_mut(self.schedule.lambda)[0] = T::of(lambda);
        cpu.value_mut(self.schedule.threshold)[0] = T::of(threshold);
    }

    fn launches(&self) -> Vec<Launch> {
        let args = vec![
            Arg::value(self.schedule.epoch),
            Arg::value_mut(self.schedule.lambda),
            Arg::value_mut(self.schedule.threshold),
            Arg::int(self.epochs),
        ];
        vec![Launch::new("schedule", [1, 1, 1], WARP, args)]
    }
}

impl<T: Real> Op<T> for Advance {
    fn name(&self) -> &'static str {
        "advance"
    }

    fn forward(&self, cpu: &Cpu<T>) {
        cpu.value_mut(self.epoch)[0] += T::one();
    }

    fn launches(&self) -> Vec<Launch> {
        let args = vec![Arg::value_mut(self.epoch)];
        vec![Launch::new("schedule_advance", [1, 1, 1], WARP, args)]
    }
}
