//! How much memory is left, so that work too large for the machine is refused before it starts.

/// Bytes that can be allocated without swapping, where the system tells.
pub fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Refuses what would not fit into memory. The message counts in GB.
pub(crate) fn affordable(values: u64, bytes_each: u64) -> Result<(), String> {
    let needed = values.saturating_mul(bytes_each);
    match available() {
        Some(available) if needed > available => Err(format!(
            "needs about {:.1} GB of memory, {:.1} GB are free: select fewer samples or features",
            needed as f64 / 1e9,
            available as f64 / 1e9
        )),
        _ => Ok(()),
    }
}
