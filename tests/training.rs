//! What a training run promises, on small random problems.

use approx::assert_relative_eq;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use ssan::Result;
use ssan::data::{Matrix, Normalisation};
use ssan::device::{Cpu, Device};
use ssan::evaluation::largest;
use ssan::graph::Graph;
use ssan::model::Parameters;
use ssan::objective::{Alignment, Objective, OverClasses, Refinement};
use ssan::ops::{Prototypes, Similarity};
use ssan::optim::Optimizer;
use ssan::real::Real;
use ssan::train::{
    EpochMetrics, FirstLayer, Groups, Neighbours, Options, Outcome, PartitionLabels,
    PartitionResult, Problem, PseudoLabels, Select, Session, train, train_group, vote,
};

const CLASSES: usize = 3;

const OPTIONS: Options = Options {
    epochs: 150,
    common: 6,
    ..Options::PAPER
};

/// Rows around a centre for each class, `rows` of each, with unit length.
fn blobs(seed: u64, rows: usize, cols: usize) -> Matrix {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut number = || rng.next_u32() as f64 / f64::from(u32::MAX) - 0.5;
    let centres: Vec<f64> = (0..CLASSES * cols).map(|_| number()).collect();
    let mut values = Vec::new();
    for class in 0..CLASSES {
        for _ in 0..rows {
            let centre = &centres[class * cols..(class + 1) * cols];
            values.extend(centre.iter().map(|c| c + 0.3 * number()));
        }
    }
    let mut matrix = Matrix {
        rows: CLASSES * rows,
        cols,
        values,
    };
    matrix.normalise_rows();
    matrix
}

/// 8 source rows and 7 target rows per class, two of which are labelled, others in each partition.
fn problem(target_cols: usize, partitions: usize) -> Problem {
    problem_of(7, target_cols, partitions)
}

/// The same with so many target rows per class.
fn problem_of(rows: usize, target_cols: usize, partitions: usize) -> Problem {
    let class = |rows: usize| move |i: usize| (i / rows) as i32;
    let partition = |p: usize| {
        let labelled = |i: usize| (i % rows + p) % rows < 2;
        let target = |of: &dyn Fn(usize) -> i32| (0..CLASSES * rows).map(of).collect::<Vec<i32>>();
        PartitionLabels {
            source: (0..CLASSES * 8).map(class(8)).collect(),
            labelled: target(&|i| if labelled(i) { class(rows)(i) } else { -1 }),
            unlabelled: target(&|i| if labelled(i) { -1 } else { 0 }),
            truth: target(&|i| if labelled(i) { -1 } else { class(rows)(i) }),
        }
    };
    Problem {
        classes: CLASSES,
        members: 1,
        normalisation: [Normalisation::L2; 2],
        means: None,
        neighbours: None,
        source: blobs(1, 8, 10).into(),
        target: blobs(2, rows, target_cols).into(),
        partitions: (0..partitions).map(partition).collect(),
    }
}

fn initial(problem: &Problem, options: &Options) -> Vec<Parameters> {
    let mut all = problem.initial_parameters(options, 2020);
    // A larger start, so that a short run learns.
    all.iter_mut().flatten().flatten().for_each(|x| *x *= 30.0);
    all
}

fn on_cpu<T: Real>(graph: Graph<T>) -> Result<Box<dyn Device<T>>> {
    Ok(Box::new(Cpu::load(graph)))
}

fn run<T: Real>(problem: &Problem, options: &Options) -> (Outcome, Vec<EpochMetrics>) {
    let mut metrics = Vec::new();
    let outcome = train::<T>(
        problem,
        options,
        &initial(problem, options),
        on_cpu,
        &mut |m| {
            metrics.push(m.clone());
            Ok(())
        },
    );
    (outcome.unwrap(), metrics)
}

#[test]
fn learns_separable_classes() {
    let (outcome, metrics) = run::<f32>(&problem(7, 2), &OPTIONS);
    assert_eq!(metrics.len(), 2 * OPTIONS.epochs);
    for (i, epoch) in metrics.iter().enumerate() {
        assert_eq!(
            (epoch.epoch, epoch.partition),
            (i / 2, i % 2),
            "in order, none left out"
        );
    }
    for (p, result) in outcome.partitions.iter().enumerate() {
        assert!(result.accuracy_last.unwrap() > 80.0, "{result:?}");
        assert!(result.source_accuracy.unwrap() > 90.0, "{result:?}");
        assert!(result.accuracy_best >= result.accuracy_last);
        let best = metrics.iter().filter(|m| m.partition == p);
        let best = best.map(|m| m.unlabelled_acc.unwrap()).fold(0.0, f64::max);
        assert_eq!(result.accuracy_best, Some(best));
        let last = &metrics[metrics.len() - 2 + p];
        assert_eq!(result.accuracy_last, last.unlabelled_acc);
        assert_eq!(last.epoch, OPTIONS.epochs - 1);
    }
}

#[test]
fn same_run_twice_gives_the_same_bytes() {
    // Large enough that threads share the work.
    let problem = problem(300, 3);
    let options = Options {
        common: 64,
        epochs: 20,
        ..OPTIONS
    };
    let [(a, ma), (b, mb)] = [0, 1].map(|_| run::<f32>(&problem, &options));
    assert_eq!(a.parameters, b.parameters);
    assert_eq!(ma, mb);
}

#[test]
fn partitions_together_are_as_each_alone() {
    for optimizer in [Optimizer::MomentumSgd, Optimizer::Adam, Optimizer::Sgd] {
        let options = Options {
            optimizer,
            lr: if optimizer == Optimizer::Adam {
                0.003
            } else {
                0.1
            },
            ..OPTIONS
        };
        let together = problem(7, 3);
        let (all, _) = run::<f64>(&together, &options);
        let starts = initial(&together, &options);
        for p in 0..3 {
            let alone = Problem {
                partitions: vec![together.partitions[p].clone()],
                ..together.clone()
            };
            let one = train::<f64>(&alone, &options, &starts[p..=p], on_cpu, &mut |_| Ok(()));
            let pairs = one.unwrap().parameters.remove(0).into_iter().flatten();
            for (a, b) in pairs.zip(all.parameters[p].iter().flatten()) {
                approx::assert_relative_eq!(a, *b, max_relative = 1e-9, epsilon = 1e-12);
            }
        }
    }
}

#[test]
fn reading_rarely_changes_nothing() {
    let problem = problem(7, 2);
    let options = Options {
        epochs: 130,
        ..OPTIONS
    };
    let starts = initial(&problem, &options);
    let epochs = |chunk: usize| {
        let mut session = Session::<f64>::new(&problem, &options, &starts, on_cpu).unwrap();
        let mut metrics = Vec::new();
        let mut done = 0;
        while done < options.epochs {
            let epochs = chunk.min(options.epochs - done);
            metrics.extend(session.run(epochs).unwrap());
            done += epochs;
        }
        metrics.extend(session.finish().unwrap());
        metrics
    };
    assert_eq!(epochs(1), epochs(64), "64 is what the device keeps");
}

#[test]
fn equal_dimensions_have_two_projectors() {
    let problem = problem(10, 1);
    let (outcome, _) = run::<f32>(&problem, &OPTIONS);
    let start = initial(&problem, &OPTIONS);
    let shapes = problem.dimensions(&OPTIONS).parameters();
    for (i, shape) in shapes.iter().enumerate() {
        assert_ne!(
            outcome.parameters[0][i], start[0][i],
            "{} is trained",
            shape.name
        );
    }
    assert!(outcome.partitions[0].accuracy_last.unwrap() > 80.0);
}

#[test]
fn classes_without_rows_train() {
    let mut problem = problem(7, 1);
    let labels = &mut problem.partitions[0];
    for i in 0..CLASSES * 7 {
        // Class 0 has no labelled row, class 1 no unlabelled one.
        if labels.labelled[i] == 0 {
            labels.labelled[i] = -1;
        }
        if i / 7 == 1 {
            labels.unlabelled[i] = -1;
            labels.truth[i] = -1;
        }
    }
    for alignment in [
        Alignment::Pairwise(Prototypes::Three),
        Alignment::Margin(0.3),
    ] {
        let options = Options {
            objective: Objective {
                alignment,
                beta: 0.1,
                ..OPTIONS.objective
            },
            ..OPTIONS
        };
        let (outcome, metrics) = run::<f32>(&problem, &options);
        assert!(metrics.iter().all(|m| m.total.is_finite()));
        assert!(
            outcome.parameters[0]
                .iter()
                .flatten()
                .all(|x| x.is_finite())
        );
        assert!(outcome.partitions[0].source_accuracy.unwrap() > 90.0);
    }
}

#[test]
fn unknown_truth_gives_no_accuracy() {
    let mut problem = problem(7, 1);
    let known = problem.clone();
    problem.partitions[0].truth.fill(-1);
    let (outcome, _) = run::<f32>(&problem, &OPTIONS);
    assert_eq!(outcome.partitions[0].accuracy_last, None);
    assert_eq!(outcome.partitions[0].accuracy_best, None);
    // Ground truth of unlabelled rows serves the report alone.
    assert_eq!(
        outcome.parameters,
        run::<f32>(&known, &OPTIONS).0.parameters
    );
}

#[test]
fn divergence_is_an_error_that_names_term_and_epoch() {
    let problem = problem(7, 2);
    // The last update may be the one that diverges.
    for (lr, epochs) in [(1e30, 150), (1e38, 1)] {
        let options = Options {
            lr,
            epochs,
            ..OPTIONS
        };
        let starts = initial(&problem, &options);
        let error = train::<f32>(&problem, &options, &starts, on_cpu, &mut |_| Ok(())).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("not finite at epoch"), "{message}");
        assert!(message.contains("--lr"), "{message}");
    }
}

#[test]
fn nothing_left_to_train_is_an_error() {
    let options = Options {
        epochs: 0,
        ..OPTIONS
    };
    let problem = problem(7, 1);
    let starts = initial(&problem, &options);
    let error = train::<f32>(&problem, &options, &starts, on_cpu, &mut |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("0 are asked for"), "{error}");
}

/// What is told of an epoch adds up to its objective, however terms add up over the classes.
#[test]
fn terms_add_up_to_the_total() {
    for over_classes in [OverClasses::Sum, OverClasses::Mean] {
        let objective = Objective {
            over_classes,
            beta: 0.3,
            ..OPTIONS.objective
        };
        let options = Options {
            objective,
            epochs: 5,
            ..OPTIONS
        };
        let (_, metrics) = run::<f64>(&problem(7, 1), &options);
        for m in &metrics {
            let weighted = objective.gamma * m.adversarial + objective.beta * m.alignment;
            let total = m.source_ce + m.hard + m.soft + weighted;
            assert_relative_eq!(total, m.total, max_relative = 1e-12);
            assert!(m.soft > 0.0 && m.alignment > 0.0);
        }
    }
}

/// Once all is labelled alike the consensus does not rise, which ends the run; labels that it ends at
/// are trained on by nobody.
#[test]
fn an_equal_consensus_is_no_rise() {
    let problem = problem_of(14, 7, 2);
    let problem = Problem {
        neighbours: Some(Neighbours::new(&problem.target)),
        ..problem
    };
    let with = |patience| {
        let options = Options {
            epochs: 60,
            common: 6,
            members: 1,
            select: Select::Consensus,
            patience,
            ..Options::ROBUST
        };
        assert!(options.pseudo_labels.unwrap().due(42, 60));
        run::<f64>(&problem, &options).0.partitions
    };
    let all = with(None);
    assert!(
        all.iter().all(|r| r.epoch_chosen == 60),
        "of equals the last"
    );
    let mut ended = (1..42).map(|patience| with(Some(patience)));
    let before = ended.find(|all| all[0].epochs == 42);
    let before = before.expect("it had settled before there were pseudo-labels");
    assert!(before.iter().all(|r| r.pseudo_labelled == Some(0)));
    let after = ended.next().unwrap();
    assert_eq!(after[0].epochs, 43);
    assert!(after.iter().all(|r| r.pseudo_labelled > Some(0)));
}

#[test]
fn an_observer_can_stop_the_run() {
    let problem = problem(7, 1);
    let starts = initial(&problem, &OPTIONS);
    let mut seen = 0;
    let error = train::<f32>(&problem, &OPTIONS, &starts, on_cpu, &mut |_| {
        seen += 1;
        Err(ssan::Error::Data("enough".into()))
    });
    assert_eq!(error.unwrap_err().to_string(), "enough");
    assert_eq!(seen, 1);
}

/// `Euclidean_threshold` asks for a negative squared distance of at least 0.2: however near rows are
/// to the prototypes, none is selected, as in the released code.
#[test]
fn euclidean_threshold_selects_nothing() {
    let selected = |refinement| {
        let options = Options {
            objective: Objective {
                refinement,
                // Draws the domains together.
                beta: 0.05,
                ..OPTIONS.objective
            },
            ..OPTIONS
        };
        let (_, metrics) = run::<f32>(&problem(7, 1), &options);
        metrics.last().unwrap().selected
    };
    assert!(selected(Refinement::Agreement(Similarity::Euclidean)) > 10);
    assert_eq!(selected(Refinement::Threshold(Similarity::Euclidean)), 0);
}

/// The robust recipe on blobs: several networks, whose vote is the result.
#[test]
fn networks_of_a_partition_vote() {
    let options = Options {
        epochs: 60,
        common: 6,
        members: 3,
        pseudo_labels: None,
        ..Options::ROBUST
    };
    let problem = Problem {
        members: 3,
        ..problem(7, 2)
    };
    let initial = problem.initial_parameters(&options, 2020);
    assert_ne!(initial[0], initial[1], "networks start apart");
    let mut seen = Vec::new();
    let outcome = train::<f64>(&problem, &options, &initial, on_cpu, &mut |m| {
        seen.push((m.epoch, m.partition, m.member));
        Ok(())
    });
    let outcome = outcome.unwrap();
    let order = (0..60).flat_map(|e| (0..6).map(move |i| (e, i / 3, i % 3)));
    assert_eq!(seen, order.collect::<Vec<_>>());
    assert_eq!((outcome.opinions.len(), outcome.parameters.len()), (6, 6));
    for (p, result) in outcome.partitions.iter().enumerate() {
        let vote = vote(&outcome.opinions[3 * p..][..3]);
        let labels = problem.partitions[p]
            .truth
            .iter()
            .zip(vote.chunks_exact(CLASSES));
        let known: Vec<bool> = labels
            .filter(|(truth, _)| **truth >= 0)
            .map(|(truth, row)| largest(row) as i32 == *truth)
            .collect();
        let right = known.iter().filter(|right| **right).count();
        let expected = 100.0 * right as f64 / known.len() as f64;
        assert_eq!(result.accuracy_last, Some(expected));
        assert!(expected > 80.0, "{expected} %");
    }
    // A network does not notice the others.
    let alone = Problem {
        members: 1,
        partitions: vec![problem.partitions[1].clone()],
        ..problem.clone()
    };
    let one = train::<f64>(&alone, &options, &initial[4..5], on_cpu, &mut |_| Ok(()));
    let one = one.unwrap();
    for (a, b) in one.parameters[0].iter().zip(&outcome.parameters[4]) {
        assert_relative_eq!(a[..], b[..], max_relative = 1e-9, epsilon = 1e-12);
    }
}

/// Pseudo-labels begin when they are due, are those of the vote smoothed over the graph, and lie on
/// unlabelled rows alone.
#[test]
fn pseudo_labels_are_trained_on_once_they_are_due() {
    // More than have room in a row's neighbourhood.
    const ROWS: usize = 14;
    let options = Options {
        epochs: 50,
        common: 6,
        members: 2,
        ..Options::ROBUST
    };
    let problem = problem_of(ROWS, 7, 1);
    let problem = Problem {
        members: 2,
        neighbours: Some(Neighbours::new(&problem.target)),
        ..problem
    };
    let initial = problem.initial_parameters(&options, 2020);
    let mut terms = Vec::new();
    let outcome = train::<f64>(&problem, &options, &initial, on_cpu, &mut |m| {
        terms.push((m.epoch, m.pseudo_ce));
        Ok(())
    });
    let result = &outcome.unwrap().partitions[0];
    assert!(result.accuracy_last.unwrap() > 80.0);
    let unlabelled = problem.partitions[0].unlabelled.iter();
    let unlabelled = unlabelled.filter(|&&label| label >= 0).count();
    assert_eq!(result.pseudo_labelled, Some(unlabelled));
    for (epoch, term) in terms {
        assert_eq!(term > 0.0, epoch >= 35, "epoch {epoch}: {term}");
    }

    let how = PseudoLabels::ROBUST;
    let labels = &problem.partitions[0];
    let graph = problem.neighbours.as_ref().unwrap();
    let mut vote = vec![0.1; CLASSES * ROWS * CLASSES];
    for (i, row) in vote.chunks_exact_mut(CLASSES).enumerate() {
        // The vote is right but for one unlabelled row of each class, where it is a close one.
        row[i / ROWS] = if i % ROWS == 5 { 0.4 } else { 0.8 };
        row[(i / ROWS + 1) % 3] = if i % ROWS == 5 { 0.5 } else { 0.1 };
    }
    let made = how.make(&problem.target, graph, &vote, CLASSES, labels);
    assert_eq!(made, labels.truth, "the neighbours outvote it");
    // Where the vote puts neighbours into different classes, they say nothing.
    for (i, row) in vote.chunks_exact_mut(CLASSES).enumerate() {
        row.fill(0.1);
        row[i % CLASSES] = 0.8;
    }
    let made = how.make(&problem.target, graph, &vote, CLASSES, labels);
    assert_eq!(made, [-1; CLASSES * ROWS]);
}

/// A learning rate at which accuracies swing, and nothing that knows how long the run will be.
const SWINGING: Options = Options {
    epochs: 90,
    common: 6,
    lr: 6.0,
    first_layer: FirstLayer::Direct,
    objective: Objective {
        gamma: 0.0,
        ..Objective::PAPER
    },
    ..Options::PAPER
};

/// The chosen state of every partition is the one that a run of so many epochs ends with.
fn chosen_are_states_of_the_run(problem: &Problem, options: &Options, outcome: &Outcome) {
    for (p, result) in outcome.partitions.iter().enumerate() {
        let shorter = Options {
            epochs: result.epoch_chosen,
            select: Select::Last,
            patience: None,
            ..*options
        };
        let (shorter, _) = run::<f64>(problem, &shorter);
        assert!(shorter.parameters[p] == outcome.parameters[p], "{result:?}");
        assert!(shorter.opinions[p] == outcome.opinions[p]);
        let prototypes = |o: &Outcome| o.prototypes.as_ref().unwrap()[p].clone();
        assert!(prototypes(&shorter) == prototypes(outcome));
        assert_eq!(result.accuracy_chosen, shorter.partitions[p].accuracy_last);
    }
}

#[test]
fn the_oracle_keeps_the_best_candidate() {
    let problem = problem(7, 3);
    let options = Options {
        select: Select::BestTest,
        ..SWINGING
    };
    let (last, metrics) = run::<f64>(&problem, &SWINGING);
    let (outcome, same) = run::<f64>(&problem, &options);
    assert_eq!(metrics, same, "training takes no notice");
    for (p, result) in outcome.partitions.iter().enumerate() {
        let here = metrics.iter().filter(|m| m.partition == p);
        let candidates = here.filter(|m| options.select.is_candidate(m.epoch + 1, 90));
        let best = candidates.max_by(|a, b| {
            let accuracies = [a, b].map(|m| m.unlabelled_acc.unwrap());
            accuracies[0].total_cmp(&accuracies[1])
        });
        assert_eq!(result.accuracy_chosen, best.unwrap().unlabelled_acc);
        assert_eq!(result.epoch_chosen, best.unwrap().epoch + 1);
        assert_eq!(result.accuracy_last, last.partitions[p].accuracy_last);
    }
    let differ = |r: &PartitionResult| r.accuracy_chosen > r.accuracy_last;
    assert!(outcome.partitions.iter().any(differ), "nothing to choose");
    chosen_are_states_of_the_run(&problem, &options, &outcome);
}

#[test]
fn the_consensus_chooses_a_state_and_may_end_the_run() {
    let problem = problem(7, 3);
    let problem = Problem {
        neighbours: Some(Neighbours::new(&problem.target)),
        ..problem
    };
    let options = Options {
        select: Select::Consensus,
        ..SWINGING
    };
    let (whole, metrics) = run::<f64>(&problem, &options);
    chosen_are_states_of_the_run(&problem, &options, &whole);
    let epochs: Vec<usize> = whole.partitions.iter().map(|r| r.epoch_chosen).collect();
    assert!(epochs.iter().any(|&e| e < 90), "{epochs:?}");

    // The patience ends the run at the first candidate that is no better, and changes nothing
    // of what it went through.
    let options = Options {
        patience: Some(1),
        ..options
    };
    let (ended, fewer) = run::<f64>(&problem, &options);
    let trained = ended.partitions[0].epochs;
    assert!(trained < 90);
    assert_eq!(fewer[..], metrics[..3 * trained]);
    // The last state is kept where it equals the best, which was there before it.
    let kept = ended.partitions.iter().map(|r| r.epoch_chosen).max();
    assert!(kept >= Some(trained - 1), "{kept:?} of {trained}");
    chosen_are_states_of_the_run(&problem, &options, &ended);
}

/// Trains the groups of at most `at_once` partitions one after the other; the outcome of all, and the
/// metrics in the order of a run without groups.
fn run_in_groups<T: Real>(
    problem: &Problem,
    options: &Options,
    at_once: usize,
) -> (Outcome, Vec<EpochMetrics>) {
    let initial = initial(problem, options);
    let (mut metrics, mut whole) = (Vec::new(), None::<Outcome>);
    for group in Groups::new(problem.partitions.len(), at_once).ranges() {
        let networks = group.start * problem.members..group.end * problem.members;
        let initial = &initial[networks];
        let outcome = train_group::<T>(problem, group, options, initial, on_cpu, &mut |m| {
            metrics.push(m.clone());
            Ok(())
        });
        let outcome = outcome.unwrap();
        let Some(whole) = &mut whole else {
            whole = Some(outcome);
            continue;
        };
        whole.partitions.extend(outcome.partitions);
        whole.opinions.extend(outcome.opinions);
        whole.parameters.extend(outcome.parameters);
        let (all, more) = (&mut whole.prototypes, outcome.prototypes);
        all.as_mut()
            .zip(more)
            .into_iter()
            .for_each(|(all, more)| all.extend(more));
    }
    metrics.sort_by_key(|m: &EpochMetrics| (m.epoch, m.partition, m.member));
    (whole.unwrap(), metrics)
}

fn same_outcome(a: &Outcome, b: &Outcome) -> bool {
    a.partitions == b.partitions
        && a.opinions == b.opinions
        && a.parameters == b.parameters
        && a.prototypes == b.prototypes
}

/// On the CPU a partition comes to the same bits in whatever group it is, with every optimiser,
/// form, selection and label.
#[test]
fn groups_train_as_all_at_once() {
    fn check<T: Real>(problem: &Problem, options: &Options) {
        let (whole, metrics) = run::<T>(problem, options);
        for at_once in [1, 2, 4] {
            let (outcome, in_groups) = run_in_groups::<T>(problem, options, at_once);
            assert!(metrics == in_groups, "{at_once} at once, {options:?}");
            assert!(
                same_outcome(&whole, &outcome),
                "{at_once} at once, {options:?}"
            );
        }
    }
    let problem = problem(7, 5);
    let problem = Problem {
        members: 2,
        neighbours: Some(Neighbours::new(&problem.target)),
        ..problem
    };
    let robust = Options {
        pseudo_labels: Some(PseudoLabels::ROBUST),
        logits: Options::ROBUST.logits,
        ..SWINGING
    };
    for base in [SWINGING, robust] {
        for (optimizer, first_layer, select) in [
            (Optimizer::MomentumSgd, FirstLayer::Gram, Select::Consensus),
            (Optimizer::MomentumSgd, FirstLayer::Direct, Select::Average),
            (Optimizer::Sgd, FirstLayer::Auto, Select::BestTest),
            (Optimizer::Adam, FirstLayer::Auto, Select::Last),
        ] {
            let options = Options {
                optimizer,
                first_layer,
                select,
                members: 2,
                epochs: 40,
                ..base
            };
            check::<f32>(&problem, &options);
            check::<f64>(&problem, &options);
        }
    }
}

/// What the first layers are trained as is a matter of the run, not of the group.
#[test]
fn groups_have_the_form_of_the_whole_run() {
    let problem = problem(30, 6);
    let options = Options {
        epochs: 2,
        ..OPTIONS
    };
    let forms = |problem: &Problem| options.first_layers(problem);
    let single = Problem {
        partitions: problem.partitions[..1].to_vec(),
        ..problem.clone()
    };
    assert_ne!(
        forms(&problem),
        forms(&single),
        "the choice depends on the number"
    );
    let initial = initial(&single, &options);
    let session = Session::<f32>::group(&problem, 3..4, &options, &initial, on_cpu).unwrap();
    assert_eq!(session.first_layers(), forms(&problem));
}

/// With patience a group ends as a run of its partitions alone would.
#[test]
fn the_patience_is_of_each_group() {
    let problem = problem(7, 4);
    let problem = Problem {
        neighbours: Some(Neighbours::new(&problem.target)),
        ..problem
    };
    let options = Options {
        select: Select::Consensus,
        patience: Some(4),
        ..SWINGING
    };
    let (outcome, _) = run_in_groups::<f64>(&problem, &options, 1);
    let epochs: Vec<usize> = outcome.partitions.iter().map(|r| r.epochs).collect();
    assert!(epochs.iter().any(|e| e != &epochs[0]), "{epochs:?}");
    let all = initial(&problem, &options);
    for p in 0..4 {
        let alone = Problem {
            partitions: problem.partitions[p..=p].to_vec(),
            ..problem.clone()
        };
        let initial = &all[p..=p];
        let alone = train::<f64>(&alone, &options, initial, on_cpu, &mut |_| Ok(())).unwrap();
        assert_eq!(alone.partitions[0].epochs, epochs[p]);
        assert!(alone.parameters[0] == outcome.parameters[p]);
    }
}

#[test]
fn the_average_is_of_the_last_third() {
    for first_layer in [FirstLayer::Direct, FirstLayer::Gram] {
        let options = Options {
            epochs: 12,
            select: Select::Average,
            first_layer,
            ..SWINGING
        };
        let problem = problem(7, 2);
        let (outcome, _) = run::<f64>(&problem, &options);
        let states = (9..=12).map(|epochs| {
            let options = Options {
                epochs,
                select: Select::Last,
                ..options
            };
            run::<f64>(&problem, &options).0.parameters
        });
        let states: Vec<Vec<Parameters>> = states.collect();
        for (p, parameters) in outcome.parameters.iter().enumerate() {
            for (i, mean) in parameters.iter().enumerate() {
                for (j, mean) in mean.iter().enumerate() {
                    let sum: f64 = states.iter().map(|state| state[p][i][j]).sum();
                    assert_relative_eq!(*mean, sum / 4.0, max_relative = 1e-9, epsilon = 1e-12);
                }
            }
        }
        assert_eq!(outcome.partitions[1].epoch_chosen, 12);
    }
}
