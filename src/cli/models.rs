//! A trained model, or a run's models, and the data file that they are put to.

use std::path::{Path, PathBuf};

use clap::Args;

use super::options::FieldArgs;
use crate::data::{Domain, Keys, legible};
use crate::error::{Error, Result};
use crate::inference::{Side, TrainedModel};
use crate::run::RunDirectory;
use crate::train::Opinions;

/// What labels, and what is labelled.
#[derive(Args)]
pub(super) struct ModelArgs {
    /// A trained model (.safetensors), or a run's folder: the vote of its partitions' models
    #[arg(value_name = "MODEL|RUN")]
    pub model: PathBuf,

    /// The samples: .mat, .npz, .npy or .csv
    #[arg(long, value_name = "FILE")]
    pub input: PathBuf,

    /// Whether they are of the source or of the target [default: target]
    #[arg(long, value_name = "DOMAIN")]
    pub domain: Option<Side>,

    #[command(flatten)]
    pub fields: FieldArgs,
}

/// Models and samples that fit.
pub(super) struct Labelling {
    pub models: Vec<TrainedModel>,
    pub side: Side,
    pub samples: Domain,
    /// What every network of every model says, model by model.
    pub opinions: Vec<Opinions>,
}

impl ModelArgs {
    /// Reads both, the samples by `read`, and labels the samples.
    pub fn label(&self, read: fn(&Path, &Keys) -> Result<Domain>) -> Result<Labelling> {
        let models = match self.model.is_dir() {
            true => RunDirectory::models(&self.model)?,
            false => vec![TrainedModel::load(&self.model)?],
        };
        let samples = read(&self.input, &self.fields.keys())?;
        let side = self.side(&models[0], &samples)?;
        if let Some(cause) = other_columns(&models[0], side, &samples) {
            return Err(Error::file(&self.input, cause));
        }
        let mut opinions = Vec::new();
        for model in &models {
            opinions.extend(model.opinions(side, &samples.features)?);
        }
        Ok(Labelling {
            models,
            side,
            samples,
            opinions,
        })
    }

    /// Which domain the samples are of, if their dimension allows it.
    fn side(&self, model: &TrainedModel, samples: &Domain) -> Result<Side> {
        let side = self.domain.unwrap_or(Side::Target);
        let features = samples.features.cols();
        if model.inputs(side) == features {
            return Ok(side);
        }
        let sizes = [Side::Source, Side::Target].map(|side| model.inputs(side));
        let hint = match sizes.iter().position(|&size| size == features) {
            Some(at) => format!("it fits --domain {}", [Side::Source, Side::Target][at]),
            None if sizes.contains(&samples.features.rows()) => format!(
                "it fits neither; it has {} rows: is it a sample per column?",
                samples.features.rows()
            ),
            None if sizes.contains(&(features + 1)) && is_csv(&self.input) => {
                "it fits neither; with --label-column none it has one more, which fits".to_string()
            }
            None => "it fits neither".to_string(),
        };
        Err(Error::file(
            &self.input,
            format!(
                "the model takes {} source or {} target features, this file has {features}; {hint}",
                sizes[0], sizes[1]
            ),
        ))
    }
}

/// What is wrong with the order of the samples' features, where both files name them.
fn other_columns(model: &TrainedModel, side: Side, samples: &Domain) -> Option<String> {
    let trained = model.columns[side as usize].as_ref()?;
    let found = samples.columns.as_ref()?;
    let mut pairs = trained.iter().zip(found).enumerate();
    let (at, (expected, other)) = pairs.find(|(_, (expected, other))| expected != other)?;
    let remedy = match trained.contains(other) {
        true => "put the columns in the order of the file that it was trained on",
        false => "name the columns as in the file that it was trained on",
    };
    Some(format!(
        "feature {} is {}, the model was trained on {} there: {remedy}",
        at + 1,
        legible(other),
        legible(expected)
    ))
}

impl Labelling {
    /// `3 models (9 networks)`.
    pub fn voters(&self) -> String {
        let models = super::output::counted(self.models.len(), "model");
        match self.opinions.len() {
            n if n == self.models.len() => models,
            n => format!("{models} ({n} networks)"),
        }
    }

    /// What the networks of each model say.
    pub fn by_model(&self) -> impl Iterator<Item = &[Opinions]> {
        let mut rest = &self.opinions[..];
        self.models.iter().map(move |model| {
            let (own, others) = rest.split_at(model.members.len());
            rest = others;
            own
        })
    }
}

fn is_csv(path: &Path) -> bool {
    path.extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("csv"))
}
