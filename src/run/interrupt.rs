//! Ctrl-C and SIGTERM: the first asks a run to stop where it can go on, the second ends the process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::{Error, Result};

/// Whether, and by which signal, the process was asked to stop.
pub struct Interrupt {
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Catches the signals from here on, for the rest of the process.
    ///
    /// # Errors
    /// The system refuses.
    pub fn catch() -> Result<Interrupt> {
        Interrupt::register().map_err(|e| Error::Data(format!("signals cannot be caught: {e}")))
    }

    fn register() -> io::Result<Interrupt> {
        let signal = Arc::new(AtomicUsize::new(0));
        let again = Arc::new(AtomicBool::new(false));
        for caught in [SIGINT, SIGTERM] {
            // Handlers run in this order: at the first signal `again` is not yet set.
            flag::register_conditional_shutdown(caught, 128 + caught, again.clone())?;
            flag::register(caught, again.clone())?;
            flag::register_usize(caught, signal.clone(), caught as usize)?;
        }
        Ok(Interrupt { signal })
    }

    /// The signal's number, once there was one.
    pub fn signal(&self) -> Option<u8> {
        match self.signal.load(Ordering::SeqCst) {
            0 => None,
            signal => u8::try_from(signal).ok(),
        }
    }
}
