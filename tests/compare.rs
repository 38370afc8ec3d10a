//! What a run is compared with: labelled target rows alone, and noise as the source.

#[path = "common/command.rs"]
mod command;
#[path = "common/task.rs"]
mod task;

use std::path::Path;

use approx::assert_relative_eq;
use command::ssan;
use serde_json::Value;
use ssan::data::{self, Keys, Labelling, Task, digits};
use ssan::device::{Cpu, Device};
use ssan::graph::Graph;
use ssan::train::memory::Footprint;
use ssan::train::{Control, EpochMetrics, Options, Outcome, Problem, train};
use task::write_task;
use tempfile::TempDir;

fn on_cpu(graph: Graph<f64>) -> ssan::Result<Box<dyn Device<f64>>> {
    Ok(Box::new(Cpu::load(graph)))
}

/// The digits with `turned` times every source class's label moved on by one, for two partitions.
fn problem(turned: usize, options: &Options) -> Problem {
    let (mut source, target) = digits().unwrap();
    source.labels.rotate_right(turned * 100);
    let task = Task::new(source, target).unwrap();
    let splits = task.splits(&Labelling::PerClass(3), 2, 1).unwrap();
    Problem::new(&task, &splits, options)
}

fn run(problem: &Problem, options: &Options) -> (Outcome, Vec<EpochMetrics>) {
    let mut metrics = Vec::new();
    let initial = problem.initial_parameters(options, 3);
    let outcome = train(problem, options, &initial, on_cpu, &mut |m| {
        metrics.push(m.clone());
        Ok(())
    });
    (outcome.unwrap(), metrics)
}

fn short(base: Options) -> Options {
    Options {
        epochs: 40,
        common: 16,
        members: 1,
        ..base
    }
}

/// The objective is the cross-entropy of the labelled rows, whatever the source is.
#[test]
fn target_only_hears_nothing_of_the_source() {
    let options = short(Options::ROBUST);
    let ends = [0, 1].map(|turned| {
        let whole = problem(turned, &options);
        let (alone, how) = Control::TargetOnly.of(&whole, &options, 1);
        let (outcome, metrics) = run(&alone, &how);
        for m in &metrics {
            assert_eq!((m.source_ce, m.alignment, m.adversarial), (0.0, 0.0, 0.0));
            assert_eq!((m.soft, m.pseudo_ce, m.source_acc), (0.0, 0.0, None));
            assert!(m.total > 0.0);
        }
        assert_eq!(metrics.last().unwrap().labelled_acc, Some(100.0));
        outcome
    });
    assert!(ends[0].opinions == ends[1].opinions);
    assert!(ends[0].partitions[0].accuracy_last.unwrap() > 50.0);
    let (with_source, _) = run(&problem(0, &options), &options);
    assert!(with_source.opinions != ends[0].opinions);
}

/// Noise has the source's shape, labels and normalisation, and nothing else of it.
#[test]
fn noise_takes_the_place_of_the_source() {
    for options in [short(Options::PAPER), short(Options::ROBUST)] {
        let whole = problem(0, &options);
        let (noise, how) = Control::Noise.of(&whole, &options, 5);
        assert_eq!(how, options);
        assert_eq!(
            (noise.source.rows(), noise.source.cols()),
            (whole.source.rows(), whole.source.cols())
        );
        assert!(noise.target == whole.target && noise.partitions == whole.partitions);
        for i in 0..noise.source.rows() {
            let squares: f64 = noise
                .source
                .dense(i..i + 1)
                .values
                .iter()
                .map(|x| x * x)
                .sum();
            assert_relative_eq!(squares, 1.0, epsilon = 1e-12);
        }
        let of_other = Control::Noise.of(&problem(1, &options), &options, 5).0;
        assert!(of_other.source == noise.source, "it depends on the seed");
        let other = Control::Noise.of(&whole, &options, 6).0;
        assert!(other.source != noise.source && noise.source != whole.source);
        let values = noise.source.dense(0..noise.source.rows()).values;
        let mean: f64 = values.iter().sum::<f64>() / values.len() as f64;
        assert!(mean.abs() < 0.01, "{mean}");
    }
}

const RUN: &str = "train --recipe robust --nepoch 40 --partition 2 --members 2 --d_common 8";

fn summary(folder: &Path, line: &str) -> Value {
    let output = ssan(folder, &format!("{line} --json"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{line}: {error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The run itself is the same with and without, and the gains are its partitions' differences.
#[test]
fn comparisons_stand_beside_the_result() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    let alone = summary(at, &format!("{RUN} --out alone"));
    assert!(alone.get("controls").is_none());
    let line = format!("{RUN} --baseline target-only --control noise --out both");
    let both = summary(at, &line);
    for field in ["partitions", "mean_last", "mean_chosen"] {
        assert_eq!(alone[field], both[field], "{field}");
    }
    let read = |file: &str| std::fs::read(at.join(file)).unwrap();
    for file in ["metrics.jsonl", "predictions.csv", "model-1.safetensors"] {
        assert_eq!(
            read(&format!("alone/{file}")),
            read(&format!("both/{file}"))
        );
    }
    let controls = both["controls"].as_array().unwrap();
    assert_eq!(controls.len(), 2);
    for (control, name) in controls.iter().zip(["target-only", "noise"]) {
        assert_eq!(control["name"], name);
        let accuracy = |p: usize| control["accuracy"][p].as_f64().unwrap();
        let own = |p: usize| both["partitions"][p]["accuracy_chosen"].as_f64().unwrap();
        let gain = (own(0) - accuracy(0) + own(1) - accuracy(1)) / 2.0;
        assert_relative_eq!(control["gain_mean"].as_f64().unwrap(), gain, epsilon = 1e-9);
        let mean = (accuracy(0) + accuracy(1)) / 2.0;
        assert_relative_eq!(control["mean"].as_f64().unwrap(), mean, epsilon = 1e-9);
        assert!(mean > 30.0, "{name}: {mean} %");
    }
    let text = ssan(at, &format!("{line} --force"));
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    for words in ["labelled target rows alone: ", "with noise as source: "] {
        assert!(text.contains(words), "{text}");
    }
    // The configuration that is left asks for the same comparisons.
    let again = summary(at, "train --config both/config.toml --out again");
    assert_eq!(again["controls"], both["controls"]);
}

/// Comparisons that do not fit into memory at once are trained in groups too, with the same result;
/// of one that does not fit at all nobody learns after the run.
#[test]
fn comparisons_are_trained_in_groups() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    write_task(at);
    let read = |name| data::read_domain(&at.join(name), &Keys::default()).unwrap();
    let task = Task::new(read("source.csv"), read("target.csv")).unwrap();
    let options = Options {
        epochs: 60,
        members: 2,
        common: 8,
        ..Options::ROBUST
    };
    let run = Footprint::of_run(&task, 3, &options);
    let noise = Footprint::of_comparison(&task, 3, &options, Some(Control::Noise), 2);
    let line = "train --source source --target target --data-dir . --recipe robust --nepoch 60 \
                --partition 3 --members 2 --d_common 8 --control noise";
    let more = "--baseline target-only --check-transfer";
    let whole = summary(at, &format!("{line} {more} --out whole"));
    let limit = noise.needed(2) as u64 - 1;
    assert!(limit > run.needed(1) as u64);
    let limited = format!("{line} {more} --max-memory {limit} --out grouped");
    let grouped = summary(at, &limited);
    for field in ["partitions", "controls", "transfer"] {
        assert!(!whole[field].is_null());
        assert_eq!(whole[field], grouped[field], "{field}");
    }
    let told = ssan(at, &format!("{limited} --force -v")).stdout;
    let told = String::from_utf8(told).unwrap();
    for words in [
        "noise: 3 groups of at most 1 partition",
        "transfer, run: ",
        "transfer, noise: ",
    ] {
        let line = told.lines().find(|line| line.starts_with(words));
        assert!(
            line.is_some_and(|line| line.contains("groups of")),
            "{words}: {told}"
        );
    }
    let little = noise.needed(1) as u64 - 1;
    assert!(little > run.needed(1) as u64);
    let output = ssan(at, &format!("{line} --max-memory {little} --out new"));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(
        error.contains("--control noise") && error.contains("leave it out"),
        "{error}"
    );
    assert!(!at.join("new").exists());
}

/// A signal while a comparison trains loses nothing of the run.
#[cfg(unix)]
#[test]
fn an_interrupted_comparison_keeps_the_run() {
    use std::process::{Command, Stdio};
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    let whole = summary(at, &format!("{RUN} --baseline target-only --out whole"));
    let long = format!("{RUN} --baseline target-only --control noise --out run");
    let mut seen = false;
    for attempt in 0..20 {
        let _ = std::fs::remove_dir_all(at.join("run"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_ssan"))
            .args(long.split_whitespace())
            .current_dir(at)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The last file of the run itself; then its comparisons.
        while !at.join("run/embedding.npz").exists() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let id = child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.code() == Some(143) && error.contains("was trained") {
            assert!(error.contains("ssan train --resume run goes on"), "{error}");
            seen = true;
            break;
        }
        eprintln!("attempt {attempt}: {:?} {error}", output.status);
    }
    assert!(seen, "no signal came while a comparison was trained");
    let read = |file: &str| std::fs::read(at.join(file)).unwrap();
    for file in ["predictions.csv", "model-0.safetensors", "embedding.npz"] {
        assert_eq!(read(&format!("run/{file}")), read(&format!("whole/{file}")));
    }
    assert!(!at.join("run/summary.json").exists());
    let metrics = at.join("run/metrics.jsonl");
    let before = std::fs::metadata(&metrics).unwrap().modified().unwrap();
    let resumed = summary(at, "train --resume run");
    assert_eq!(resumed["partitions"], whole["partitions"]);
    assert_eq!(resumed["controls"][0], whole["controls"][0]);
    assert_eq!(resumed["controls"][1]["name"], "noise");
    // What was trained is not trained again, and nothing of the interruption stays.
    let after = std::fs::metadata(&metrics).unwrap().modified().unwrap();
    assert_eq!(before, after);
    let names = |run: &str| {
        let entries = std::fs::read_dir(at.join(run)).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names("run"), names("whole"));
}

/// Killed at any moment, a run with comparisons ends with the result that it would have had; and a
/// comparison that is done stays.
#[test]
fn a_killed_comparison_goes_on() {
    use std::process::{Command, Stdio};
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    let line = format!("{RUN} --baseline target-only --control noise");
    summary(at, &format!("{line} --out whole"));
    let unfinished = at.join("run/summary.unfinished.json");
    let controls = || -> Option<usize> {
        let result: Value = serde_json::from_slice(&std::fs::read(&unfinished).ok()?).unwrap();
        let controls = result["summary"]["controls"].as_array();
        Some(controls.map_or(0, |controls| controls.len()))
    };
    let killed_once = |words: &str, until: usize| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ssan"))
            .args(words.split_whitespace())
            .current_dir(at)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while controls() != Some(until) && child.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().code(), None, "it ended before that");
    };
    killed_once(&format!("{line} --out run"), 0);
    killed_once("train --resume run", 1);
    // A mark in it stays: it is not made again.
    let mut result: Value = serde_json::from_slice(&std::fs::read(&unfinished).unwrap()).unwrap();
    let whole = std::fs::read(at.join("whole/summary.json")).unwrap();
    let mut expected: Value = serde_json::from_slice(&whole).unwrap();
    result["summary"]["controls"][0]["mean"] = 12.5.into();
    expected["controls"][0]["mean"] = 12.5.into();
    std::fs::write(&unfinished, result.to_string()).unwrap();
    summary(at, "train --resume run");
    let end = std::fs::read(at.join("run/summary.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&end).unwrap(), expected);

    // Damaged, it costs time alone.
    killed_once(&format!("{line} --force --out run"), 0);
    std::fs::write(&unfinished, "{").unwrap();
    summary(at, "train --resume run");
    assert_eq!(std::fs::read(at.join("run/summary.json")).unwrap(), whole);
    assert!(!unfinished.exists());
}

/// The check sees no test label, and says what it found in numbers and in words.
#[test]
fn transfer_is_checked_on_labelled_rows_alone() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    let found = summary(at, &format!("{RUN} --check-transfer --out run"));
    let transfer = &found["transfer"];
    // Three labelled rows of each class in two partitions, some of them in both.
    assert_eq!(transfer["folds"], 5);
    assert!(transfer["accuracy"].as_f64().unwrap() > 30.0);
    let gains = transfer["gains"].as_array().unwrap();
    for (gain, name) in gains.iter().zip(["target-only", "noise"]) {
        assert_eq!(gain["control"], name);
        assert!(gain["mean"].is_number() && gain["standard_error"].as_f64().unwrap() >= 0.0);
    }
    assert!(!transfer["verdict"].as_str().unwrap().is_empty());

    // With other test labels it is the same: only labelled rows of the target keep theirs.
    let split = std::fs::read_to_string(at.join("run/splits.json")).unwrap();
    let split: Value = serde_json::from_str(&split).unwrap();
    let split = &split["partitions"][0];
    std::fs::write(at.join("split.json"), split.to_string()).unwrap();
    let digits = ssan::data::digits().unwrap();
    let write = |name: &str, domain: &ssan::data::Domain, known: &dyn Fn(usize) -> bool| {
        let mut csv = String::new();
        for i in 0..domain.features.rows() {
            for x in &domain.features.dense(i..i + 1).values {
                csv += &format!("{x},");
            }
            csv += &match (&domain.labels[i], known(i)) {
                (Some(label), true) => format!("{label}\n"),
                _ => "\n".to_string(),
            };
        }
        std::fs::write(at.join(name), csv).unwrap();
    };
    let labelled: Vec<usize> = split["labelled"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i.as_u64().unwrap() as usize)
        .collect();
    write("source.csv", &digits.0, &|_| true);
    write("all.csv", &digits.1, &|_| true);
    write("few.csv", &digits.1, &|i| labelled.contains(&i));
    let checked = |target: &str| {
        let line = format!(
            "train --source source.csv --target {target} --split split.json --nepoch 30 \
             --partition 1 --members 1 --d_common 8 --recipe robust --check-transfer --out {target}.run"
        );
        summary(at, &line)["transfer"].clone()
    };
    assert_eq!(checked("all.csv"), checked("few.csv"));
    let text = ssan(
        at,
        "train --source source.csv --target few.csv --nepoch 3 --partition 1 --members 1 --check-transfer --out text",
    );
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("held out in 3 folds"), "{text}");
    let inspected = String::from_utf8_lossy(&ssan(at, "inspect all.csv.run").stdout).into_owned();
    assert!(inspected.contains("held out in 3 folds"), "{inspected}");
    let page = std::fs::read_to_string(at.join("all.csv.run/report.html")).unwrap();
    assert!(page.contains("held out in 3 folds"));
    // Without a label to compare on, nothing is trained for it.
    let line = "train --source source.csv --target few.csv --nepoch 3 --partition 1 --members 1";
    let unknown = ssan(at, &format!("{line} --control noise --out none"));
    let note = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(note.contains("they are left out"), "{note}");
    let ended = summary(at, "train --resume none");
    assert!(ended["controls"].is_null(), "{ended}");
    assert_eq!(ended["run"], "none");
    assert!(ended["ms_per_epoch"].is_null());
    let oracle = ssan(at, &format!("{line} --select best-test --out oracle"));
    let error = String::from_utf8_lossy(&oracle.stderr).into_owned();
    assert!(error.contains("none of them is known"), "{error}");
    assert_eq!(oracle.status.code(), Some(2));
    assert!(!at.join("oracle").exists());
    let few = ssan(
        at,
        &format!("{RUN} --labelled-per-class 1 --check-transfer --out one"),
    );
    assert!(few.status.success());
    assert!(String::from_utf8_lossy(&few.stderr).contains("two labelled target rows"));
}
