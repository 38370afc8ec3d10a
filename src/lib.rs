//! `ssan`: heterogeneous domain adaptation with the Simultaneous Semantic Alignment Network.

#![warn(missing_docs)]

pub mod data;
pub mod device;
pub mod error;
pub mod graph;
pub mod ops;
pub mod real;

pub use error::{Error, Result};
