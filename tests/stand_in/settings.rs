//! What a stand-in is told by environment variables.

use std::env;
use std::path::PathBuf;
use std::str::FromStr;

/// Which of the orders that CUDA allows work runs in.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// What is waited for, and before it only what it waits for; nodes of a graph as captured.
    Needed,
    /// All that can run elsewhere first; of a graph's nodes that can run, the last captured.
    Others,
    /// At random.
    Random(u64),
}

/// The settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `SSAN_STAND_IN_FOLDER`: where compiled kernels are kept.
    pub folder: PathBuf,
    /// `SSAN_STAND_IN_LOG`: the folder for a report of each process, named by its number.
    pub log: Option<PathBuf>,
    /// `SSAN_STAND_IN_ORDER`: `needed`, `others` or a seed.
    pub order: Order,
    /// `SSAN_STAND_IN_DEVICES`: how many cards.
    pub devices: i32,
    /// `SSAN_STAND_IN_CAPABILITY`: `9.0`.
    pub capability: (i32, i32),
    /// `SSAN_STAND_IN_MEMORY`: bytes of a card's memory.
    pub memory: usize,
    /// `SSAN_STAND_IN_FAIL`: `KERNEL:N`, the kernel whose Nth execution (from 1) fails.
    pub fail: Option<(String, usize)>,
}

fn variable<T: FromStr>(name: &str) -> Option<T> {
    let text = env::var(format!("SSAN_STAND_IN_{name}")).ok()?;
    let value = text.parse().ok();
    Some(value.unwrap_or_else(|| panic!("SSAN_STAND_IN_{name}={text}")))
}

/// Two values with `between` between them.
fn pair<A: FromStr, B: FromStr>(name: &str, between: char) -> Option<(A, B)> {
    let text: String = variable(name)?;
    let parts = text.split_once(between);
    let values = parts.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    Some(values.unwrap_or_else(|| panic!("SSAN_STAND_IN_{name}={text}")))
}

impl Settings {
    pub fn read() -> Settings {
        let order = match variable::<String>("ORDER").as_deref() {
            None | Some("needed") => Order::Needed,
            Some("others") => Order::Others,
            Some(seed) => Order::Random(seed.parse().expect("needed, others or a seed")),
        };
        Settings {
            folder: variable("FOLDER").unwrap_or_else(|| env::temp_dir().join("stand-in")),
            log: variable("LOG"),
            order,
            devices: variable("DEVICES").unwrap_or(1),
            capability: pair("CAPABILITY", '.').unwrap_or((9, 0)),
            memory: variable("MEMORY").unwrap_or(1 << 30),
            fail: pair("FAIL", ':'),
        }
    }
}
