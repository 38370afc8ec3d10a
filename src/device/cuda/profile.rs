//! Times on a card, by CUDA events, for benchmarks.

use std::sync::Arc;

use cudarc::driver::sys::{CUdevice_attribute, CUevent_flags};
use cudarc::driver::{CudaEvent, CudaStream, DriverError, result};

use super::{Arena, Cuda, exclusive, failed};
use crate::device::find;
use crate::device::launch::Launches;
use crate::device::profile::{Part, Phase};
use crate::error::{Error, Result};
use crate::median::median;
use crate::real::Real;

/// Launches of one kernel in one measurement: what starting a measurement costs is spread over
/// them.
const COPIES: usize = 20;

/// The oldest driver that can time: cudarc asks events by a function that older ones lack, and would
/// panic.
const OLDEST_TIMING: (i32, i32) = (12, 8);

/// What a card could do at best.
#[derive(Clone, Debug, PartialEq)]
pub struct Peak {
    /// Its name.
    pub name: String,
    /// Compute capability.
    pub capability: (i32, i32),
    /// Streaming multiprocessors.
    pub multiprocessors: i32,
    /// Highest clock, in Hz.
    pub clock: f64,
    /// Additions and multiplications of `float` per second outside the tensor cores, where it is
    /// known how many units a multiprocessor has: a fused multiply-add each and cycle.
    pub flops: Option<f64>,
}

/// Units for `float` in a multiprocessor.
fn float_units(capability: (i32, i32)) -> Option<u32> {
    match capability {
        (8, 0) => Some(64),
        (8, 6) | (8, 9) | (9, 0) | (10, 0) | (12, 0) => Some(128),
        _ => None,
    }
}

fn timing(e: DriverError) -> crate::Error {
    failed("timing with events", e)
}

impl<T: Real> Cuda<T> {
    /// Times every launch of the step alone, with the buffers as the last step left them. One
    /// measurement is a CUDA graph of the same launch 20 times over, between two events; its
    /// twentieth is taken, and the median of `repetitions` (at least one) after `warm_up`. A
    /// launch that comes again finds in the card's cache what fits there. The buffers are as
    /// before afterwards; they are kept in a second copy on the card.
    ///
    /// # Errors
    /// The card fails, or has too little memory for the copy.
    pub fn profile(&mut self, warm_up: usize, repetitions: usize) -> Result<Vec<Part>> {
        self.synchronize()?;
        let kept = self.arenas.each_ref().map(|arena| {
            let kept = self.allocate(arena.bytes)?;
            kept.copy(arena, self.stream()).map_err(timing)?;
            Ok(kept)
        });
        let [values, grads, labels] = kept;
        let kept: [Arena; 3] = [values?, grads?, labels?];

        let launches = Launches::of(&self.graph, |product| self.arithmetic.rung(product));
        let lists = [
            (Phase::Forward, launches.forward, &self.forward),
            (Phase::Backward, launches.backward, &self.backward),
            (Phase::Update, launches.update, &self.update),
        ];
        let mut parts = Vec::new();
        for (phase, launches, prepared) in lists {
            for (launch, prepared) in launches.into_iter().zip(prepared) {
                // A driver may load a kernel at its first launch, which a capture does not allow.
                prepared.enqueue(self.stream())?;
                let copies =
                    self.capture(|| (0..COPIES).try_for_each(|_| prepared.enqueue(self.stream())))?;
                let seconds = self.median_time(warm_up, repetitions, || {
                    let launched = copies.launch();
                    launched.map_err(|e| failed("launching a CUDA graph", e))
                })?;
                parts.push(Part {
                    name: launch.kernel,
                    phase,
                    launches: vec![launch],
                    seconds: seconds / COPIES as f64,
                });
                // What ran over and over has changed what it writes.
                for (arena, kept) in self.arenas.iter().zip(&kept) {
                    arena.copy(kept, self.stream()).map_err(timing)?;
                }
                self.synchronize()?;
            }
        }
        Ok(parts)
    }

    /// Bytes per second, read and written together, of copying `bytes` bytes within the card's
    /// memory; median of `repetitions`. To measure the memory, take more than its caches hold.
    ///
    /// # Errors
    /// The card fails, or has too little memory.
    pub fn copy_bandwidth(&self, bytes: usize, repetitions: usize) -> Result<f64> {
        let [from, to] = [self.allocate(bytes), self.allocate(bytes)];
        let (from, to) = (from?, to?);
        // Memory that was never written need not be there.
        for arena in [&from, &to] {
            // SAFETY: the allocation is alive and has this size; its context is current, since it
            // was just allocated on this thread.
            let set =
                unsafe { result::memset_d8_async(arena.base, 1, bytes, self.stream().cu_stream()) };
            set.map_err(timing)?;
        }
        let seconds = self.median_time(3, repetitions, || {
            to.copy(&from, self.stream()).map_err(timing)
        });
        // Both are freed next.
        self.synchronize()?;
        Ok(2.0 * bytes as f64 / seconds?)
    }

    /// What the card could do, as the driver describes it.
    ///
    /// # Errors
    /// The driver does not say.
    pub fn peak(&self) -> Result<Peak> {
        let asking = |e| failed("asking the driver about the card", e);
        let context = self.stream().context();
        let attribute = |which| context.attribute(which).map_err(asking);
        let multiprocessors =
            attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        let clock = f64::from(attribute(
            CUdevice_attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE,
        )?) * 1e3;
        let capability = context.compute_capability().map_err(asking)?;
        let units = float_units(capability).map(f64::from);
        Ok(Peak {
            name: context.name().map_err(asking)?,
            capability,
            multiprocessors,
            clock,
            flops: units.map(|units| f64::from(multiprocessors) * units * 2.0 * clock),
        })
    }

    fn stream(&self) -> &Arc<CudaStream> {
        &self.streams[0]
    }

    fn allocate(&self, bytes: usize) -> Result<Arena> {
        let _alone = exclusive();
        let arena = Arena::new(self.stream().context(), bytes);
        arena.map_err(|e| failed("allocating memory for a measurement", e))
    }

    /// Seconds that the card takes for what `enqueue` puts on stream 0, median of `repetitions`
    /// (at least one) after `warm_up`.
    fn median_time(
        &self,
        warm_up: usize,
        repetitions: usize,
        enqueue: impl Fn() -> Result<()>,
    ) -> Result<f64> {
        let driver = find::driver()?;
        if driver < OLDEST_TIMING {
            return Err(Error::Device(format!(
                "kernels are timed by a function of CUDA {}.{}, the driver is of {}.{}: update it",
                OLDEST_TIMING.0, OLDEST_TIMING.1, driver.0, driver.1
            )));
        }
        for _ in 0..warm_up {
            enqueue()?;
        }
        let record = || -> Result<CudaEvent> {
            let flags = Some(CUevent_flags::CU_EVENT_DEFAULT);
            self.stream().record_event(flags).map_err(timing)
        };
        let mut events = vec![record()?];
        for _ in 0..repetitions.max(1) {
            enqueue()?;
            events.push(record()?);
        }
        self.synchronize()?;
        let times = events.windows(2).map(|pair| {
            let elapsed = pair[0].elapsed_ms(&pair[1]).map_err(timing)?;
            Ok(f64::from(elapsed) / 1e3)
        });
        let mut times = times.collect::<Result<Vec<f64>>>()?;
        Ok(median(&mut times))
    }
}

impl Arena {
    /// Copies `from`, which has the same size, after what the stream has been given. Both must
    /// outlive the copy.
    fn copy(&self, from: &Arena, stream: &CudaStream) -> std::result::Result<(), DriverError> {
        assert_eq!(self.bytes, from.bytes, "arenas of one size are copied");
        if self.bytes == 0 {
            return Ok(());
        }
        self.context.bind_to_thread()?;
        // SAFETY: both allocations are alive, of one context and of this size (asserted), and
        // whoever calls this waits for the stream before it frees them.
        unsafe { result::memcpy_dtod_async(self.base, from.base, self.bytes, stream.cu_stream()) }
    }
}
