//! Which device a run is to use.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use super::{Cpu, Cuda, CudaOptions, Device, cuda, find};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::real::Real;

/// The device a user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Request {
    /// The first CUDA device that can be used, or the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// This CUDA device, or an error.
    Cuda(usize),
    /// This CUDA device, or the CPU.
    Prefer(usize),
}

impl FromStr for Request {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Request, String> {
        match text {
            "auto" => Ok(Request::Auto),
            "cpu" => Ok(Request::Cpu),
            "cuda" => Ok(Request::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|n| n.parse().ok())
                .map(Request::Cuda)
                .ok_or_else(|| "auto, cpu, cuda or cuda:N is known".to_string()),
        }
    }
}

/// A device to train on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The CPU.
    Cpu,
    /// This CUDA device.
    Cuda(usize),
}

/// What [`choose`] came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The device.
    pub device: Choice,
    /// Why it is not the one asked for, or with `auto` no CUDA device; one line.
    pub note: Option<String>,
}

/// The device for `request`.
///
/// # Errors
/// A CUDA device is asked for without an alternative, and cannot be used.
pub fn choose(request: Request) -> Result<Chosen> {
    let on_cpu = |why: &dyn Display| Chosen {
        device: Choice::Cpu,
        note: Some(format!(
            "training on the CPU, no CUDA device is used: {why}"
        )),
    };
    let on = |device| Chosen { device, note: None };
    Ok(match request {
        Request::Cpu => on(Choice::Cpu),
        Request::Cuda(n) => {
            find::usable(n).map_err(|e| {
                let why = find::cause(&e);
                Error::Device(format!(
                    "CUDA device {n} cannot be used: {why}; --device cpu trains without it"
                ))
            })?;
            on(Choice::Cuda(n))
        }
        Request::Prefer(n) => match find::usable(n) {
            Ok(()) => on(Choice::Cuda(n)),
            Err(e) => on_cpu(&find::cause(&e)),
        },
        Request::Auto => match find::first_usable() {
            Ok(n) => on(Choice::Cuda(n)),
            Err(why) => on_cpu(&why),
        },
    })
}

impl Choice {
    /// Bytes that are free on a CUDA device; `None` for the CPU, whose memory is the host's.
    ///
    /// # Errors
    /// The device does not tell.
    pub fn free_memory(&self) -> Result<Option<usize>> {
        match self {
            Choice::Cpu => Ok(None),
            Choice::Cuda(n) => cuda::free_memory(*n).map(Some),
        }
    }

    /// Loads a recorded step to the device. What the user should know about it goes to standard
    /// error.
    ///
    /// # Errors
    /// The device fails.
    pub fn load<T: Real>(&self, graph: Graph<T>) -> Result<Box<dyn Device<T>>> {
        self.load_with(graph, CudaOptions::default(), &|_| {})
    }

    /// As [`Choice::load`]; `options` are of a CUDA device, `note` gets what it has to say.
    ///
    /// # Errors
    /// The device fails.
    pub fn load_with<T: Real>(
        &self,
        graph: Graph<T>,
        options: CudaOptions,
        note: &dyn Fn(&str),
    ) -> Result<Box<dyn Device<T>>> {
        match self {
            Choice::Cpu => Ok(Box::new(Cpu::load(graph))),
            Choice::Cuda(n) => {
                let loaded = Cuda::load(graph, *n, options)?;
                if let Some(text) = loaded.note() {
                    note(text);
                }
                Ok(Box::new(loaded))
            }
        }
    }
}

impl Display for Request {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Request::Auto => f.write_str("auto"),
            Request::Cpu => f.write_str("cpu"),
            Request::Cuda(n) => write!(f, "cuda:{n}"),
            Request::Prefer(n) => write!(f, "cuda:{n} or cpu"),
        }
    }
}

impl Display for Choice {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Choice::Cpu => f.write_str("cpu"),
            Choice::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_what_it_prints() {
        for text in ["auto", "cpu", "cuda:0", "cuda:13"] {
            assert_eq!(text.parse::<Request>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(Request::Cuda(0)));
        for text in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "CUDA", "cuda 1"] {
            assert!(text.parse::<Request>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_can_fall_back_to_the_cpu_does_and_says_why() {
        let cpu = choose(Request::Cpu).unwrap();
        assert_eq!((cpu.device, cpu.note), (Choice::Cpu, None));
        let auto = choose(Request::Auto).unwrap();
        assert_eq!(auto.device == Choice::Cpu, auto.note.is_some());
        let prefer = choose(Request::Prefer(4096)).unwrap();
        assert_eq!(prefer.device, Choice::Cpu);
        assert!(prefer.note.is_some_and(|note| note.lines().count() == 1));
        assert!(choose(Request::Cuda(4096)).is_err());
    }
}
