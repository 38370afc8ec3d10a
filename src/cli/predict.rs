//! `ssan predict`.

use std::path::{Path, PathBuf};

use clap::Args;
use npyz::WriterBuilder;

use super::models::{Labelling, ModelArgs};
use super::output::{abridged, complain, counted, may_write, print, write};
use crate::data::read_samples;
use crate::error::{Error, Result};
use crate::files::AtomicFile;
use crate::predictions;
use crate::train::vote;

/// Options of `ssan predict`.
#[derive(Args)]
pub(super) struct PredictArgs {
    #[command(flatten)]
    models: ModelArgs,

    /// Where the labels go: a .csv of row (from 0), class, its probability, and whether the most
    /// similar prototypes agree; or a .npy of all probabilities, float32, a sample per row and a
    /// class per column, in the order that `ssan inspect MODEL` shows [default: .csv on standard
    /// output]
    #[arg(long, value_name = "FILE.csv|FILE.npy")]
    out: Option<PathBuf>,

    /// Replace the file that is there
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Format {
    Csv,
    Npy,
}

/// Labels samples as the options say.
pub(super) fn run(args: &PredictArgs) -> Result<()> {
    let format = args.out.as_deref().map_or(Ok(Format::Csv), format)?;
    // What cannot be written is told before the work.
    if let Some(out) = &args.out {
        args.may_write(out)?;
    }
    let file = args.out.as_deref().map(AtomicFile::create).transpose()?;
    let labelling = args.models.label(read_samples)?;
    for note in &labelling.samples.notes {
        complain(&format!("note: {}: {note}", labelling.samples.name));
    }
    let bytes = match format {
        Format::Csv => to_csv(&labelling),
        Format::Npy => to_npy(&labelling),
    };
    let (Some(mut file), Some(path)) = (file, &args.out) else {
        return write(&bytes);
    };
    file.write(&bytes)?;
    file.commit()?;
    let rows = counted(
        labelling.samples.features.rows(),
        &format!("{} row", labelling.side),
    );
    print(&format!(
        "{rows} labelled by {}: {}",
        labelling.voters(),
        path.display()
    ))?;
    if format == Format::Npy {
        let classes = &labelling.models[0].classes;
        let names: Vec<String> = classes.iter().map(|class| class.to_string()).collect();
        print(&format!("columns: {}", abridged(&names)))?;
    }
    Ok(())
}

impl PredictArgs {
    /// Refuses to write over what is read, a run's files, and, unless asked to, any file.
    fn may_write(&self, out: &Path) -> Result<()> {
        let real = out.canonicalize().ok();
        for (file, what) in [
            (&self.models.input, "samples"),
            (&self.models.model, "model"),
        ] {
            if real.is_some() && real == file.canonicalize().ok() {
                let cause = format!("holds the {what}: --out names another place");
                return Err(Error::file(out, cause));
            }
        }
        may_write(out, self.force, &[], "--out")
    }
}

/// The format that a file's name asks for.
fn format(path: &Path) -> Result<Format> {
    let extension = path.extension().unwrap_or_default();
    if extension.eq_ignore_ascii_case("csv") {
        Ok(Format::Csv)
    } else if extension.eq_ignore_ascii_case("npy") {
        Ok(Format::Npy)
    } else {
        let shown = path.display();
        Err(Error::Usage(format!(
            "--out {shown}: give a name that ends in .csv or .npy"
        )))
    }
}

fn to_csv(labelling: &Labelling) -> Vec<u8> {
    let classes = &labelling.models[0].classes;
    let labels = predictions::labels(&labelling.opinions, classes.len());
    predictions::labels_to_csv(&labels, classes)
}

fn to_npy(labelling: &Labelling) -> Vec<u8> {
    let classes = labelling.models[0].classes.len() as u64;
    let rows = labelling.samples.features.rows() as u64;
    let mut bytes = Vec::new();
    let options = npyz::WriteOptions::<f32>::new().default_dtype();
    let writer = options
        .shape(&[rows, classes])
        .writer(&mut bytes)
        .begin_nd();
    let mut writer = writer.expect("memory can be written");
    let probabilities = vote(&labelling.opinions).into_iter().map(|p| p as f32);
    writer.extend(probabilities).expect("memory can be written");
    writer.finish().expect("memory can be written");
    bytes
}
