//! Progress over epochs, on a terminal.

use indicatif::{ProgressBar, ProgressStyle};

use super::super::output::Text;
use crate::train::{EpochMetrics, Options, Session};

/// Progress over epochs, on a terminal alone, unless nothing is to be said.
pub(super) struct Progress {
    bar: ProgressBar,
    /// Sums over the networks of the current epoch: loss, accuracy, networks with an accuracy, all.
    sums: (f64, f64, usize, usize),
    networks: usize,
}

impl Progress {
    /// Of a `session` of the run `name`, of the run itself without a name.
    pub fn new(options: &Options, name: &str, session: &Session<f32>, text: &Text) -> Progress {
        let bar = match text.talk.quiet {
            true => ProgressBar::hidden(),
            false => ProgressBar::new(options.epochs as u64),
        };
        let style = "{prefix}{bar:30} {pos}/{len} epochs  {msg}  {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
        let (group, all) = (session.partitions(), session.problem().all());
        let group = match group == all {
            true => String::new(),
            false => format!(
                "partitions {} to {} of {}",
                group.start,
                group.end - 1,
                all.len()
            ),
        };
        let prefix = [name, &group].into_iter().filter(|part| !part.is_empty());
        let prefix: Vec<&str> = prefix.collect();
        if !prefix.is_empty() {
            bar.set_prefix(format!("{}: ", prefix.join(", ")));
        }
        Progress {
            bar,
            sums: (0.0, 0.0, 0, 0),
            networks: session.networks(),
        }
    }

    /// Takes it off the terminal.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    pub fn show(&mut self, epoch: &EpochMetrics) {
        let (loss, accuracy, known, seen) = &mut self.sums;
        *loss += epoch.total;
        *seen += 1;
        if let Some(value) = epoch.unlabelled_acc {
            *accuracy += value;
            *known += 1;
        }
        if *seen < self.networks {
            return;
        }
        let mut message = format!("loss {:.4}", *loss / self.networks as f64);
        if *known > 0 {
            message += &format!("  accuracy {:.1} %", *accuracy / *known as f64);
        }
        self.sums = (0.0, 0.0, 0, 0);
        self.bar.set_message(message);
        self.bar.set_position(epoch.epoch as u64 + 1);
    }
}
