//! Which device a run is to use.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use super::{Cpu, Device};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::real::Real;

/// The device a user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The first CUDA device, or the CPU.
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
}

/// What [`choose`] came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The device.
    pub device: Choice,
    /// Why it is not the one asked for.
    pub note: Option<String>,
}

/// The device for `request`.
///
/// # Errors
/// A CUDA device is asked for without an alternative, and cannot be used.
pub fn choose(request: Request) -> Result<Chosen> {
    const REASON: &str = "this version has no CUDA device yet";
    let note = match request {
        Request::Auto | Request::Cpu => None,
        Request::Prefer(n) => Some(format!(
            "CUDA device {n} is not used, {REASON}: training on the CPU"
        )),
        Request::Cuda(_) => return Err(Error::Device(format!("{REASON}; use --device cpu"))),
    };
    Ok(Chosen {
        device: Choice::Cpu,
        note,
    })
}

impl Choice {
    /// Loads a recorded step to the device.
    ///
    /// # Errors
    /// The device fails.
    pub fn load<T: Real>(&self, graph: Graph<T>) -> Result<Box<dyn Device<T>>> {
        match self {
            Choice::Cpu => Ok(Box::new(Cpu::load(graph))),
        }
    }
}

impl Display for Choice {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Choice::Cpu => f.write_str("cpu"),
        }
    }
}
