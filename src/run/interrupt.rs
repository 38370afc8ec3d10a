//! Ctrl-C and SIGTERM: the first asks a run to stop where it can go on, the second ends the process.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::{Error, Result};

/// Whether, and by which signal, the process was asked to stop. A process that trains several runs is
/// asked once for all of them, even if it is between two when the signal comes.
#[derive(Clone)]
pub struct Interrupt {
    signal: Arc<AtomicUsize>,
}

/// The one of this process, once signals are caught.
static CAUGHT: Mutex<Option<Interrupt>> = Mutex::new(None);

impl Interrupt {
    /// Catches the signals from here on, for the rest of the process.
    ///
    /// # Errors
    /// The system refuses.
    pub fn catch() -> Result<Interrupt> {
        let mut caught = CAUGHT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(interrupt) = &*caught {
            return Ok(interrupt.clone());
        }
        let interrupt = Interrupt::register();
        let interrupt =
            interrupt.map_err(|e| Error::Data(format!("signals cannot be caught: {e}")))?;
        Ok(caught.insert(interrupt).clone())
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
