//! How much memory is left, so that work too large for the machine is refused before it starts.

use std::fs;
use std::path::Path;

/// Bytes that can be allocated without swapping, where the system tells: what the machine has left,
/// or less where the process is in a control group (a container, a batch job) with a limit.
pub fn available() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    let machine = kib.checked_mul(1024)?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let groups = left_in_groups(&groups, Path::new("/sys/fs/cgroup"));
    Some(groups.map_or(machine, |groups| groups.min(machine)))
}

/// Bytes left to the control groups listed in `groups`, a process's `/proc/self/cgroup`, and those
/// around them, whose files are below `root`; `None` without a limit.
fn left_in_groups(groups: &str, root: &Path) -> Option<u64> {
    let groups = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        // Version 2 has one hierarchy, version 1 one of its own for memory.
        let (root, names) = match controllers {
            "" => (root.to_path_buf(), V2),
            _ if controllers.split(',').any(|name| name == "memory") => (root.join("memory"), V1),
            _ => return None,
        };
        let group = root.join(path.trim_start_matches('/'));
        // Inside a container the path may be the host's, and only the root is there.
        let around: Vec<_> = group.ancestors().map(Path::to_path_buf).collect();
        let around = around.into_iter().filter(move |at| at.starts_with(&root));
        Some(around.filter_map(move |at| left(&at, names)))
    });
    groups.flatten().min()
}

/// Files of a control group: its limit, what it uses; what is before the keys of its statistics.
const V2: [&str; 3] = ["memory.max", "memory.current", ""];
const V1: [&str; 3] = ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_"];

/// Bytes left to one control group. Of what it uses the system can drop the files that it has read.
fn left(group: &Path, [limit, used, prefix]: [&str; 3]) -> Option<u64> {
    let number = |name| -> Option<u64> {
        let text = fs::read_to_string(group.join(name)).ok()?;
        text.trim().parse().ok()
    };
    // "max", or in version 1 a number beyond all memory, is none.
    let (limit, used) = (number(limit)?, number(used)?);
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let keys = ["inactive_file", "active_file"].map(|key| format!("{prefix}{key}"));
    let dropped = stat.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        let value: u64 = value.trim().parse().ok()?;
        keys.iter().any(|k| k == key).then_some(value)
    });
    Some(limit.saturating_sub(used.saturating_sub(dropped.sum())))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The tightest of the groups around the process, its caches not counted; groups that are not
    /// there, or without a limit, are none.
    #[test]
    fn a_control_group_limits_what_is_left() {
        let folder = tempfile::TempDir::new().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("job/memory.max", "1000\n");
        write("job/memory.current", "700\n");
        write(
            "job/memory.stat",
            "anon 500\nactive_file 50\ninactive_file 150\n",
        );
        write("job/step/memory.max", "max\n");
        write("job/step/memory.current", "600\n");
        let left = |groups| left_in_groups(groups, folder.path());
        assert_eq!(left("0::/job/step\n"), Some(500));
        assert_eq!(left("0::/job\n"), Some(500));
        assert_eq!(left("0::/elsewhere\n"), None);
        assert_eq!(left(""), None);

        write("memory/batch/memory.limit_in_bytes", "300");
        write("memory/batch/memory.usage_in_bytes", "100");
        let first = "5:cpu,cpuacct:/batch\n4:memory:/batch/7\n0::/\n";
        assert_eq!(left(first), Some(200));
        write("memory/batch/memory.usage_in_bytes", "400");
        assert_eq!(left(first), Some(0));
    }
}
