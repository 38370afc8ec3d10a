//! Operations without a gradient: labels, similarities, selection, counts.

use ssan::device::{Cpu, Device};
use ssan::graph::{Graph, Labels, Var};
use ssan::ops::{
    Similarity, argmax, class_means, count_correct, refine, similarity, triplet_margin,
};

fn run(g: Graph<f64>) -> Cpu<f64> {
    let mut cpu = Cpu::load(g);
    cpu.forward().unwrap();
    cpu
}

fn values(cpu: &Cpu<f64>, var: Var) -> Vec<f64> {
    cpu.read(var).unwrap()
}

fn labels(cpu: &Cpu<f64>, of: Labels) -> Vec<i32> {
    cpu.read_labels(of).unwrap()
}

#[test]
fn argmax_takes_the_first_of_equals() {
    let mut g = Graph::new(1);
    let rows = vec![1.0, 3.0, 3.0, -2.0, -2.0, -5.0, 0.0, 0.0, 0.0];
    let x = g.constant("x", 3, 3, rows);
    let l = argmax(&mut g, x);
    assert_eq!(labels(&run(g), l), [1, 0, 0]);
}

/// Class 1 has no row: no row is most similar to it, however far the other prototypes are.
#[test]
fn a_class_without_prototype_is_never_the_nearest() {
    for kind in [Similarity::Cosine, Similarity::Euclidean] {
        let mut g = Graph::new(1);
        let known = g.constant("known", 2, 2, vec![1.0, 0.0, 1.0, 0.1]);
        let y = g.given_labels(2, vec![0, 2]);
        let prototypes = class_means(&mut g, &[(known, y)], 3);
        let x = g.constant("x", 2, 2, vec![-1.0, 0.0, 0.0, -4.0]);
        let similar = similarity(&mut g, x, prototypes, kind);
        let nearest = argmax(&mut g, similar);
        let cpu = run(g);
        let similar = values(&cpu, similar);
        assert!(
            similar[0] < 0.0 && similar[3] <= 0.0,
            "{kind:?}: {similar:?}"
        );
        assert_eq!([similar[1], similar[4]], [f64::NEG_INFINITY; 2]);
        assert!(labels(&cpu, nearest).iter().all(|&l| l != 1), "{kind:?}");
    }
}

#[test]
fn similarities_are_those_of_the_definition() {
    let mut g = Graph::new(1);
    let known = g.constant("known", 3, 2, vec![3.0, 0.0, 0.0, 1.0, 0.0, 3.0]);
    let y = g.given_labels(3, vec![0, 1, 1]);
    let prototypes = class_means(&mut g, &[(known, y)], 2);
    let x = g.constant("x", 1, 2, vec![3.0, 4.0]);
    let cosine = similarity(&mut g, x, prototypes, Similarity::Cosine);
    let euclidean = similarity(&mut g, x, prototypes, Similarity::Euclidean);
    let cpu = run(g);
    assert_eq!(values(&cpu, cosine), [0.6, 0.8]);
    assert_eq!(values(&cpu, euclidean), [-16.0, -13.0]);
}

/// A row is selected where both labels agree and the similarity is at least the threshold.
#[test]
fn selection_needs_agreement_and_reaches_the_threshold() {
    let mut g = Graph::new(1);
    let similar = vec![0.5, 0.1, 0.49, 0.1, 0.9, 0.1, 0.1, 0.8, 0.9, 0.1];
    let similar = g.constant("similarity", 5, 2, similar);
    let nearest = argmax(&mut g, similar);
    let threshold = g.constant("threshold", 1, 1, vec![0.5]);
    let labelled = g.given_labels(5, vec![-1, -1, -1, -1, 1]);
    let unlabelled = g.given_labels(5, vec![0, 0, 0, 0, -1]);
    let pseudo = g.given_labels(5, vec![0, 0, 1, 1, 0]);
    let all = refine(&mut g, labelled, unlabelled, pseudo, None);
    let opinion = Some((similar, nearest, None));
    let agreed = refine(&mut g, labelled, unlabelled, pseudo, opinion);
    let opinion = Some((similar, nearest, Some(threshold)));
    let reached = refine(&mut g, labelled, unlabelled, pseudo, opinion);
    let cpu = run(g);
    assert_eq!(labels(&cpu, all.assigned), [0, 0, 1, 1, 1]);
    assert_eq!(labels(&cpu, agreed.assigned), [0, 0, -1, 1, 1]);
    assert_eq!(labels(&cpu, reached.assigned), [0, -1, -1, 1, 1]);
    let counts = [all, agreed, reached].map(|r| values(&cpu, r.selected)[0]);
    assert_eq!(counts, [4.0, 3.0, 2.0]);
}

#[test]
fn rows_of_unknown_class_are_not_counted() {
    let mut g = Graph::<f64>::new(2);
    let found = g.given_labels(3, vec![0, 1, -1, 2, 2, 2]);
    let truth = g.given_labels(3, vec![0, -1, -1, 2, 0, 2]);
    let correct = count_correct(&mut g, found, truth);
    assert_eq!(values(&run(g), correct), [1.0, 2.0]);
}

/// The negative is the nearest centroid of another class: of the anchor (0, 0), (1, 0) and not
/// (3, 0). `‖a−p‖² − ‖a−n‖² + m` = 4 − 1 + 0.5 for class 0; the others' terms are not positive.
#[test]
fn triplet_margin_takes_the_nearest_negative() {
    let mut g = Graph::new(1);
    let rows = g.given_labels(3, vec![0, 1, 2]);
    let source = g.constant("source", 3, 2, vec![0.0, 0.0, 1.0, 0.0, 3.0, 0.0]);
    let target = g.constant("target", 3, 2, vec![0.0, 2.0, 1.0, 0.0, 3.0, 0.0]);
    let source = class_means(&mut g, &[(source, rows)], 3);
    let target = class_means(&mut g, &[(target, rows)], 3);
    let loss = triplet_margin(&mut g, source, target, 0.5);
    assert_eq!(values(&run(g), loss), [3.5]);
}
