//! A trained model on new rows: the forward pass alone, in `f32` as training, on the CPU.

use std::fmt;
use std::str::FromStr;

use crate::data::{Features, Label, Matrix, Normalisation, Task};
use crate::device::cpu::{View, for_rows, product};
use crate::error::{Error, Result};
use crate::evaluation::largest;
use crate::model::{Dimensions, ParameterShape, Parameters, SLOPE};
use crate::ops::{Similarity, dot, leaky_relu_value, norm, softmax_rows};
use crate::train::{ClassPrototypes, Opinions, Options, Problem, vote};

/// Rows that are in work at a time, and features of them: intermediate values take memory for these
/// alone.
const ROWS: usize = 4096;
const FEATURES: usize = 1 << 24;

/// One of the two domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The labelled one.
    Source,
    /// The one to be labelled.
    Target,
}

/// What training one partition leaves: everything that labels new rows of either domain.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainedModel {
    /// Name of the source domain.
    pub source: String,
    /// Name of the target domain.
    pub target: String,
    /// Classes by index.
    pub classes: Vec<Label>,
    /// Sizes.
    pub dimensions: Dimensions,
    /// How rows of source and target are brought to unit length.
    pub normalisation: [Normalisation; 2],
    /// Mean rows of source and target, where that takes them off.
    pub means: Option<[Vec<f64>; 2]>,
    /// Names of the features of source and target, where the files that it was trained on had them.
    pub columns: [Option<Vec<String>>; 2],
    /// Slope of negative logits; 1 leaves them as they are.
    pub logit_slope: f64,
    /// The networks, one at least; their mean probabilities are the model's.
    pub members: Vec<Member>,
}

/// One network of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its parameters.
    pub parameters: Parameters,
    /// What its second opinion compares rows with, where it has one.
    pub prototypes: Option<ClassPrototypes>,
}

/// A linear layer and the LeakyReLU behind it.
struct Layer {
    /// `out × in`.
    weight: Vec<f32>,
    bias: Vec<f32>,
    slope: f32,
}

/// A network's layers for one domain.
struct Network {
    projector: Vec<Layer>,
    classifier: Layer,
}

impl TrainedModel {
    /// The model of each partition of a run that ended with these `parameters` and `prototypes` (see
    /// [`Outcome`](crate::train::Outcome)), of `problem`, which `task` became. One after the other:
    /// parameters are large.
    pub fn of_run(
        task: &Task,
        problem: &Problem,
        options: &Options,
        parameters: Vec<Parameters>,
        prototypes: Option<Vec<ClassPrototypes>>,
    ) -> impl Iterator<Item = TrainedModel> {
        let mut parameters = parameters.into_iter();
        let mut prototypes = prototypes.map(Vec::into_iter);
        std::iter::from_fn(move || {
            let members = parameters.by_ref().take(problem.members);
            let members: Vec<Member> = members
                .map(|parameters| Member {
                    parameters,
                    prototypes: prototypes.as_mut().and_then(Iterator::next),
                })
                .collect();
            (!members.is_empty()).then(|| TrainedModel {
                source: task.source.name.clone(),
                target: task.target.name.clone(),
                classes: task.classes.clone(),
                dimensions: problem.dimensions(options),
                normalisation: problem.normalisation,
                means: problem.means.clone(),
                columns: [&task.source, &task.target].map(|domain| domain.columns.clone()),
                logit_slope: options.logits.slope(),
                members,
            })
        })
    }

    /// Whether it labels the same rows with the same classes as `other`.
    pub fn fits(&self, other: &TrainedModel) -> bool {
        let sizes = |m: &TrainedModel| [Side::Source, Side::Target].map(|side| m.inputs(side));
        let mut columns = self.columns.iter().zip(&other.columns);
        let alike = columns.all(|(own, others)| own.is_none() || others.is_none() || own == others);
        self.classes == other.classes && sizes(self) == sizes(other) && alike
    }

    /// Features that rows of `side` have.
    pub fn inputs(&self, side: Side) -> usize {
        match side {
            Side::Source => self.dimensions.source,
            Side::Target => self.dimensions.target,
        }
    }

    /// The common representation of `rows`, as they are in a data file, by each member:
    /// `n × d_common`, rows of unit length.
    ///
    /// # Errors
    /// Rows of `side` have another dimension.
    pub fn features(&self, side: Side, rows: &Features) -> Result<Vec<Matrix>> {
        self.features_of(&self.parameters(), side, rows)
    }

    /// The same by networks with these parameters in the place of the members.
    pub(crate) fn features_of(
        &self,
        networks: &[&Parameters],
        side: Side,
        rows: &Features,
    ) -> Result<Vec<Matrix>> {
        let mut all = vec![Vec::new(); networks.len()];
        self.forward(networks, side, rows, |network, _, features| {
            all[network].extend(features.iter().map(|&x| f64::from(x)));
        })?;
        let matrix = |values| Matrix {
            rows: rows.rows(),
            cols: self.dimensions.common,
            values,
        };
        Ok(all.into_iter().map(matrix).collect())
    }

    /// The parameters of each member.
    fn parameters(&self) -> Vec<&Parameters> {
        self.members.iter().map(|m| &m.parameters).collect()
    }

    /// What each member says of `rows`, as they are in a data file.
    ///
    /// # Errors
    /// Rows of `side` have another dimension, or the parameters are too large for `f32`.
    pub fn opinions(&self, side: Side, rows: &Features) -> Result<Vec<Opinions>> {
        let classes = self.dimensions.classes;
        let none = Opinions {
            probabilities: Vec::new(),
            nearest: None,
        };
        let mut all = vec![none; self.members.len()];
        self.forward(
            &self.parameters(),
            side,
            rows,
            |member, network, features| {
                let opinions = &mut all[member];
                if let Some(prototypes) = &self.members[member].prototypes {
                    let nearest = opinions.nearest.get_or_insert_default();
                    nearest.extend(prototypes.nearest(features, classes));
                }
                let probabilities = softmax_rows(&network.classifier.forward(features), classes);
                opinions.probabilities.extend(probabilities);
            },
        )?;
        let mut probabilities = all.iter().flat_map(|opinions| &opinions.probabilities);
        match probabilities.all(|p| p.is_finite()) {
            true => Ok(all),
            false => Err(Error::Data(
                "the model's probabilities are no numbers: its parameters are too large, so its \
                 file is damaged or its training has diverged"
                    .to_string(),
            )),
        }
    }

    /// The probability of every class, `n × K`, of `rows`, as they are in a data file: the mean of
    /// the members'.
    ///
    /// # Errors
    /// As [`TrainedModel::opinions`].
    pub fn predict(&self, side: Side, rows: &Features) -> Result<Vec<f64>> {
        Ok(vote(&self.opinions(side, rows)?))
    }

    /// Calls `take(i, network, features)` for every block of rows and every one of the networks with
    /// these parameters, block by block.
    fn forward(
        &self,
        networks: &[&Parameters],
        side: Side,
        rows: &Features,
        mut take: impl FnMut(usize, &Network, &[f32]),
    ) -> Result<()> {
        if rows.cols() != self.inputs(side) {
            return Err(Error::Data(format!(
                "the model takes {} {side} features, the rows have {}",
                self.inputs(side),
                rows.cols()
            )));
        }
        let networks = networks.iter().map(|network| self.network(network, side));
        let networks: Vec<Network> = networks.collect();
        let block = (FEATURES / rows.cols()).clamp(1, ROWS);
        for start in (0..rows.rows()).step_by(block) {
            let x = self.normalised(side, rows.dense(start..rows.rows().min(start + block)));
            for (member, network) in networks.iter().enumerate() {
                take(member, network, &network.project(&x));
            }
        }
        Ok(())
    }

    /// Rows as the projector of `side` reads them.
    fn normalised(&self, side: Side, mut rows: Matrix) -> Vec<f32> {
        let mean = self.means.as_ref().map(|means| &means[side as usize][..]);
        rows.normalise_about(self.normalisation[side as usize], mean);
        rows.values.iter().map(|&x| x as f32).collect()
    }

    /// The layers that rows of `side` go through.
    fn network(&self, parameters: &Parameters, side: Side) -> Network {
        let shapes = self.dimensions.parameters();
        let layers = shapes.chunks_exact(2).zip(parameters.chunks_exact(2));
        let layers: Vec<(&ParameterShape, &[Vec<f64>])> = layers
            .map(|(shapes, values)| (&shapes[0], values))
            .collect();
        let single = |values: &[f64]| values.iter().map(|&x| x as f32).collect();
        let layers = |part: &str, slope: f64| -> Vec<Layer> {
            let prefix = format!("{part}.");
            let here = layers.iter().filter(|(s, _)| s.name.starts_with(&prefix));
            here.map(|(_, values)| Layer {
                weight: single(&values[0]),
                bias: single(&values[1]),
                slope: slope as f32,
            })
            .collect()
        };
        let mut classifier = layers("classifier", self.logit_slope);
        Network {
            projector: layers(&side.to_string(), SLOPE),
            classifier: classifier.pop().expect("every model has a classifier"),
        }
    }
}

impl Network {
    /// Normalised rows to features of unit length.
    fn project(&self, x: &[f32]) -> Vec<f32> {
        let (first, rest) = self.projector.split_first().expect("at least one layer");
        let layers = rest.iter();
        let mut y = layers.fold(first.forward(x), |x, layer| layer.forward(&x));
        let cols = self.classifier.inputs();
        for_rows(cols, [(&mut y, cols)], |_, [row]| {
            let norm = norm(row);
            row.iter_mut().for_each(|x| *x /= norm);
        });
        y
    }
}

impl Layer {
    fn inputs(&self) -> usize {
        self.weight.len() / self.bias.len()
    }

    fn forward(&self, x: &[f32]) -> Vec<f32> {
        let (inputs, outputs) = (self.inputs(), self.bias.len());
        let mut y = vec![0.0; x.len() / inputs * outputs];
        let weight = View::new(&self.weight, inputs).transposed();
        product(&mut y, View::new(x, inputs), weight, false);
        for_rows(outputs, [(&mut y, outputs)], |_, [row]| {
            for (y, bias) in row.iter_mut().zip(&self.bias) {
                *y = leaky_relu_value(*y + bias, self.slope);
            }
        });
        y
    }
}

impl ClassPrototypes {
    /// Class of the most similar prototype of each row of `features`, ties to the first.
    fn nearest(&self, features: &[f32], classes: usize) -> Vec<i32> {
        let cols = self.means.len() / classes;
        let means: Vec<&[f64]> = self.means.chunks_exact(cols).collect();
        let lengths: Vec<f64> = means.iter().map(|mean| dot(mean, mean).sqrt()).collect();
        let of_row = |row: &[f32]| {
            let row: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
            let similar = means.iter().zip(&lengths).map(|(mean, &length)| {
                match self.similarity {
                    _ if length == 0.0 => f64::NEG_INFINITY,
                    // The row's own length changes no order.
                    Similarity::Cosine => dot(&row, mean) / length,
                    // Nor does its square.
                    Similarity::Euclidean => 2.0 * dot(&row, mean) - length * length,
                }
            });
            largest(&similar.collect::<Vec<f64>>()) as i32
        };
        features.chunks_exact(cols).map(of_row).collect()
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Source => "source",
            Side::Target => "target",
        })
    }
}

impl FromStr for Side {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Side, String> {
        match name {
            "source" => Ok(Side::Source),
            "target" => Ok(Side::Target),
            _ => Err("source or target is known".to_string()),
        }
    }
}
