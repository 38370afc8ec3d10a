//! Faults from outside: a device that fails or gives what is no number, a disk that is full, places
//! where nothing can be written, files that are not what they should be.
//!
//! Faults of the kernel cache are in `tests/nvrtc.rs` and `src/device/nvrtc.rs`.

#[path = "common/command.rs"]
mod command;

use std::path::Path;
use std::process::Command;

use command::ssan;
use ssan::data::{Labelling, Task, digits};
use ssan::device::{Cpu, Device};
use ssan::graph::{Graph, Labels, Var};
use ssan::real::Real;
use ssan::run::{CheckpointEvery, Finished, Recorder, RunDirectory};
use ssan::train::{EpochMetrics, Options, Outcome, Problem, Session, train, train_watched};
use ssan::{Error, Result};
use tempfile::TempDir;

/// What a [`Faulty`] device does wrong.
#[derive(Clone, Copy)]
enum Fault {
    /// Replays fail after so many steps.
    Steps(usize),
    /// The `term`-th of the recorded loss terms is `value` at an epoch of a partition.
    Term {
        term: usize,
        value: f64,
        epoch: usize,
        partition: usize,
    },
}

/// The CPU with a fault.
struct Faulty<T: Real> {
    cpu: Cpu<T>,
    fault: Fault,
    steps: usize,
}

impl<T: Real> Device<T> for Faulty<T> {
    fn graph(&self) -> &Graph<T> {
        self.cpu.graph()
    }

    fn steps(&mut self, epochs: usize) -> Result<()> {
        self.steps += epochs;
        match self.fault {
            Fault::Steps(most) if self.steps > most => Err(Error::Device(
                "kernel linear_forward: an illegal memory access".to_string(),
            )),
            _ => self.cpu.steps(epochs),
        }
    }

    fn forward(&mut self) -> Result<()> {
        self.cpu.forward()
    }

    fn backward(&mut self) -> Result<()> {
        self.cpu.backward()
    }

    fn read(&self, var: Var) -> Result<Vec<T>> {
        let mut values = self.cpu.read(var)?;
        if let Fault::Term {
            term,
            value,
            epoch,
            partition,
        } = self.fault
            && self.graph().name(var) == "metrics"
            && self.steps > epoch
        {
            let [rows, cols] = [var.shape.rows, var.shape.cols];
            values[(partition * rows + epoch % rows) * cols + term] = T::of(value);
        }
        Ok(values)
    }

    fn read_grad(&self, var: Var) -> Result<Vec<T>> {
        self.cpu.read_grad(var)
    }

    fn read_labels(&self, labels: Labels) -> Result<Vec<i32>> {
        self.cpu.read_labels(labels)
    }

    fn write(&mut self, var: Var, values: &[T]) -> Result<()> {
        self.cpu.write(var, values)
    }

    fn write_labels(&mut self, labels: Labels, values: &[i32]) -> Result<()> {
        self.cpu.write_labels(labels, values)
    }
}

/// Some of the digits.
fn problem(options: &Options) -> Problem {
    let (mut source, mut target) = digits().unwrap();
    for domain in [&mut source, &mut target] {
        let rows: Vec<usize> = (0..domain.features.rows()).step_by(20).collect();
        domain.features = domain.features.select_rows(&rows);
        domain.labels = rows.iter().map(|&i| domain.labels[i].clone()).collect();
        domain.parts = vec![rows.len()];
    }
    let task = Task::new(source, target).unwrap();
    let splits = task.splits(&Labelling::PerClass(1), 2, 1).unwrap();
    Problem::new(&task, &splits, options)
}

/// Trains with a fault; the epochs that were told, per partition, and the result.
fn train_with(base: Options, fault: Fault) -> (Vec<usize>, Result<Outcome>) {
    let options = Options {
        epochs: 30,
        common: 8,
        members: 1,
        ..base
    };
    let problem = problem(&options);
    let initial = problem.initial_parameters(&options, 1);
    let load = |graph| {
        Ok(Box::new(Faulty {
            cpu: Cpu::load(graph),
            fault,
            steps: 0,
        }) as Box<dyn Device<f64>>)
    };
    let mut told = vec![0; 2];
    let outcome = train::<f64>(&problem, &options, &initial, load, &mut |epoch| {
        told[epoch.partition] += 1;
        Ok(())
    });
    (told, outcome)
}

/// Every term, NaN and both infinities: the run stops with the term, the epoch and the partition,
/// and what was told before is told.
#[test]
fn a_term_that_is_no_number_stops_the_run() {
    let terms = [
        (0, "total"),
        (1, "source cross-entropy"),
        (2, "labelled cross-entropy"),
        (3, "soft correlation"),
        (4, "adversarial"),
        (5, "alignment"),
        (10, "pseudo-label cross-entropy"),
    ];
    for (term, name) in terms {
        let base = match term {
            10 => Options::ROBUST,
            _ => Options::PAPER,
        };
        for (value, epoch, partition) in [
            (f64::NAN, 0, 1),
            (f64::INFINITY, 7, 0),
            (f64::NEG_INFINITY, 11, 1),
        ] {
            let fault = Fault::Term {
                term,
                value,
                epoch,
                partition,
            };
            let (told, outcome) = train_with(base, fault);
            let error = outcome.unwrap_err();
            let text = error.to_string();
            let place =
                format!("the {name} loss is not finite at epoch {epoch} of partition {partition}");
            assert!(text.contains(&place), "{value}: {text}");
            assert!(text.contains("--lr"), "{text}");
            assert_eq!(error.exit_code(), 1);
            let expected = if partition == 0 {
                [epoch, epoch]
            } else {
                [epoch + 1, epoch]
            };
            assert_eq!(told, expected, "{name} at {epoch}");
        }
    }
}

#[test]
fn a_device_that_fails_ends_the_run_with_its_words() {
    let (told, outcome) = train_with(Options::PAPER, Fault::Steps(10));
    let error = outcome.unwrap_err();
    assert_eq!(error.exit_code(), 1);
    let text = error.to_string();
    assert!(text.contains("device: kernel linear_forward"), "{text}");
    // What was read before the failure has been told.
    assert!((1..=10).contains(&told[0]), "{told:?}");
    assert!(train_with(Options::PAPER, Fault::Steps(1000)).1.is_ok());
}

/// What was kept before a device failed is a run that goes on, and ends as if nothing had been.
#[test]
fn a_run_goes_on_after_its_device_failed() {
    let options = Options {
        epochs: 30,
        common: 8,
        members: 2,
        ..Options::ROBUST
    };
    let problem = problem(&options);
    let initial = problem.initial_parameters(&options, 1);
    let folder = TempDir::new().unwrap();
    let run = |name: &str, fault: Option<Fault>| -> Result<Outcome> {
        let path = folder.path().join(name);
        let directory =
            RunDirectory::create(&path, false).or_else(|_| RunDirectory::reopen(&path))?;
        directory.write("config.toml", b"")?;
        let load = |graph| {
            let cpu = Cpu::load(graph);
            let device: Box<dyn Device<f32>> = match fault {
                Some(fault) => Box::new(Faulty {
                    cpu,
                    fault,
                    steps: 0,
                }),
                None => Box::new(cpu),
            };
            Ok(device)
        };
        let mut session = Session::new(&problem, &options, &initial, load)?;
        let every = CheckpointEvery::Epochs(4);
        let mut show = |_: &EpochMetrics| {};
        let none = Finished::none(&[], problem.classes);
        let (mut recorder, start) = Recorder::new(
            &directory,
            &none,
            problem.networks(),
            every,
            &mut show,
            &|_| {},
        )?;
        let mut told = Vec::new();
        if let Some(start) = start {
            session.restore(&start.snapshot)?.unwrap();
            told = start.told;
        }
        let outcome = train_watched(&mut session, &options, told, &mut recorder)?;
        recorder.flush()?;
        Ok(outcome.unwrap())
    };
    let whole = run("whole", None).unwrap();
    let error = run("cut", Some(Fault::Steps(26))).unwrap_err();
    assert!(
        error.to_string().contains("kernel linear_forward"),
        "{error}"
    );
    assert!(folder.path().join("cut/checkpoint.safetensors").exists());
    let ended = run("cut", None).unwrap();
    assert!(ended.parameters == whole.parameters && ended.partitions == whole.partitions);
    let metrics = ["whole", "cut"]
        .map(|run| std::fs::read_to_string(folder.path().join(run).join("metrics.jsonl")).unwrap());
    assert_eq!(metrics[0], metrics[1]);
    assert_eq!(metrics[0].lines().count(), 30 * 4);
}

/// Fails with exit code 1 and one line on standard error that has all of `words`.
fn fails(folder: &Path, line: &str, words: &[&str]) {
    let output = ssan(folder, line);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{line}: {text}");
    let errors: Vec<&str> = text.lines().filter(|l| l.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{line}: {text}");
    for word in words {
        assert!(
            errors[0].contains(word),
            "{line}: {word:?} is not in {text}"
        );
    }
}

const SHORT: &str = "train --nepoch 3 --partition 1";

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_whatever_is_written() {
    let folder = TempDir::new().unwrap();
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ssan"))
        .args(SHORT.split_whitespace())
        .current_dir(folder.path())
        .stdout(full)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("standard output"), "{text}");
}

/// `/proc` takes no files, from root neither.
#[cfg(target_os = "linux")]
#[test]
fn where_nothing_can_be_written_nothing_is_trained() {
    let folder = TempDir::new().unwrap();
    // Long enough that training first would be noticed.
    let long = "train --nepoch 100000000 --partition 1";
    for option in [
        "--out /proc/run",
        "--out /dev/null",
        "--checkpoint_path /proc/self/models",
    ] {
        fails(
            folder.path(),
            &format!("{long} {option}"),
            &[option.rsplit(' ').next().unwrap()],
        );
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_no_file_is_not_read() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    std::fs::create_dir(path.join("folder.safetensors")).unwrap();
    std::fs::create_dir(path.join("folder.json")).unwrap();
    std::fs::write(path.join("empty.safetensors"), "").unwrap();
    std::os::unix::fs::symlink("gone.safetensors", path.join("link.safetensors")).unwrap();
    // A device that never ends is not waited for.
    for (option, words) in [
        (
            "--init folder.safetensors",
            ["folder.safetensors", "no regular file"],
        ),
        ("--init /dev/zero", ["/dev/zero", "no regular file"]),
        (
            "--init link.safetensors",
            ["link.safetensors", "cannot be read"],
        ),
        (
            "--init empty.safetensors",
            ["empty.safetensors", "not a safetensors file"],
        ),
        ("--split folder.json", ["folder.json", "no regular file"]),
        ("--split /dev/zero", ["/dev/zero", "no regular file"]),
    ] {
        fails(path, &format!("{SHORT} {option}"), &words);
    }
}

/// A cache that cannot be written changes no result, with or without a card.
#[cfg(target_os = "linux")]
#[test]
fn a_cache_that_cannot_be_written_is_no_obstacle() {
    let folder = TempDir::new().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ssan"))
        .args(SHORT.split_whitespace())
        .env("SSAN_CACHE", "/proc/cache")
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    // The run's folder alone.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
