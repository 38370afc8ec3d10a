//! `ssan inspect`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::options::FieldArgs;
use super::output::{abridged, counted, print, table};
use crate::data::{self, Contents, Label, Normalisation, Role};
use crate::error::{Error, Result};
use crate::files;
use crate::inference::TrainedModel;
use crate::model::Layers;
use crate::model_file;
use crate::ops::Similarity;
use crate::parameters::{Tensor, tensors};
use crate::run::{self, RunDirectory, TransferSummary};

/// Options of `ssan inspect`.
#[derive(Args)]
pub(super) struct InspectArgs {
    /// A data file (.mat, .npz, .npy, .csv), a model (.safetensors), or a run's folder
    #[arg(value_name = "FILE|RUN")]
    path: PathBuf,

    #[command(flatten)]
    fields: FieldArgs,

    /// Print it as one JSON object
    #[arg(long)]
    json: bool,
}

/// What there is to see.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum View {
    Data(Contents),
    Model(ModelView),
    Parameters { tensors: Vec<Tensor> },
    Run(RunView),
}

/// How a model brings rows to unit length.
#[derive(Serialize)]
struct RowsView {
    source: Normalisation,
    target: Normalisation,
}

/// A trained model.
#[derive(Serialize)]
struct ModelView {
    source: String,
    target: String,
    source_features: usize,
    target_features: usize,
    common: usize,
    layers: &'static str,
    classes: Vec<Label>,
    normalisation: RowsView,
    logit_slope: f64,
    networks: usize,
    /// Numbers in the parameters of a network.
    parameters: usize,
    /// What rows are compared with prototypes by; `None` without prototypes.
    prototypes: Option<&'static str>,
}

/// A run's folder.
#[derive(Serialize)]
struct RunView {
    /// Whether it has ended; else what it is to be resumed from, if it can be.
    state: &'static str,
    files: Vec<(String, u64)>,
    /// What `summary.json` says.
    summary: Option<Value>,
    /// As many as there are splits; unknown without these.
    partitions: Option<usize>,
    /// Those that are there.
    models: usize,
    /// What all models have alike, as the first of them says.
    model: Option<ModelView>,
}

/// Shows what the options name.
pub(super) fn run(args: &InspectArgs) -> Result<()> {
    let path = &args.path;
    let view = if path.is_dir() {
        View::Run(RunView::of(path)?)
    } else if path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("safetensors"))
    {
        safetensors(path)?
    } else {
        View::Data(data::inspect(path, &args.fields.keys())?)
    };
    if args.json {
        return print(&serde_json::to_string(&view).expect("numbers and names"));
    }
    match view {
        View::Data(contents) => tell_data(&contents),
        View::Model(model) => model.tell(),
        View::Parameters { tensors } => {
            print("parameters alone, no trained model")?;
            let mut list = table();
            for tensor in &tensors {
                list.add_row([&tensor.name, &size(&tensor.shape), &tensor.kind]);
            }
            print(&list.trim_fmt())
        }
        View::Run(run) => run.tell(),
    }
}

/// A model, or parameters alone.
fn safetensors(path: &Path) -> Result<View> {
    let bytes = files::read(path)?;
    match model_file::is_model(&bytes) {
        true => Ok(View::Model(ModelView::of(&TrainedModel::load(path)?))),
        false => {
            let tensors = tensors(&bytes).map_err(|cause| Error::file(path, cause))?;
            Ok(View::Parameters { tensors })
        }
    }
}

fn size(shape: &[impl ToString]) -> String {
    let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
    sizes.join(" × ")
}

fn tell_data(contents: &Contents) -> Result<()> {
    let mut fields = table();
    fields.set_header(["field", "size", "type", "read as"]);
    for field in &contents.fields {
        let role = match field.role {
            Some(Role::Features) => "features",
            Some(Role::Labels) => "labels",
            None => "–",
        };
        let name = data::legible(&field.name);
        fields.add_row([&name, &size(&field.shape), &field.kind, role]);
    }
    print(&fields.trim_fmt())?;
    let Some(reading) = &contents.reading else {
        let cause = contents.refusal.as_deref().unwrap_or_default();
        return print(&format!("train cannot read it: {cause}"));
    };
    let mut facts = table();
    facts.add_row(["samples", &size(&[reading.samples, reading.features])]);
    if reading.parts.len() > 1 {
        let parts: Vec<String> = reading.parts.iter().map(usize::to_string).collect();
        facts.add_row(["parts", &parts.join(" + ")]);
    }
    facts.add_row([
        "zeros",
        &format!("{:.1} % of the features", 100.0 * reading.zeros),
    ]);
    let kind = match reading.frequencies {
        true => "frequencies: --normalise auto takes their square roots",
        false => "measurements: --normalise auto takes no square roots",
    };
    facts.add_row(["features are", kind]);
    facts.add_row(["all-zero rows", &reading.zero_rows.to_string()]);
    facts.add_row(["without a label", &reading.unlabelled.to_string()]);
    let classes = reading
        .classes
        .iter()
        .map(|(label, n)| format!("{label} ({n})"));
    let classes: Vec<String> = classes.collect();
    let listed = match classes.is_empty() {
        true => "none".to_string(),
        false => format!("{}: {}", classes.len(), abridged(&classes)),
    };
    facts.add_row(["classes", &listed]);
    facts.add_row(["as source", &reading.as_source]);
    facts.add_row(["as target", &reading.as_target]);
    print(&facts.trim_fmt())?;
    reading
        .notes
        .iter()
        .try_for_each(|note| print(&format!("note: {note}")))
}

impl ModelView {
    fn of(model: &TrainedModel) -> ModelView {
        let first = &model.members[0];
        ModelView {
            source: model.source.clone(),
            target: model.target.clone(),
            source_features: model.dimensions.source,
            target_features: model.dimensions.target,
            common: model.dimensions.common,
            layers: match model.dimensions.layers {
                Layers::Single => "single",
                Layers::Double => "double",
            },
            classes: model.classes.clone(),
            normalisation: RowsView {
                source: model.normalisation[0],
                target: model.normalisation[1],
            },
            logit_slope: model.logit_slope,
            networks: model.members.len(),
            parameters: first.parameters.iter().map(Vec::len).sum(),
            prototypes: first.prototypes.as_ref().map(|p| match p.similarity {
                Similarity::Cosine => "cosine",
                Similarity::Euclidean => "euclidean",
            }),
        }
    }

    fn tell(&self) -> Result<()> {
        let mut facts = table();
        let domain = |name: &str, features: usize| {
            format!("{}, {}", data::legible(name), counted(features, "feature"))
        };
        facts.add_row(["source", &domain(&self.source, self.source_features)]);
        facts.add_row(["target", &domain(&self.target, self.target_features)]);
        let common = counted(self.common, "dimension");
        facts.add_row([
            "common space",
            &format!("{common}, {} projector layers", self.layers),
        ]);
        let networks = counted(self.networks, "network");
        facts.add_row([
            "networks",
            &format!("{networks} of {} parameters", self.parameters),
        ]);
        let RowsView { source, target } = self.normalisation;
        facts.add_row(["rows of the source", &source.to_string()]);
        facts.add_row(["rows of the target", &target.to_string()]);
        facts.add_row(["slope of negative logits", &self.logit_slope.to_string()]);
        facts.add_row(["prototypes", self.prototypes.unwrap_or("none")]);
        let names: Vec<String> = self.classes.iter().map(|class| class.to_string()).collect();
        facts.add_row(["classes", &format!("{}: {}", names.len(), abridged(&names))]);
        print(&facts.trim_fmt())
    }
}

impl RunView {
    fn of(path: &Path) -> Result<RunView> {
        let unreadable = |e| Error::file(path, format!("the folder cannot be read: {e}"));
        let mut files = Vec::new();
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let data = entry.metadata().map_err(unreadable)?;
            if data.is_file() {
                files.push((entry.file_name().to_string_lossy().into_owned(), data.len()));
            }
        }
        files.sort();
        let has = |name: &str| files.iter().any(|(file, _)| file == name);
        let models = files
            .iter()
            .filter(|(file, _)| model_file::partition(file).is_some());
        let models: Vec<PathBuf> = models.map(|(file, _)| path.join(file)).collect();
        let state = match has(run::CONFIG) && !has(run::SUMMARY) {
            true => "unfinished",
            false if has(run::SUMMARY) || !models.is_empty() => "finished",
            false => {
                let cause = "is no run's folder: neither a model nor config.toml is in it";
                return Err(Error::file(path, cause));
            }
        };
        let summary = match has(run::SUMMARY) {
            true => {
                let file = path.join(run::SUMMARY);
                let bytes = files::read(&file)?;
                let json = serde_json::from_slice(&bytes);
                Some(json.map_err(|e| Error::file(&file, format!("is no summary: {e}")))?)
            }
            false => None,
        };
        let first = models.first().map(|file| TrainedModel::load(file));
        Ok(RunView {
            state,
            summary,
            partitions: RunDirectory::partitions(path)?,
            models: models.len(),
            model: first.transpose()?.as_ref().map(ModelView::of),
            files,
        })
    }

    fn tell(&self) -> Result<()> {
        print(match self.state {
            "unfinished" => "a run that has not ended: ssan train --resume goes on with it",
            _ => "a run that has ended",
        })?;
        if let Some(summary) = &self.summary {
            let percent = |key: &str| match summary[key].as_f64() {
                Some(value) => format!("{value:.2}"),
                None => "–".to_string(),
            };
            let partitions = summary["partitions"].as_array().map_or(0, Vec::len);
            print(&format!(
                "accuracy on the unlabelled target, last epoch: {} ± {} % (mean ± standard \
                 deviation of {}); best epoch, an oracle: {} %",
                percent("mean_last"),
                percent("std_last"),
                counted(partitions, "partition"),
                percent("mean_best"),
            ))?;
            if let Ok(transfer) = TransferSummary::deserialize(&summary["transfer"]) {
                print(&transfer.to_string())?;
            }
        }
        if let Some(model) = &self.model {
            let models = counted(self.models, "model");
            print(&match self.partitions {
                Some(n) if n != self.models => {
                    format!("{models} for {}, each:", counted(n, "partition"))
                }
                _ => format!("{models}, each:"),
            })?;
            model.tell()?;
        }
        let mut list = table();
        for (name, bytes) in &self.files {
            list.add_row([name.clone(), format!("{bytes} bytes")]);
        }
        print(&list.trim_fmt())
    }
}
