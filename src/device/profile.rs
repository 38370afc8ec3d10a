//! How long each part of a step takes, for benchmarks: [`Cpu::profile`](super::Cpu::profile) and
//! [`Cuda::profile`](super::Cuda::profile).

use super::launch::Launch;

/// Which of its lists a part of a step is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Forward pass.
    Forward,
    /// Backward pass.
    Backward,
    /// Update.
    Update,
}

/// A part of a step and its time.
#[derive(Clone, Debug)]
pub struct Part {
    /// Name of the operation (CPU) or of the kernel (card).
    pub name: &'static str,
    /// Where in the step.
    pub phase: Phase,
    /// The launch on a card; on the CPU, what the operation would launch there.
    pub launches: Vec<Launch>,
    /// Seconds, median over the repetitions.
    pub seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Cpu, Device};
    use crate::graph::{Graph, Var};
    use crate::ops::{Sgd, cross_entropy, linear};

    fn step() -> (Graph<f64>, Var) {
        let mut graph = Graph::new(2);
        let g = &mut graph;
        let x = g.constant("x", 3, 4, (0..12).map(f64::from).collect());
        let w = g.parameter("w", 2, 4, (0..16).map(|i| f64::from(i) / 16.0).collect());
        let b = g.parameter("b", 1, 2, vec![0.5; 4]);
        let labels = g.given_labels(3, vec![0, 1, -1, 1, 1, 0]);
        let z = linear(g, x, w, b);
        let loss = cross_entropy(g, z, labels);
        g.differentiate(loss);
        let rate = g.constant("rate", 1, 1, vec![0.1]);
        let sgd = Sgd {
            momentum: 0.9,
            nesterov: true,
            weight_decay: 0.0,
        };
        sgd.record(g, rate);
        (graph, w)
    }

    #[test]
    fn a_profile_has_every_operation_and_takes_real_steps() {
        let (graph, w) = step();
        let mut profiled = Cpu::load(graph);
        let parts = profiled.profile(1, 3);
        let names: Vec<_> = parts.iter().map(|p| (p.name, p.phase)).collect();
        assert_eq!(
            names,
            [
                ("linear", Phase::Forward),
                ("cross_entropy", Phase::Forward),
                ("cross_entropy", Phase::Backward),
                ("linear", Phase::Backward),
                ("sgd", Phase::Update),
            ]
        );
        for part in parts {
            assert!(!part.launches.is_empty(), "{}", part.name);
            assert!(part.seconds >= 0.0 && part.seconds.is_finite());
        }
        let mut plain = Cpu::load(step().0);
        plain.steps(1 + 3).unwrap();
        assert_eq!(profiled.read(w).unwrap(), plain.read(w).unwrap());
    }
}
