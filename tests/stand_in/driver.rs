//! What a stand-in card holds, and the order in which its work runs.

use std::alloc::{self, Layout};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::c_void;
use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Instant;

use cudarc::driver::sys::CUresult::{self, *};
use cudarc::driver::sys::CUstreamCaptureMode;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use ssan::device::kernels::Parameter;

use crate::library::{Kernels, Memory, Value};
use crate::settings::{Order, Settings};

/// What a call gives, or why it does not.
pub type Answer<T = ()> = Result<T, CUresult>;

/// The number behind a handle. Never given twice.
pub type Handle = usize;

/// Memory of a card begins at a multiple of so many bytes.
const ALIGNMENT: usize = 512;

#[derive(Default)]
pub struct Context {
    /// How often it was retained.
    pub retained: usize,
    /// Bytes in use.
    pub used: usize,
    /// What every call answers once a kernel has failed.
    pub failed: Option<CUresult>,
}

pub struct Allocation {
    context: usize,
    layout: Layout,
    bytes: usize,
}

/// What a card is asked to do.
pub enum Work {
    Kernel {
        function: Arc<Function>,
        grid: [u32; 3],
        block: [u32; 3],
        /// An argument in the first bytes of each.
        words: Vec<u64>,
    },
    ToCard {
        to: u64,
        from: usize,
        bytes: usize,
    },
    ToHost {
        to: usize,
        from: u64,
        bytes: usize,
    },
    Within {
        to: u64,
        from: u64,
        bytes: usize,
    },
    Set {
        to: u64,
        value: u8,
        bytes: usize,
    },
}

/// One entry of a stream.
enum Entry {
    Work(Work),
    Record(u64),
    Wait(u64),
    Graph(Arc<Vec<Node>>),
}

/// A node of a graph, after those that it depends on.
pub struct Node {
    work: Work,
    after: Vec<usize>,
}

#[derive(Default)]
pub struct Stream {
    context: usize,
    queue: VecDeque<Entry>,
    /// The capture it takes part in.
    capture: Option<u64>,
    /// Nodes of the capture that the next one comes after.
    last: Vec<usize>,
}

pub struct Event {
    context: usize,
    timed: bool,
    recorded: Option<Recorded>,
}

/// The last record of an event.
#[derive(Clone)]
enum Recorded {
    Ticket(u64),
    Captured { capture: u64, nodes: Vec<usize> },
}

pub struct Capture {
    origin: Handle,
    mode: CUstreamCaptureMode,
    thread: ThreadId,
    nodes: Vec<Node>,
    broken: bool,
}

pub struct Module {
    context: usize,
    kernels: Arc<Kernels>,
}

pub struct Function {
    context: usize,
    kernels: Arc<Kernels>,
    name: String,
}

impl Function {
    fn parameters(&self) -> &[Parameter] {
        &self.kernels.parameters[&self.name]
    }

    /// Those of its arguments that are addresses.
    fn addresses(&self, words: &[u64]) -> impl Iterator<Item = u64> {
        let arguments = words.iter().zip(self.parameters());
        let addresses = arguments.filter(|(_, p)| !matches!(p, Parameter::Int | Parameter::Real));
        addresses.map(|(word, _)| *word)
    }

    /// What it is counted under: its module's kernels and its name.
    fn key(&self) -> (usize, String) {
        (Arc::as_ptr(&self.kernels) as usize, self.name.clone())
    }
}

/// Something with a handle.
pub enum Object {
    Stream(Stream),
    Event(Event),
    Graph(Arc<Vec<Node>>),
    /// A graph ready to launch.
    Executable(Arc<Vec<Node>>),
    Module(Module),
    Function(Arc<Function>),
}

pub struct Driver {
    pub settings: Settings,
    pub contexts: Vec<Context>,
    allocations: BTreeMap<u64, Allocation>,
    objects: HashMap<Handle, Object>,
    captures: HashMap<u64, Capture>,
    /// Records that are done, and when.
    done: HashMap<u64, Instant>,
    /// Functions that were launched before.
    launched: HashMap<(usize, String), usize>,
    counter: usize,
    random: ChaCha8Rng,
    kernels: usize,
    graphs: usize,
    /// What a driver may not notice.
    wrong: Vec<String>,
}

/// The driver, for one call.
pub fn driver() -> MutexGuard<'static, Driver> {
    static DRIVER: LazyLock<Mutex<Driver>> = LazyLock::new(|| Mutex::new(Driver::new()));
    DRIVER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What of an object a handle must stand for.
macro_rules! object {
    ($driver:expr, $handle:expr, $kind:ident) => {
        match matches!($driver.objects.get(&$handle), Some(Object::$kind(_))) {
            false => Err($driver.refuse(concat!("a handle of no ", stringify!($kind)))),
            true => match $driver.objects.get_mut(&$handle) {
                Some(Object::$kind(object)) => Ok(object),
                _ => unreachable!("found above"),
            },
        }
    };
}

impl Driver {
    fn new() -> Driver {
        let settings = Settings::read();
        let seed = match settings.order {
            Order::Random(seed) => seed,
            _ => 0,
        };
        Driver {
            contexts: (0..settings.devices).map(|_| Context::default()).collect(),
            allocations: BTreeMap::new(),
            objects: HashMap::new(),
            captures: HashMap::new(),
            done: HashMap::new(),
            launched: HashMap::new(),
            counter: 0x1000,
            random: ChaCha8Rng::seed_from_u64(seed),
            kernels: 0,
            graphs: 0,
            wrong: Vec::new(),
            settings,
        }
    }

    fn count(&mut self) -> usize {
        self.counter += 16;
        self.counter
    }

    /// Notes what a driver might have let pass.
    fn refuse(&mut self, what: impl Into<String>) -> CUresult {
        self.wrong.push(what.into());
        CUDA_ERROR_INVALID_HANDLE
    }

    pub fn add(&mut self, object: Object) -> Handle {
        let handle = self.count();
        self.objects.insert(handle, object);
        handle
    }

    /// Whether a context exists and no kernel of it has failed.
    pub fn healthy(&self, context: usize) -> Answer {
        match self.contexts.get(context) {
            Some(found) if found.retained > 0 => found.failed.map_or(Ok(()), Err),
            _ => Err(CUDA_ERROR_INVALID_CONTEXT),
        }
    }

    /// What a thread that captures may not call.
    pub fn outside_of_captures(&mut self, call: &str) -> Answer {
        let own = thread::current().id();
        let mut inside = self.captures.values_mut().filter(|c| match c.mode {
            CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_GLOBAL => true,
            CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL => c.thread == own,
            CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED => false,
        });
        let Some(capture) = inside.next() else {
            return Ok(());
        };
        capture.broken = true;
        self.wrong.push(format!("{call} during a capture"));
        Err(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)
    }

    // ---- memory ----------------------------------------------------------------------------

    pub fn allocate(&mut self, context: usize, bytes: usize) -> Answer<u64> {
        self.outside_of_captures("an allocation")?;
        if bytes == 0 {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        let whole = bytes.next_multiple_of(ALIGNMENT);
        if whole > self.settings.memory - self.contexts[context].used {
            return Err(CUDA_ERROR_OUT_OF_MEMORY);
        }
        let layout = Layout::from_size_align(whole, ALIGNMENT).expect("a size");
        // SAFETY: the size is not 0.
        let at = unsafe { alloc::alloc(layout) };
        assert!(!at.is_null(), "the host has memory for its stand-in");
        // SAFETY: just allocated with this size. Bytes of ones are NaN, and −1 as labels.
        unsafe { at.write_bytes(0xff, whole) };
        let allocation = Allocation {
            context,
            layout,
            bytes,
        };
        self.contexts[context].used += whole;
        self.allocations.insert(at as u64, allocation);
        Ok(at as u64)
    }

    pub fn free(&mut self, context: usize, at: u64) -> Answer {
        self.outside_of_captures("freeing memory")?;
        let found = self.allocations.get(&at);
        let Some(range) = found
            .filter(|a| a.context == context)
            .map(|a| at..at + a.bytes as u64)
        else {
            self.refuse("memory freed that was not allocated");
            return Err(CUDA_ERROR_INVALID_VALUE);
        };
        let waiting = self.objects.values().filter_map(|o| match o {
            Object::Stream(stream) => Some(stream.queue.iter()),
            _ => None,
        });
        let named = waiting.flatten().any(|entry| entry.names(&range));
        let allocation = self.allocations.remove(&at).expect("found above");
        self.contexts[context].used -= allocation.layout.size();
        // SAFETY: allocated by `allocate` with this layout, and no longer listed.
        unsafe { (at as *mut u8).write_bytes(0xff, allocation.layout.size()) };
        if named {
            // It stays, so that the work finds something.
            self.wrong
                .push("memory freed that waiting work names".into());
            return Ok(());
        }
        // SAFETY: the same; no entry of a stream names it.
        unsafe { alloc::dealloc(at as *mut u8, allocation.layout) };
        Ok(())
    }

    /// How many bytes there are from `at` to the end of its allocation.
    fn inside(&mut self, context: usize, at: u64, bytes: usize) -> Answer<usize> {
        let found = self.allocations.range(..=at).next_back();
        let rest = found
            .filter(|(_, a)| a.context == context)
            .and_then(|(base, a)| (base + a.bytes as u64).checked_sub(at));
        match rest {
            Some(rest) if bytes as u64 <= rest => Ok(rest as usize),
            _ => {
                self.refuse(format!("{bytes} bytes that are not in the card's memory"));
                Err(CUDA_ERROR_INVALID_VALUE)
            }
        }
    }

    // ---- streams ---------------------------------------------------------------------------

    pub fn new_stream(&mut self, context: usize) -> Handle {
        self.add(Object::Stream(Stream {
            context,
            ..Stream::default()
        }))
    }

    fn stream(&mut self, stream: Handle) -> Answer<&mut Stream> {
        object!(self, stream, Stream)
    }

    /// Whether a stream is of the current context.
    fn on(&mut self, stream: Handle, context: usize) -> Answer {
        if self.stream(stream)?.context != context {
            return Err(self.refuse("a stream of another context"));
        }
        Ok(())
    }

    /// Puts work on a stream, or into the capture that it takes part in.
    pub fn enqueue(&mut self, context: usize, stream: Handle, work: Work) -> Answer {
        self.on(stream, context)?;
        match &work {
            Work::ToCard { to, bytes, .. } | Work::Set { to, bytes, .. } => {
                self.inside(context, *to, *bytes)?;
            }
            Work::ToHost { from, bytes, .. } => {
                self.inside(context, *from, *bytes)?;
            }
            Work::Within { to, from, bytes } => {
                self.inside(context, *to, *bytes)?;
                self.inside(context, *from, *bytes)?;
            }
            Work::Kernel {
                function, words, ..
            } => {
                if function.context != context {
                    return Err(self.refuse("a kernel of another context"));
                }
                for address in function.addresses(words) {
                    self.inside(context, address, 0)?;
                }
            }
        }
        let Some(capture) = self.stream(stream)?.capture else {
            if let Work::Kernel { function, .. } = &work {
                self.launched.entry(function.key()).or_default();
            }
            self.stream(stream)?.queue.push_back(Entry::Work(work));
            return Ok(());
        };
        let allowed = match &work {
            Work::Kernel { function, .. } => self.launched.contains_key(&function.key()),
            Work::ToCard { .. } | Work::ToHost { .. } => false,
            Work::Within { .. } | Work::Set { .. } => true,
        };
        let after = self.stream(stream)?.last.clone();
        let recording = self.captures.get_mut(&capture).expect("it lasts");
        if !allowed {
            recording.broken = true;
            self.wrong
                .push("a copy or a kernel's first launch in a capture".into());
            return Err(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        }
        recording.nodes.push(Node { work, after });
        let last = recording.nodes.len() - 1;
        self.stream(stream)?.last = vec![last];
        Ok(())
    }

    pub fn record(&mut self, context: usize, event: Handle, stream: Handle) -> Answer {
        self.on(stream, context)?;
        let (capture, nodes) = {
            let stream = self.stream(stream)?;
            (stream.capture, stream.last.clone())
        };
        let recorded = match capture {
            Some(capture) => Recorded::Captured { capture, nodes },
            None => {
                let ticket = self.count() as u64;
                let stream = self.stream(stream)?;
                stream.queue.push_back(Entry::Record(ticket));
                Recorded::Ticket(ticket)
            }
        };
        let event = object!(self, event, Event)?;
        if event.context != context {
            return Err(CUDA_ERROR_INVALID_CONTEXT);
        }
        event.recorded = Some(recorded);
        Ok(())
    }

    pub fn wait(&mut self, context: usize, stream: Handle, event: Handle) -> Answer {
        self.on(stream, context)?;
        let recorded = object!(self, event, Event)?.recorded.clone();
        let own = self.stream(stream)?.capture;
        match (recorded, own) {
            // Nothing was recorded yet: nothing to wait for.
            (None, _) => Ok(()),
            (Some(Recorded::Ticket(ticket)), None) => {
                let stream = self.stream(stream)?;
                stream.queue.push_back(Entry::Wait(ticket));
                Ok(())
            }
            (Some(Recorded::Ticket(_)), Some(capture)) => {
                self.captures.get_mut(&capture).expect("it lasts").broken = true;
                Err(CUDA_ERROR_STREAM_CAPTURE_ISOLATION)
            }
            (Some(Recorded::Captured { capture, nodes }), own) => {
                if !self.captures.contains_key(&capture) {
                    return Err(CUDA_ERROR_CAPTURED_EVENT);
                }
                if own.is_some_and(|own| own != capture) {
                    return Err(CUDA_ERROR_STREAM_CAPTURE_MERGE);
                }
                let stream = self.stream(stream)?;
                stream.capture = Some(capture);
                for node in nodes {
                    if !stream.last.contains(&node) {
                        stream.last.push(node);
                    }
                }
                Ok(())
            }
        }
    }

    pub fn synchronize(&mut self, context: usize, stream: Handle) -> Answer {
        self.on(stream, context)?;
        if let Some(capture) = self.stream(stream)?.capture {
            self.captures.get_mut(&capture).expect("it lasts").broken = true;
            self.wrong.push("waiting for a stream that captures".into());
            return Err(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        }
        self.drain(stream);
        self.healthy(context)
    }

    pub fn destroy_stream(&mut self, stream: Handle) -> Answer {
        if self.stream(stream)?.capture.is_some() {
            return Err(self.refuse("a stream destroyed while it captures"));
        }
        self.drain(stream);
        self.objects.remove(&stream);
        Ok(())
    }

    // ---- events ----------------------------------------------------------------------------

    pub fn new_event(&mut self, context: usize, timed: bool) -> Handle {
        self.add(Object::Event(Event {
            context,
            timed,
            recorded: None,
        }))
    }

    pub fn destroy_event(&mut self, event: Handle) -> Answer {
        object!(self, event, Event)?;
        self.objects.remove(&event);
        Ok(())
    }

    /// Waits for what an event has recorded.
    pub fn await_event(&mut self, context: usize, event: Handle) -> Answer {
        let recorded = object!(self, event, Event)?.recorded.clone();
        if let Some(Recorded::Ticket(ticket)) = recorded
            && !self.done.contains_key(&ticket)
        {
            let stream = self.recording(ticket);
            self.drain(stream.expect("a record that is not done waits on a stream"));
        }
        self.healthy(context)
    }

    pub fn elapsed(&mut self, start: Handle, end: Handle) -> Answer<f32> {
        let mut times = Vec::new();
        for handle in [start, end] {
            let event = object!(self, handle, Event)?;
            let recorded = event.recorded.clone();
            match recorded {
                Some(Recorded::Ticket(ticket)) if event.timed => {
                    let done = self.done.get(&ticket).copied();
                    times.push(done.ok_or(CUDA_ERROR_NOT_READY)?);
                }
                _ => return Err(CUDA_ERROR_INVALID_HANDLE),
            }
        }
        Ok((times[1] - times[0]).as_secs_f32() * 1e3)
    }

    // ---- captures and graphs ---------------------------------------------------------------

    pub fn begin_capture(
        &mut self,
        context: usize,
        origin: Handle,
        mode: CUstreamCaptureMode,
    ) -> Answer {
        self.on(origin, context)?;
        if self.stream(origin)?.capture.is_some() {
            return Err(CUDA_ERROR_ILLEGAL_STATE);
        }
        let capture = self.count() as u64;
        let thread = thread::current().id();
        self.captures.insert(
            capture,
            Capture {
                origin,
                mode,
                thread,
                nodes: Vec::new(),
                broken: false,
            },
        );
        let stream = self.stream(origin)?;
        stream.capture = Some(capture);
        stream.last.clear();
        Ok(())
    }

    pub fn end_capture(&mut self, context: usize, stream: Handle) -> Answer<Handle> {
        self.on(stream, context)?;
        let Some(id) = self.stream(stream)?.capture else {
            return Err(CUDA_ERROR_ILLEGAL_STATE);
        };
        let capture = &self.captures[&id];
        if capture.origin != stream {
            return Err(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
        }
        if capture.thread != thread::current().id() {
            return Err(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
        }
        let capture = self.captures.remove(&id).expect("found above");
        // Everything must come before what the origin would do next.
        let mut joined = vec![false; capture.nodes.len()];
        let mut open = Vec::new();
        for (handle, object) in &mut self.objects {
            let Object::Stream(taking_part) = object else {
                continue;
            };
            if taking_part.capture != Some(id) {
                continue;
            }
            taking_part.capture = None;
            let last = std::mem::take(&mut taking_part.last);
            match *handle == stream {
                true => last.iter().for_each(|&node| joined[node] = true),
                false => open.extend(last),
            }
        }
        for node in (0..capture.nodes.len()).rev() {
            if joined[node] {
                for &before in &capture.nodes[node].after {
                    joined[before] = true;
                }
            }
        }
        if capture.broken {
            return Err(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        }
        if open.iter().any(|&node| !joined[node]) {
            return Err(CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
        }
        Ok(self.add(Object::Graph(Arc::new(capture.nodes))))
    }

    pub fn instantiate(&mut self, graph: Handle) -> Answer<Handle> {
        let nodes = object!(self, graph, Graph)?.clone();
        Ok(self.add(Object::Executable(nodes)))
    }

    /// Whether a graph can be launched on a stream.
    pub fn launchable(&mut self, context: usize, graph: Handle, stream: Handle) -> Answer {
        self.on(stream, context)?;
        object!(self, graph, Executable).map(drop)
    }

    pub fn launch_graph(&mut self, context: usize, graph: Handle, stream: Handle) -> Answer {
        self.launchable(context, graph, stream)?;
        let nodes = object!(self, graph, Executable)?.clone();
        let stream = self.stream(stream)?;
        if stream.capture.is_some() {
            return Err(CUDA_ERROR_NOT_SUPPORTED);
        }
        stream.queue.push_back(Entry::Graph(nodes));
        Ok(())
    }

    pub fn destroy_graph(&mut self, graph: Handle) -> Answer {
        object!(self, graph, Graph)?;
        self.objects.remove(&graph);
        Ok(())
    }

    pub fn destroy_executable(&mut self, graph: Handle) -> Answer {
        object!(self, graph, Executable)?;
        self.objects.remove(&graph);
        Ok(())
    }

    // ---- modules ---------------------------------------------------------------------------

    pub fn add_module(&mut self, context: usize, kernels: Kernels) -> Handle {
        let kernels = Arc::new(kernels);
        self.add(Object::Module(Module { context, kernels }))
    }

    pub fn function(&mut self, module: Handle, name: &str) -> Answer<Handle> {
        let module = object!(self, module, Module)?;
        if !module.kernels.parameters.contains_key(name) {
            return Err(CUDA_ERROR_NOT_FOUND);
        }
        let function = Function {
            context: module.context,
            kernels: module.kernels.clone(),
            name: name.to_string(),
        };
        Ok(self.add(Object::Function(Arc::new(function))))
    }

    pub fn unload(&mut self, module: Handle) -> Answer {
        let kernels = object!(self, module, Module)?.kernels.clone();
        self.objects.remove(&module);
        self.objects
            .retain(|_, o| !matches!(o, Object::Function(f) if Arc::ptr_eq(&f.kernels, &kernels)));
        Ok(())
    }

    /// A function, and the sizes of its arguments.
    pub fn arguments(&mut self, function: Handle) -> Answer<(Arc<Function>, Vec<usize>)> {
        let function = object!(self, function, Function)?.clone();
        let real = if function.kernels.double { 8 } else { 4 };
        let sizes = function.parameters().iter();
        let sizes = sizes.map(|parameter| match parameter {
            Parameter::Int => 4,
            Parameter::Real => real,
            _ => 8,
        });
        let sizes = sizes.collect();
        Ok((function, sizes))
    }

    // ---- running ---------------------------------------------------------------------------

    /// Runs until nothing is left on `goal`.
    fn drain(&mut self, goal: Handle) {
        while let Some(Object::Stream(stream)) = self.objects.get(&goal)
            && !stream.queue.is_empty()
        {
            let Some(next) = self.choose(goal) else {
                self.wrong
                    .push("a stream waits for what never comes".into());
                if let Ok(stream) = self.stream(goal) {
                    stream.queue.clear();
                }
                return;
            };
            let stream = self.stream(next).expect("it has an entry");
            let context = stream.context;
            let entry = stream.queue.pop_front().expect("it has an entry");
            match entry {
                Entry::Work(work) => self.execute(context, &work),
                Entry::Record(ticket) => {
                    self.done.insert(ticket, Instant::now());
                }
                Entry::Wait(_) => {}
                Entry::Graph(nodes) => {
                    self.graphs += 1;
                    self.execute_graph(context, &nodes);
                }
            }
        }
    }

    /// Streams whose next entry can run, in the order in which they were made.
    fn able(&self) -> Vec<Handle> {
        let streams = self.objects.iter().filter_map(|(handle, o)| match o {
            Object::Stream(stream) => Some((*handle, stream.queue.front()?)),
            _ => None,
        });
        let able = streams.filter(|(_, entry)| match entry {
            Entry::Wait(ticket) => self.done.contains_key(ticket),
            _ => true,
        });
        let mut able: Vec<Handle> = able.map(|(handle, _)| handle).collect();
        able.sort_unstable();
        able
    }

    /// The stream to go on with.
    fn choose(&mut self, goal: Handle) -> Option<Handle> {
        match self.settings.order {
            Order::Needed => self.needed(goal),
            Order::Others => {
                let able = self.able();
                let other = able.iter().find(|&&stream| stream != goal);
                other.or(able.first()).copied()
            }
            Order::Random(_) => {
                let able = self.able();
                let n = (self.random.next_u64() % able.len().max(1) as u64) as usize;
                able.get(n).copied()
            }
        }
    }

    /// The stream that must go on so that `goal` can.
    fn needed(&self, goal: Handle) -> Option<Handle> {
        let mut stream = goal;
        // A chain of waits is no longer than there are objects, unless they wait for each other.
        for _ in 0..=self.objects.len() {
            let Some(Object::Stream(found)) = self.objects.get(&stream) else {
                return None;
            };
            match found.queue.front() {
                Some(Entry::Wait(ticket)) if !self.done.contains_key(ticket) => {
                    stream = self.recording(*ticket)?;
                }
                Some(_) => return Some(stream),
                None => return None,
            }
        }
        None
    }

    /// The stream on which a record waits.
    fn recording(&self, ticket: u64) -> Option<Handle> {
        let records = |entry: &Entry| matches!(entry, Entry::Record(t) if *t == ticket);
        let found = self.objects.iter().find(|(_, object)| match object {
            Object::Stream(stream) => stream.queue.iter().any(records),
            _ => false,
        });
        found.map(|(handle, _)| *handle)
    }

    fn execute_graph(&mut self, context: usize, nodes: &[Node]) {
        let mut done = vec![false; nodes.len()];
        for _ in 0..nodes.len() {
            let able = (0..nodes.len())
                .filter(|&n| !done[n] && nodes[n].after.iter().all(|&before| done[before]));
            let able: Vec<usize> = able.collect();
            let next = match self.settings.order {
                Order::Needed => able[0],
                Order::Others => able[able.len() - 1],
                Order::Random(_) => able[(self.random.next_u64() % able.len() as u64) as usize],
            };
            self.execute(context, &nodes[next].work);
            done[next] = true;
        }
    }

    fn execute(&mut self, context: usize, work: &Work) {
        if self.contexts[context].failed.is_some() {
            return;
        }
        match *work {
            Work::ToCard { to, from, bytes } => copy(from as u64, to, bytes),
            Work::ToHost { to, from, bytes } => copy(from, to as u64, bytes),
            Work::Within { to, from, bytes } => copy(from, to, bytes),
            // SAFETY: as of `copy`.
            Work::Set { to, value, bytes } => unsafe { (to as *mut u8).write_bytes(value, bytes) },
            Work::Kernel {
                ref function,
                grid,
                block,
                ref words,
            } => {
                self.kernels += 1;
                let times = self.launched.entry(function.key()).or_default();
                *times += 1;
                let injected = self.settings.fail.as_ref();
                let injected = injected.is_some_and(|(k, n)| *k == function.name && n == times);
                let report = match injected {
                    true => Err("as asked for".to_string()),
                    false => self.run(context, function, grid, block, words),
                };
                if let Err(report) = report {
                    if !injected {
                        self.wrong.push(report);
                    }
                    self.contexts[context].failed = Some(CUDA_ERROR_ILLEGAL_ADDRESS);
                }
            }
        }
    }

    fn run(
        &mut self,
        context: usize,
        function: &Function,
        grid: [u32; 3],
        block: [u32; 3],
        words: &[u64],
    ) -> Result<(), String> {
        let parameters = function.parameters();
        let mut values = Vec::with_capacity(words.len());
        for (word, parameter) in words.iter().zip(parameters) {
            let bytes = word.to_ne_bytes();
            let four: [u8; 4] = bytes[..4].try_into().expect("four bytes");
            let mut memory = || {
                let rest = self.inside(context, *word, 0);
                let rest = rest.map_err(|_| format!("{}: memory is gone", function.name))?;
                Ok::<Memory, String>(Memory::at(*word as *mut c_void, rest))
            };
            values.push(match parameter {
                Parameter::RealIn => Value::RealIn(memory()?),
                Parameter::RealOut => Value::RealOut(memory()?),
                Parameter::IntIn => Value::IntIn(memory()?),
                Parameter::IntOut => Value::IntOut(memory()?),
                Parameter::Int => Value::Int(i32::from_ne_bytes(four)),
                Parameter::Real if function.kernels.double => {
                    Value::Real(f64::from_ne_bytes(bytes))
                }
                Parameter::Real => Value::Real(f32::from_ne_bytes(four).into()),
            });
        }
        // SAFETY: the memory is the stand-in's, whose lock is held. That kernels keep to theirs is
        // checked access by access by other tests.
        unsafe {
            function
                .kernels
                .launch(&function.name, grid, block, &values)
        }
    }

    // ---- the end ---------------------------------------------------------------------------

    /// What happened: counts, what was left over, what was wrong. Contexts, modules and functions
    /// may stay until the process ends.
    pub fn report(&self) -> serde_json::Value {
        let mut left = BTreeMap::new();
        let mut leave = |what: &'static str, n: usize| {
            if n > 0 {
                *left.entry(what).or_insert(0) += n;
            }
        };
        leave("allocations", self.allocations.len());
        leave("captures", self.captures.len());
        for object in self.objects.values() {
            match object {
                Object::Stream(stream) => {
                    leave("streams", 1);
                    leave("entries of streams", stream.queue.len());
                }
                Object::Event(_) => leave("events", 1),
                Object::Graph(_) => leave("graphs", 1),
                Object::Executable(_) => leave("executable graphs", 1),
                Object::Module(_) | Object::Function(_) => {}
            }
        }
        serde_json::json!({
            "kernels": self.kernels,
            "graphs": self.graphs,
            "left": left,
            "wrong": self.wrong,
        })
    }
}

/// Copies what waited for it.
fn copy(from: u64, to: u64, bytes: usize) {
    // SAFETY: a card's side was inside an allocation when the work was enqueued, and is kept where
    // it was freed since; a host's side is left alone until its owner has waited, as drivers ask.
    unsafe { std::ptr::copy(from as *const u8, to as *mut u8, bytes) };
}

impl Entry {
    /// Whether it works on memory in `range`.
    fn names(&self, range: &Range<u64>) -> bool {
        match self {
            Entry::Work(work) => work.names(range),
            Entry::Graph(nodes) => nodes.iter().any(|node| node.work.names(range)),
            Entry::Record(_) | Entry::Wait(_) => false,
        }
    }
}

impl Work {
    fn names(&self, range: &Range<u64>) -> bool {
        match self {
            Work::Kernel {
                function, words, ..
            } => function.addresses(words).any(|at| range.contains(&at)),
            Work::ToCard { to, .. } | Work::Set { to, .. } => range.contains(to),
            Work::ToHost { from, .. } => range.contains(from),
            Work::Within { to, from, .. } => range.contains(to) || range.contains(from),
        }
    }
}
