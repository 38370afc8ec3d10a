//! An NVIDIA card: a recorded step as kernel launches, captured once as a CUDA graph and replayed.
//!
//! The buffers of the step lie in three allocations, made when it is loaded; each stream has one
//! more, for products whose tiles several blocks make. The whole step
//! (forward, backward, update) is spread over two streams by [`Plan`], captured as one graph after
//! its first run, and from then on launched as a whole; without a graph the same launches are made
//! one by one on the same streams, with the same results. Nothing is read back but by `read`.

mod profile;

use std::collections::HashMap;
use std::ffi::c_void;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::sys::{CUdeviceptr, CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{
    CudaContext, CudaEvent, CudaFunction, CudaGraph, CudaModule, CudaStream, DriverError, result,
};
use cudarc::nvrtc::Ptx;

use super::kernels::{Parameter, SOURCES, Signature, Source, signatures};
use super::launch::{Arg, Buffer, Launch, Launches, Layout};
use super::plan::{Access, Plan, STREAMS, Span};
use super::rung::{Arithmetic, Precision, Rung};
use super::{Device, find, nvrtc};
use crate::error::{Error, Result};
use crate::graph::{Graph, Labels, Var};
use crate::real::Real;

pub use profile::Peak;

/// How a step is put on a card.
#[derive(Clone, Copy, Debug)]
pub struct CudaOptions {
    /// Whether it is replayed as a CUDA graph, or as single launches with the same results.
    pub use_graph: bool,
    /// Precision of its matrix products.
    pub precision: Precision,
}

impl Default for CudaOptions {
    fn default() -> CudaOptions {
        CudaOptions {
            use_graph: true,
            precision: Precision::Fp32,
        }
    }
}

/// A recorded step on a card.
pub struct Cuda<T: Real> {
    // Dropped in this order: the graph before what it refers to and does not hold.
    captured: Option<CudaGraph>,
    forward: Vec<Prepared>,
    backward: Vec<Prepared>,
    update: Vec<Prepared>,
    plan: Plan,
    events: Vec<CudaEvent>,
    streams: [Arc<CudaStream>; STREAMS],
    arenas: [Arena; 3],
    /// Of each stream.
    workspaces: [Arena; STREAMS],
    layout: Layout,
    graph: Graph<T>,
    /// Of large matrix products.
    arithmetic: Arithmetic,
    use_graph: bool,
    note: Option<String>,
}

impl<T: Real> Cuda<T> {
    /// Puts the step on card `ordinal`: compiles the kernels it needs, or takes them from the
    /// cache, and copies its buffers there.
    ///
    /// # Errors
    /// There is no such card, driver or NVRTC, the card has too little free memory or not this
    /// precision, or a kernel does not compile or is not launched with the parameters that it
    /// declares.
    pub fn load(mut graph: Graph<T>, ordinal: usize, options: CudaOptions) -> Result<Cuda<T>> {
        find::usable(ordinal)?;
        let card = card(ordinal)?;
        let context = &card.context;
        Launches::check(&graph)?;
        let layout = Layout::of(&graph);
        let arithmetic = options.precision.arithmetic::<T>(card.capability)?;
        let launches = Launches::of(&graph, |product| arithmetic.rung(product));
        let sizes = layout.bytes::<T>();
        let workspace = Workspace::of::<T>(&launches);
        let needed = sizes.iter().sum::<usize>() + STREAMS * workspace.bytes;

        let mut note = None;
        let kernels = card.kernels::<T>(&launches, &mut note)?;

        let alone = exclusive();
        let (free, _) = context
            .mem_get_info()
            .map_err(|e| failed("asking for free memory", e))?;
        if needed > free {
            return Err(too_little_memory(needed, free));
        }
        let stream = || {
            let made = context.new_stream();
            made.map_err(|e| failed("making a stream", e))
        };
        let streams = [stream()?, stream()?];
        let allocate = |bytes| {
            Arena::new(context, bytes).map_err(|e| match e.0 {
                cudarc::driver::sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                    too_little_memory(needed, free)
                }
                _ => failed("allocating memory", e),
            })
        };
        let arenas = [
            allocate(sizes[0])?,
            allocate(sizes[1])?,
            allocate(sizes[2])?,
        ];
        let workspaces = [allocate(workspace.bytes)?, allocate(workspace.bytes)?];
        let (values, grads, labels) = layout.arenas(&mut graph);
        let nobody_arrived = vec![0; workspace.sums];
        let contents: [&[u8]; 5] = [
            bytemuck::cast_slice(&values),
            bytemuck::cast_slice(&grads),
            bytemuck::cast_slice(&labels),
            &nobody_arrived,
            &nobody_arrived,
        ];
        for (arena, content) in arenas.iter().chain(&workspaces).zip(contents) {
            let copied = arena.write(0, content, &streams[0]);
            copied.map_err(|e| failed("copying the data to the card", e))?;
        }

        let accesses = launches.all().map(|l| Access::of(&layout, l));
        let accesses: Vec<Access> = accesses.collect();
        let plan = Plan::new(&accesses);
        let events: std::result::Result<Vec<CudaEvent>, DriverError> =
            (0..plan.events).map(|_| context.new_event(None)).collect();
        let events = events.map_err(|e| failed("making an event", e))?;
        drop(alone);

        let mut placed = plan.launches.iter();
        let mut prepare = |list: &[Launch]| -> Result<Vec<Prepared>> {
            let prepared = list.iter().zip(&mut placed).map(|(launch, placed)| {
                let kernel = &kernels[&(launch.kernel, launch.rung)];
                let places = Places {
                    layout: &layout,
                    arenas: &arenas,
                    workspace: (&workspaces[placed.stream], workspace),
                };
                Prepared::new::<T>(launch, kernel, &places)
            });
            prepared.collect()
        };
        Ok(Cuda {
            captured: None,
            forward: prepare(&launches.forward)?,
            backward: prepare(&launches.backward)?,
            update: prepare(&launches.update)?,
            plan,
            events,
            streams,
            arenas,
            workspaces,
            layout,
            graph,
            arithmetic,
            use_graph: options.use_graph,
            note,
        })
    }

    /// What the user should know about how it was loaded, for instance that the cache of compiled
    /// kernels cannot be written.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Waits until the card has done all that it was given.
    ///
    /// # Errors
    /// A kernel failed.
    pub fn synchronize(&self) -> Result<()> {
        // Everything ends on stream 0.
        let done = self.streams[0].synchronize();
        done.map_err(|e| {
            Error::Device(format!(
                "a kernel failed: {}; with --no-graph and CUDA_LAUNCH_BLOCKING=1 the message names \
                 it",
                describe(e)
            ))
        })
    }

    /// One whole step, forward, backward and update, onto the streams as the plan says.
    fn enqueue_step(&self) -> Result<()> {
        let record = |event: usize, stream: usize| {
            let recorded = self.events[event].record(&self.streams[stream]);
            recorded.map_err(|e| failed("recording an event", e))
        };
        let wait = |event: usize, stream: usize| {
            let waits = self.streams[stream].wait(&self.events[event]);
            waits.map_err(|e| failed("waiting for an event", e))
        };
        if let Some(fork) = self.plan.fork {
            record(fork, 0)?;
            wait(fork, 1)?;
        }
        let launches = self.forward.iter().chain(&self.backward);
        let launches = launches.chain(&self.update);
        for (launch, placed) in launches.zip(&self.plan.launches) {
            if let Some(event) = placed.wait {
                wait(event, placed.stream)?;
            }
            launch.enqueue(&self.streams[placed.stream])?;
            if let Some(event) = placed.record {
                record(event, placed.stream)?;
            }
        }
        if let Some(join) = self.plan.join {
            wait(join, 0)?;
        }
        Ok(())
    }

    /// Captures what `enqueue` puts on the streams. Nothing runs, and nothing is allocated on the
    /// card meanwhile.
    fn capture(&self, enqueue: impl FnOnce() -> Result<()>) -> Result<CudaGraph> {
        let _alone = exclusive();
        let capturing = |e| failed("capturing the step as a CUDA graph", e);
        let first = &self.streams[0];
        // Other threads may go on with their own streams.
        first
            .begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .map_err(capturing)?;
        let enqueued = enqueue();
        // A capture is ended even where it failed: the stream is not usable otherwise.
        let graph = first.end_capture(CUgraphInstantiate_flags(0));
        enqueued?;
        let graph = graph.map_err(capturing)?;
        let graph = graph.ok_or_else(|| {
            Error::Device("the step was not captured as a CUDA graph; use --no-graph".to_string())
        })?;
        graph.upload().map_err(capturing)?;
        Ok(graph)
    }

    fn read_range<E: bytemuck::Pod>(&self, arena: usize, range: Range<usize>) -> Result<Vec<E>> {
        self.synchronize()?;
        let mut values = vec![E::zeroed(); range.len()];
        let from = range.start * size_of::<E>();
        let bytes = bytemuck::cast_slice_mut(&mut values);
        let copied = self.arenas[arena].read(from, bytes, &self.streams[0]);
        copied.map_err(|e| failed("copying results from the card", e))?;
        Ok(values)
    }

    fn write_range<E: bytemuck::Pod>(
        &mut self,
        arena: usize,
        range: Range<usize>,
        values: &[E],
    ) -> Result<()> {
        assert_eq!(values.len(), range.len(), "a value for each place");
        self.synchronize()?;
        let to = range.start * size_of::<E>();
        let bytes = bytemuck::cast_slice(values);
        let copied = self.arenas[arena].write(to, bytes, &self.streams[0]);
        copied.map_err(|e| failed("copying values to the card", e))
    }

    /// Launches on stream 0 alone, one after the other.
    fn enqueue(&self, launches: &[Prepared]) -> Result<()> {
        launches
            .iter()
            .try_for_each(|l| l.enqueue(&self.streams[0]))
    }
}

impl<T: Real> Device<T> for Cuda<T> {
    fn graph(&self) -> &Graph<T> {
        &self.graph
    }

    fn steps(&mut self, epochs: usize) -> Result<()> {
        for _ in 0..epochs {
            match &self.captured {
                Some(captured) => captured
                    .launch()
                    .map_err(|e| failed("launching the CUDA graph of the step", e))?,
                // The driver may load a kernel when it is first launched, which a capture does not
                // allow: the first step is launched plainly.
                None => {
                    self.enqueue_step()?;
                    if self.use_graph && !self.plan.launches.is_empty() {
                        self.captured = Some(self.capture(|| self.enqueue_step())?);
                    }
                }
            }
        }
        Ok(())
    }

    fn forward(&mut self) -> Result<()> {
        self.enqueue(&self.forward)
    }

    fn backward(&mut self) -> Result<()> {
        self.enqueue(&self.backward)
    }

    fn read(&self, var: Var) -> Result<Vec<T>> {
        self.read_range(0, self.layout.range(Buffer::Value(var)))
    }

    fn read_grad(&self, var: Var) -> Result<Vec<T>> {
        self.read_range(1, self.layout.range(Buffer::Grad(var)))
    }

    fn read_labels(&self, labels: Labels) -> Result<Vec<i32>> {
        self.read_range(2, self.layout.range(Buffer::Labels(labels)))
    }

    fn write(&mut self, var: Var, values: &[T]) -> Result<()> {
        self.write_range(0, self.layout.range(Buffer::Value(var)), values)
    }

    fn write_labels(&mut self, labels: Labels, values: &[i32]) -> Result<()> {
        self.write_range(2, self.layout.range(Buffer::Labels(labels)), values)
    }
}

impl<T: Real> Drop for Cuda<T> {
    fn drop(&mut self) {
        // What is still running uses what is freed next. An error was or will be reported where
        // results are read.
        for stream in &self.streams {
            let _ = stream.synchronize();
        }
        let _alone = exclusive();
        self.captured = None;
        for arena in self.arenas.iter_mut().chain(&mut self.workspaces) {
            arena.free();
        }
    }
}

/// A CUDA call that failed, as an error.
fn failed(doing: &str, e: DriverError) -> Error {
    Error::Device(format!("{doing}: {}", describe(e)))
}

/// What the driver says of an error: its text and its name.
pub(super) fn describe(e: DriverError) -> String {
    let text = e.error_string().map(|s| s.to_string_lossy().into_owned());
    match text {
        Ok(text) => format!("{text} ({:?})", e.0),
        Err(_) => format!("{:?}", e.0),
    }
}

fn too_little_memory(needed: usize, free: usize) -> Error {
    Error::Device(format!(
        "the step needs {} MiB of the card's memory, of which {} MiB are free: with a smaller \
         --max-memory fewer partitions train at once; fewer --members or a smaller --d_common need \
         less",
        needed.div_ceil(1 << 20),
        free >> 20
    ))
}

/// Held while memory is allocated or freed and while a step is captured: allocating in one thread
/// can end a capture in another.
fn exclusive() -> MutexGuard<'static, ()> {
    static EXCLUSIVE: Mutex<()> = Mutex::new(());
    EXCLUSIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One allocation on a card.
struct Arena {
    context: Arc<CudaContext>,
    base: CUdeviceptr,
    bytes: usize,
}

impl Arena {
    fn new(context: &Arc<CudaContext>, bytes: usize) -> std::result::Result<Arena, DriverError> {
        context.bind_to_thread()?;
        // SAFETY: a context is current. The content is undefined until `write`. CUDA allocates
        // nothing of size 0, so that an empty arena has some bytes that nothing points to.
        let base = unsafe { result::malloc_sync(bytes.max(1)) }?;
        Ok(Arena {
            context: context.clone(),
            base,
            bytes,
        })
    }

    /// Copies `content` to what begins `to` bytes into the arena, after what the stream has been
    /// given, and waits until it is there.
    fn write(
        &self,
        to: usize,
        content: &[u8],
        stream: &CudaStream,
    ) -> std::result::Result<(), DriverError> {
        assert!(
            to + content.len() <= self.bytes,
            "a write ends in the arena"
        );
        if content.is_empty() {
            return Ok(());
        }
        self.context.bind_to_thread()?;
        // SAFETY: the range lies in a live allocation (asserted); `content` is borrowed until the
        // stream has copied it (synchronised below).
        unsafe { result::memcpy_htod_async(self.base + to as u64, content, stream.cu_stream()) }?;
        stream.synchronize()
    }

    /// Copies what begins `from` bytes into the arena, after what the stream has been given.
    fn read(
        &self,
        from: usize,
        to: &mut [u8],
        stream: &CudaStream,
    ) -> std::result::Result<(), DriverError> {
        assert!(from + to.len() <= self.bytes, "a read ends in the arena");
        if to.is_empty() {
            return Ok(());
        }
        self.context.bind_to_thread()?;
        // SAFETY: the range lies in a live allocation (asserted); `to` is borrowed until the
        // stream has copied it (synchronised below).
        unsafe { result::memcpy_dtoh_async(to, self.base + from as u64, stream.cu_stream()) }?;
        stream.synchronize()
    }

    fn free(&mut self) {
        if self.base == 0 {
            return;
        }
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: allocated by `new`, freed once: the pointer is cleared below. Nothing runs on
            // it any more: the owner has waited for its streams, or has not launched anything yet.
            let _ = unsafe { result::free_sync(self.base) };
        }
        self.base = 0;
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.free();
    }
}

/// A kernel file's name, the real type's and the rung.
type ModuleKey = (&'static str, &'static str, Rung);

/// A card's context and the kernels loaded to it. They stay until the process ends, so that the
/// next step on the same card finds them.
struct Card {
    context: Arc<CudaContext>,
    capability: (i32, i32),
    modules: Mutex<HashMap<ModuleKey, Arc<CudaModule>>>,
}

/// Free memory of the card `ordinal`, in bytes.
pub(super) fn free_memory(ordinal: usize) -> Result<usize> {
    let info = card(ordinal)?.context.mem_get_info();
    let (free, _) = info.map_err(|e| failed("asking for free memory", e))?;
    Ok(free)
}

/// The card `ordinal`, which exists: opened once, since a context costs much and an old one that
/// is current in some thread must not die.
fn card(ordinal: usize) -> Result<Arc<Card>> {
    static CARDS: Mutex<Vec<(usize, Arc<Card>)>> = Mutex::new(Vec::new());
    let mut cards = CARDS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, card)) = cards.iter().find(|(o, _)| *o == ordinal) {
        return Ok(card.clone());
    }
    let opening = |e| failed(&format!("opening cuda:{ordinal}"), e);
    let context = CudaContext::new(ordinal).map_err(opening)?;
    // SAFETY: this file orders its work itself: the streams by the events of a plan, copies by
    // waiting for the stream, frees after waiting for all streams. It makes none of cudarc's slices.
    unsafe { context.disable_event_tracking() };
    let capability = context.compute_capability().map_err(opening)?;
    let modules = Mutex::default();
    let card = Arc::new(Card {
        context,
        capability,
        modules,
    });
    cards.push((ordinal, card.clone()));
    Ok(card)
}

/// What an arena of a stream has for the blocks that make a tile of a product: how many have arrived,
/// of every tile, then their sums.
#[derive(Clone, Copy)]
struct Workspace {
    /// Where the sums begin, in bytes.
    sums: usize,
    /// Its size.
    bytes: usize,
}

impl Workspace {
    /// Enough for any of `launches`.
    fn of<T: Real>(launches: &Launches) -> Workspace {
        let all = launches.all().map(Launch::workspace);
        let [sums, arrived] = all.fold([0; 2], |most, of| [0, 1].map(|i| most[i].max(of[i])));
        let begin = (arrived * size_of::<i32>()).next_multiple_of(256);
        Workspace {
            sums: begin,
            bytes: begin + sums * size_of::<T>(),
        }
    }
}

/// Where what the arguments of a launch name lies.
struct Places<'a> {
    layout: &'a Layout,
    arenas: &'a [Arena; 3],
    workspace: (&'a Arena, Workspace),
}

/// A kernel ready to launch.
struct Kernel {
    function: CudaFunction,
    signature: Signature,
}

impl Card {
    /// The kernels that `launches` name; `note` gets what the cache has to say.
    fn kernels<T: Real>(
        &self,
        launches: &Launches,
        note: &mut Option<String>,
    ) -> Result<HashMap<(&'static str, Rung), Kernel>> {
        // Looking a function up does not, and another thread may have opened the card.
        let bound = self.context.bind_to_thread();
        bound.map_err(|e| failed("taking up the card", e))?;
        let mut kernels = HashMap::new();
        for launch in launches.all() {
            let key = (launch.kernel, launch.rung);
            if kernels.contains_key(&key) {
                continue;
            }
            let (source, signature) = declared(launch.kernel)?;
            let module = self.module::<T>(source, launch.rung, note)?;
            let function = module
                .load_function(launch.kernel)
                .map_err(|e| failed(&format!("kernel {}", launch.kernel), e))?;
            kernels.insert(
                key,
                Kernel {
                    function,
                    signature,
                },
            );
        }
        Ok(kernels)
    }

    fn module<T: Real>(
        &self,
        source: &Source,
        rung: Rung,
        note: &mut Option<String>,
    ) -> Result<Arc<CudaModule>> {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(&(source.name, T::C_NAME, rung)) {
            return Ok(module.clone());
        }
        let architecture = nvrtc::architecture_for(self.capability)?;
        let cache = nvrtc::Cache::find();
        let load = |compiled: nvrtc::Compiled| {
            let _alone = exclusive();
            self.context.load_module(Ptx::from_binary(compiled.cubin))
        };
        let (compiled, mut said) = cache.compile(source, T::C_NAME, rung, &architecture)?;
        let module = load(compiled).or_else(|_| {
            // What is stored may be of another library that called itself the same.
            let (compiled, renewed) = cache.renew(source, T::C_NAME, rung, &architecture)?;
            said = renewed;
            load(compiled)
                .map_err(|e| failed(&format!("loading the kernels of {}.cu", source.name), e))
        })?;
        *note = said.or(note.take());
        modules.insert((source.name, T::C_NAME, rung), module.clone());
        Ok(module)
    }
}

/// The file and the declaration of a kernel.
fn declared(kernel: &str) -> Result<(&'static Source, Signature)> {
    for source in SOURCES {
        let found = signatures(source.text)
            .map_err(|cause| Error::Device(format!("{}.cu: {cause}", source.name)))?;
        if let Some(signature) = found.into_iter().find(|s| s.name == kernel) {
            return Ok((source, signature));
        }
    }
    Err(Error::Device(format!(
        "no file of kernels/ declares the kernel {kernel}"
    )))
}

/// Arguments a kernel may have.
const MAX_ARGUMENTS: usize = 64;

/// A launch with all that CUDA needs for it.
struct Prepared {
    function: CudaFunction,
    name: &'static str,
    grid: (u32, u32, u32),
    block: (u32, u32, u32),
    /// The value of each argument, in the first bytes of its word.
    words: Vec<u64>,
}

impl Prepared {
    fn new<T: Real>(launch: &Launch, kernel: &Kernel, places: &Places) -> Result<Prepared> {
        let declared = &kernel.signature.parameters;
        let (given, name) = (&launch.args, launch.kernel);
        if given.len() != declared.len() || given.len() > MAX_ARGUMENTS {
            return Err(Error::Device(format!(
                "kernel {name} takes {} arguments (at most {MAX_ARGUMENTS}) and is launched with {}",
                declared.len(),
                given.len()
            )));
        }
        let mut words = Vec::with_capacity(given.len());
        for (n, (arg, parameter)) in given.iter().zip(declared).enumerate() {
            if !matches(arg, *parameter) {
                return Err(Error::Device(format!(
                    "argument {n} of kernel {name} is {arg:?}, declared {parameter:?}"
                )));
            }
            words.push(word::<T>(arg, places));
        }
        let dimensions = |[x, y, z]: [u32; 3]| (x, y, z);
        Ok(Prepared {
            function: kernel.function.clone(),
            name,
            grid: dimensions(launch.grid),
            block: dimensions(launch.block),
            words,
        })
    }

    fn enqueue(&self, stream: &CudaStream) -> Result<()> {
        let mut pointers = [std::ptr::null_mut::<c_void>(); MAX_ARGUMENTS];
        for (pointer, word) in pointers.iter_mut().zip(&self.words) {
            *pointer = std::ptr::from_ref(word).cast_mut().cast();
        }
        let pointers = &mut pointers[..self.words.len()];
        let bound = stream.context().bind_to_thread();
        // SAFETY: the function's module is alive, held by the function; there is a pointer to a
        // value of the declared type for each parameter (checked in `new`), which CUDA copies
        // before it returns; the buffers behind them lie in arenas that outlive the stream's work
        // (`Cuda` waits before it frees them); that the kernels stay inside them is checked access
        // by access where they are executed on the host.
        let launched = bound.and_then(|()| unsafe {
            result::launch_kernel(
                self.function.cu_function(),
                self.grid,
                self.block,
                0,
                stream.cu_stream(),
                pointers,
            )
        });
        launched.map_err(|e| {
            let (name, grid, block) = (self.name, self.grid, self.block);
            failed(&format!("kernel {name}, grid {grid:?}, block {block:?}"), e)
        })
    }
}

/// Whether an argument is of the type that a kernel declares.
fn matches(arg: &Arg, parameter: Parameter) -> bool {
    let of_labels = |buffer: &Buffer| matches!(buffer, Buffer::Labels(_));
    match arg {
        Arg::In(b) if of_labels(b) => parameter == Parameter::IntIn,
        Arg::In(_) => parameter == Parameter::RealIn,
        Arg::Out(b) if of_labels(b) => parameter == Parameter::IntOut,
        Arg::Out(_) => parameter == Parameter::RealOut,
        Arg::PartialSums => parameter == Parameter::RealOut,
        Arg::Arrived => parameter == Parameter::IntOut,
        Arg::Int(_) => parameter == Parameter::Int,
        Arg::Real(_) => parameter == Parameter::Real,
    }
}

/// The value of an argument as a kernel gets it, in the first bytes of the word.
fn word<T: Real>(arg: &Arg, places: &Places) -> u64 {
    let mut bytes = [0; 8];
    let mut put = |value: &[u8]| bytes[..value.len()].copy_from_slice(value);
    let (arena, workspace) = places.workspace;
    match *arg {
        Arg::In(buffer) | Arg::Out(buffer) => {
            let Span { arena, range } = Span::of(places.layout, buffer);
            let size = if arena == 2 {
                size_of::<i32>()
            } else {
                size_of::<T>()
            };
            let at = places.arenas[arena].base + (range.start * size) as u64;
            put(bytemuck::bytes_of(&at));
        }
        Arg::PartialSums => put(bytemuck::bytes_of(&(arena.base + workspace.sums as u64))),
        Arg::Arrived => put(bytemuck::bytes_of(&arena.base)),
        Arg::Int(value) => put(bytemuck::bytes_of(&value)),
        Arg::Real(value) => put(bytemuck::bytes_of(&T::of(value))),
    }
    u64::from_ne_bytes(bytes)
}
