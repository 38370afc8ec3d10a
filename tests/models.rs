//! A trained model outlives its run: its file, and what it says of rows.

use std::collections::HashMap;
use std::path::Path;

use approx::assert_relative_eq;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use ssan::data::{Features, Label, Labelling, Matrix, Normalisation, Task, digits};
use ssan::device::{Cpu, Device};
use ssan::graph::Graph;
use ssan::inference::{Member, Side, TrainedModel};
use ssan::model::{Dimensions, Initialisation, Layers, initial_parameters};
use ssan::objective::{Objective, Refinement};
use ssan::ops::Similarity;
use ssan::parameters;
use ssan::train::{ClassPrototypes, Options, Problem, target_rows, train};
use tempfile::TempDir;

fn on_cpu(graph: Graph<f32>) -> ssan::Result<Box<dyn Device<f32>>> {
    Ok(Box::new(Cpu::load(graph)))
}

/// A small model with all that a file can hold.
fn model() -> TrainedModel {
    let dimensions = Dimensions {
        source: 3,
        target: 5,
        common: 4,
        classes: 3,
        layers: Layers::Double,
    };
    let member = |seed| Member {
        parameters: initial_parameters(&dimensions, Initialisation::Small, seed, 0, 0)
            .into_iter()
            .map(|values| values.into_iter().map(|x| single(40.0 * x)).collect())
            .collect(),
        prototypes: Some(ClassPrototypes {
            similarity: Similarity::Cosine,
            means: (0..12).map(|i| single(0.1 * f64::from(i % 5))).collect(),
        }),
    };
    TrainedModel {
        source: "words".into(),
        target: "pictures".into(),
        classes: ["cat", "dog, small", "élan"]
            .map(|c| Label::Text(c.into()))
            .into(),
        dimensions,
        normalisation: [Normalisation::Centred, Normalisation::Rooted],
        means: Some([vec![0.5, 0.25, 0.0], vec![0.125; 5]]),
        columns: [Some(["a", "b", "é"].map(String::from).into()), None],
        logit_slope: 1.0,
        members: vec![member(1), member(2)],
    }
}

/// A number that `f32` can hold.
fn single(x: f64) -> f64 {
    f64::from(x as f32)
}

fn rows(cols: usize) -> Features {
    Features::from(Matrix {
        rows: 2,
        cols,
        values: (0..2 * cols).map(|i| ((i * i + 1) % 7) as f64).collect(),
    })
}

/// What a saved model says of the rows that it was trained on is what training said.
#[test]
fn saved_model_predicts_what_training_did() {
    let (source, target) = digits().unwrap();
    let task = Task::new(source, target).unwrap();
    let splits = task.splits(&Labelling::PerClass(3), 2, 2020).unwrap();
    let paper = |refinement| Options {
        epochs: 150,
        common: 32,
        objective: Objective {
            refinement,
            ..Objective::PAPER
        },
        ..Options::PAPER
    };
    let robust = Options {
        epochs: 40,
        common: 32,
        members: 2,
        ..Options::ROBUST
    };
    for options in [
        paper(Refinement::Agreement(Similarity::Cosine)),
        paper(Refinement::Agreement(Similarity::Euclidean)),
        paper(Refinement::None),
        robust,
    ] {
        let problem = Problem::new(&task, &splits, &options);
        let mut initial = problem.initial_parameters(&options, 7);
        if options != robust {
            // A larger start, so that a short run learns.
            let numbers = initial.iter_mut().flatten().flatten();
            numbers.for_each(|x| *x *= 10.0);
        }
        let outcome = train::<f32>(&problem, &options, &initial, on_cpu, &mut |_| Ok(())).unwrap();
        let last = outcome.partitions[0].accuracy_last.unwrap();
        assert!(last > 40.0, "{last} %");

        let folder = TempDir::new().unwrap();
        let file = folder.path().join("model.safetensors");
        let rows = task.target.features.select_rows(&target_rows(&splits));
        let (parameters, prototypes) = (outcome.parameters, outcome.prototypes);
        let models = TrainedModel::of_run(&task, &problem, &options, parameters, prototypes);
        let models: Vec<TrainedModel> = models.collect();
        assert_eq!(models.len(), 2);
        let opinions = outcome.opinions.chunks_exact(options.members);
        for (model, opinions) in models.iter().zip(opinions) {
            model.save(&file).unwrap();
            let model = TrainedModel::load(&file).unwrap();
            assert_eq!(model.classes, task.classes);
            let found = model.opinions(Side::Target, &rows).unwrap();
            assert_eq!(found.len(), options.members);
            let classes = |p: &[f64]| -> Vec<usize> {
                let rows = p.chunks_exact(10);
                rows.map(ssan::evaluation::largest).collect()
            };
            for (found, expected) in found.iter().zip(opinions) {
                assert_eq!(found.nearest, expected.nearest);
                let (found, expected) = (&found.probabilities, &expected.probabilities);
                assert_eq!(classes(found), classes(expected));
                for (found, expected) in found.iter().zip(expected) {
                    assert_relative_eq!(found, expected, epsilon = 1e-5);
                }
            }
        }
    }
}

#[test]
fn everything_survives_the_file_and_the_bytes_are_the_same() {
    let folder = TempDir::new().unwrap();
    let files = ["a", "b"].map(|name| folder.path().join(name));
    let plain = TrainedModel {
        normalisation: [Normalisation::L2; 2],
        means: None,
        logit_slope: 0.2,
        members: vec![Member {
            prototypes: None,
            ..model().members[0].clone()
        }],
        ..model()
    };
    for model in [model(), plain] {
        files.iter().for_each(|file| model.save(file).unwrap());
        assert_eq!(TrainedModel::load(&files[0]).unwrap(), model);
        let [a, b] = files.each_ref().map(|file| std::fs::read(file).unwrap());
        assert_eq!(a, b);
    }
}

/// The forward pass of the equations, by hand: centred roots, no slope on the logits, two members.
#[test]
fn centred_roots_and_members_are_as_defined() {
    let mut model = model();
    model.dimensions.layers = Layers::Single;
    model.normalisation = [Normalisation::Rooted; 2];
    model.means = Some([vec![0.0, 0.5, 0.0], vec![0.0; 5]]);
    // The first member has the identity as projector from 3 to 4, the second one cut off.
    let member = |classifier: [[f64; 4]; 3]| Member {
        parameters: vec![
            vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
            vec![0.0; 4],
            vec![0.0; 20],
            vec![0.0; 4],
            classifier.concat(),
            vec![0.0, 0.0, -0.5],
            vec![0.0; 4],
            vec![0.0],
        ],
        prototypes: Some(ClassPrototypes {
            similarity: Similarity::Euclidean,
            // The first is none; the second is nearer to what points along the third axis.
            means: [[0.0; 4], [0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]].concat(),
        }),
    };
    let one = |k: usize| std::array::from_fn(|i| if i == k { 1.0 } else { 0.0 });
    model.members = vec![member([one(0), one(1), one(2)]), member([one(2); 3])];
    // (0, 9, 16) → (0, 3, 4) → (0, 0.6, 0.8) → (0, 0.1, 0.8) → unit length.
    let rows = Features::from(Matrix {
        rows: 1,
        cols: 3,
        values: vec![0.0, 9.0, 16.0],
    });
    let length = (0.1f64 * 0.1 + 0.8 * 0.8).sqrt();
    let (y, z) = (0.1 / length, 0.8 / length);
    let features = model.features(Side::Source, &rows).unwrap();
    for (found, expected) in features[0].values.iter().zip([0.0, y, z, 0.0]) {
        assert_relative_eq!(*found, expected, epsilon = 1e-6);
    }
    let softmax = |logits: [f64; 3]| {
        let exp = logits.map(f64::exp);
        exp.map(|e| e / exp.iter().sum::<f64>())
    };
    let (a, b) = (softmax([0.0, y, z - 0.5]), softmax([z, z, z - 0.5]));
    let found = model.predict(Side::Source, &rows).unwrap();
    for k in 0..3 {
        assert_relative_eq!(found[k], (a[k] + b[k]) / 2.0, epsilon = 1e-6);
    }
    let opinions = model.opinions(Side::Source, &rows).unwrap();
    assert_eq!(opinions[0].nearest.as_deref(), Some(&[1][..]));

    // A negative logit has the slope.
    model.logit_slope = 0.2;
    let found = model.opinions(Side::Target, &self::rows(5)).unwrap();
    let expected = softmax([0.0, 0.0, -0.1]);
    for (found, expected) in found[0].probabilities.iter().zip(expected) {
        assert_relative_eq!(*found, expected, epsilon = 1e-6);
    }
}

#[test]
fn rows_of_another_dimension_are_refused() {
    let error = model().predict(Side::Target, &rows(3)).unwrap_err();
    let message = error.to_string();
    assert_eq!(
        message,
        "the model takes 5 target features, the rows have 3"
    );
}

/// Parameters that `f32` holds and their products it does not.
#[test]
fn probabilities_that_are_no_numbers_are_refused() {
    let mut model = model();
    let classifier = &mut model.members[1].parameters[8];
    classifier.iter_mut().for_each(|x| *x = 3e38);
    let error = model.predict(Side::Target, &rows(5)).unwrap_err();
    assert!(error.to_string().contains("no numbers"), "{error}");
}

/// The metadata and tensors of a file, changed and written again.
fn rewrite(
    from: &Path,
    to: &Path,
    description: impl Fn(&mut Value),
    tensors: impl Fn(&mut HashMap<String, (Dtype, Vec<usize>, Vec<u8>)>),
) {
    let bytes = std::fs::read(from).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let text = &header.metadata().as_ref().unwrap()["ssan"];
    let mut value: Value = serde_json::from_str(text).unwrap();
    description(&mut value);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut all = HashMap::new();
    for (name, view) in file.tensors() {
        let tensor = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
        all.insert(name, tensor);
    }
    tensors(&mut all);
    let views = all.iter().map(|(name, (dtype, shape, data))| {
        (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    let metadata = HashMap::from([("ssan".to_string(), value.to_string())]);
    std::fs::write(to, safetensors::serialize(views, Some(metadata)).unwrap()).unwrap();
}

#[test]
fn lies_in_a_file_are_told() {
    let folder = TempDir::new().unwrap();
    let [good, bad] = ["good", "bad"].map(|name| folder.path().join(name));
    model().save(&good).unwrap();
    let refused = |words: &str| {
        let message = TrainedModel::load(&bad).unwrap_err().to_string();
        assert!(message.contains(words), "{words:?} is not in: {message}");
    };
    for (key, value, words) in [
        ("format", json!(2), "format 2"),
        ("format", json!("x"), "description"),
        ("common", json!(0), "common = 0"),
        ("common", json!(9), "has shape"),
        ("common", json!(u64::MAX), "has shape"),
        ("common", json!(-1), "description"),
        ("source_features", json!(4), "as many columns"),
        ("target_features", json!(6), "has shape"),
        ("members", json!(0), "members = 0"),
        ("members", json!(1), "member1."),
        ("members", json!(u32::MAX), "no parameter member2."),
        ("classes", json!(["a"]), "classes = 1"),
        ("classes", json!(["a", "b", "a"]), "class a twice"),
        ("classes", json!(["a", 2]), "has shape"),
        ("classes", json!([0.5, 1, 2]), "description"),
        ("layers", json!("triple"), "description"),
        ("layers", json!("single"), "has shape"),
        ("logit_slope", json!(-0.1), "logit_slope"),
        ("logit_slope", json!(null), "description"),
        ("normalisation", json!("l2"), "mean off"),
        ("target_normalisation", json!("l2"), "mean off"),
        ("target_normalisation", json!("l1"), "description"),
        ("normalisation", json!("l1"), "description"),
        ("similarity", json!(null), "prototypes"),
        ("similarity", json!("dot"), "description"),
    ] {
        rewrite(
            &good,
            &bad,
            |description| description[key] = value.clone(),
            |_| (),
        );
        refused(words);
    }
    for name in ["source.0.bias", "member1.prototypes", "target.mean"] {
        rewrite(&good, &bad, |_| (), |all| drop(all.remove(name)));
        refused(name);
        rewrite(
            &good,
            &bad,
            |_| (),
            |all| all.get_mut(name).unwrap().1.push(1),
        );
        refused(name);
        let infinite = f32::INFINITY.to_le_bytes();
        rewrite(
            &good,
            &bad,
            |_| (),
            |all| {
                all.get_mut(name).unwrap().2[..4].copy_from_slice(&infinite);
            },
        );
        refused("not finite");
        rewrite(
            &good,
            &bad,
            |_| (),
            |all| all.get_mut(name).unwrap().0 = Dtype::I32,
        );
        refused("I32");
    }
    let bytes = std::fs::read(&good).unwrap();
    for cut in [0, 7, 8, 100, bytes.len() - 1] {
        std::fs::write(&bad, &bytes[..cut]).unwrap();
        refused("not a safetensors file");
    }
    let message = TrainedModel::load(folder.path()).unwrap_err().to_string();
    assert!(message.contains("no regular file"), "{message}");
}

/// `--init` takes parameters from a model's file and from one of parameters alone; the latter is no
/// model.
#[test]
fn parameters_are_read_from_either_file() {
    let folder = TempDir::new().unwrap();
    let [file, plain] = ["model", "plain"].map(|name| folder.path().join(name));
    let model = model();
    model.save(&file).unwrap();
    let tensors = model.dimensions.parameters();
    let tensors: Vec<_> = tensors.iter().zip(&model.members[0].parameters).collect();
    let bytes = |values: &[f64]| values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let data: Vec<Vec<u8>> = tensors.iter().map(|(_, values)| bytes(values)).collect();
    let views = tensors.iter().zip(&data).map(|((shape, _), data)| {
        let size = if shape.rows == 1 && shape.name.ends_with("bias") {
            vec![shape.cols]
        } else {
            vec![shape.rows, shape.cols]
        };
        (
            &shape.name,
            TensorView::new(Dtype::F64, size, data).unwrap(),
        )
    });
    std::fs::write(&plain, safetensors::serialize(views, None).unwrap()).unwrap();
    for file in [&file, &plain] {
        let read = parameters::load(file, &model.dimensions).unwrap();
        assert_eq!(read, model.members[0].parameters);
    }
    let message = TrainedModel::load(&plain).unwrap_err().to_string();
    assert!(message.contains("parameters alone"), "{message}");

    let other = Dimensions {
        common: 7,
        ..model.dimensions
    };
    let message = parameters::load(&file, &other).unwrap_err().to_string();
    assert!(message.contains("has shape"), "{message}");
}
