//! What is read, and what must hold for what comes out.

use std::path::Path;
use std::process::Command;

use ssan::data::{
    Domain, Keys, Label, LabelColumn, Matrix, Task, read_domain, read_samples, read_split,
};
use ssan::inference::{Side, TrainedModel};
use ssan::model::{Dimensions, Layers};
use ssan::parameters;
use ssan::report::Run;
use ssan::run::Config;
use ssan::run::checkpoint::Checkpoint;

use crate::formats::Format;

/// Ways in which a file is read.
pub const VARIANTS: usize = 5;

/// Whether what was read holds together, or the reader's error.
type Outcome = ssan::Result<Result<(), String>>;

/// A reader of files.
pub struct Reader {
    pub name: &'static str,
    pub extension: &'static str,
    pub format: Format,
    /// Folders of its corpus.
    pub corpora: &'static [&'static str],
    /// Bytes of memory that a byte of content may cost.
    pub bytes_per_byte: usize,
    pub read: fn(&Path, usize) -> Outcome,
}

/// All readers.
pub fn all() -> [Reader; 14] {
    // A value, a label or a word of a byte becomes some 24, twice while it is converted or moved.
    let plain = 160;
    [
        Reader {
            name: "mat",
            extension: "mat",
            format: Format::Mat,
            corpora: &["corpus/mat", "data"],
            // Of 12 bytes for a value of a sparse matrix 2^14 zeros of 8 may come.
            bytes_per_byte: (1 << 14) * 2 * 8 / 12,
            read: domain,
        },
        Reader {
            name: "npy",
            extension: "npy",
            format: Format::Npy,
            corpora: &["corpus/npy"],
            bytes_per_byte: plain,
            read: domain,
        },
        Reader {
            name: "npz",
            extension: "npz",
            format: Format::Npz,
            corpora: &["corpus/npz"],
            bytes_per_byte: plain,
            read: domain,
        },
        Reader {
            name: "csv",
            extension: "csv",
            format: Format::Plain,
            corpora: &["corpus/csv"],
            bytes_per_byte: plain,
            read: domain,
        },
        Reader {
            name: "split-json",
            extension: "json",
            format: Format::Plain,
            corpora: &["corpus/split-json"],
            bytes_per_byte: plain,
            read: split,
        },
        Reader {
            name: "split-mat",
            extension: "mat",
            format: Format::Mat,
            corpora: &["corpus/split-mat"],
            bytes_per_byte: (1 << 14) * 2 * 8 / 12,
            read: split,
        },
        Reader {
            name: "parameters",
            extension: "safetensors",
            format: Format::Safetensors,
            corpora: &["corpus/parameters"],
            bytes_per_byte: plain,
            read: parameters_of_a_model,
        },
        Reader {
            name: "models",
            extension: "safetensors",
            format: Format::Safetensors,
            corpora: &["corpus/models", "corpus/parameters"],
            bytes_per_byte: plain,
            read: model,
        },
        Reader {
            name: "checkpoint",
            extension: "safetensors",
            format: Format::Safetensors,
            corpora: &["corpus/checkpoint", "corpus/models"],
            bytes_per_byte: plain,
            read: |path, _| Checkpoint::load(path).flatten().map(|_| Ok(())),
        },
        Reader {
            name: "config",
            extension: "toml",
            format: Format::Plain,
            corpora: &["corpus/config"],
            // A key of a byte or two becomes an entry of a tree with its place in the text.
            bytes_per_byte: 4 * plain,
            read: |path, _| Config::load(path).map(|_| Ok(())),
        },
        Reader {
            name: "metrics",
            extension: "jsonl",
            format: Format::Plain,
            corpora: &["corpus/metrics"],
            bytes_per_byte: plain,
            read: |path, _| run(path, "metrics.jsonl"),
        },
        Reader {
            name: "summary",
            extension: "json",
            format: Format::Plain,
            corpora: &["corpus/summary"],
            bytes_per_byte: plain,
            read: |path, _| run(path, "summary.json"),
        },
        Reader {
            name: "embedding",
            extension: "npz",
            format: Format::Npz,
            corpora: &["corpus/embedding"],
            bytes_per_byte: plain,
            read: |path, _| run(path, "embedding.npz"),
        },
        Reader {
            name: "sweep",
            extension: "toml",
            format: Format::Plain,
            corpora: &["corpus/sweep"],
            // What the command takes is its own.
            bytes_per_byte: plain,
            read: |path, _| sweep(path),
        },
    ]
}

/// A run's folder with `path` in the place of its file `name`.
fn run(path: &Path, name: &str) -> Outcome {
    let folder = path.with_extension("run");
    if !folder.exists() {
        std::fs::create_dir(&folder).unwrap();
        let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/run");
        for entry in std::fs::read_dir(whole).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
        }
    }
    std::fs::copy(path, folder.join(name)).unwrap();
    match Run::read(&folder) {
        Ok(run) => {
            let classes = run.summary.classes.len();
            let confusions = run.summary.partitions.iter().flat_map(|p| &p.evaluation);
            let fit = |e: &ssan::evaluation::Evaluation| e.confusion.len() == classes;
            Ok(match confusions.into_iter().all(fit) {
                true => Ok(()),
                false => Err("has tables of other classes".to_string()),
            })
        }
        // The error names the file in the folder, and this is the file that was put there.
        Err(error) if error.to_string().contains(name) => Err(ssan::Error::file(path, error)),
        Err(error) => Err(error),
    }
}

/// The runs of a sweep's file, listed by the command.
fn sweep(path: &Path) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ssan"));
    let output = command.arg("sweep").arg(path).arg("--dry-run").output();
    let output = output.expect("the binary runs");
    let error = String::from_utf8_lossy(&output.stderr);
    match (output.status.code(), error.strip_prefix("error: ")) {
        (Some(0), _) => Ok(Ok(())),
        (Some(1 | 2), Some(error)) => Err(ssan::Error::file(path, error.trim_end())),
        _ => Ok(Err(format!("ends with {}: {error}", output.status))),
    }
}

/// A domain, with the usual keys or others, or its samples.
fn domain(path: &Path, variant: usize) -> Outcome {
    let own = |names: &[&str]| names.iter().map(|n| n.to_string()).collect();
    if variant == 4 {
        return read_samples(path, &Keys::default()).map(|domain| sound(&domain));
    }
    let keys = match variant {
        0 => Keys::default(),
        1 => Keys {
            label_column: LabelColumn::First,
            features: own(&["T", "U"]),
            labels: own(&["T_Label"]),
            ignored_columns: own(&["0", "a"]),
        },
        2 => Keys {
            label_column: LabelColumn::Absent,
            features: own(&["labels"]),
            labels: own(&["fts"]),
            ignored_columns: Vec::new(),
        },
        _ => Keys {
            label_column: LabelColumn::Named("class".to_string()),
            features: own(&["fts"]),
            labels: Vec::new(),
            ignored_columns: own(&["b", "class"]),
        },
    };
    read_domain(path, &keys).map(|domain| sound(&domain))
}

fn sound(domain: &Domain) -> Result<(), String> {
    let features = &domain.features;
    let (rows, cols) = (features.rows(), features.cols());
    let implied = rows.saturating_mul(cols);
    if implied > 1 << 24 {
        // Sparse: what is stored is all that was read.
        return match features.stored() < implied {
            true => Ok(()),
            false => Err(format!("holds {rows} × {cols} values")),
        };
    }
    let (rows, cols, values) = (&rows, &cols, &features.dense(0..rows).values);
    if *rows == 0 || *cols == 0 || values.len() != rows * cols {
        return Err(format!(
            "gives {rows} × {cols} with {} values",
            values.len()
        ));
    }
    if domain.labels.len() != *rows || domain.parts.iter().sum::<usize>() != *rows {
        return Err(format!(
            "gives {} labels for {rows} rows",
            domain.labels.len()
        ));
    }
    for row in values.chunks_exact(*cols) {
        let norm = row.iter().map(|x| x * x).sum::<f64>();
        if norm != 0.0 && (norm - 1.0).abs() > 1e-9 {
            return Err(format!("gives a row of squared length {norm}"));
        }
    }
    match domain.notes.iter().find(|note| note.contains('\n')) {
        Some(note) => Err(format!("notes {note:?}")),
        None => Ok(()),
    }
}

/// A split of seven source and nine target rows.
fn split(path: &Path, _: usize) -> Outcome {
    let domain = |labels: &[i64]| Domain {
        name: "given".to_string(),
        columns: None,
        frequencies: false,
        features: Matrix {
            rows: labels.len(),
            cols: 1,
            values: vec![1.0; labels.len()],
        }
        .into(),
        labels: labels
            .iter()
            .map(|&k| (k >= 0).then_some(Label::Integer(k)))
            .collect(),
        parts: vec![labels.len()],
        notes: Vec::new(),
    };
    let (source, target) = ([0, 1, 0, 1, 1, 0, -1], [0, 1, 0, 1, 0, 1, 1, -1, 0]);
    let task = Task::new(domain(&source), domain(&target)).unwrap();
    read_split(path, &task).map(|split| {
        let lists = [
            (&split.source, source.len()),
            (&split.labelled, target.len()),
            (&split.unlabelled, target.len()),
        ];
        for (rows, len) in lists {
            if rows.is_empty() || !rows.is_sorted() || rows.iter().any(|&i| i >= len) {
                return Err(format!("gives rows {rows:?} of {len}"));
            }
        }
        Ok(())
    })
}

/// Parameters of a small model, of one layer or two.
fn parameters_of_a_model(path: &Path, variant: usize) -> Outcome {
    let dimensions = Dimensions {
        source: 3,
        target: 4,
        common: 2,
        classes: 2,
        layers: [Layers::Double, Layers::Single][variant % 2],
    };
    parameters::load(path, &dimensions).map(|parameters| {
        let shapes = dimensions.parameters();
        let right = shapes.len() == parameters.len()
            && shapes.iter().zip(&parameters).all(|(shape, values)| {
                values.len() == shape.rows * shape.cols && values.iter().all(|x| x.is_finite())
            });
        right
            .then_some(())
            .ok_or_else(|| "gives parameters of other shapes".to_string())
    })
}

/// A trained model, put to rows of either domain. Numbers may be too large for probabilities.
fn model(path: &Path, variant: usize) -> Outcome {
    let model = TrainedModel::load(path)?;
    let side = [Side::Source, Side::Target][variant % 2];
    let cols = model.inputs(side);
    let rows = Matrix {
        rows: 2,
        cols,
        values: (0..2 * cols).map(|i| (i % 3) as f64).collect(),
    };
    let Ok(opinions) = model.opinions(side, &rows.into()) else {
        return Ok(Ok(()));
    };
    let classes = model.classes.len();
    let right = opinions.len() == model.members.len()
        && opinions.iter().all(|o| {
            let nearest = o.nearest.as_deref().unwrap_or(&[0, 0]);
            let known = nearest.iter().all(|&k| (0..classes as i32).contains(&k));
            let finite = o.probabilities.iter().all(|p| (0.0..1.001).contains(p));
            known && finite && nearest.len() == 2 && o.probabilities.len() == 2 * classes
        });
    Ok(match right {
        true => Ok(()),
        false => Err("labels other rows or classes".to_string()),
    })
}
