//! The page.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::Report;
use super::picture::{principal_components, t_sne};
use super::plot::{self, Point, Series, Shape, color};
use super::run::{Embedding, Epoch, Run, TERMS};
use crate::data::{Matrix, legible};
use crate::train::{Control, PartitionResult};

/// Points of a line: more would not be seen.
const MOST_POINTS: usize = 400;

/// Rows whose neighbourhoods are drawn: the time grows with their square.
const MOST_NEIGHBOURS: usize = 600;

/// Letters of a class's name in a plot.
const NAME: usize = 16;

const STYLE: &str = "
:root { color-scheme: light dark; --back: #fff; --text: #1c1c1c; --soft: #5c5c5c; --line: #d8d8d8;
  --bar: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --back: #16181b; --text: #e8e8e8; --soft: #a4a4a4;
  --line: #3a3d42; --bar: #56b4e9; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 70rem; background: var(--back);
  color: var(--text); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.3rem; margin-top: 2.5rem; } h3 { font-size: 1.05rem; }
h1, h2, h3 { line-height: 1.25; overflow-wrap: anywhere; }
p, figcaption, dt { color: var(--soft); } figcaption { font-size: .9rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th { font-weight: 600; white-space: normal; vertical-align: bottom; }
figure { margin: 1rem 0; min-width: 0; }
svg { display: block; width: 100%; height: auto; max-width: 720px; color: var(--text); }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr));
  gap: 1rem; }
.matrix svg { min-width: 20rem; } .many svg { min-width: 33rem; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; padding: 0; list-style: none; }
.legend li { overflow-wrap: anywhere; }
.swatch { display: inline-block; width: .8em; height: .8em; margin-right: .4em;
  vertical-align: -.05em; border-radius: 2px; }
.bar { display: inline-block; width: 5rem; height: .7em; background: var(--line); }
.bar span { display: block; height: 100%; background: var(--bar); }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .1rem 1rem; }
dd { margin: 0; overflow-wrap: anywhere; }
summary { cursor: pointer; }
";

/// The report of `runs`.
pub(super) fn report(runs: &[Run]) -> Report {
    let mut plots = Plots(Vec::new());
    let title = match runs {
        [run] => task(run),
        _ => format!("{} runs", runs.len()),
    };
    let body = html! {
        h1 { "ssan: " (title) }
        (overview(runs))
        @if runs.len() > 1 {
            (plots.figure("comparison", comparison(runs),
                "Accuracy on the unlabelled target over the epochs, mean over all networks."))
        }
        @for (i, run) in runs.iter().enumerate() {
            (section(run, i, runs.len(), &mut plots))
        }
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "ssan: " (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    };
    Report {
        html: page.into_string(),
        plots: plots.0,
    }
}

/// Name and text of each plot.
struct Plots(Vec<(String, String)>);

impl Plots {
    /// Keeps a plot, and shows it.
    fn figure(&mut self, name: &str, svg: String, caption: &str) -> Markup {
        let figure = html! {
            figure {
                (PreEscaped(&svg))
                figcaption { (caption) }
            }
        };
        self.0.push((name.to_string(), svg));
        figure
    }
}

fn task(run: &Run) -> String {
    let [source, target] = [&run.summary.source, &run.summary.target].map(|name| legible(name));
    format!("{source} → {target}")
}

fn percent(x: Option<f64>) -> String {
    x.map_or("–".to_string(), |x| format!("{x:.1}"))
}

fn spread(mean: Option<f64>, std: Option<f64>) -> String {
    match (mean, std) {
        (Some(mean), Some(std)) => format!("{mean:.1} ± {std:.1}"),
        _ => "–".to_string(),
    }
}

/// The runs' results beside each other.
fn overview(runs: &[Run]) -> Markup {
    let knows = runs.iter().any(|run| run.summary.mean_last.is_some());
    let mut controls = Vec::from(Control::ALL);
    controls.retain(|name| {
        let mut all = runs.iter().flat_map(|run| &run.summary.controls);
        all.any(|control| control.name == *name)
    });
    html! {
        div.wide {
            table {
                thead {
                    tr {
                        @if runs.len() > 1 { th { "run" } th { "task" } }
                        th { "recipe" }
                        th { "partitions" }
                        th { "epochs" }
                        th { "last epoch %" }
                        th { "kept %" }
                        th { "kept by" }
                        @for name in &controls {
                            th { @match name { Control::Noise => "noise as source %", Control::TargetOnly => "target alone %" } }
                        }
                        th { "best epoch % (oracle)" }
                    }
                }
                tbody {
                    @for run in runs {
                        @let s = &run.summary;
                        tr {
                            @if runs.len() > 1 { td { (legible(&run.name)) } td { (task(run)) } }
                            td { (s.recipe) }
                            td { (s.partitions.len()) }
                            td { (run.epochs.len()) }
                            td { (spread(s.mean_last, s.std_last)) }
                            td { (spread(s.mean_chosen, s.std_chosen)) }
                            td { (s.select) }
                            @for name in &controls {
                                @let control = s.controls.iter().find(|c| c.name == *name);
                                td { (spread(control.and_then(|c| c.mean), control.and_then(|c| c.std))) }
                            }
                            td { (percent(s.mean_best)) }
                        }
                    }
                }
            }
        }
        @if knows {
            p {
                "Accuracy on the unlabelled target rows, mean ± standard deviation over the "
                "partitions. The best epoch is chosen by the test labels, which nobody has: an oracle."
            }
        } @else {
            p { "The unlabelled target rows have no known class, so there is no accuracy to report." }
        }
    }
}

/// At most [`MOST_POINTS`] epochs with their numbers from 1, the last one among them.
fn thinned(epochs: &[Epoch]) -> impl Iterator<Item = (f64, &Epoch)> {
    let step = epochs.len().div_ceil(MOST_POINTS).max(1);
    let all = epochs.iter().enumerate().rev().step_by(step);
    let mut kept: Vec<(f64, &Epoch)> = all.map(|(i, epoch)| ((i + 1) as f64, epoch)).collect();
    kept.reverse();
    kept.into_iter()
}

/// A line of what `of` says of each epoch.
fn line(
    name: &str,
    i: usize,
    of_lines: usize,
    epochs: &[Epoch],
    of: impl Fn(&Epoch) -> Option<f64>,
) -> Series {
    let points = thinned(epochs).filter_map(|(e, epoch)| Some((e, of(epoch)?)));
    Series {
        name: name.to_string(),
        color: color(i, of_lines),
        points: points.collect(),
        band: Vec::new(),
    }
}

fn comparison(runs: &[Run]) -> String {
    let lines = runs.iter().enumerate().map(|(i, run)| {
        let name = shortened(&run.name);
        line(&name, i, runs.len(), &run.epochs, |e| e.accuracies[2])
    });
    let lines: Vec<Series> = lines.collect();
    plot::lines("accuracy of all runs", "accuracy %", &lines, false)
}

/// All about one run; the `i`th `of` several.
fn section(run: &Run, i: usize, of: usize, plots: &mut Plots) -> Markup {
    let prefix = match of {
        1 => String::new(),
        _ => format!("{}-", i + 1),
    };
    let name = |plot: &str| format!("{prefix}{plot}");
    html! {
        h2 { @if of > 1 { (legible(&run.name)) ": " } (task(run)) }
        (training(run, &name, plots))
        (partitions(run))
        (classes(run, &name, plots))
        (common_space(run, &name, plots))
        details {
            summary { "Options, version, device" }
            dl {
                dt { "ssan" } dd { (run.config.program.version) }
                dt { "device" } dd { (run.config.program.device) }
                @for (option, value) in &run.config.options {
                    dt { (option) }
                    dd { (value.as_str().map_or(value.to_string(), str::to_string)) }
                }
            }
        }
    }
}

/// Accuracies, losses and pseudo-labels over the epochs.
fn training(run: &Run, name: &dyn Fn(&str) -> String, plots: &mut Plots) -> Markup {
    let epochs = &run.epochs;
    let names = ["source", "labelled target", "unlabelled target"];
    // The colours of what matters most come first.
    let mut accuracies: Vec<Series> = names
        .iter()
        .enumerate()
        .rev()
        .map(|(i, name)| line(name, 2 - i, 3, epochs, |e| e.accuracies[i]))
        .collect();
    let band = thinned(epochs).filter_map(|(e, epoch)| {
        let (low, high) = epoch.range?;
        Some((e, low, high))
    });
    accuracies[0].band = band.collect();
    accuracies.retain(|series| !series.points.is_empty());
    let terms = TERMS.iter().enumerate();
    let terms = terms.map(|(i, name)| line(name, i, TERMS.len(), epochs, |e| Some(e.terms[i])));
    let terms: Vec<Series> = terms
        .filter(|series| series.points.iter().any(|p| p.1 > 0.0))
        .collect();
    let mut selected = vec![line("selected", 0, 2, epochs, |e| Some(e.selected))];
    let right = line("of them right", 1, 2, epochs, |e| e.selected_correct);
    if !right.points.is_empty() {
        selected.push(right);
    }
    let last = epochs.last();
    let precision = last.and_then(|e| Some(100.0 * e.selected_correct? / e.selected));
    let precision = precision.filter(|p| p.is_finite());
    html! {
        h3 { "Training" }
        div.pair {
            (plots.figure(&name("accuracy"), plot::lines("accuracy", "accuracy %", &accuracies, false),
                "Accuracy, mean over all networks; the band spans the networks' on the unlabelled target."))
            (plots.figure(&name("loss"), plot::lines("loss terms", "loss", &terms, true),
                "Loss terms, mean over all networks."))
            (plots.figure(&name("pseudo-labels"), plot::lines("pseudo-labels", "rows", &selected, false),
                &match precision {
                    Some(p) => format!("Pseudo-labels that network and prototypes agree on: \
                        {p:.1} % of the last epoch's are right."),
                    None => "Pseudo-labels that network and prototypes agree on.".to_string(),
                }))
        }
    }
}

/// The results of the partitions.
fn partitions(run: &Run) -> Markup {
    let mut results = run.summary.partitions.iter();
    let labelled = results.any(|p| p.result.pseudo_labelled.is_some());
    let row = |r: &PartitionResult| {
        html! {
            tr {
                td { (r.partition) }
                td { (percent(r.accuracy_last)) }
                td { (percent(r.accuracy_chosen)) }
                td { (r.epoch_chosen) }
                td { (percent(r.accuracy_best)) }
                td { (percent(r.labelled_accuracy)) }
                td { (percent(r.source_accuracy)) }
                @if labelled { td { (r.pseudo_labelled.unwrap_or_default()) } }
            }
        }
    };
    html! {
        h3 { "Partitions" }
        div.wide {
            table {
                thead {
                    tr {
                        th { "partition" } th { "last epoch %" } th { "kept %" }
                        th { "kept after epochs" } th { "best epoch % (oracle)" }
                        th { "labelled target %" } th { "source %" }
                        @if labelled { th { "rows with pseudo-labels" } }
                    }
                }
                tbody { @for partition in &run.summary.partitions { (row(&partition.result)) } }
            }
        }
        @if let Some(transfer) = &run.summary.transfer {
            p { "Cross-validation (--check-transfer): " (transfer) "." }
        }
    }
}

/// Classes up to which the confusion matrix is drawn: with a few hundred a page takes many megabytes.
const MATRIX: usize = 150;

/// Accuracy of each class and the confusion matrix, over all partitions.
fn classes(run: &Run, name: &dyn Fn(&str) -> String, plots: &mut Plots) -> Markup {
    let evaluations = run.summary.partitions.iter();
    let evaluations: Vec<_> = evaluations.filter_map(|p| p.evaluation.as_ref()).collect();
    if evaluations.is_empty() {
        return html! {};
    }
    let k = run.summary.classes.len();
    let mut confusion = vec![vec![0; k]; k];
    for evaluation in &evaluations {
        for (sums, row) in confusion.iter_mut().zip(&evaluation.confusion) {
            sums.iter_mut().zip(row).for_each(|(sum, n)| *sum += n);
        }
    }
    let names = class_names(run);
    let n = evaluations.len() as f64;
    let calibration: f64 = evaluations.iter().map(|e| e.calibration_error).sum::<f64>() / n;
    let f1: f64 = evaluations.iter().map(|e| e.macro_f1).sum::<f64>() / n;
    html! {
        h3 { "Classes" }
        p {
            "Of the networks that are kept, over all partitions: macro-F1 " (format!("{f1:.1}"))
            " %, expected calibration error " (format!("{calibration:.1}")) " %."
        }
        div.pair {
            div.wide {
                table {
                    thead { tr { th { "class" } th { "rows" } th { "accuracy %" } th { } } }
                    tbody {
                        @for (i, row) in confusion.iter().enumerate() {
                            @let rows: usize = row.iter().sum();
                            @let share = (rows > 0).then(|| 100.0 * row[i] as f64 / rows as f64);
                            tr {
                                td { (legible(&run.summary.classes[i].to_string())) }
                                td { (rows) }
                                td { (percent(share)) }
                                td {
                                    span.bar {
                                        span style=(format!("width:{:.0}%", share.unwrap_or(0.0))) {}
                                    }
                                }
                            }
                        }
                    }
                }
            }
            @if k <= MATRIX { div.wide.matrix.many[k > plot::MANY] {
                (plots.figure(&name("confusion"),
                    plot::confusion("confusion matrix", &confusion, &names),
                    "Confusion matrix: a row for each true class, a column for each label given."))
            } } @else {
                p { "The confusion matrix of " (k) " classes is in summary.json." }
            }
        }
    }
}

/// Names of the classes, fit for a plot.
fn class_names(run: &Run) -> Vec<String> {
    let names = run.summary.classes.iter();
    names.map(|class| shortened(&class.to_string())).collect()
}

fn shortened(name: &str) -> String {
    let name = legible(name);
    match name.char_indices().nth(NAME) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name,
    }
}

/// The common space in two dimensions, before training and after.
fn common_space(run: &Run, name: &dyn Fn(&str) -> String, plots: &mut Plots) -> Markup {
    let embedding = &run.embedding;
    let k = run.summary.classes.len();
    let [before, after] = &embedding.rows;
    let all: Vec<usize> = (0..before.rows).collect();
    let some = embedding.some(MOST_NEIGHBOURS);
    let neighbours = |rows: &Matrix| t_sne(&rows.select_rows(&some));
    let (near_before, near_after) = rayon::join(|| neighbours(before), || neighbours(after));
    let [components, near] = ["Principal components", "t-SNE"];
    let pictures = [
        (
            "pca-before",
            components,
            "before",
            &all,
            Some(principal_components(before)),
        ),
        (
            "pca-after",
            components,
            "after",
            &all,
            Some(principal_components(after)),
        ),
        ("t-sne-before", near, "before", &some, near_before),
        ("t-sne-after", near, "after", &some, near_after),
    ];
    let mut figures = Vec::new();
    for (short, method, when, rows, places) in pictures {
        let Some(places) = places else { continue };
        let points = points(embedding, rows, &places);
        let svg = plot::scatter(&format!("{method} {when} training"), &points, k);
        let caption = format!("{method}, {when} training.");
        figures.push(plots.figure(&name(short), svg, &caption));
    }
    html! {
        h3 { "Common space" }
        p {
            "Rows of the first partition in its first network's common space. Circles are source "
            "rows, crosses unlabelled target rows, filled triangles labelled target rows."
        }
        ul.legend {
            @for (i, class) in run.summary.classes.iter().enumerate() {
                @let shade = color(i, k);
                li {
                    span.swatch style=(format!("background:rgb({},{},{})", shade.0, shade.1, shade.2)) {}
                    (legible(&class.to_string()))
                }
            }
        }
        div.pair { @for figure in figures { (figure) } }
    }
}

/// The `rows` of the embedding at `places`.
fn points(embedding: &Embedding, rows: &[usize], places: &[(f64, f64)]) -> Vec<Point> {
    let rows = rows.iter().zip(places);
    let point = |(&i, &at): (&usize, &(f64, f64))| Point {
        at,
        class: embedding.classes[i],
        shape: match i.checked_sub(embedding.source) {
            None => Shape::Source,
            Some(target) if embedding.labelled[target] => Shape::Labelled,
            Some(_) => Shape::Unlabelled,
        },
    };
    rows.map(point).collect()
}
