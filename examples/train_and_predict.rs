//! The library without the command line: trains on the bundled digits, then labels rows with the
//! trained model.
//!
//!     cargo run --release --example train_and_predict

use ssan::Result;
use ssan::data::{Labelling, Task, digits};
use ssan::device::{Cpu, Device};
use ssan::evaluation::largest;
use ssan::inference::{Side, TrainedModel};
use ssan::train::{Options, Problem, train};

fn main() -> Result<()> {
    let (source, target) = digits()?;
    let task = Task::new(source, target)?;
    // One partition: a draw of three labelled target rows per class.
    let splits = task.splits(&Labelling::PerClass(3), 1, 2020)?;
    let options = Options {
        epochs: 100,
        ..Options::ROBUST
    };
    let problem = Problem::new(&task, &splits, &options);
    let initial = problem.initial_parameters(&options, 2020);
    let outcome = train::<f32>(
        &problem,
        &options,
        &initial,
        |graph| Ok(Box::new(Cpu::load(graph)) as Box<dyn Device<f32>>),
        &mut |epoch| {
            if epoch.epoch % 20 == 0 && epoch.member == 0 {
                println!("epoch {}: loss {:.3}", epoch.epoch, epoch.total);
            }
            Ok(())
        },
    )?;
    if let Some(accuracy) = outcome.partitions[0].accuracy_last {
        println!("accuracy on the unlabelled target: {accuracy:.1} %");
    }
    let (parameters, prototypes) = (outcome.parameters, outcome.prototypes);
    let mut models = TrainedModel::of_run(&task, &problem, &options, parameters, prototypes);
    let model = models.next().expect("one partition was trained");
    let rows = task.target.features.select_rows(&[0, 100, 200]);
    let probabilities = model.predict(Side::Target, &rows)?;
    for (row, probabilities) in probabilities.chunks(task.classes.len()).enumerate() {
        let class = largest(probabilities);
        println!(
            "row {row}: class {} with probability {:.2}",
            task.classes[class], probabilities[class]
        );
    }
    Ok(())
}
