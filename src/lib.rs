//! `ssan`: heterogeneous domain adaptation with the Simultaneous Semantic Alignment Network.

#![warn(missing_docs)]

pub mod data;
pub mod error;

pub use error::{Error, Result};
