//! `ssan sweep`: many runs and their table.

#[path = "common/command.rs"]
mod command;
#[path = "common/refusal.rs"]
mod refusal;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use command::ssan;
use refusal::fails;
use serde_json::Value;
use tempfile::TempDir;

/// Two tasks on the digits, a variant and two values of an option each: four runs.
const SWEEP: &str = r#"
[options]
partition = 2
nepoch = 8
d_common = 8

[[tasks]]
name = "few labels"
labelled-per-class = 1

[[tasks]]
name = "more|labels"
labelled-per-class = 5

[grid]
recipe = ["paper", "robust"]
"#;

fn folder(sweep: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("sweep.toml"), sweep).unwrap();
    folder
}

fn passes(folder: &Path, line: &str) -> String {
    let output = ssan(folder, line);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{line}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn a_sweep_trains_every_combination_once() {
    let folder = folder(SWEEP);
    let at = folder.path();
    let told = passes(at, "sweep sweep.toml --out all");
    assert!(
        told.contains("[4/4] more|labels, recipe=robust: "),
        "{told}"
    );
    let table = read(&at.join("all/table.md"));
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 5, "{table}");
    assert_eq!(lines[0], "| task | recipe=paper | recipe=robust |");
    assert!(lines[3].starts_with("| more\\|labels | "));
    let mut means = Vec::new();
    for (task, line) in [("few_labels", lines[2]), ("more_labels", lines[3])] {
        for recipe in ["paper", "robust"] {
            let path = format!("all/{task}/recipe={recipe}/summary.json");
            let summary: Value = serde_json::from_str(&read(&at.join(path))).unwrap();
            let number = |name: &str| summary[name].as_f64().unwrap();
            let (mean, std) = (number("mean_chosen"), number("std_chosen"));
            assert!(line.contains(&format!(" {mean:.2} ± {std:.2} ")), "{line}");
            assert_eq!(summary["recipe"], recipe);
            means.push(mean);
        }
    }
    let mean = format!(
        "| mean | {:.2} | {:.2} |",
        (means[0] + means[2]) / 2.0,
        (means[1] + means[3]) / 2.0
    );
    assert_eq!(lines[4], mean);
    let rows = read(&at.join("all/table.csv"));
    assert_eq!(rows.lines().count(), 5);
    assert!(
        rows.lines()
            .nth(1)
            .unwrap()
            .starts_with("few labels,recipe=paper,2,")
    );

    // What is there is not trained again, even though each run's time would tell.
    let model = at.join("all/few_labels/recipe=paper/model-0.safetensors");
    let before = std::fs::metadata(&model).unwrap().modified().unwrap();
    let again = passes(at, "sweep sweep.toml --out all");
    assert_eq!(again.matches("was there").count(), 4);
    assert_eq!(
        before,
        std::fs::metadata(&model).unwrap().modified().unwrap()
    );
    assert_eq!(read(&at.join("all/table.md")), table);

    // Shards in folders of their own come to the same table.
    for shard in 1..=3 {
        let line = format!("sweep sweep.toml --shard {shard}/3 --out part{shard} --quiet");
        assert_eq!(passes(at, &line), "");
    }
    assert!(
        read(&at.join("part2/table.md")).contains("–"),
        "others are missing"
    );
    passes(
        at,
        "sweep sweep.toml --merge part1 part2 part3 --out joined",
    );
    assert_eq!(read(&at.join("joined/table.md")), table);
    assert_eq!(read(&at.join("joined/table.csv")), rows);
    let two = ssan(at, "sweep sweep.toml --merge part1 part2 --out two");
    let error = String::from_utf8_lossy(&two.stderr).into_owned();
    assert!(
        error.contains("not in the table: 1 run (more|labels"),
        "{error}"
    );

    // Other options are not taken for these.
    std::fs::write(
        at.join("sweep.toml"),
        SWEEP.replace("nepoch = 8", "nepoch = 9"),
    )
    .unwrap();
    let words = ["few_labels", "nepoch was 8, is 9", "--out"];
    fails(at, "sweep sweep.toml --out all", 1, &words);
    fails(at, "sweep sweep.toml --merge --out all", 1, &words);
    assert_eq!(read(&at.join("all/table.md")), table);
}

/// No table takes a result for another's, and none that is damaged for one.
#[test]
fn results_that_are_not_the_sweeps_do_not_come_into_its_table() {
    let sweep = SWEEP.replace("nepoch = 8", "nepoch = 3");
    let folder = folder(&sweep);
    let at = folder.path();
    passes(at, "sweep sweep.toml --out all");
    let table = read(&at.join("all/table.md"));
    let copy = |name: &str| {
        for cell in ["few_labels", "more_labels"] {
            for recipe in ["recipe=paper", "recipe=robust"] {
                let run = Path::new(cell).join(recipe);
                std::fs::create_dir_all(at.join(name).join(&run)).unwrap();
                for file in ["config.toml", "summary.json"] {
                    let [from, to] = ["all", name].map(|out| at.join(out).join(&run).join(file));
                    std::fs::copy(from, to).unwrap();
                }
            }
        }
        std::fs::copy(at.join("all/sweep.toml"), at.join(name).join("sweep.toml")).unwrap();
    };
    let here = "few_labels/recipe=robust/summary.json";

    copy("twice");
    passes(at, "sweep sweep.toml --merge all twice --out joined");
    assert_eq!(read(&at.join("joined/table.md")), table);
    let mut summary: Value = serde_json::from_str(&read(&at.join("twice").join(here))).unwrap();
    summary["mean_chosen"] = 99.0.into();
    std::fs::write(at.join("twice").join(here), summary.to_string()).unwrap();
    let words = [
        "twice/few_labels/recipe=robust",
        "another than in all/few_labels",
    ];
    fails(
        at,
        "sweep sweep.toml --merge all twice --out joined",
        1,
        &words,
    );
    assert!(!read(&at.join("joined/table.md")).contains("99.00"));

    copy("damaged");
    std::fs::write(at.join("damaged").join(here), "{").unwrap();
    std::fs::remove_dir_all(at.join("damaged/more_labels")).unwrap();
    let words = ["1 of 4 runs failed", here, "damaged"];
    fails(at, "sweep sweep.toml --out damaged", 1, &words);
    let rest = read(&at.join("damaged/table.md"));
    let more = |table: &str| table.lines().nth(3).unwrap().to_string();
    assert_eq!(more(&rest), more(&table), "what comes after it is trained");
    fails(
        at,
        "sweep sweep.toml --merge --out damaged",
        1,
        &[here, "damaged"],
    );

    fails(
        at,
        "sweep sweep.toml --merge nowhere --out joined",
        1,
        &["nowhere", "holds no sweep"],
    );
    copy("unknown");
    std::fs::remove_file(at.join("unknown/sweep.toml")).unwrap();
    let words = ["few_labels/recipe=paper", "sweep.toml does not know"];
    fails(at, "sweep sweep.toml --out unknown", 1, &words);
    fails(
        at,
        "sweep sweep.toml --merge unknown",
        1,
        &["holds no sweep"],
    );
    assert!(!at.join("unknown/table.md").exists());
}

/// However often it dies, it comes to the same table.
#[test]
fn a_killed_sweep_goes_on() {
    let sweep = format!("{SWEEP}\n").replace("nepoch = 8", "nepoch = 40\ncheckpoint-every = 3");
    let folder = folder(&sweep);
    let at = folder.path();
    let began = std::time::Instant::now();
    passes(at, "sweep sweep.toml --out whole");
    let whole = began.elapsed();
    let mut killed = 0;
    for attempt in 1.. {
        let mut child = sweep_that_is_cut(at);
        std::thread::sleep(whole.mul_f64(0.15 * f64::from(attempt)));
        let _ = child.kill();
        match child.wait().unwrap().code() {
            None => killed += 1,
            code => {
                assert_eq!(code, Some(0));
                break;
            }
        }
    }
    assert!(killed > 0, "it ended before it could be killed");
    for file in ["table.md", "table.csv"] {
        let [whole, cut] = ["whole", "cut"].map(|run| read(&at.join(run).join(file)));
        assert_eq!(whole, cut);
    }
}

/// A sweep of `sweep.toml` in `at` to `cut`, in a process of its own.
fn sweep_that_is_cut(at: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_ssan"))
        .args(["sweep", "sweep.toml", "--out", "cut"])
        .current_dir(at)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Sends `signal` to a process; its exit code and what it said of its end.
#[cfg(unix)]
fn signalled(child: Child, signal: &str) -> (Option<i32>, String) {
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-s", signal, &id]).status();
    assert!(sent.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), error)
}

/// One signal is enough, also between two runs, where short ones spend most of their time.
#[cfg(unix)]
#[test]
fn a_signal_at_any_moment_ends_a_sweep_that_then_goes_on() {
    let seeds: Vec<String> = (1..=12).map(|seed| seed.to_string()).collect();
    let seeds = seeds.join(", ");
    let sweep = format!(
        "[options]\npartition = 1\nnepoch = 2\nd_common = 4\n[[tasks]]\nname = 'a'\n\
         [grid]\nrecipe = ['paper']\nseed = [{seeds}]\n"
    );
    let folder = folder(&sweep);
    let at = folder.path();
    passes(at, "sweep sweep.toml --out whole");
    let ended = |out: &str| {
        let runs = std::fs::read_dir(at.join(out).join("a"));
        let runs = runs.into_iter().flatten();
        runs.filter(|run| run.as_ref().unwrap().path().join("summary.json").exists())
            .count()
    };
    for (i, signal) in ["INT", "TERM", "TERM"].into_iter().enumerate() {
        let before = ended("cut");
        let child = sweep_that_is_cut(at);
        // A run has just ended: what is trained next has not begun.
        while ended("cut") <= before {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let (code, error) = signalled(child, signal);
        let expected = if signal == "INT" { 130 } else { 143 };
        assert_eq!(code, Some(expected), "{i}: {error}");
        assert!(error.contains("the same command goes on"), "{error}");
        assert!(ended("cut") < 12, "it trained to the end all the same");
    }
    passes(at, "sweep sweep.toml --out cut");
    for file in ["table.md", "table.csv"] {
        let [whole, cut] = ["whole", "cut"].map(|run| read(&at.join(run).join(file)));
        assert_eq!(whole, cut);
    }
}

/// Between two epochs of a run: the run keeps a checkpoint, the sweep says how to go on, and comes
/// to the same table.
#[cfg(unix)]
#[test]
fn a_signal_inside_a_run_ends_a_sweep_that_then_goes_on() {
    let folder = folder(
        "[options]\npartition = 1\nnepoch = 150\nd_common = 4\ncheckpoint-every = 1\n\
         recipe = 'paper'\n[[tasks]]\nname = 'a'\n[grid]\nseed = [1, 2]\n",
    );
    let at = folder.path();
    passes(at, "sweep sweep.toml --out whole");
    for (seed, signal, code) in [(1, "INT", 130), (1, "TERM", 143), (2, "TERM", 143)] {
        let run = at.join(format!("cut/a/seed={seed}"));
        let kept = || std::fs::read(run.join("checkpoint.safetensors")).ok();
        let before = kept();
        let child = sweep_that_is_cut(at);
        // A checkpoint that was not there: it has trained an epoch.
        while kept().is_none() || kept() == before {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let (ended, error) = signalled(child, signal);
        assert_eq!(ended, Some(code), "{error}");
        let words = format!("interrupted by signal {} in a, seed={seed}: ", code - 128);
        assert!(error.contains(&words), "{error}");
        assert!(error.contains("the same command goes on"), "{error}");
        assert!(kept().is_some() && !run.join("summary.json").exists());
        assert!(!at.join("cut/table.md").exists(), "not all runs have ended");
    }
    passes(at, "sweep sweep.toml --out cut");
    for file in [
        "table.md",
        "table.csv",
        "a/seed=1/metrics.jsonl",
        "a/seed=2/model-0.safetensors",
    ] {
        let [whole, cut] = ["whole", "cut"].map(|out| std::fs::read(at.join(out).join(file)));
        assert!(whole.unwrap() == cut.unwrap(), "{file}");
    }
}

#[test]
fn a_run_that_fails_does_not_keep_the_others_from_theirs() {
    let sweep = SWEEP.replace("labelled-per-class = 5", "labelled-per-class = 5000");
    let folder = folder(&sweep);
    let at = folder.path();
    fails(
        at,
        "sweep sweep.toml --out all",
        1,
        &[
            "2 of 4 runs failed",
            "more|labels, recipe=paper",
            "more|labels, recipe=robust",
            "5000",
        ],
    );
    // What failed is said even where nothing else is.
    let quiet = ssan(at, "sweep sweep.toml --out all --quiet");
    let error = String::from_utf8_lossy(&quiet.stderr).into_owned();
    assert_eq!(error.lines().count(), 3, "{error}");
    assert!(quiet.stdout.is_empty() && error.contains("[3/4] more|labels, recipe=paper failed: "));
    assert!(
        at.join("all/few_labels/recipe=robust/summary.json")
            .exists()
    );
    assert!(read(&at.join("all/table.md")).contains("| more\\|labels | – | – |"));
}

#[test]
fn a_file_that_cannot_work_is_refused_in_words() {
    let cases: [(&str, i32, &[&str]); 16] = [
        ("[[tasks]]\nname = ' '", 1, &["name is empty"]),
        (
            "[[tasks]]\nname = \"a\\u001b[31m\"",
            1,
            &["a\u{fffd}[31m", "control characters"],
        ),
        ("[[tasks]]\nname = 'Table.md'", 1, &["file of the sweep"]),
        ("[[tasks]]\nname = 'sweep.toml'", 1, &["file of the sweep"]),
        ("[[tasks", 1, &["sweep.toml", "line 1"]),
        ("tasks = []", 1, &["no [[tasks]]"]),
        ("", 1, &["missing field `tasks`"]),
        ("[[tasks]]\nsource = 'x'", 1, &["missing field `name`"]),
        (
            "what = 1\n[[tasks]]\nname = 'a'",
            1,
            &["unknown field `what`", "options"],
        ),
        (
            "[[tasks]]\nname = 'a'\nlearning = 1",
            1,
            &["a, result", "`learning` is no option"],
        ),
        (
            "[[tasks]]\nname = 'a'\nlr = -1.0",
            1,
            &["a, result", "--lr", "positive"],
        ),
        (
            "[[tasks]]\nname = 'a'\nout = 'x'",
            1,
            &["`out` is no option"],
        ),
        (
            "[[tasks]]\nname = 'a/b'\n[[tasks]]\nname = 'a|b'",
            1,
            &["share the folder", "a_b"],
        ),
        (
            "[[tasks]]\nname = 'a'\n[grid]\nlr = 0.1",
            1,
            &["[grid] lr is no list"],
        ),
        (
            "[[tasks]]\nname = 'a'\n[[variants]]\nname = 'b'\ninit_scale = 'small'\n[grid]\n\
             init-scale = ['fan-in']",
            1,
            &["[grid] goes over init-scale, which `b` sets"],
        ),
        (
            "[[tasks]]\nname = 'a'\ninit_scale = 'small'\ninit-scale = 'fan-in'",
            1,
            &["`a`", "two spellings"],
        ),
    ];
    for (text, code, words) in cases {
        let folder = folder(text);
        fails(folder.path(), "sweep sweep.toml", code, words);
        assert!(!folder.path().join("runs").exists(), "{text}");
    }
    // 200 to the fourth combinations take no memory.
    let values: Vec<String> = (1..=200).map(|i| format!("{i}")).collect();
    let values = values.join(", ");
    let axes = ["lr", "alpha", "seed", "nepoch"].map(|name| format!("{name} = [{values}]\n"));
    let grid = format!("[[tasks]]\nname = 'a'\n[grid]\n{}", axes.concat());
    fails(
        folder(&grid).path(),
        "sweep sweep.toml",
        1,
        &["more than 10000"],
    );
    let run = folder("[[tasks]]\nname = 'a'");
    std::fs::create_dir(run.path().join("run")).unwrap();
    std::fs::write(run.path().join("run/config.toml"), "").unwrap();
    fails(
        run.path(),
        "sweep sweep.toml --out run",
        1,
        &["holds a run", "--out"],
    );
    let hostile = folder("[[tasks]]\nname = '../../..'\nnepoch = 2\npartition = 1\nd_common = 4");
    passes(hostile.path(), "sweep sweep.toml --out all");
    let entries = std::fs::read_dir(hostile.path()).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["all", "sweep.toml"]);
    let long = "汉".repeat(100);
    let long = folder(&format!(
        "[[tasks]]\nname = '{long}'\nnepoch = 2\npartition = 1\nd_common = 4"
    ));
    passes(long.path(), "sweep sweep.toml --out all");
    let output = ssan(hostile.path(), "sweep sweep.toml --shard 3/2");
    assert_eq!(output.status.code(), Some(2));
}

/// The sweeps that come with the program are what they say.
#[test]
fn the_examples_can_be_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let empty = TempDir::new().unwrap();
    let list = |file: &str| {
        let path = root.join("sweeps").join(file);
        passes(empty.path(), &format!("sweep {} --dry-run", path.display()))
    };
    assert_eq!(list("digits.toml").lines().count(), 2);
    assert_eq!(list("accuracy.toml").lines().count(), 8 * 2);
    assert_eq!(list("ablation.toml").lines().count(), 5 * 12);
    assert_eq!(list("unseen.toml").lines().count(), 8 * 2);
    let paper = list("office_caltech.toml");
    assert_eq!(paper.lines().count(), 12);
    assert!(
        paper
            .lines()
            .all(|l| l.contains("--partition=20") && l.contains("_decaf"))
    );
    assert_eq!(
        std::fs::read_dir(empty.path()).unwrap().count(),
        0,
        "nothing is trained"
    );
}

/// What scripts and shells read.
#[test]
fn completions_and_manual_pages_know_every_command() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = passes(at, &format!("completions {shell}"));
        for word in ["train", "sweep", "resume", "checkpoint-every"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    assert!(passes(at, "man").contains("Exit codes: 0 done"));
    let pages = passes(at, "man --out pages");
    for command in ["", "-train", "-sweep", "-report", "-predict"] {
        let page = at.join(format!("pages/ssan{command}.1"));
        assert!(pages.contains(&format!("ssan{command}.1\n")), "{pages}");
        assert!(read(&page).contains(".SH OPTIONS"));
    }
    assert!(passes(at, "--help").contains("Exit codes"));
}

/// How much memory there is makes no other sweep; the command line's counts more than the file's.
#[test]
fn memory_is_of_the_machine() {
    let folder = folder(&SWEEP.replace("partition = 2", "partition = 2\nmax-memory = \"100TiB\""));
    let at = folder.path();
    passes(
        at,
        "sweep sweep.toml --out all --max-memory 64GiB --shard 1/4",
    );
    let config = read(&at.join("all/few_labels/recipe=paper/config.toml"));
    assert!(
        config.contains(&format!("max-memory = {}\n", 64u64 << 30)),
        "{config}"
    );
    let told = passes(at, "sweep sweep.toml --out all --shard 1/4");
    assert!(told.contains("was there"), "{told}");
    let little = "sweep sweep.toml --out all --shard 2/4 --max-memory 1kB";
    fails(at, little, 1, &["--max-memory allows"]);
    fails(
        at,
        "sweep sweep.toml --max-memory x",
        1,
        &["sweep.toml", "8GiB"],
    );
}

#[test]
fn quiet_says_nothing_and_verbose_says_more() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    let line = "train --nepoch 2 --partition 1 --d_common 4 --out run --force";
    let quiet = ssan(at, &format!("{line} -q"));
    assert!(quiet.status.success() && quiet.stdout.is_empty() && quiet.stderr.is_empty());
    let json = passes(at, &format!("{line} --quiet --json"));
    assert!(serde_json::from_str::<Value>(&json).is_ok());
    let normal = passes(at, line);
    let verbose = passes(at, &format!("{line} -v"));
    assert!(verbose.contains("MiB of memory") && verbose.contains("first layer of the source"));
    assert!(!normal.contains("MiB of memory"));
    let both = ssan(at, &format!("{line} -v -q"));
    assert_eq!(both.status.code(), Some(2));
    let error = ssan(at, "train --nepoch 0 -q");
    assert!(!error.stderr.is_empty());
}

#[test]
fn a_damaged_file_is_listed_or_refused_in_one_line() {
    let folder = folder(SWEEP);
    let path = folder.path().join("sweep.toml");
    let mut refused = 0;
    for at in (0..SWEEP.len()).step_by(3) {
        let (before, after) = SWEEP.as_bytes().split_at(at);
        for (between, after) in [(&b""[..], &b""[..]), (b"\xff", after), (b"[\"", after)] {
            std::fs::write(&path, [before, between, after].concat()).unwrap();
            let output = ssan(folder.path(), "sweep sweep.toml --dry-run");
            let error = String::from_utf8_lossy(&output.stderr);
            let errors: Vec<&str> = error.lines().filter(|l| l.starts_with("error: ")).collect();
            match output.status.code() {
                Some(0) => assert!(errors.is_empty(), "{at}, {between:?}: {error}"),
                Some(1) => {
                    refused += 1;
                    let one = errors.len() == 1 && errors[0].contains("sweep.toml");
                    assert!(one, "{at}, {between:?}: {error}");
                }
                code => panic!("{at}, {between:?}: {code:?}, {error}"),
            }
        }
    }
    assert!(refused > SWEEP.len() / 3, "{refused}");
}
