//! The file of a trained model: safetensors, with what the parameters mean as JSON in the metadata
//! `ssan`.
//!
//! | tensor | shape | |
//! |---|---|---|
//! | `source.0.weight`, … | see [`parameters`](crate::parameters) | of the first network |
//! | `prototypes` | `K × d_common` | its prototypes, where it has a second opinion |
//! | `member1.source.0.weight`, …, `member1.prototypes` | the same | of the second network, and so on |
//! | `source.mean`, `target.mean` | features | where rows are centred |
//!
//! The same model gives the same bytes.

use std::path::Path;

use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use crate::data::{Label, Normalisation, legible};
use crate::error::{Cause, Error, Result};
use crate::files;
use crate::inference::{Member, TrainedModel};
use crate::model::{Dimensions, Layers};
use crate::ops::Similarity;
use crate::parameters::{file_shape, open, parameters, tensor};
use crate::tensors::{self, Block, Unusable, Values};
use crate::train::ClassPrototypes;

/// Version of the format; a change that an older reader would misread raises it.
const FORMAT: u32 = 1;

/// Key of the metadata.
const KEY: &str = "ssan";

/// What the metadata say.
#[derive(Serialize, Deserialize)]
struct Description {
    format: u32,
    /// Version of the program that wrote it.
    version: String,
    source: String,
    target: String,
    source_features: usize,
    target_features: usize,
    common: usize,
    layers: LayerName,
    classes: Vec<Label>,
    /// Of the source's rows.
    normalisation: Normalisation,
    /// Of the target's, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target_normalisation: Option<Normalisation>,
    /// Names of the features, where the files had them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_columns: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target_columns: Option<Vec<String>>,
    logit_slope: f64,
    members: usize,
    /// What prototypes are compared by; none without prototypes.
    similarity: Option<SimilarityName>,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LayerName {
    Single,
    Double,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SimilarityName {
    Cosine,
    Euclidean,
}

impl TrainedModel {
    /// Writes the model, tensors as `F32`; what was at `path` stays until all is written.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let similarity = self.members[0].prototypes.as_ref().map(|p| p.similarity);
        let description = Description {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_string(),
            source: self.source.clone(),
            target: self.target.clone(),
            source_features: self.dimensions.source,
            target_features: self.dimensions.target,
            common: self.dimensions.common,
            layers: match self.dimensions.layers {
                Layers::Single => LayerName::Single,
                Layers::Double => LayerName::Double,
            },
            classes: self.classes.clone(),
            normalisation: self.normalisation[0],
            target_normalisation: (self.normalisation[1] != self.normalisation[0])
                .then_some(self.normalisation[1]),
            source_columns: self.columns[0].clone(),
            target_columns: self.columns[1].clone(),
            logit_slope: self.logit_slope,
            members: self.members.len(),
            similarity: similarity.map(|similarity| match similarity {
                Similarity::Cosine => SimilarityName::Cosine,
                Similarity::Euclidean => SimilarityName::Euclidean,
            }),
        };
        let file = tensors::to_bytes(KEY, &description, &self.tensors());
        files::write_atomically(path, &file.map_err(|e| Error::file(path, e))?)
    }

    /// Every tensor.
    fn tensors(&self) -> Vec<Block<'_>> {
        let block = |name, shape, values| Block {
            name,
            shape,
            values: Values::Rounded(values),
        };
        let mut tensors = Vec::new();
        for (member, network) in self.members.iter().enumerate() {
            let prefix = prefix(member);
            let shapes = self.dimensions.parameters();
            for (shape, values) in shapes.iter().zip(&network.parameters) {
                let name = format!("{prefix}{}", shape.name);
                tensors.push(block(name, file_shape(shape), values));
            }
            if let Some(prototypes) = &network.prototypes {
                let name = format!("{prefix}prototypes");
                tensors.push(block(name, self.prototype_shape(), &prototypes.means));
            }
        }
        for (name, mean) in ["source.mean", "target.mean"]
            .iter()
            .zip(self.means.iter().flatten())
        {
            tensors.push(Block::vector(name.to_string(), Values::Rounded(mean)));
        }
        tensors
    }

    fn prototype_shape(&self) -> Vec<usize> {
        vec![self.dimensions.classes, self.dimensions.common]
    }

    /// Reads a model.
    ///
    /// # Errors
    /// The file cannot be read, is none of a trained model, is of a later format, or contradicts
    /// itself.
    pub fn load(path: &Path) -> Result<TrainedModel> {
        let bytes = files::read(path)?;
        parse(&bytes).map_err(|cause| Error::file(path, cause))
    }
}

/// Name of the model of partition `p` in a run's folder.
pub fn name(p: usize) -> String {
    format!("model-{p}.safetensors")
}

/// The partition whose model is called so in a run's folder.
pub(crate) fn partition(file: &str) -> Option<usize> {
    let number = file.strip_prefix("model-")?.strip_suffix(".safetensors")?;
    number.parse().ok().filter(|&p| name(p) == file)
}

/// Reads the models of all `partitions` in a run's folder; where their number is not known, those
/// that are there.
///
/// # Errors
/// As [`TrainedModel::load`]; or the folder has no model, lacks one, has one of no partition, or some
/// that label other rows or classes.
pub fn load_all(path: &Path, partitions: Option<usize>) -> Result<Vec<TrainedModel>> {
    let entries = std::fs::read_dir(path)
        .map_err(|e| Error::file(path, format!("the folder cannot be read: {e}")))?;
    let names = entries.flatten().map(|e| e.file_name());
    let mut numbers: Vec<usize> = names.filter_map(|name| partition(name.to_str()?)).collect();
    numbers.sort_unstable();
    let Some(last) = numbers.last() else {
        let cause = format!(
            "no model is in this folder: a run that has ended leaves {}",
            name(0)
        );
        return Err(Error::file(path, cause));
    };
    let (needed, all) = match partitions {
        Some(n) => (n, format!("all {n} partitions")),
        None => (last.saturating_add(1), "all partitions".to_string()),
    };
    if let Some(missing) = (0..needed).find(|p| numbers.binary_search(p).is_err()) {
        let cause = format!("{} is missing: the vote needs {all}", name(missing));
        return Err(Error::file(path, cause));
    }
    if *last >= needed {
        let cause = format!(
            "{} is none of this run's, which has {needed} partitions: remove it, for it would vote",
            name(*last)
        );
        return Err(Error::file(path, cause));
    }
    let models = numbers
        .iter()
        .map(|&p| TrainedModel::load(&path.join(name(p))));
    let models = models.collect::<Result<Vec<TrainedModel>>>()?;
    match models.iter().position(|model| !model.fits(&models[0])) {
        None => Ok(models),
        Some(p) => Err(Error::file(
            path.join(name(p)),
            format!(
                "has other classes or dimensions than {}: they are of two runs",
                name(0)
            ),
        )),
    }
}

/// What stands before the names of a network's tensors.
fn prefix(member: usize) -> String {
    match member {
        0 => String::new(),
        _ => format!("member{member}."),
    }
}

/// The model in the bytes of a file.
fn parse(bytes: &[u8]) -> Cause<TrainedModel> {
    let file = open(bytes)?;
    let description = describe(bytes)?;
    let dimensions = Dimensions {
        source: description.source_features,
        target: description.target_features,
        common: description.common,
        classes: description.classes.len(),
        layers: match description.layers {
            LayerName::Single => Layers::Single,
            LayerName::Double => Layers::Double,
        },
    };
    let of_source = description.normalisation;
    let of_target = description.target_normalisation.unwrap_or(of_source);
    let normalisation = [of_source, of_target];
    let mut model = TrainedModel {
        source: description.source,
        target: description.target,
        classes: description.classes,
        dimensions,
        normalisation,
        means: match normalisation.map(Normalisation::centres) {
            [false, false] => None,
            [true, true] => Some([
                tensor(&file, "source.mean", &[dimensions.source])?,
                tensor(&file, "target.mean", &[dimensions.target])?,
            ]),
            _ => return Err("takes the mean off the rows of one domain alone".into()),
        },
        columns: [description.source_columns, description.target_columns],
        logit_slope: description.logit_slope,
        members: Vec::new(),
    };
    let similarity = description.similarity.map(|similarity| match similarity {
        SimilarityName::Cosine => Similarity::Cosine,
        SimilarityName::Euclidean => Similarity::Euclidean,
    });
    for member in 0..description.members {
        let prefix = prefix(member);
        let prototypes = similarity.map(|similarity| -> Cause<ClassPrototypes> {
            let name = format!("{prefix}prototypes");
            let means = tensor(&file, &name, &model.prototype_shape())?;
            Ok(ClassPrototypes { similarity, means })
        });
        model.members.push(Member {
            parameters: parameters(&file, &prefix, &dimensions)?,
            prototypes: prototypes.transpose()?,
        });
    }
    unknown_tensor(&file, &model)?;
    Ok(model)
}

/// Whether the bytes of a file are a model's, rather than parameters alone.
pub fn is_model(bytes: &[u8]) -> bool {
    tensors::is_described(bytes, KEY)
}

/// What the metadata say, if it can be so.
fn describe(bytes: &[u8]) -> Cause<Description> {
    let description = tensors::description(bytes, KEY, "model", FORMAT);
    let description = description.map_err(|unusable| match unusable {
        Unusable::Damaged(cause) => cause,
        Unusable::Format(format) => format!(
            "is of format {format}, this program reads {FORMAT}: use the ssan that wrote it, or a \
             newer one"
        ),
    });
    let description: Description = description?.ok_or(
        "holds parameters alone, without the classes and dimensions of a trained model: train \
         again, and name the model file that `ssan train` writes",
    )?;
    let sizes = [
        ("source_features", description.source_features, 1),
        ("target_features", description.target_features, 1),
        ("common", description.common, 1),
        ("members", description.members, 1),
        ("classes", description.classes.len(), 2),
    ];
    if let Some((name, n, least)) = sizes.into_iter().find(|(_, n, least)| n < least) {
        return Err(format!(
            "its description has {name} = {n}, {least} is the least"
        ));
    }
    let columns = [
        (&description.source_columns, description.source_features),
        (&description.target_columns, description.target_features),
    ];
    for (columns, features) in columns {
        if columns
            .as_ref()
            .is_some_and(|names| names.len() != features)
        {
            return Err("its description has not as many columns as features".to_string());
        }
    }
    let mut sorted: Vec<&Label> = description.classes.iter().collect();
    sorted.sort_unstable();
    if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!(
            "its description has class {} twice",
            legible(&twice[0].to_string())
        ));
    }
    if !(0.0..=1.0).contains(&description.logit_slope) {
        return Err(format!(
            "its description has logit_slope = {}, from 0 to 1 it can be",
            description.logit_slope
        ));
    }
    Ok(description)
}

/// Refuses a tensor that the model as described does not have.
fn unknown_tensor(file: &SafeTensors, model: &TrainedModel) -> Cause<()> {
    let known = model.tensors();
    let mut names = file.names();
    names.sort_unstable();
    let unknown = |name: &&&str| !known.iter().any(|block| block.name == ***name);
    match names.iter().find(unknown) {
        Some(name) => Err(format!(
            "holds {}, which its description does not know",
            legible(name)
        )),
        None => Ok(()),
    }
}
