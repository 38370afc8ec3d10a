//! The data set inside the program, so that it runs with nothing else at hand.

use super::domain::{Domain, Format, Labels, parse};
use super::keys::Keys;
use crate::error::{Error, Result};

const SOURCE: &[u8] = include_bytes!("../../datasets/digits/digits_fourier.npz");
const TARGET: &[u8] = include_bytes!("../../datasets/digits/digits_pixels.npz");

/// Handwritten digits: Fourier coefficients (76-d) as source, pixel averages of other digits
/// (240-d) as target, 1000 each. From UCI's Multiple Features by R. Duin, CC BY 4.0,
/// doi 10.24432/C5HC70; `datasets/digits/README.md` says more.
///
/// # Errors
/// None, unless the program itself is damaged.
pub fn digits() -> Result<(Domain, Domain)> {
    let read = |name: &str, bytes| {
        let domain = parse(name, Format::Npz, bytes, &Keys::default(), Labels::Needed);
        domain.map_err(|cause| Error::Data(format!("bundled {name} {cause}")))
    };
    Ok((
        read("digits_fourier", SOURCE)?,
        read("digits_pixels", TARGET)?,
    ))
}
