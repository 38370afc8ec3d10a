//! Runs programs with the stand-in for a card of `tests/stand_in/`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::requirement::not_run;

/// Whether this process runs with the stand-in.
pub fn inside() -> bool {
    std::env::var_os("SSAN_STAND_IN_FOLDER").is_some()
}

/// Builds the library, unless `cargo test` has, and gives its path; or why there is no cargo.
fn library() -> &'static std::io::Result<PathBuf> {
    static LIBRARY: OnceLock<std::io::Result<PathBuf>> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["build", "--offline", "--quiet", "--example", "stand_in"])
            .args(["--message-format", "json", "--target-dir"])
            .arg(target.expect("a target folder"));
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let output = cargo.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{cargo:?} failed:\n{said}");
        let messages = output.stdout.split(|&b| b == b'\n');
        let messages = messages.filter_map(|m| serde_json::from_slice::<Value>(m).ok());
        let mut made = messages.filter(|m| m["target"]["name"] == "stand_in");
        let made = made.find_map(|m| Some(m["filenames"][0].as_str()?.to_string()));
        Ok(PathBuf::from(made.expect("cargo names what it made")))
    })
}

/// The stand-in's libraries in a folder of their own, with what is left by what ran with them.
pub struct StandIn {
    folder: TempDir,
}

impl StandIn {
    /// One for `check`, which does not run without cargo, as on a machine that tests were copied to.
    pub fn new(check: &str) -> Option<StandIn> {
        let library = match library() {
            Ok(library) => library,
            Err(e) => {
                not_run(check, "SSAN_REQUIRE_STAND_IN", format!("no cargo: {e}"));
                return None;
            }
        };
        let folder = TempDir::new().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("log")).expect("it is writable");
        for name in ["libcuda.so", "libnvrtc.so"] {
            std::os::unix::fs::symlink(library, folder.path().join(name)).expect("a link");
        }
        Some(StandIn { folder })
    }

    /// A command that finds a card, on which work runs in `order` (see
    /// `tests/stand_in/settings.rs`).
    pub fn command(&self, program: impl AsRef<OsStr>, order: &str) -> Command {
        let at = self.folder.path();
        let mut command = Command::new(program);
        command
            .env("LD_LIBRARY_PATH", at)
            .env("SSAN_CACHE", at.join("cache"))
            .env("SSAN_REQUIRE_CUDA", "1")
            .env("SSAN_STAND_IN_FOLDER", env!("CARGO_TARGET_TMPDIR"))
            .env("SSAN_STAND_IN_LOG", at.join("log"))
            .env("SSAN_STAND_IN_ORDER", order);
        command
    }

    /// Launches of kernels and of graphs since the last call. Nothing may be left over and nothing
    /// wrong.
    pub fn launches(&self) -> [u64; 2] {
        let mut sums = [0; 2];
        for report in self.reports() {
            let nothing = |part: &str| match &report[part] {
                Value::Array(list) => list.is_empty(),
                other => other.as_object().is_some_and(|left| left.is_empty()),
            };
            assert!(nothing("left") && nothing("wrong"), "{report}");
            for (sum, part) in sums.iter_mut().zip(["kernels", "graphs"]) {
                *sum += report[part].as_u64().expect("a count");
            }
        }
        sums
    }

    /// What the processes have reported since the last call.
    pub fn reports(&self) -> Vec<Value> {
        let entries = std::fs::read_dir(self.folder.path().join("log")).expect("a folder");
        let reports = entries.map(|entry| {
            let path = entry.expect("an entry").path();
            let report = std::fs::read(&path).expect("a report");
            std::fs::remove_file(path).expect("it can go");
            serde_json::from_slice(&report).expect("JSON")
        });
        reports.collect()
    }
}

/// Runs tests of this very binary, those that `arguments` select, with the stand-in.
pub fn run_tests(stand_in: &StandIn, order: &str, arguments: &[&str]) -> Output {
    let own = std::env::current_exe().expect("a test has a file");
    let mut command = stand_in.command(own, order);
    command
        .args(arguments)
        .env("SSAN_CASES", "2")
        .output()
        .expect("it runs")
}
