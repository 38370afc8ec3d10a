//! Two streams for a list of launches: which launch goes where, and what waits for what.
//!
//! Launches are recorded in an order in which they could run one after the other. Two of them
//! conflict when one writes what the other reads or writes; only conflicting ones must keep that
//! order. A launch goes to the stream where, by a rough estimate of its time, it starts first; where
//! a conflict crosses streams it waits for an event, unless an earlier wait already covers it.
//! Nothing here needs a GPU.

use std::ops::Range;

use super::launch::{Arg, Buffer, Launch, Layout};

/// Number of streams.
pub const STREAMS: usize = 2;

/// Elements `range` of arena `arena` (values, gradients, labels).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Number of the arena.
    pub arena: usize,
    /// Elements in it.
    pub range: Range<usize>,
}

impl Span {
    /// Where `buffer` lies.
    pub fn of(layout: &Layout, buffer: Buffer) -> Span {
        let arena = match buffer {
            Buffer::Value(_) | Buffer::Values(..) => 0,
            Buffer::Grad(_) | Buffer::Grads(..) => 1,
            Buffer::Labels(_) => 2,
        };
        let range = layout.range(buffer);
        Span { arena, range }
    }

    fn overlaps(&self, other: &Span) -> bool {
        self.arena == other.arena
            && self.range.start.max(other.range.start) < self.range.end.min(other.range.end)
    }
}

/// What one launch touches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// What it only reads.
    pub reads: Vec<Span>,
    /// What it writes, and may read.
    pub writes: Vec<Span>,
}

impl Access {
    /// What `launch` touches, by its arguments.
    pub fn of(layout: &Layout, launch: &Launch) -> Access {
        let mut access = Access::default();
        for arg in &launch.args {
            match *arg {
                Arg::In(buffer) => access.reads.push(Span::of(layout, buffer)),
                Arg::Out(buffer) => access.writes.push(Span::of(layout, buffer)),
                Arg::PartialSums | Arg::Arrived | Arg::Int(_) | Arg::Real(_) => {}
            }
        }
        access
    }

    /// Whether the order of the two matters.
    pub fn conflicts(&self, other: &Access) -> bool {
        let meet = |a: &[Span], b: &[Span]| a.iter().any(|a| b.iter().any(|b| a.overlaps(b)));
        meet(&self.writes, &other.writes)
            || meet(&self.writes, &other.reads)
            || meet(&self.reads, &other.writes)
    }

    /// Estimate of its time, in elements moved.
    fn cost(&self) -> usize {
        let spans = self.reads.iter().chain(&self.writes);
        LAUNCH + spans.map(|s| s.range.len()).sum::<usize>()
    }
}

/// What a launch costs before it moves anything: a card moves about a million numbers in the
/// microseconds that a tiny kernel takes.
const LAUNCH: usize = 1 << 20;

/// What waiting for the other stream costs.
const WAIT: usize = LAUNCH / 2;

/// Where one launch goes: on its stream, wait for event `wait`, launch, record event `record`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// Stream, 0 or 1.
    pub stream: usize,
    /// Event of the other stream to wait for first.
    pub wait: Option<usize>,
    /// Event to record after it.
    pub record: Option<usize>,
}

/// A list of launches over two streams. It begins and ends on stream 0: event `fork` is recorded
/// there before the first launch and stream 1 waits for it; after the last, stream 0 waits for event
/// `join`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The launches in their order.
    pub launches: Vec<Placed>,
    /// Event that lets stream 1 begin, if it is used.
    pub fork: Option<usize>,
    /// Event of stream 1's last launch, unless stream 0 has waited for it anyway.
    pub join: Option<usize>,
    /// Number of events.
    pub events: usize,
}

impl Plan {
    /// Everything on stream 0, one after the other.
    pub fn serial(launches: usize) -> Plan {
        Plan {
            launches: vec![Placed::default(); launches],
            ..Plan::default()
        }
    }

    /// Spreads launches that touch `accesses` over two streams.
    pub fn new(accesses: &[Access]) -> Plan {
        let mut plan = Plan::serial(accesses.len());
        // Per launch, when it is done by estimate. Per stream, when it is free and its last launch.
        let mut done = vec![0; accesses.len()];
        let mut free = [0; STREAMS];
        let mut last = [None; STREAMS];
        // The latest launch of the other stream that a stream is known to come after.
        let mut seen: [Option<usize>; STREAMS] = [None; STREAMS];
        for (j, access) in accesses.iter().enumerate() {
            let earlier: Vec<usize> = (0..j).filter(|&i| accesses[i].conflicts(access)).collect();
            let start = |stream: usize| {
                let ready = earlier.iter().map(|&i| {
                    let crosses = plan.launches[i].stream != stream;
                    done[i] + if crosses { WAIT } else { 0 }
                });
                ready.max().unwrap_or(0).max(free[stream])
            };
            // The first one at a tie.
            let stream = usize::from(start(1) < start(0));
            let begins = start(stream);
            done[j] = begins + access.cost();
            free[stream] = done[j];
            last[stream] = Some(j);
            let crossing = earlier.iter().copied();
            let crossing = crossing
                .filter(|&i| plan.launches[i].stream != stream)
                .max();
            plan.launches[j].stream = stream;
            if let Some(i) = crossing.filter(|&i| seen[stream] < Some(i)) {
                seen[stream] = Some(i);
                plan.launches[j].wait = Some(plan.recorded_after(i));
            }
        }
        if let Some(i) = last[1] {
            plan.fork = Some(plan.event());
            if seen[0] != last[1] {
                plan.join = Some(plan.recorded_after(i));
            }
        }
        plan
    }

    fn event(&mut self) -> usize {
        self.events += 1;
        self.events - 1
    }

    /// The event recorded after launch `i`, one for all that wait for it.
    fn recorded_after(&mut self, i: usize) -> usize {
        if self.launches[i].record.is_none() {
            self.launches[i].record = Some(self.event());
        }
        self.launches[i].record.expect("just recorded")
    }
}
