//! What a run tells of its data before it begins, and of its results.

use comfy_table::CellAlignment;

use super::super::output::{Text, abridged, counted, table};
use crate::data::{Domain, Split, Task};
use crate::error::Result;
use crate::run::{PartitionSummary, Summary};
use crate::train::{Control, Options, PartitionResult, Select};

/// Tells what is trained on.
pub(super) fn describe(text: &Text, task: &Task, splits: &[Split]) -> Result<()> {
    let split = &splits[0];
    let mut table = table();
    let mut domain = |role: &str, domain: &Domain, rows: String| {
        let size = format!("{} × {}", domain.features.rows(), domain.features.cols());
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

/// Tells what a run came to.
pub(super) fn tell(
    summary: &Summary,
    splits: &[Split],
    options: &Options,
    ms_per_epoch: f64,
    text: &Text,
    folder: &str,
) -> Result<()> {
    let percent = |x: Option<f64>| x.map_or("–".to_string(), |x| format!("{x:.2}"));
    let is_last = options.select == Select::Last;
    let mut table = table();
    let mut header = vec![
        "partition",
        "last epoch %",
        "best epoch % (oracle)",
        "source %",
        "labelled target %",
    ];
    if !is_last {
        header.extend(["chosen %", "after epochs"]);
    }
    table.set_header(header);
    for PartitionSummary { result, .. } in &summary.partitions {
        let mut row = vec![
            result.partition.to_string(),
            percent(result.accuracy_last),
            percent(result.accuracy_best),
            percent(result.source_accuracy),
            percent(result.labelled_accuracy),
        ];
        if !is_last {
            row.push(percent(result.accuracy_chosen));
            row.push(result.epoch_chosen.to_string());
        }
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    text.line(table.trim_fmt())?;
    match (summary.mean_last, summary.std_last) {
        (Some(mean), Some(std)) => {
            let partitions = counted(summary.partitions.len(), "partition");
            text.line(format_args!(
                "accuracy on the unlabelled target, last epoch: {mean:.2} ± {std:.2} % \
                 (mean ± standard deviation of {partitions}{})",
                known_rows(summary, splits)
            ))?;
            if let (false, Some(mean), Some(std)) =
                (is_last, summary.mean_chosen, summary.std_chosen)
            {
                let note = match options.select {
                    Select::BestTest => ", an oracle: the test labels choose",
                    _ => "",
                };
                text.line(format_args!(
                    "chosen by --select {}, which is kept: {mean:.2} ± {std:.2} %{note}",
                    summary.select
                ))?;
            }
            for control in &summary.controls {
                let what = match control.name {
                    Control::Noise => "with noise as source",
                    Control::TargetOnly => "labelled target rows alone",
                };
                let note = match options.select {
                    Select::BestTest => " (both chosen by the test labels)",
                    _ => "",
                };
                text.line(format_args!(
                    "{what}: {} ± {} %; the run has {:+.2} ± {} more{note}",
                    percent(control.mean),
                    percent(control.std),
                    control.gain_mean.unwrap_or_default(),
                    percent(control.gain_std)
                ))?;
            }
            text.line(format_args!(
                "best epoch: {} %, an oracle: it is chosen by the test labels, which nobody has",
                percent(summary.mean_best)
            ))?;
        }
        _ => {
            text.line("accuracy on the unlabelled target: unknown, its rows have no ground truth")?
        }
    }
    if let Some(why) = without_pseudo_labels(summary, options) {
        text.line(why)?;
    }
    if let Some(transfer) = &summary.transfer {
        text.line(transfer)?;
    }
    text.line(format_args!("{ms_per_epoch:.2} ms per epoch and partition"))?;
    text.line(format_args!(
        "labels, models, report.html and all else: {folder}; ssan predict {folder} labels new samples"
    ))
}

/// On how few rows an accuracy rests, where that is not on all.
fn known_rows(summary: &Summary, splits: &[Split]) -> String {
    let (Some(partition), Some(split)) = (summary.partitions.first(), splits.first()) else {
        return String::new();
    };
    let known = partition.evaluation.as_ref().map_or(0, |e| e.rows);
    match split.unlabelled.len() {
        all if known < all => format!(", on {known} of {all} rows, whose class is known"),
        _ => String::new(),
    }
}

/// Which partitions were trained without the pseudo-labels that the options ask for, and why.
fn without_pseudo_labels(summary: &Summary, options: &Options) -> Option<String> {
    let begin = options.pseudo_labels?.first(options.epochs);
    let results = summary.partitions.iter().map(|p| &p.result);
    let without = results.filter(|r| r.pseudo_labelled == Some(0));
    let (early, late): (Vec<_>, Vec<_>) = without.partition(|r| r.epochs <= begin);
    let told = |without: Vec<&PartitionResult>, why: &str| {
        let numbers: Vec<String> = without.iter().map(|r| r.partition.to_string()).collect();
        let of = match (without.len(), summary.partitions.len()) {
            (0, _) => return None,
            (n, all) if n == all => String::new(),
            (1, _) => format!("partition {}: ", numbers[0]),
            _ => format!("partitions {}: ", abridged(&numbers)),
        };
        Some(format!("{of}trained without pseudo-labels: {why}"))
    };
    let early = told(early, &format!("they begin after {begin} epochs"));
    let late = told(
        late,
        "by the networks' vote most neighbours in the target are of different classes",
    );
    let lines: Vec<String> = early.into_iter().chain(late).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}
