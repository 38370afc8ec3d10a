//! `ssan`: heterogeneous domain adaptation with the Simultaneous Semantic Alignment Network (SSAN;
//! Li et al., ACM MM 2020), from scratch.
//!
//! A *source* domain has many labelled samples, a *target* domain in another feature space has a
//! few. Both are projected to a common space and share a classifier there; training aligns them,
//! and the classifier then labels the rest of the target.
//!
//! # Architecture
//!
//! One idea carries the code: a training step has fixed shapes, so it is recorded once and
//! replayed every epoch. In reading order:
//!
//! | module | what it does |
//! |---|---|
//! | [`data`] | domains from files, one class list, which target rows are labelled |
//! | [`graph`] | records a step: variables, labels, a flat list of operations, its backward list |
//! | [`ops`] | the operations, a file each: equation, shapes, forward, backward |
//! | [`device`] | replays a recorded step over preallocated buffers: the CPU with `gemm`'s matrix products and loops over rows, CUDA by launching `kernels/*.cu` |
//! | [`model`] | projectors, classifier, discriminator as recordings |
//! | [`objective`] | the SSAN losses, pseudo-labels and their refinement |
//! | [`optim`] | the optimisers by the release's names |
//! | [`train`] | the protocol: partitions, epochs, metrics, the result |
//! | [`predictions`] | the labels of the unlabelled rows, per partition and by vote |
//! | [`inference`], [`model_file`] | a trained model on new rows; the file that keeps it |
//! | [`run`] | the folder that a run leaves, checkpoints, interruption |
//! | [`report`] | runs as a page and as plots |
//! | [`evaluation`] | accuracies, F1, confusions and calibration of predictions |
//! | [`parameters`], [`files`], [`memory`], [`median`] | parameters as safetensors; files written whole or not at all; memory left; the middle of timings |
//! | [`error`], [`real`] | what goes wrong, for the user; `f32` or `f64` |
//! | [`cli`] | the `ssan` command |
//!
//! Data flow one way: `data → train → (model, objective → graph → ops → device)`, and what comes out
//! `train → run → report`. Nothing in [`ops`] knows SSAN; nothing in [`cli`] computes. `CONTRIBUTING.md`
//! walks through adding an operation; `examples/train_and_predict.rs` uses the library without the
//! command.
//!
//! # What may differ between machines
//!
//! The same command with the same seed gives the same bytes, on one machine with one build: every
//! random number comes from the seed by its partition and network, and sums run in a fixed order, whatever
//! the number of threads. On another processor or a card, matrix products add up in another order. Losses
//! of the first epochs then agree to about 1e−6, but training amplifies differences, so that late
//! accuracies may differ by a few rows (`tests/reproducible.rs`). In which groups partitions train
//! ([`train::Groups`]), a matter of the memory that is free, changes no byte of a model on the CPU.
//! Nothing is read but the files named, nothing is written but the run's folder, the files named, and
//! on a card the cache of compiled kernels; the program opens no connection.

#![warn(missing_docs)]

pub mod cli;
pub mod data;
pub mod device;
pub mod error;
pub mod evaluation;
pub mod files;
pub mod graph;
pub mod inference;
pub mod median;
pub mod memory;
pub mod model;
pub mod model_file;
pub mod objective;
pub mod ops;
pub mod optim;
pub mod parameters;
pub mod predictions;
pub mod real;
pub mod report;
pub mod run;
mod tensors;
pub mod train;

pub use error::{Error, Result};
