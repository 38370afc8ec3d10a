//! A run's folder: what is removed from it, and what never is.

#[path = "common/command.rs"]
mod command;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use command::ssan;
use ssan::run::{Config, Program, RunDirectory};
use tempfile::TempDir;

/// A run that can be trained in no time.
const RUN: &str = "train --nepoch 2 --partition 1 --d_common 4";

/// A loss that is infinite in its first epoch, so that there is nothing to go on from.
const HOPELESS: &str = "train --nepoch 2 --partition 1 --d_common 4 --beta 3e38";

/// Every path under a folder with what is there: the bytes of a file, `/` for a folder, or where a
/// link points to.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let kind = std::fs::symlink_metadata(&path).unwrap();
        let what = if kind.is_dir() {
            found.extend(contents(&path));
            b"/".to_vec()
        } else if kind.is_symlink() {
            let to = std::fs::read_link(&path).unwrap();
            to.into_os_string().into_encoded_bytes()
        } else {
            std::fs::read(&path).unwrap()
        };
        found.insert(path, what);
    }
    found
}

fn write(folder: &Path, name: &str) {
    std::fs::write(folder.join(name), name).unwrap();
}

/// All files that a run may have.
fn write_run(run: &Path) {
    for name in [
        "splits.json",
        "metrics.jsonl",
        "predictions.csv",
        "embedding.npz",
        "summary.json",
        "summary.unfinished.json",
        "groups.unfinished.json",
        "report.html",
        "checkpoint.safetensors",
        "checkpoint.previous.safetensors",
        "model-0.safetensors",
        "model-12.safetensors",
        ".ssan-x1Y2z3.tmp",
    ] {
        write(run, name);
    }
    let config = Config {
        program: Program {
            version: "0.1.0".to_string(),
            device: "cpu".to_string(),
            partitions_at_once: None,
        },
        ..Config::default()
    };
    std::fs::write(run.join("config.toml"), config.to_toml()).unwrap();
}

/// Names like those of a run's files, and other people's.
fn write_others(run: &Path) {
    for name in [
        "thesis.tex",
        "model-x.safetensors",
        "model-00.safetensors",
        "model-+1.safetensors",
        "model-1.safetensors.bak",
        "sweep.toml",
        "metrics.csv",
        ".ssan-notes",
        "x.tmp",
    ] {
        write(run, name);
    }
    std::fs::create_dir(run.join("older")).unwrap();
    write_run(&run.join("older"));
}

fn error<T>(result: ssan::Result<T>) -> String {
    result.err().expect("it must be refused").to_string()
}

/// Nothing but a failed run's own files goes, and of the folders those alone that were made for it
/// and hold nothing else.
#[test]
fn a_run_is_discarded_with_all_that_was_made_for_it_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    std::fs::create_dir(at.join("a")).unwrap();
    let run = at.join("a/b/c");

    let directory = RunDirectory::create(&run, false).unwrap();
    write_run(&run);
    directory.discard().unwrap();
    assert_eq!(contents(at).keys().collect::<Vec<_>>(), [&at.join("a")]);

    // Someone works in a folder that was made on the way.
    let directory = RunDirectory::create(&run, false).unwrap();
    write_run(&run);
    write(&at.join("a/b"), "notes");
    directory.discard().unwrap();
    let left = contents(&at.join("a"));
    assert_eq!(
        left.keys().collect::<Vec<_>>(),
        [&at.join("a/b"), &at.join("a/b/notes")]
    );

    // Someone works in the run's.
    let directory = RunDirectory::create(&run, false).unwrap();
    write_others(&run);
    let others = contents(&run);
    write_run(&run);
    directory.discard().unwrap();
    let left = contents(&run);
    assert!(
        left.keys()
            .eq(others.keys().filter(|p| *p != &run.join("run.lock"))),
        "{:?}",
        left.keys()
    );
    for (path, bytes) in &left {
        assert!(bytes == &others[path], "{}", path.display());
    }

    // A folder that was there is there.
    let run = at.join("mine");
    std::fs::create_dir(&run).unwrap();
    let directory = RunDirectory::create(&run, false).unwrap();
    write_run(&run);
    directory.discard().unwrap();
    assert!(run.is_dir() && contents(&run).is_empty());
}

/// Links go, what they point to stays.
#[cfg(unix)]
#[test]
fn what_links_point_to_is_not_removed() {
    use std::os::unix::fs::symlink;
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    std::fs::create_dir_all(at.join("real/files")).unwrap();
    write(&at.join("real"), "precious.csv");
    std::fs::create_dir(at.join("empty")).unwrap();
    symlink("empty", at.join("link")).unwrap();
    let before = contents(at);

    let run = at.join("link");
    let directory = RunDirectory::create(&run, false).unwrap();
    symlink("../real/precious.csv", run.join("predictions.csv")).unwrap();
    symlink("../real/files", run.join("metrics.jsonl")).unwrap();
    symlink("nowhere", run.join("report.html")).unwrap();
    directory.discard().unwrap();
    assert!(before == contents(at));

    // A folder made below the link goes alone.
    let directory = RunDirectory::create(&run.join("deep/run"), false).unwrap();
    write_run(&at.join("empty/deep/run"));
    directory.discard().unwrap();
    assert!(before == contents(at));

    // Nothing is made behind a link to nowhere.
    symlink("nowhere", at.join("dangling")).unwrap();
    let text = error(RunDirectory::create(&at.join("dangling"), false));
    assert!(text.contains("dangling: cannot be made"), "{text}");
    assert!(!at.join("nowhere").exists());
}

/// Of a run that cannot be removed as a whole, what says that it is one stays to the last.
#[test]
fn a_file_that_cannot_be_removed_is_told() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let directory = RunDirectory::create(&run, false).unwrap();
    write_run(&run);
    std::fs::remove_file(run.join("report.html")).unwrap();
    std::fs::create_dir(run.join("report.html")).unwrap();
    let text = error(directory.discard());
    assert!(text.contains("report.html: cannot be removed: "), "{text}");
    assert!(run.join("report.html").is_dir() && !run.join("summary.json").exists());
    let text = error(RunDirectory::create(&run, false));
    assert!(text.contains("has not ended"), "{text}");
    let text = error(RunDirectory::create(&run, true));
    assert!(text.contains("report.html: cannot be removed: "), "{text}");

    std::fs::remove_dir(run.join("report.html")).unwrap();
    let directory = RunDirectory::create(&run, true).unwrap();
    let left = contents(&run);
    assert_eq!(left.keys().collect::<Vec<_>>(), [&run.join("run.lock")]);
    directory.discard().unwrap();
    assert!(run.is_dir(), "it was there");
}

/// Where a run cannot begin, nothing is touched.
#[test]
fn a_refused_folder_stays_as_it_is() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    let run = at.join("run");
    std::fs::create_dir(&run).unwrap();
    write_run(&run);
    write_others(&run);
    let before = contents(at);
    let text = error(RunDirectory::create(&run, false));
    assert!(text.contains("holds a run: --force"), "{text}");
    let held = RunDirectory::reopen(&run).unwrap();
    // What a killed process was writing is all that a resumed run removes.
    let mut kept = before.clone();
    kept.remove(&run.join(".ssan-x1Y2z3.tmp"));
    for force in [false, true] {
        assert!(RunDirectory::create(&run, force).is_err());
    }
    let text = error(RunDirectory::reopen(&run));
    assert!(text.contains("another process is training"), "{text}");
    drop(held);
    std::fs::remove_file(run.join("run.lock")).unwrap();
    assert!(kept == contents(at));

    // Files of the same names that no run left.
    for (name, text) in [
        ("splits.json", "{\"partitions\": []}"),
        ("config.toml", "[options]\nnepoch = 3\n"),
        ("config.toml", "[server]\nport = 80\n"),
        ("config.toml", ""),
        ("model-0.safetensors", ""),
        ("report.html", "<p>"),
    ] {
        let mine = at.join("mine");
        std::fs::create_dir(&mine).unwrap();
        std::fs::write(mine.join(name), text).unwrap();
        let before = contents(&mine);
        for force in [false, true] {
            let told = error(RunDirectory::create(&mine, force));
            assert!(told.contains(&format!("holds {name} and no run")), "{told}");
            assert!(RunDirectory::check(&mine, force).is_err());
        }
        assert!(before == contents(&mine), "{name}");
        std::fs::remove_dir_all(&mine).unwrap();
    }

    // What a process leaves that was killed before its run began is in nobody's way.
    let mine = at.join("mine");
    std::fs::create_dir(&mine).unwrap();
    for name in ["run.lock", "splits.json", ".ssan-q.tmp"] {
        write(&mine, name);
    }
    RunDirectory::create(&mine, false)
        .unwrap()
        .discard()
        .unwrap();
    assert!(contents(&mine).is_empty());
}

/// Standard error of what must fail with `code`.
fn fails(folder: &Path, line: &str, code: i32) -> String {
    let output = ssan(folder, line);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{line}: {text}");
    text
}

/// Leaves of a run what there is of it before its first epoch.
fn begun(run: &Path) {
    for path in contents(run).keys().filter(|path| path.is_file()) {
        if !path.ends_with("config.toml") && !path.ends_with("splits.json") {
            std::fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn a_run_without_a_first_epoch_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    for (out, left) in [("new", vec![]), ("a/b/new", vec![]), ("mine", vec!["mine"])] {
        if out == "mine" {
            std::fs::create_dir(at.join(out)).unwrap();
        }
        let text = fails(at, &format!("{HOPELESS} --out {out}"), 1);
        assert!(text.contains("error: training diverged"), "{text}");
        let left: Vec<PathBuf> = left.iter().map(|name| at.join(name)).collect();
        assert!(contents(at).keys().eq(&left), "{out}");
    }
    fails(at, HOPELESS, 1);
    assert!(!at.join("runs").exists());
    std::fs::create_dir(at.join("runs")).unwrap();
    write(&at.join("runs"), "notes");
    fails(at, HOPELESS, 1);
    assert_eq!(contents(&at.join("runs")).len(), 1);

    // An earlier run is not harmed but by what may replace it.
    assert!(ssan(at, &format!("{RUN} --out run")).status.success());
    write_others(&at.join("run"));
    let before = contents(&at.join("run"));
    fails(at, &format!("{HOPELESS} --out run"), 1);
    assert!(before == contents(&at.join("run")));
    fails(at, &format!("{HOPELESS} --out run --force"), 1);
    let left = contents(&at.join("run"));
    assert!(left.contains_key(&at.join("run/thesis.tex")));
    assert!(left.contains_key(&at.join("run/older/config.toml")));
    assert!(!left.contains_key(&at.join("run/config.toml")));

    // A run that is resumed is not given up, however it fails.
    assert!(ssan(at, &format!("{RUN} --out other")).status.success());
    let run = at.join("other");
    begun(&run);
    let config = std::fs::read_to_string(run.join("config.toml")).unwrap();
    assert!(config.contains("\nbeta = "));
    let config = config.replace("\nbeta = ", "\nbeta = 3e38 # ");
    std::fs::write(run.join("config.toml"), &config).unwrap();
    let text = fails(at, "train --resume other", 1);
    assert!(text.contains("error: training diverged"), "{text}");
    assert!(contents(&run)[&run.join("config.toml")] == config.as_bytes());
    assert!(run.join("splits.json").is_file());
}

/// With no room for any byte: what was made is gone; a run that was there before stays.
#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_takes_no_file_is_not_left_behind() {
    use std::process::Command;
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    let full = |line: &str| {
        // The signal that comes with the limit would end the process.
        let script = format!(
            "trap '' XFSZ; ulimit -f 0; exec {} {line}",
            env!("CARGO_BIN_EXE_ssan")
        );
        let mut command = Command::new("sh");
        let output = command.args(["-c", &script]).current_dir(at).output();
        let output = output.unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{line}: {text}");
        text
    };
    let text = full(&format!("{RUN} --out a/run"));
    assert!(
        text.contains("error: a/run/splits.json: cannot be written"),
        "{text}"
    );
    assert!(contents(at).is_empty());

    assert!(ssan(at, &format!("{RUN} --out run")).status.success());
    let whole = contents(at);
    full(&format!("{RUN} --out run"));
    assert!(whole == contents(at));
    // A run that is resumed is not given up.
    begun(&at.join("run"));
    let text = full("train --resume run");
    assert!(
        text.contains("run/metrics.jsonl: cannot be written"),
        "{text}"
    );
    assert!(text.contains("ssan train --resume run"), "{text}");
    assert!(ssan(at, "train --resume run").status.success());
    assert!(contents(at).keys().eq(whole.keys()));
}
