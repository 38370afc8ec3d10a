//! `ssan evaluate`.

use clap::Args;
use comfy_table::CellAlignment;
use serde::Serialize;

use super::models::{Labelling, ModelArgs};
use super::output::{Text, counted, print, table};
use crate::data::{Label, class_indices, read_domain};
use crate::error::{Error, Result};
use crate::evaluation::{CALIBRATION_BINS, Evaluation, evaluate, mean_and_std};
use crate::predictions;
use crate::train::vote;

/// Classes up to which the whole confusion matrix is shown.
const SHOWN: usize = 16;

/// Options of `ssan evaluate`. All samples of the file that have a label count, also those whose
/// label training used.
#[derive(Args)]
pub(super) struct EvaluateArgs {
    #[command(flatten)]
    models: ModelArgs,

    /// Print the result as one JSON object on standard output, and all else on standard error
    #[arg(long)]
    json: bool,
}

/// What `--json` prints; in percent.
#[derive(Serialize)]
struct Report<'a> {
    input: String,
    domain: String,
    /// Samples in the file.
    samples: usize,
    models: usize,
    networks: usize,
    classes: &'a [Label],
    #[serde(flatten)]
    evaluation: &'a Evaluation,
    /// Bins of equal width that the calibration error is taken over.
    calibration_bins: usize,
    /// Samples where the most similar prototypes agree; nothing of models without a second opinion.
    prototypes_agree: Option<f64>,
    /// Accuracy of each model alone.
    model_accuracies: Vec<f64>,
}

/// Evaluates as the options say.
pub(super) fn run(args: &EvaluateArgs) -> Result<()> {
    let labelling = args.models.label(read_domain)?;
    let text = Text {
        json: args.json,
        ..Text::default()
    };
    let input = &args.models.input;
    for note in &labelling.samples.notes {
        text.line(format_args!("note: {}: {note}", labelling.samples.name))?;
    }
    let classes = &labelling.models[0].classes;
    let truth = class_indices(&labelling.samples.labels, classes);
    let truth = truth.map_err(|cause| Error::file(input, cause))?;
    let figures = |probabilities: &[f64]| {
        evaluate(&truth, probabilities, classes.len()).ok_or_else(|| {
            let cause =
                "has no labels to compare with; --labels-key and --label-column choose them";
            Error::file(input, cause)
        })
    };
    let evaluation = figures(&vote(&labelling.opinions))?;
    let each = labelling.by_model();
    let each = each.map(|own| Ok(figures(&vote(own))?.accuracy));
    let labels = predictions::labels(&labelling.opinions, classes.len());
    let agreeing = labels.iter().filter(|label| label.prototypes_agree).count();
    let asked = labelling.opinions[0].nearest.is_some();
    let report = Report {
        input: input.display().to_string(),
        domain: labelling.side.to_string(),
        samples: truth.len(),
        models: labelling.models.len(),
        networks: labelling.opinions.len(),
        classes,
        evaluation: &evaluation,
        calibration_bins: CALIBRATION_BINS,
        prototypes_agree: asked.then(|| 100.0 * agreeing as f64 / labels.len() as f64),
        model_accuracies: each.collect::<Result<Vec<f64>>>()?,
    };
    match args.json {
        true => print(&serde_json::to_string(&report).expect("numbers and names")),
        false => report.tell(&text, &labelling),
    }
}

impl Report<'_> {
    fn tell(&self, text: &Text, labelling: &Labelling) -> Result<()> {
        let found = self.evaluation;
        let rows = counted(found.rows, &format!("labelled {} row", self.domain));
        text.line(format_args!("{rows}, {}", labelling.voters()))?;
        let mut figures = table();
        figures.add_row(["accuracy", &format!("{:.2} %", found.accuracy)]);
        if let [_, _, ..] = self.model_accuracies[..] {
            let (mean, std) = mean_and_std(&self.model_accuracies);
            figures.add_row(["of a model alone", &format!("{mean:.2} ± {std:.2} %")]);
        }
        figures.add_row(["macro-F1", &format!("{:.2} %", found.macro_f1)]);
        let error = format!(
            "{:.2} % (expected, {CALIBRATION_BINS} bins)",
            found.calibration_error
        );
        figures.add_row(["calibration error", &error]);
        if let Some(agreeing) = self.prototypes_agree {
            figures.add_row(["prototypes agree", &format!("{agreeing:.2} %")]);
        }
        text.line(figures.trim_fmt())?;
        text.line(self.confusion().trim_fmt())
    }

    /// A row per class: how often it is right, and what it is taken for.
    fn confusion(&self) -> comfy_table::Table {
        let found = self.evaluation;
        let whole = self.classes.len() <= SHOWN;
        let names: Vec<String> = self.classes.iter().map(|class| class.to_string()).collect();
        let mut table = table();
        let mut header = vec![
            "class".to_string(),
            "rows".to_string(),
            "right %".to_string(),
        ];
        match whole {
            true => header.extend(names.iter().map(|name| format!("as {name}"))),
            false => header.push("most taken for".to_string()),
        }
        table.set_header(header);
        for (k, name) in names.iter().enumerate() {
            let row = &found.confusion[k];
            let right = found.per_class_accuracy[k];
            let right = right.map_or("–".to_string(), |right| format!("{right:.1}"));
            let rows = row.iter().sum::<usize>().to_string();
            let mut cells = vec![name.clone(), rows, right];
            match whole {
                true => cells.extend(row.iter().map(usize::to_string)),
                false => {
                    let mut wrong: Vec<usize> =
                        (0..row.len()).filter(|&j| j != k && row[j] > 0).collect();
                    wrong.sort_by_key(|&j| std::cmp::Reverse(row[j]));
                    let shown = wrong.iter().take(3);
                    let shown = shown.map(|&j| format!("{} ({})", names[j], row[j]));
                    cells.push(shown.collect::<Vec<String>>().join(", "));
                }
            }
            table.add_row(cells);
        }
        let numbers = if whole { usize::MAX } else { 2 };
        for column in table.column_iter_mut().skip(1).take(numbers) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}
