//! The CUDA kernels, executed on the host with every access checked.
//!
//! Most machines that build this have no GPU. So `kernels/*.cu` are compiled by the machine's C++
//! compiler too, and run as CUDA would launch them: block after block, each thread a fiber that
//! switches at barriers and shuffles. The launches are those of [`ssan::device::launch`]; only
//! what launches them differs from the CUDA device, so that whole training steps run here.
//!
//! | module | what it does |
//! |---|---|
//! | [`build`] | compiles the sources and `host/*`, caches the objects, loads the library |
//! | [`library`] | launches a kernel |
//! | [`executor`] | a [`ssan::device::Device`] made of such launches |
//! | [`cases`] | every operation on ragged and degenerate shapes, for any device |
//! | [`ops`] | the cases on the host |
//! | [`cuda`] | the cases and traces on a card, and what only a card, or a stand-in (`tests/stand_in/`), shows |
//! | [`gradients`] | the objective's gradient against finite differences, in double |
//! | [`rungs`] | every rung of the matrix products against sums in double; training on them |
//! | [`traces`] | the released code's traces through the kernels, in double |
//! | [`planted`] | bugs that the checker must report: one per kernel of `planted.cu`, and each barrier taken out of the project's kernels |
//! | `host/host.h` | the part of CUDA C++ that the kernels use |
//! | `host/runtime.cc` | blocks, fibers, barriers, shuffles, warps' matrix products, asynchronous copies |
//! | `host/checker.cc` | what is known of every 4 bytes, and what is wrong with an access |
//!
//! The checker reports, with kernel, block, thread and line: accesses outside the very buffers
//! that are passed, and outside shared arrays; writes to `const` buffers; misaligned vectors;
//! reads of shared memory not yet written, or before an asynchronous copy was waited for; races
//! within a block between two barriers, within a warp too; races between blocks, unless one passes on
//! what it wrote by fence, atomic and fence; barriers that some threads do not reach or reach
//! elsewhere; shuffles whose mask names lanes that are not there; arguments other than the kernel
//! declares; integer overflow.
//!
//! What it cannot see: hardware rounding (sums that the compiler contracts to fused
//! multiply-adds, sums within the tensor cores), the meaning of inline PTX beyond what `host.h` says
//! it is, what atomics order beyond that (a write that follows the fence in the same thread; blocks run
//! in one order), streams and graphs, registers and occupancy, speed. A race is seen where the two accesses
//! are made in this run, whatever their order; a bug on a path that no case takes is not. In
//! [`Mode::Plain`](build::Mode) accesses go unchecked.

mod build;
#[path = "../common/card.rs"]
mod card;
mod cases;
mod cuda;
mod executor;
#[path = "../common/golden.rs"]
mod golden;
mod gradients;
mod library;
mod ops;
mod planted;
#[path = "../common/requirement.rs"]
mod requirement;
mod rungs;
#[path = "../common/stand_in.rs"]
mod stand_in;
mod traces;
