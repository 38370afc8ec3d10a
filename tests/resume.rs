//! Runs that are interrupted: whatever ends the process, `--resume` ends the run with the same bytes
//! as if nothing had happened.

#[path = "common/command.rs"]
mod command;
#[path = "common/refusal.rs"]
mod refusal;
#[path = "common/task.rs"]
mod task;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use command::ssan;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use refusal::fails;
use ssan::device::{Cpu, Device};
use ssan::graph::Graph;
use ssan::optim::Optimizer;
use ssan::run::checkpoint::{self, Checkpoint};
use ssan::train::memory::Footprint;
use ssan::train::{
    EpochMetrics, FirstLayer, Options, Pause, Problem, PseudoLabels, Select, Session, Snapshot,
    Watch, train_watched,
};
use ssan::{Result, data};
use task::write_task;
use tempfile::TempDir;

/// A run with pseudo-labels, votes, a schedule and metrics that end at none of its checkpoints.
const RUN: &str =
    "train --recipe robust --select consensus --nepoch 60 --partition 2 --members 2 --d_common 8";

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn passes(folder: &Path, line: &str) -> Output {
    let output = ssan(folder, line);
    assert_eq!(output.status.code(), Some(0), "{line}: {}", text(&output));
    output
}

/// Starts what will be interrupted.
fn start(folder: &Path, line: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_ssan"))
        .args(line.split_whitespace())
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs")
}

/// All files of a run.
fn files(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(run).unwrap().map(|e| e.unwrap());
    entries
        .map(|e| {
            let name = e.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(e.path()).unwrap())
        })
        .collect()
}

fn same(folder: &Path, expected: &str, found: &str) {
    let [expected, found] = [expected, found].map(|run| files(&folder.join(run)));
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&expected), names(&found));
    for (name, bytes) in &expected {
        assert!(bytes == &found[name], "{name} differs");
    }
}

/// Kills that the test of random moments makes; `SSAN_KILLS=50` makes it a campaign.
fn kills() -> usize {
    let given = std::env::var("SSAN_KILLS").ok();
    given.map_or(6, |n| n.parse().expect("SSAN_KILLS is a number"))
}

/// Whatever is on the disk when the process dies: what is begun again ends alike. The moments are
/// not the same in every run of this test, which must pass at all of them.
#[test]
fn a_run_killed_at_any_moment_ends_with_the_same_bytes() {
    let folder = TempDir::new().unwrap();
    killed_at_any_moment(folder.path(), &format!("{RUN} --checkpoint-every 7"));
}

/// The same of a run whose three partitions are trained one after the other.
#[test]
fn a_run_in_groups_killed_at_any_moment_ends_with_the_same_bytes() {
    let folder = TempDir::new().unwrap();
    killed_at_any_moment(folder.path(), &in_groups(folder.path()));
}

fn killed_at_any_moment(at: &Path, line: &str) {
    let began = std::time::Instant::now();
    passes(at, &format!("{line} --out whole"));
    let whole = began.elapsed().as_secs_f64();
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut killed = 0;
    let mut ended = 0;
    while killed < kills() {
        let resumes = at.join("run/config.toml").exists();
        let line = match resumes {
            true => "train --resume run".to_string(),
            false => format!("{line} --out run"),
        };
        let mut child = start(at, &line);
        let seconds = random.random_range(0.0..0.7 * whole);
        std::thread::sleep(Duration::from_secs_f64(seconds));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        match output.status.code() {
            None => killed += 1,
            code => assert_eq!(code, Some(0), "{}", text(&output)),
        }
        if at.join("run/summary.json").exists() {
            passes(at, "train --resume run");
            same(at, "whole", "run");
            std::fs::remove_dir_all(at.join("run")).unwrap();
            ended += 1;
        }
    }
    if at.join("run/config.toml").exists() {
        passes(at, "train --resume run");
        same(at, "whole", "run");
        ended += 1;
    }
    eprintln!("{killed} kills, {ended} runs ended");
}

/// A run like [`RUN`], of three partitions of the task of [`write_task`].
const THREE: &str = "train --source source --target target --data-dir . --recipe robust \
                     --select consensus --nepoch 400 --partition 3 --members 2 --d_common 8";

/// Makes that task in `folder`; the bytes that [`THREE`] takes with so many partitions at once.
fn bytes_of(folder: &Path, at_once: usize) -> u64 {
    write_task(folder);
    let read = |name| data::read_domain(&folder.join(name), &data::Keys::default()).unwrap();
    let task = data::Task::new(read("source.csv"), read("target.csv")).unwrap();
    let options = Options {
        select: Select::Consensus,
        epochs: 400,
        members: 2,
        common: 8,
        ..Options::ROBUST
    };
    Footprint::of_run(&task, 3, &options).needed(at_once) as u64
}

/// [`THREE`] with room for one partition at a time.
fn in_groups(folder: &Path) -> String {
    let bytes = bytes_of(folder, 2) - 1;
    format!("{THREE} --checkpoint-every 50 --max-memory {bytes}")
}

/// Starts `line`, a run in groups of one to the folder `run`, and waits for a checkpoint of a later
/// group.
fn start_later_group(folder: &Path, line: &str) -> Child {
    let mut child = start(folder, &format!("{line} --out run"));
    let last = folder.join("run").join(checkpoint::LAST);
    let first = || {
        let checkpoint = Checkpoint::load(&last).flatten();
        checkpoint.map_or(0, |checkpoint| checkpoint.first)
    };
    while first() == 0 {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "ended without a checkpoint of it");
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

/// What a run leaves is the same with and without groups, but for the options and the order of the
/// metrics; and a run killed in a later group goes on there, whatever memory there is by then.
#[test]
fn a_run_in_groups_goes_on_in_the_group_it_was_in() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    let told = passes(at, &format!("{} --out whole", in_groups(at))).stdout;
    let told = String::from_utf8(told).unwrap();
    let line = "3 partitions in 3 groups of at most 1, one after the other: all at once need about";
    assert!(told.contains(line), "{told}");
    let told = passes(
        at,
        &format!("{THREE} --max-memory {} --out all", bytes_of(at, 3) + 1),
    )
    .stdout;
    assert!(!String::from_utf8(told).unwrap().contains("groups"));
    let [mut whole, mut all] = ["whole", "all"].map(|run| files(&at.join(run)));
    assert_eq!(
        whole.remove("config.toml").is_some(),
        all.remove("config.toml").is_some()
    );
    for of in [&mut whole, &mut all] {
        of.remove("report.html").unwrap();
        let metrics = of.get_mut("metrics.jsonl").unwrap();
        let mut lines: Vec<&[u8]> = metrics.split(|&b| b == b'\n').collect();
        lines.sort_unstable();
        *metrics = lines.concat();
    }
    assert!(whole == all, "groups come to another result");

    let mut child = start_later_group(at, &in_groups(at));
    child.kill().unwrap();
    child.wait().unwrap();
    let told = passes(at, "inspect run").stdout;
    let told = String::from_utf8(told).unwrap();
    assert!(
        told.contains("has not ended") && told.contains("model"),
        "{told}"
    );
    let predict = "predict run --input target.csv --out labels.csv";
    fails(
        at,
        predict,
        1,
        &["run", "left to train", "ssan train --resume run"],
    );
    let little = "train --resume run --max-memory 10kB";
    fails(
        at,
        little,
        2,
        &[
            "1 of its partitions at once",
            "--max-memory allows",
            "allow more",
        ],
    );
    let first = at.join("run/model-0.safetensors");
    let written = || std::fs::metadata(&first).unwrap().modified().unwrap();
    let before = written();
    let output = passes(at, "train --resume run --max-memory 100TiB");
    assert!(!text(&output).contains("begins again"), "{}", text(&output));
    same(at, "whole", "run");
    assert_eq!(written(), before, "the first group was trained again");
}

/// What the groups that are trained left is cut short, changed or gone: that is told, and costs time
/// alone.
#[test]
fn damaged_groups_cost_time_alone() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    passes(at, &format!("{} --out whole", in_groups(at)));
    let mut child = start_later_group(at, &in_groups(at));
    child.kill().unwrap();
    child.wait().unwrap();
    let cut_off = files(&at.join("run"));
    let text_of = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let record = text_of(&cut_off["groups.unfinished.json"]);
    let changed = record
        .replacen("\"epochs\":400", "\"epochs\":401", 1)
        .into_bytes();
    assert_ne!(record.as_bytes(), changed);
    let damage = |name: &str, damage: Option<Vec<u8>>| {
        for (name, bytes) in &cut_off {
            std::fs::write(at.join("run").join(name), bytes).unwrap();
        }
        let path = at.join("run").join(name);
        match damage {
            Some(bytes) => std::fs::write(path, bytes).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
        let told = text(&passes(at, "train --resume run"));
        let line = told
            .lines()
            .find(|line| line.contains("the run begins again"));
        assert!(
            line.is_some_and(|line| line.contains(name)),
            "{name}: {told}"
        );
        same(at, "whole", "run");
        std::fs::remove_dir_all(at.join("run")).unwrap();
        std::fs::create_dir(at.join("run")).unwrap();
    };
    damage("groups.unfinished.json", Some(changed));
    damage(
        "groups.unfinished.json",
        Some(record.as_bytes()[..record.len() / 2].to_vec()),
    );
    for name in ["model-0.safetensors", "embedding.npz", "metrics.jsonl"] {
        let mut bytes = cut_off[name].clone();
        let middle = bytes.len() / 4;
        bytes[middle] ^= 1;
        damage(name, Some(bytes));
    }
    damage("model-0.safetensors", None);

    // Without its own checkpoint a later group begins again, and never from that of another.
    for (name, bytes) in &cut_off {
        std::fs::write(at.join("run").join(name), bytes).unwrap();
    }
    std::fs::remove_file(at.join("run").join(checkpoint::LAST)).unwrap();
    let told = text(&passes(at, "train --resume run"));
    assert!(!told.contains("the run begins again"), "{told}");
    same(at, "whole", "run");
}

/// A signal in a later group says where the run goes on.
#[cfg(unix)]
#[test]
fn a_signal_stops_a_later_group() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    let line = in_groups(at);
    passes(at, &format!("{line} --out whole"));
    let child = start_later_group(at, &line);
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-s", "TERM", &pid]).status();
    assert!(sent.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let error = text(&output);
    assert_eq!(output.status.code(), Some(143), "{error}");
    assert!(
        error.contains("ssan train --resume run goes on from epoch "),
        "{error}"
    );
    assert!(error.contains(" after its first "), "{error}");
    passes(at, "train --resume run");
    same(at, "whole", "run");
}

/// `config.toml` has the groups: a run that repeats it has the same, unless other memory is given.
#[test]
fn groups_are_repeated() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    let line = format!(
        "{THREE} --nepoch 3 --out run --max-memory {}",
        bytes_of(at, 2)
    );
    passes(at, &line);
    passes(at, "train --config run/config.toml --out again");
    same(at, "run", "again");
    // As where the machine had no more.
    let config = std::fs::read_to_string(at.join("run/config.toml")).unwrap();
    let given = |line: &&str| line.starts_with("max-memory");
    assert_eq!(config.lines().filter(given).count(), 1);
    let lines: Vec<&str> = config.lines().filter(|line| !given(line)).collect();
    std::fs::write(at.join("c.toml"), lines.join("\n")).unwrap();
    passes(at, "train --config c.toml --out free");
    passes(at, "train --config c.toml --out large --max-memory 100TiB");
    let metrics = |run: &str| std::fs::read(at.join(run).join("metrics.jsonl")).unwrap();
    assert_eq!(metrics("free"), metrics("run"));
    assert_ne!(metrics("large"), metrics("run"));
    let config = std::fs::read_to_string(at.join("large/config.toml")).unwrap();
    assert!(!config.contains("partitions_at_once"), "{config}");
}

/// Ctrl-C and SIGTERM keep a checkpoint, say how to go on, and end as shells expect.
#[cfg(unix)]
#[test]
fn a_signal_stops_a_run_that_can_go_on() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    passes(at, &format!("{RUN} --out whole"));
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let mut line = format!("{RUN} --out run");
        // The first checkpoint tells that training has begun.
        line += " --checkpoint-every 1";
        let child = start(at, &line);
        while !at.join("run/checkpoint.safetensors").exists() {
            std::thread::sleep(Duration::from_millis(2));
        }
        let pid = child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(sent.unwrap().success());
        let output = child.wait_with_output().unwrap();
        let error = text(&output);
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(error.contains("--resume run goes on"), "{error}");
        assert!(!at.join("run/summary.json").exists());
        passes(at, "train --resume run");
        let mut expected = files(&at.join("whole"));
        let mut found = files(&at.join("run"));
        // They tell how often checkpoints were kept.
        for file in ["config.toml", "report.html"] {
            expected.remove(file);
            found.remove(file);
        }
        assert!(expected == found, "{signal}: another result");
        std::fs::remove_dir_all(at.join("run")).unwrap();
    }
}

/// Leaves `run` in `folder` as a kill after the checkpoints of 14 and 21 epochs does.
fn cut_off(folder: &Path) {
    let line = format!("{RUN} --checkpoint-every 7 --out run");
    let mut child = start(folder, &line);
    let run = folder.join("run");
    while !run.join("checkpoint.previous.safetensors").exists() {
        assert!(
            child.try_wait().unwrap().is_none(),
            "ended without checkpoints"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A checkpoint that is cut short, changed, or gone: the one before serves, or the run begins again.
/// What is damaged is told.
#[test]
fn damaged_checkpoints_cost_time_alone() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    passes(at, &format!("{RUN} --checkpoint-every 7 --out whole"));
    type Damage<'a> = (&'a str, &'a dyn Fn(&Path));
    let damages: [Damage; 5] = [
        ("cut short", &|path| {
            let bytes = std::fs::read(path).unwrap();
            std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("changed", &|path| {
            let mut bytes = std::fs::read(path).unwrap();
            let last = bytes.len() - 3;
            bytes[last] ^= 64;
            std::fs::write(path, bytes).unwrap();
        }),
        ("empty", &|path| std::fs::write(path, "").unwrap()),
        ("gone", &|path| std::fs::remove_file(path).unwrap()),
        ("both gone", &|path| {
            std::fs::remove_file(path).unwrap();
            let before = path.with_file_name("checkpoint.previous.safetensors");
            let _ = std::fs::remove_file(before);
        }),
    ];
    for (what, damage) in damages {
        cut_off(at);
        let last = at.join("run/checkpoint.safetensors");
        // The kill may have come between the two renames.
        if last.exists() {
            damage(&last);
        }
        let damaged = last.exists();
        // What a killed process was writing.
        std::fs::write(at.join("run/.ssan-abc.tmp"), "half").unwrap();
        let output = passes(at, "train --resume run");
        eprintln!("{what}");
        let told = text(&output).contains("the run goes on from before it");
        assert_eq!(told, damaged, "{what}: {}", text(&output));
        same(at, "whole", "run");
        std::fs::remove_dir_all(at.join("run")).unwrap();
    }
}

/// Metrics that were lost since the checkpoint, or follow it.
#[test]
fn metrics_follow_the_checkpoint() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    passes(at, &format!("{RUN} --checkpoint-every 7 --out whole"));
    for keep in [0, 100, usize::MAX] {
        cut_off(at);
        let path = at.join("run/metrics.jsonl");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.truncate(keep);
        if keep == usize::MAX {
            bytes.extend(b"{\"partition\":0,\"mem");
        }
        std::fs::write(&path, bytes).unwrap();
        passes(at, "train --resume run");
        same(at, "whole", "run");
        std::fs::remove_dir_all(at.join("run")).unwrap();
    }
}

#[test]
fn one_process_trains_in_a_folder() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    let long = "train --nepoch 100000000 --partition 1 --out run";
    let mut child = start(at, long);
    while !at.join("run/config.toml").exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
    for line in ["train --resume run".to_string(), format!("{long} --force")] {
        fails(at, &line, 1, &["run", "another process"]);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    fails(at, long, 1, &["has not ended", "--resume run", "--force"]);
    passes(at, &format!("{RUN} --out run --force"));
}

#[test]
fn a_run_is_replaced_by_force_alone() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    passes(at, &format!("{RUN} --out run"));
    let before = files(&at.join("run"));
    let shorter = "train --nepoch 2 --partition 1 --d_common 4 --out run";
    fails(at, shorter, 1, &["holds a run", "--force"]);
    // What cannot work removes nothing.
    fails(at, &format!("{shorter} --force --lr 0"), 2, &["--lr"]);
    fails(
        at,
        &format!("{shorter} --force --split none.json"),
        1,
        &["none.json"],
    );
    assert!(before == files(&at.join("run")));
    passes(at, &format!("{shorter} --force"));
    let after = files(&at.join("run"));
    assert!(!after.contains_key("model-1.safetensors"), "of the old run");
    // Nothing is left to do; with --json the result is told again.
    let output = passes(at, "train --resume run --json");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut kept: serde_json::Value = serde_json::from_slice(&after["summary.json"]).unwrap();
    // What the run's own --json has beside it.
    kept["run"] = "run".into();
    kept["ms_per_epoch"] = serde_json::Value::Null;
    assert_eq!(told, kept);
    assert!(after == files(&at.join("run")));

    // What is no run is not touched.
    std::fs::create_dir(at.join("mine")).unwrap();
    std::fs::write(at.join("mine/thesis.tex"), "words").unwrap();
    for more in ["", "--force"] {
        let line = format!("train --out mine {more}");
        fails(at, &line, 1, &["thesis.tex", "no run"]);
    }
    fails(at, "train --resume mine", 1, &["mine", "no run"]);
    fails(at, "train --resume nowhere", 1, &["nowhere", "no run"]);
}

/// `config.toml` repeats a run from any folder; what is given beside it counts more.
#[test]
fn a_configuration_repeats_its_run() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    write_task(at);
    let task = "train --source source --target target --data-dir . --nepoch 5 --partition 2";
    let elsewhere = at.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    for (n, options) in [
        "",
        "--recipe robust --seed 18446744073709551615 --members 2",
        "--layer single --optimizer Adam --lr 0.001 --alignment margin --margin 0.5 --alpha 0",
        "--combine_pred Euclidean_threshold --first-layer direct --labelled-per-class 2 --gamma 0",
        "--label-column last --init-scale fan-in --prototype two --temperature 1e-3 --warm-up 3",
        "--normalise centred --logits linear --over-classes mean --pseudo-labels none --beta 0.1",
        "--precision bf16 --checkpoint-every 2 --no-graph --lr-schedule cosine --weight-decay 0 --d_common 5",
    ]
    .iter()
    .enumerate()
    {
        passes(at, &format!("{task} {options} --out run{n}"));
        let again = format!("train --config ../run{n}/config.toml --out ../again{n}");
        passes(&elsewhere, &again);
        same(at, &format!("run{n}"), &format!("again{n}"));
    }
    let last = std::fs::read_to_string(at.join("run6/config.toml")).unwrap();
    assert!(last.contains("precision = \"bf16\"\n"), "{last}");
    passes(at, &format!("{task} --seed 3 --nepoch 4 --out other"));
    passes(
        at,
        "train --config run0/config.toml --seed 3 --nepoch 4 --out over",
    );
    same(at, "other", "over");
    let split = r#"{"labelled":[0,1,2],"unlabelled":[3,4,5]}"#;
    std::fs::write(at.join("split.json"), split).unwrap();
    let line = "--split split.json --out fixed";
    passes(at, &format!("train --config run0/config.toml {line}"));
    passes(at, "train --config fixed/config.toml --out again");
    same(at, "fixed", "again");

    // Other data are not passed off as those of the run.
    let changed = std::fs::read_to_string(at.join("source.csv")).unwrap() + "1,1,1,0\n";
    std::fs::write(at.join("source.csv"), changed).unwrap();
    let line = "train --config run0/config.toml --out third";
    fails(at, line, 1, &["source.csv", "has changed", "--source"]);
    passes(at, &format!("{line} --source source.csv"));
}

#[test]
fn configurations_that_cannot_work_are_refused() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    for (text, words) in [
        (
            "[options]\nlearning-rate = 1\n",
            "`learning-rate` is no option",
        ),
        ("[options]\nout = \"x\"\n", "`out` is no option"),
        ("[options]\nresume = \"x\"\n", "`resume` is no option"),
        ("[options]\nlr = \"fast\"\n", "fast"),
        ("[options]\nlayer = \"triple\"\n", "triple"),
        ("[options]\nprecision = \"fp16\"\n", "fp16"),
        ("[options]\nlr = 1979-05-27\n", "`lr` is"),
        ("[options]\nnepoch = [1, [2]]\nlr = {a = 1}\n", "`lr` is"),
        ("[options]\nlr = \n", "line 2"),
        ("lr = 0.1\n", "[options]"),
        ("[program]\nversion = 3\n", "line 2"),
        ("\u{0}", "line 1"),
    ] {
        std::fs::write(at.join("c.toml"), text).unwrap();
        fails(at, "train --config c.toml", 1, &["c.toml", words]);
    }
    std::fs::write(at.join("c.toml"), [0xff, 0xfe]).unwrap();
    fails(at, "train --config c.toml", 1, &["c.toml", "text"]);
    fails(at, "train --config none.toml", 1, &["none.toml"]);
    std::fs::write(at.join("c.toml"), "[options]\nlr = -1\n").unwrap();
    fails(at, "train --config c.toml", 2, &["--lr -1"]);
    passes(at, &format!("{RUN} --out run"));
    for more in [
        "--lr 0.2",
        "--seed 2020",
        "--precision tf32",
        "--out other",
        "--force",
        "--config c.toml",
    ] {
        let option = more.split(' ').next().unwrap();
        let line = format!("train --resume run {more}");
        fails(at, &line, 2, &["--resume run", option]);
    }
    assert_eq!(std::fs::read_dir(at).unwrap().count(), 2);
}

/// Stops a run before an epoch, and keeps what there is.
struct Stop {
    before: usize,
    told: Vec<EpochMetrics>,
    kept: Option<Snapshot<f64>>,
}

impl Watch<f64> for Stop {
    fn epoch(&mut self, metrics: &EpochMetrics) -> Result<()> {
        self.told.push(metrics.clone());
        Ok(())
    }

    fn pause(&mut self, next: usize) -> Pause {
        match next == self.before {
            true => Pause::Stop,
            false => Pause::None,
        }
    }

    fn asks_at(&self, next: usize) -> usize {
        if next < self.before {
            self.before
        } else {
            usize::MAX
        }
    }

    fn keep(&mut self, snapshot: Snapshot<f64>) -> Result<()> {
        self.kept = Some(snapshot);
        Ok(())
    }
}

/// Nothing but the state goes from one step to the next, with every optimiser, form and label.
#[test]
fn a_snapshot_is_all_that_a_run_depends_on() {
    let (mut source, mut target) = data::digits().unwrap();
    for domain in [&mut source, &mut target] {
        let rows: Vec<usize> = (0..domain.features.rows()).step_by(20).collect();
        domain.features = domain.features.select_rows(&rows);
        domain.labels = rows.iter().map(|&i| domain.labels[i].clone()).collect();
        domain.parts = vec![rows.len()];
    }
    let task = data::Task::new(source, target).unwrap();
    let splits = task.splits(&data::Labelling::PerClass(1), 2, 1).unwrap();
    let pseudo_labels = Some(PseudoLabels {
        every: 3,
        ..PseudoLabels::ROBUST
    });
    let paper = Options {
        epochs: 12,
        common: 6,
        ..Options::PAPER
    };
    let robust = Options {
        epochs: 12,
        common: 6,
        members: 2,
        pseudo_labels,
        ..Options::ROBUST
    };
    for base in [paper, robust] {
        for (optimizer, first_layer, select) in [
            (Optimizer::MomentumSgd, FirstLayer::Gram, Select::Consensus),
            (Optimizer::MomentumSgd, FirstLayer::Direct, Select::Average),
            (Optimizer::Sgd, FirstLayer::Gram, Select::BestTest),
            (Optimizer::Adam, FirstLayer::Auto, Select::Last),
        ] {
            let options = Options {
                optimizer,
                first_layer,
                select,
                ..base
            };
            let problem = Problem::new(&task, &splits, &options);
            let initial = problem.initial_parameters(&options, 5);
            let load = |graph: Graph<f64>| Ok(Box::new(Cpu::load(graph)) as Box<dyn Device<f64>>);
            let session = || Session::new(&problem, &options, &initial, load).unwrap();
            let watch = |before| Stop {
                before,
                told: Vec::new(),
                kept: None,
            };
            let mut never = watch(usize::MAX);
            let whole = train_watched(&mut session(), &options, Vec::new(), &mut never);
            let whole = whole.unwrap().unwrap();
            for before in 1..12 {
                let mut first = watch(before);
                let stopped = train_watched(&mut session(), &options, Vec::new(), &mut first);
                assert!(stopped.unwrap().is_none());
                let mut second = session();
                second.restore(&first.kept.unwrap()).unwrap().unwrap();
                let mut rest = watch(usize::MAX);
                let told = first.told.clone();
                let ended = train_watched(&mut second, &options, told, &mut rest);
                let ended = ended.unwrap().unwrap();
                assert_eq!([first.told, rest.told].concat(), never.told, "{before}");
                assert_eq!(ended.partitions, whole.partitions);
                assert!(
                    ended.parameters == whole.parameters,
                    "{before}: {options:?}"
                );
                assert!(ended.opinions == whole.opinions && ended.prototypes == whole.prototypes);
            }
        }
    }
}

/// A snapshot of another run is refused, not read.
#[test]
fn a_snapshot_of_another_run_is_refused() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    cut_off(at);
    let config = std::fs::read_to_string(at.join("run/config.toml")).unwrap();
    let changed = config.replace("d_common = 8", "d_common = 9");
    assert_ne!(config, changed);
    std::fs::write(at.join("run/config.toml"), changed).unwrap();
    fails(
        at,
        "train --resume run",
        1,
        &["checkpoint", "other data or options"],
    );
}
