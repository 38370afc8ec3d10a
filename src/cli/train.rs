//! `ssan train`.

use std::path::{Path, PathBuf};

use comfy_table::CellAlignment;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::options::{RecipeName, TaskNames, TrainArgs};
use super::output::{Text, abridged, complain, counted, print, table};
use crate::data::{self, Domain, Labelling, Split, Task};
use crate::device;
use crate::error::{Error, Result};
use crate::files::AtomicFile;
use crate::inference::TrainedModel;
use crate::model::Parameters;
use crate::model_file;
use crate::parameters;
use crate::predictions;
use crate::train::{EpochMetrics, Options, PartitionResult, Problem, memory, train};

/// What `--json` prints; accuracies in percent, `None` where no ground truth is known.
#[derive(Serialize)]
struct Summary {
    source: String,
    target: String,
    device: String,
    recipe: RecipeName,
    partitions: Vec<PartitionResult>,
    mean_last: Option<f64>,
    /// Standard deviation over partitions, divided by their number.
    std_last: Option<f64>,
    mean_best: Option<f64>,
}

/// Trains as the options say.
pub(super) fn run(args: &TrainArgs) -> Result<()> {
    let options = args.options()?;
    let partitions = args.partitions()?;
    let text = Text { json: args.json };
    let chosen = device::choose(args.request())?;
    if let Some(note) = &chosen.note {
        complain(&format!("note: {note}"));
    }
    if let Some(note) = options.first_layer_note() {
        complain(&format!("note: {note}"));
    }

    let task = read_task(args)?;
    memory::check(&task, partitions, &options)?;
    let splits = splits(args, &task, partitions)?;
    describe(&text, &task, &splits)?;
    let problem = Problem::new(&task, &splits, &options);
    let dimensions = problem.dimensions(&options);
    let initial: Vec<Parameters> = match &args.init {
        Some(file) => vec![parameters::load(file, &dimensions)?; problem.networks()],
        None => problem.initial_parameters(&options, args.seed),
    };
    // What cannot be written is told before training.
    let create = |path: &Option<PathBuf>| path.as_deref().map(AtomicFile::create).transpose();
    let (mut metrics, predictions) = (create(&args.metrics)?, create(&args.predictions)?);
    if let Some(folder) = &args.checkpoint_path {
        std::fs::create_dir_all(folder).map_err(|e| {
            Error::file(
                folder,
                format!("cannot be made: {e}; see --checkpoint_path"),
            )
        })?;
    }

    let device = chosen.device.to_string();
    text.line(format_args!(
        "{} epochs of {}, {}, on {device}",
        options.epochs,
        counted(partitions, "partition"),
        format_args!(
            "recipe {}, {} each",
            args.recipe.name(),
            counted(options.members, "network")
        ),
    ))?;
    let mut progress = Progress::new(&options, partitions);
    let outcome = train::<f32>(
        &problem,
        &options,
        &initial,
        |graph| chosen.device.load_with(graph, !args.no_graph),
        &mut |epoch| {
            if let Some(file) = &mut metrics {
                let mut line = serde_json::to_string(epoch).expect("numbers and names");
                line.push('\n');
                file.write(line.as_bytes())?;
            }
            progress.show(epoch);
            Ok(())
        },
    );
    progress.bar.finish_and_clear();
    let outcome = outcome?;

    if let Some(file) = metrics {
        file.commit()?;
    }
    if let Some(mut file) = predictions {
        let found = predictions::predictions(&splits, &outcome.opinions, task.classes.len());
        file.write(&predictions::to_csv(&found, &task.classes))?;
        file.commit()?;
    }
    if let Some(folder) = &args.checkpoint_path {
        let models = TrainedModel::of_run(&task, &problem, &options, &outcome);
        for (p, model) in models.iter().enumerate() {
            model.save(&folder.join(model_file::name(p)))?;
        }
    }
    let summary = Summary::new(&task, device, args.recipe, outcome.partitions);
    summary.tell(&text, args.checkpoint_path.as_deref())?;
    if args.json {
        print(&serde_json::to_string(&summary).expect("numbers and names"))?;
    }
    Ok(())
}

fn read_task(args: &TrainArgs) -> Result<Task> {
    let [source, target] = match args.task() {
        TaskNames::Bundled => data::digits()?.into(),
        TaskNames::Named(names) => {
            // Both are looked up before the first is read, which may take a while.
            let paths = [
                data::find(names[0], &args.data_dir)?,
                data::find(names[1], &args.data_dir)?,
            ];
            let keys = args.keys();
            [
                data::read_domain(&paths[0], &keys[0])?,
                data::read_domain(&paths[1], &keys[1])?,
            ]
        }
    };
    Task::new(source, target)
}

fn splits(args: &TrainArgs, task: &Task, partitions: usize) -> Result<Vec<Split>> {
    let how = match (&args.split, args.labelled_per_class) {
        (Some(file), _) => Labelling::Fixed(data::read_split(file, task)?),
        (None, Some(n)) => Labelling::PerClass(n),
        (None, None) => task.default_labelling(3),
    };
    task.splits(&how, partitions, args.seed)
}

/// Tells what is trained on.
fn describe(text: &Text, task: &Task, splits: &[Split]) -> Result<()> {
    let split = &splits[0];
    let mut table = table();
    let mut domain = |role: &str, domain: &Domain, rows: String| {
        let size = format!("{} × {}", domain.features.rows, domain.features.cols);
        table.add_row([role, &domain.name, &size, &rows]);
    };
    domain(
        "source",
        &task.source,
        format!("{} in use", split.source.len()),
    );
    let rows = format!(
        "{} labelled, {} to label",
        split.labelled.len(),
        split.unlabelled.len()
    );
    domain("target", &task.target, rows);
    text.line(table.trim_fmt())?;
    let classes: Vec<String> = task.classes.iter().map(|c| c.to_string()).collect();
    text.line(format_args!(
        "{} classes: {}",
        classes.len(),
        abridged(&classes)
    ))?;
    let domains = [&task.source, &task.target];
    let notes = domains.map(|d| d.notes.iter().map(|note| format!("{}: {note}", d.name)));
    for note in notes
        .into_iter()
        .flatten()
        .chain(task.notes.iter().cloned())
    {
        text.line(format_args!("note: {note}"))?;
    }
    Ok(())
}

/// Progress over epochs, on a terminal alone.
struct Progress {
    bar: ProgressBar,
    /// Sums over the partitions of the current epoch: loss, accuracy, partitions with an accuracy.
    sums: (f64, f64, usize),
    partitions: usize,
}

impl Progress {
    fn new(options: &Options, partitions: usize) -> Progress {
        let bar = ProgressBar::new(options.epochs as u64);
        let style = "{bar:30} {pos}/{len} epochs  {msg}  {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
        Progress {
            bar,
            sums: (0.0, 0.0, 0),
            partitions,
        }
    }

    fn show(&mut self, epoch: &EpochMetrics) {
        let (loss, accuracy, known) = &mut self.sums;
        *loss += epoch.total;
        if let Some(value) = epoch.unlabelled_acc {
            *accuracy += value;
            *known += 1;
        }
        if epoch.partition + 1 < self.partitions {
            return;
        }
        let mut message = format!("loss {:.4}", *loss / self.partitions as f64);
        if *known > 0 {
            message += &format!("  accuracy {:.1} %", *accuracy / *known as f64);
        }
        self.sums = (0.0, 0.0, 0);
        self.bar.set_message(message);
        self.bar.set_position(epoch.epoch as u64 + 1);
    }
}

impl Summary {
    fn new(
        task: &Task,
        device: String,
        recipe: RecipeName,
        partitions: Vec<PartitionResult>,
    ) -> Summary {
        let values = |of: fn(&PartitionResult) -> Option<f64>| -> Option<Vec<f64>> {
            partitions.iter().map(of).collect()
        };
        let last = values(|p| p.accuracy_last);
        let best = values(|p| p.accuracy_best);
        let mean = |values: &Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
        let std = |values: &Vec<f64>| {
            let mean = mean(values);
            let squares: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
            (squares / values.len() as f64).sqrt()
        };
        Summary {
            source: task.source.name.clone(),
            target: task.target.name.clone(),
            device,
            recipe,
            mean_last: last.as_ref().map(mean),
            std_last: last.as_ref().map(std),
            mean_best: best.as_ref().map(mean),
            partitions,
        }
    }

    fn tell(&self, text: &Text, checkpoint: Option<&Path>) -> Result<()> {
        let percent = |x: Option<f64>| x.map_or("–".to_string(), |x| format!("{x:.2}"));
        let mut table = table();
        table.set_header([
            "partition",
            "last epoch %",
            "best epoch % (oracle)",
            "source %",
            "labelled target %",
            "ms/epoch",
        ]);
        for p in &self.partitions {
            table.add_row([
                p.partition.to_string(),
                percent(p.accuracy_last),
                percent(p.accuracy_best),
                percent(p.source_accuracy),
                percent(p.labelled_accuracy),
                format!("{:.2}", p.ms_per_epoch),
            ]);
        }
        for column in table.column_iter_mut() {
            column.set_cell_alignment(CellAlignment::Right);
        }
        text.line(table.trim_fmt())?;
        match (self.mean_last, self.std_last) {
            (Some(mean), Some(std)) => {
                let partitions = counted(self.partitions.len(), "partition");
                text.line(format_args!(
                    "accuracy on the unlabelled target, last epoch: {mean:.2} ± {std:.2} % \
                     (mean ± standard deviation of {partitions})"
                ))?;
                text.line(format_args!(
                    "best epoch: {} %, an oracle: it is chosen by the test labels, which nobody has",
                    percent(self.mean_best)
                ))?;
            }
            _ => text.line(
                "accuracy on the unlabelled target: unknown, its rows have no ground truth",
            )?,
        }
        match checkpoint {
            Some(folder) => text.line(format_args!("parameters: {}", folder.display())),
            None => text.line("parameters were not kept; --checkpoint_path DIR keeps them"),
        }
    }
}
