//! Which cards there are, whether they can be used, and why not.

use std::sync::OnceLock;

use cudarc::driver::sys::{self, CUdevice_attribute, CUresult};
use cudarc::driver::{DriverError, result};

use super::{cuda, nvrtc};
use crate::error::{Error, Result};

/// The oldest driver, by the CUDA version it supports: all functions that training uses exist from it
/// on.
const OLDEST_DRIVER: (i32, i32) = (12, 0);

/// A card.
#[derive(Clone, Debug)]
pub struct Card {
    /// Its number.
    pub ordinal: usize,
    /// Its name.
    pub name: String,
    /// Compute capability: `(9, 0)` for `sm_90`.
    pub capability: (i32, i32),
    /// Bytes of its memory.
    pub memory: usize,
    /// Bytes of it that are free, or why that cannot be known.
    pub free: std::result::Result<usize, String>,
}

/// The driver and the cards.
#[derive(Clone, Debug)]
pub struct Found {
    /// The newest CUDA version that the driver supports.
    pub driver: (i32, i32),
    /// The cards; there is at least one.
    pub cards: Vec<Card>,
}

/// The driver and its cards, or why there are none.
///
/// # Errors
/// There is no driver, it is too old or does not start, or there is no card.
pub fn available() -> Result<Found> {
    let driver = driver()?;
    let cards = (0..count()?).map(card).collect::<Result<_>>()?;
    Ok(Found { driver, cards })
}

/// The first card that can be used, or in one line why there is none.
pub(super) fn first_usable() -> std::result::Result<usize, String> {
    let mut first_reason = None;
    for ordinal in 0..count().map_err(|e| cause(&e))? {
        match usable(ordinal) {
            Ok(()) => return Ok(ordinal),
            Err(e) => first_reason = first_reason.or(Some(cause(&e))),
        }
    }
    Err(first_reason.unwrap_or_else(|| "there is no CUDA device".to_string()))
}

/// Whether the card can be used: it is there, NVRTC makes code that it and the driver take, and the
/// driver opens it.
///
/// # Errors
/// What is missing.
pub(super) fn usable(ordinal: usize) -> Result<()> {
    let (driver, count) = (driver()?, count()?);
    if ordinal >= count {
        return Err(Error::Device(format!(
            "there is no cuda:{ordinal}; {}",
            match count {
                1 => "the only one is cuda:0".to_string(),
                _ => format!("the last one is cuda:{}", count - 1),
            }
        )));
    }
    let compiler = nvrtc::version()?;
    if compiler.0 > driver.0 {
        return Err(Error::Device(format!(
            "NVRTC {}.{} makes code for a newer driver than this one, which supports CUDA up to \
             {}.{}; update the driver, or install NVRTC {major} (`pip install \
             nvidia-cuda-nvrtc-cu{major}`) and put a folder first on LD_LIBRARY_PATH in which \
             libnvrtc.so is a link to its libnvrtc.so.{major}",
            compiler.0,
            compiler.1,
            driver.0,
            driver.1,
            major = driver.0
        )));
    }
    nvrtc::architecture_for(capability(ordinal)?)?;
    // Others may have taken it for themselves, or all of its memory.
    cuda::free_memory(ordinal).map(drop)
}

/// All that was found, and the reason where there is nothing, as `ssan devices` prints it.
pub fn describe() -> String {
    let threads = rayon::current_num_threads();
    let mut lines = vec![format!("cpu     {threads} threads")];
    match available() {
        Ok(found) => {
            for card in &found.cards {
                let (major, minor) = card.capability;
                let total = gib(card.memory);
                let free = match &card.free {
                    Ok(free) => format!("{:.1} of {total:.1} GiB free", gib(*free)),
                    Err(why) => format!("{total:.1} GiB ({why})"),
                };
                let Card { ordinal, name, .. } = card;
                lines.push(format!(
                    "cuda:{ordinal}  {name}, {free}, compute capability {major}.{minor}"
                ));
                if let Err(e) = usable(*ordinal) {
                    lines.push(format!("        cannot be used: {}", cause(&e)));
                }
            }
            let (major, minor) = found.driver;
            lines.push(format!("driver  supports CUDA up to {major}.{minor}"));
        }
        Err(e) => lines.push(format!("cuda    none: {}", cause(&e))),
    }
    lines.push(match nvrtc::version() {
        Ok((major, minor)) => format!("NVRTC   {major}.{minor}"),
        Err(e) => format!("NVRTC   none: {}", cause(&e)),
    });
    let auto = first_usable().map_or("cpu".to_string(), |n| format!("cuda:{n}"));
    lines.push(format!("auto    takes {auto}"));
    lines.join("\n")
}

/// An error's message without the word "device" before it.
pub(super) fn cause(e: &Error) -> String {
    match e {
        Error::Device(cause) => cause.clone(),
        other => other.to_string(),
    }
}

fn gib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// The CUDA version that the driver supports, once it is started.
pub(super) fn driver() -> Result<(i32, i32)> {
    static DRIVER: OnceLock<std::result::Result<(i32, i32), String>> = OnceLock::new();
    let driver = DRIVER.get_or_init(|| {
        // SAFETY: loads and unloads a library of NVIDIA's, whose initialisers may run anywhere.
        if !unsafe { sys::is_culib_present() } {
            return Err("there is no NVIDIA driver (libcuda is not found)".to_string());
        }
        let mut version = 0;
        // SAFETY: the library is present (asked above), the pointer is to a live integer, and this
        // function may be called before cuInit.
        let asked = unsafe { sys::cuDriverGetVersion(&mut version) }.result();
        asked.map_err(|e| format!("the NVIDIA driver does not tell its version: {:?}", e.0))?;
        let version = (version / 1000, version % 1000 / 10);
        if version < OLDEST_DRIVER {
            return Err(format!(
                "the NVIDIA driver supports CUDA up to {}.{} only; {}.{} or newer is needed: \
                 update the driver",
                version.0, version.1, OLDEST_DRIVER.0, OLDEST_DRIVER.1
            ));
        }
        result::init().map_err(|e| match e.0 {
            CUresult::CUDA_ERROR_NO_DEVICE => {
                "there is an NVIDIA driver but no CUDA device (is CUDA_VISIBLE_DEVICES set?)"
                    .to_string()
            }
            CUresult::CUDA_ERROR_STUB_LIBRARY => {
                "the libcuda found is the CUDA toolkit's stub, not a driver; take its folder out \
                 of LD_LIBRARY_PATH"
                    .to_string()
            }
            _ => format!("the NVIDIA driver does not start: {}", cuda::describe(e)),
        })?;
        Ok(version)
    });
    driver.clone().map_err(Error::Device)
}

/// Number of cards, at least 1.
fn count() -> Result<usize> {
    driver()?;
    match result::device::get_count() {
        Ok(count) if count > 0 => Ok(count as usize),
        Ok(_) => Err(Error::Device("there is no CUDA device".to_string())),
        Err(e) => Err(Error::Device(format!(
            "the CUDA devices cannot be counted: {}",
            cuda::describe(e)
        ))),
    }
}

fn asking(ordinal: usize) -> impl Fn(DriverError) -> Error {
    move |e| Error::Device(format!("asking cuda:{ordinal}: {}", cuda::describe(e)))
}

/// Compute capability of the card `ordinal`, which exists.
fn capability(ordinal: usize) -> Result<(i32, i32)> {
    let device = result::device::get(ordinal as i32).map_err(asking(ordinal))?;
    let attribute = |which| {
        // SAFETY: the device comes from `get`.
        unsafe { result::device::get_attribute(device, which) }.map_err(asking(ordinal))
    };
    Ok((
        attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    ))
}

/// The card `ordinal`, which exists.
fn card(ordinal: usize) -> Result<Card> {
    let device = result::device::get(ordinal as i32).map_err(asking(ordinal))?;
    // SAFETY: the device comes from `get`.
    let memory = unsafe { result::device::total_mem(device) }.map_err(asking(ordinal))?;
    Ok(Card {
        ordinal,
        name: result::device::get_name(device).map_err(asking(ordinal))?,
        capability: capability(ordinal)?,
        memory,
        free: cuda::free_memory(ordinal).map_err(|e| cause(&e)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listing_has_the_cpu_and_the_compiler() {
        let text = describe();
        assert!(text.starts_with("cpu "), "{text}");
        assert!(text.contains("\nNVRTC "), "{text}");
    }

    #[test]
    fn a_card_that_is_not_there_is_an_error_that_says_so() {
        let error = usable(4096).unwrap_err();
        assert!(
            error.to_string().starts_with("device: there is no "),
            "{error}"
        );
    }
}
