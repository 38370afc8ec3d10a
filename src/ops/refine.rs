//! Which unlabelled rows take part in the alignment, and as which class; off the tape (SSAN,
//! refinement of pseudo-labels).
//!
//! A labelled row takes part as its class. An unlabelled row is *selected* where the network's
//! label and the most similar prototype's agree (and that similarity reaches a threshold, if there
//! is one); it takes part as that class. All others get −1.

use super::Op;
use crate::device::Buffers;
use crate::device::launch::{Arg, Launch};
use crate::graph::{Graph, Labels, Var};
use crate::real::Real;

/// The second opinion on pseudo-labels.
#[derive(Clone, Copy, Debug)]
struct Opinion {
    similarity: Var,
    nearest: Labels,
    threshold: Option<Var>,
}

struct Refine {
    labelled: Labels,
    unlabelled: Labels,
    pseudo: Labels,
    opinion: Option<Opinion>,
    assigned: Labels,
    selected: Var,
}

/// What [`refine`] records.
#[derive(Clone, Copy, Debug)]
pub struct Refined {
    /// Class as which each target row takes part in the alignment, or −1: `[P, n]`.
    pub assigned: Labels,
    /// Number of selected unlabelled rows, `[P, 1, 1]`.
    pub selected: Var,
}

/// Records the selection. `labelled` has the class of labelled rows, `unlabelled` is ≥ 0 on
/// unlabelled rows, `pseudo` is the network's label. The second opinion is `similarity [P, n, K]`
/// with its argmax, and optionally a threshold `[1, 1, 1]`; without one all unlabelled rows are
/// selected.
pub fn refine<T: Real>(
    g: &mut Graph<T>,
    labelled: Labels,
    unlabelled: Labels,
    pseudo: Labels,
    opinion: Option<(Var, Labels, Option<Var>)>,
) -> Refined {
    let assigned = g.labels(labelled.rows);
    let selected = g.buffer("selected", 1, 1);
    let opinion = opinion.map(|(similarity, nearest, threshold)| Opinion {
        similarity,
        nearest,
        threshold,
    });
    g.push(Refine {
        labelled,
        unlabelled,
        pseudo,
        opinion,
        assigned,
        selected,
    });
    Refined { assigned, selected }
}

impl Opinion {
    /// Whether row `i` may keep `label`.
    fn agrees<T: Real>(&self, buffers: &Buffers<T>, i: usize, label: i32) -> bool {
        let reached = || {
            let classes = self.similarity.shape.cols;
            let value = buffers.value(self.similarity)[i * classes + label as usize];
            self.threshold.is_none_or(|t| value >= buffers.value(t)[0])
        };
        buffers.labels(self.nearest)[i] == label && reached()
    }
}

impl<T: Real> Op<T> for Refine {
    fn name(&self) -> &'static str {
        "refine"
    }

    fn forward(&self, buffers: &Buffers<T>) {
        let (labelled, unlabelled) = (
            buffers.labels(self.labelled),
            buffers.labels(self.unlabelled),
        );
        let pseudo = buffers.labels(self.pseudo);
        let mut assigned = buffers.labels_mut(self.assigned);
        let mut selected = buffers.value_mut(self.selected);
        selected[0] = T::zero();
        for (i, assigned) in assigned.iter_mut().enumerate() {
            *assigned = labelled[i];
            if unlabelled[i] < 0 {
                continue;
            }
            if self.opinion.is_none_or(|o| o.agrees(buffers, i, pseudo[i])) {
                *assigned = pseudo[i];
                selected[0] += T::one();
            }
        }
    }

    fn launches(&self) -> Vec<Launch> {
        let mut args = vec![
            Arg::labels(self.labelled),
            Arg::labels(self.unlabelled),
            Arg::labels(self.pseudo),
        ];
        let outputs = [
            Arg::labels_mut(self.assigned),
            Arg::value_mut(self.selected),
            Arg::int(self.assigned.rows),
        ];
        let kernel = match self.opinion {
            None => {
                args.extend(outputs);
                "refine_all"
            }
            Some(Opinion {
                nearest,
                threshold: None,
                ..
            }) => {
                args.push(Arg::labels(nearest));
                args.extend(outputs);
                "refine_agreement"
            }
            Some(Opinion {
                similarity,
                nearest,
                threshold: Some(threshold),
            }) => {
                args.extend([
                    Arg::labels(nearest),
                    Arg::value(similarity),
                    Arg::value(threshold),
                ]);
                args.extend(outputs);
                args.push(Arg::int(similarity.shape.cols));
                "refine_threshold"
            }
        };
        let partitions = self.selected.shape.partitions;
        let rows = self.assigned.rows;
        vec![Launch::per_partition(kernel, rows, partitions, args)]
    }
}
