//! Two streams: whatever the launches, all that conflict are ordered, and what is independent in a
//! real step overlaps. Nothing is launched here.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use ssan::data::{Matrix, Normalisation};
use ssan::device::launch::{Launch, Launches, Layout};
use ssan::device::plan::{Access, Plan, STREAMS, Span};
use ssan::device::rung::Rung;
use ssan::train::{FirstLayer, Options, PartitionLabels, Problem, recorded_step};

/// Which launches come before which in every execution of a plan: `order[j][i]` where `i` is
/// surely done when `j` begins. Index `n` is the end of the plan on stream 0.
struct Order(Vec<Vec<bool>>);

impl Order {
    /// Follows the plan as CUDA does: a stream runs its work in order, an event holds what was
    /// before it on its stream, a wait adds that to what comes after it.
    fn of(plan: &Plan) -> Order {
        let n = plan.launches.len();
        let mut before: [Vec<bool>; STREAMS] = [vec![false; n], vec![false; n]];
        let mut events: Vec<Option<Vec<bool>>> = vec![None; plan.events];
        let add = |to: &mut Vec<bool>, event: &Option<Vec<bool>>| {
            let event = event.as_ref().expect("recorded before it is waited for");
            to.iter_mut().zip(event).for_each(|(to, &e)| *to |= e);
        };
        if let Some(fork) = plan.fork {
            events[fork] = Some(before[0].clone());
        }
        let mut order = Vec::new();
        for (j, placed) in plan.launches.iter().enumerate() {
            assert!(placed.stream == 0 || plan.fork.is_some(), "stream 1 begins");
            let stream = &mut before[placed.stream];
            if let Some(event) = placed.wait {
                add(stream, &events[event]);
            }
            order.push(stream.clone());
            stream[j] = true;
            if let Some(event) = placed.record {
                assert!(events[event].is_none(), "an event is recorded once");
                events[event] = Some(stream.clone());
            }
        }
        if let Some(join) = plan.join {
            let [first, _] = &mut before;
            add(first, &events[join]);
        }
        order.push(before[0].clone());
        Order(order)
    }

    fn ordered(&self, i: usize, j: usize) -> bool {
        self.0[j][i]
    }
}

/// Every conflict is ordered as recorded, the end comes after everything, and no wait can go.
fn check(accesses: &[Access], plan: &Plan) -> Order {
    let n = accesses.len();
    assert_eq!(plan.launches.len(), n);
    let order = Order::of(plan);
    for j in 0..n {
        for i in 0..j {
            assert!(!order.ordered(j, i), "{j} does not come before {i}");
            if accesses[i].conflicts(&accesses[j]) {
                assert!(order.ordered(i, j), "{i} conflicts with {j} in {plan:?}");
            }
        }
        assert!(order.ordered(j, n), "{j} is done at the end");
    }
    let waits = plan.launches.iter().map(|l| l.wait).chain([plan.join]);
    let mut waited: Vec<usize> = waits.chain([plan.fork]).flatten().collect();
    waited.sort_unstable();
    let events: Vec<usize> = (0..plan.events).collect();
    assert_eq!(waited, events, "each event is waited for once");
    for j in (0..n).filter(|&j| plan.launches[j].wait.is_some()) {
        let mut without = plan.clone();
        without.launches[j].wait = None;
        let loosened = Order::of(&without);
        let lost = (0..n).any(|b| {
            (0..b).any(|a| accesses[a].conflicts(&accesses[b]) && !loosened.ordered(a, b))
        });
        let end = (0..n).any(|i| !loosened.ordered(i, n));
        assert!(lost || end, "the wait of {j} is needed");
    }
    order
}

fn span(arena: usize, range: Range<usize>) -> Span {
    Span { arena, range }
}

fn access(reads: &[Span], writes: &[Span]) -> Access {
    Access {
        reads: reads.to_vec(),
        writes: writes.to_vec(),
    }
}

#[test]
fn what_conflicts() {
    let (a, b) = (span(0, 0..10), span(0, 10..20));
    let both = span(0, 9..11);
    let reads = |s: &Span| access(std::slice::from_ref(s), &[]);
    let writes = |s: &Span| access(&[], std::slice::from_ref(s));
    assert!(!reads(&a).conflicts(&reads(&a)), "reads share");
    assert!(writes(&a).conflicts(&reads(&a)), "read after write");
    assert!(reads(&a).conflicts(&writes(&a)), "write after read");
    assert!(writes(&a).conflicts(&writes(&a)), "write after write");
    assert!(!writes(&a).conflicts(&writes(&b)), "neighbours");
    assert!(writes(&a).conflicts(&writes(&both)), "overlap");
    assert!(!writes(&a).conflicts(&writes(&span(1, 0..10))), "arenas");
    assert!(!writes(&a).conflicts(&writes(&span(0, 5..5))), "nothing");
}

#[test]
fn a_chain_stays_on_one_stream_and_two_chains_part() {
    let step = |n: usize| access(&[span(0, n..n + 1)], &[span(0, n + 1..n + 2)]);
    let chain: Vec<Access> = (0..10).map(step).collect();
    let plan = Plan::new(&chain);
    check(&chain, &plan);
    assert_eq!(plan, Plan::serial(10), "nothing to wait for");

    let second = (100..110).map(step);
    let both: Vec<Access> = chain.iter().cloned().chain(second).collect();
    let plan = Plan::new(&both);
    let order = check(&both, &plan);
    assert!((0..10).all(|i| plan.launches[i].stream == 0));
    assert!((10..20).all(|i| plan.launches[i].stream == 1));
    assert!(!order.ordered(9, 10));
    assert_eq!(plan.events, 2, "fork and join");

    assert_eq!(Plan::new(&[]), Plan::default());
}

#[test]
fn random_lists() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut below = |n: usize| rng.next_u32() as usize % n;
    let mut crossing = 0;
    for list in 0..400 {
        // From nearly everything in conflict to nearly nothing.
        let places = [3, 8, 30, 200][list % 4];
        let mut spans = |count: usize| -> Vec<Span> {
            let span = |_| {
                let (start, len) = (below(places), below(3));
                // Some are large, so that the estimates of time differ.
                let scale = if below(4) == 0 { 1 << 20 } else { 1 };
                span(below(3), start * scale..(start + len) * scale)
            };
            (0..count).map(span).collect()
        };
        let count = 1 + list % 40;
        let accesses: Vec<Access> = (0..count)
            .map(|n| access(&spans(n % 4), &spans(1 + n % 2)))
            .collect();
        let plan = Plan::new(&accesses);
        check(&accesses, &plan);
        crossing += plan.launches.iter().filter(|l| l.wait.is_some()).count();
    }
    assert!(crossing > 500, "{crossing} waits only: too easy a test");
}

/// The whole step of the release's default options on data of the published sizes.
fn recorded(partitions: usize) -> (Vec<Launch>, Vec<Access>) {
    let options = Options {
        epochs: 10,
        first_layer: FirstLayer::Direct,
        ..Options::PAPER
    };
    let matrix = |rows, cols| Matrix {
        rows,
        cols,
        values: vec![1.0; rows * cols],
    };
    let rows = 958;
    let cyclic = |rows: Range<usize>| -> Vec<i32> {
        let label = |i| {
            if rows.contains(&i) {
                (i % 10) as i32
            } else {
                -1
            }
        };
        (0..958).map(label).collect()
    };
    let labels = PartitionLabels {
        source: cyclic(0..rows),
        labelled: cyclic(0..30),
        unlabelled: cyclic(30..rows).iter().map(|&l| l.min(0)).collect(),
        truth: cyclic(30..rows),
    };
    let problem = Problem {
        classes: 10,
        members: 1,
        normalisation: [Normalisation::L2; 2],
        means: None,
        neighbours: None,
        source: matrix(rows, 800).into(),
        target: matrix(rows, 4096).into(),
        partitions: vec![labels; partitions],
    };
    let initial = problem.initial_parameters(&options, 1);
    let graph = recorded_step::<f32>(&problem, &options, &initial);
    let launches = Launches::of(&graph, |_| Rung::default());
    let layout = Layout::of(&graph);
    let lists = [launches.forward, launches.backward, launches.update];
    let launches = lists.concat();
    let accesses = launches.iter().map(|l| Access::of(&layout, l)).collect();
    (launches, accesses)
}

#[test]
fn the_two_projectors_of_a_real_step_overlap() {
    for partitions in [1, 3] {
        let (launches, accesses) = recorded(partitions);
        let plan = Plan::new(&accesses);
        let order = check(&accesses, &plan);
        let all = |kernel: &str| -> Vec<usize> {
            let of = |&i: &usize| launches[i].kernel == kernel;
            (0..launches.len()).filter(of).collect()
        };
        let apart = |i: usize, j: usize| {
            plan.launches[i].stream != plan.launches[j].stream
                && !order.ordered(i, j)
                && !order.ordered(j, i)
        };
        // Recorded: two layers of the source, its classifier, two layers of the target, its
        // classifier.
        let linear = all("linear");
        for source in 0..3 {
            assert!(
                apart(linear[source], linear[3]),
                "source product {source} runs beside the target's first layer: {plan:?}"
            );
        }
        // Backward, the large products of the two projectors.
        let products = all("linear_backward_w");
        let large: Vec<usize> = [linear[0], linear[3]]
            .iter()
            .flat_map(|&layer| {
                let x = &accesses[layer].reads[0];
                let all = products.iter().copied();
                all.filter(|&i| accesses[i].reads.contains(x))
                    .collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(large.len(), 2, "the first layers' weights");
        assert!(apart(large[0], large[1]));
        let on_second = plan.launches.iter().filter(|l| l.stream == 1).count();
        let waits = plan.launches.iter().filter(|l| l.wait.is_some()).count();
        println!(
            "P = {partitions}: {} launches, {on_second} on the second stream, {waits} waits",
            launches.len()
        );
    }
}
