//! How the cost of an epoch grows with rows, features, classes and partitions, the first layers in
//! Gram form and directly, and where the cost model changes from one to the other:
//!
//! ```text
//! cargo bench --bench growth -- --out benches/growth
//! ```
//!
//! writes `growth.csv` and `growth.svg` there. Both domains have the same sizes: 1000 rows, 1000
//! features, 10 classes, one partition, but for the size that varies (classes: of 4000 rows, so that
//! each has some); `--most` leaves out sizes that
//! take too long. Gram form pays for `X·Xᵀ` once, which is not in the time of an epoch.

mod common;

use std::path::PathBuf;

use clap::Parser;
use common::{Setup, Sizes};
use plotters::prelude::*;
use ssan::Error;
use ssan::device::{Choice, Request, choose};
use ssan::model::Form;
use ssan::train::{FirstLayer, Options, train};

/// Milliseconds per epoch and partition as each size grows.
#[derive(Parser)]
struct Args {
    /// Folder for growth.csv and growth.svg
    #[arg(long, default_value = "target/growth")]
    out: PathBuf,
    /// Device: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: Request,
    /// Epochs of each measurement; the time is the median over readings
    #[arg(long, default_value_t = 5)]
    nepoch: usize,
    /// Largest number of any size that is measured
    #[arg(long, default_value_t = 16384)]
    most: usize,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// The sizes of one measurement.
#[derive(Clone, Copy)]
struct Point {
    rows: usize,
    features: usize,
    classes: usize,
    partitions: usize,
}

const BASE: Point = Point {
    rows: 1000,
    features: 1000,
    classes: 10,
    partitions: 1,
};

/// A size that grows: its name, its values and the measurement at one of them.
type Axis = (&'static str, &'static [usize], fn(usize) -> Point);

const AXES: [Axis; 4] = [
    (
        "rows n",
        &[250, 500, 1000, 2000, 4000, 8000, 16000],
        |rows| Point { rows, ..BASE },
    ),
    (
        "features d",
        &[256, 512, 1024, 2048, 4096, 8192, 16384],
        |features| Point { features, ..BASE },
    ),
    (
        "classes K",
        &[2, 10, 31, 100, 316, 1000],
        // Three labelled rows of each class, and others.
        |classes| Point {
            classes,
            rows: 4000,
            ..BASE
        },
    ),
    ("partitions P", &[1, 2, 4, 8, 16, 32, 64], |partitions| {
        Point { partitions, ..BASE }
    }),
];

const FORMS: [(FirstLayer, &str, RGBColor); 2] = [
    (FirstLayer::Gram, "Gram form", RGBColor(0, 114, 178)),
    (FirstLayer::Direct, "direct", RGBColor(213, 94, 0)),
];

/// What one axis came to: size, milliseconds in Gram form and directly.
struct Curve {
    axis: &'static str,
    points: Vec<(usize, [f64; 2])>,
    /// First size at which the cost model takes the other form than at the first.
    crossing: Option<usize>,
}

fn main() -> ssan::Result<()> {
    let args = Args::parse();
    let chosen = choose(args.device)?;
    if let Some(note) = &chosen.note {
        eprintln!("note: {note}");
    }
    let mut csv = "axis,size,gram ms,direct ms,auto\n".to_string();
    let mut curves = Vec::new();
    for (axis, sizes, point) in AXES {
        let mut curve = Curve {
            axis,
            points: Vec::new(),
            crossing: None,
        };
        let mut first = None;
        for &size in sizes.iter().filter(|&&size| size <= args.most) {
            let point = point(size);
            let mut times = [0.0; 2];
            for (time, (form, ..)) in times.iter_mut().zip(FORMS) {
                *time = measure(point, form, args.nepoch, chosen.device)?;
            }
            // As in the paper's run, where what is paid once hardly counts.
            let auto =
                Options::PAPER.first_layer_form(point.rows, point.features, point.partitions);
            if *first.get_or_insert(auto) != auto && curve.crossing.is_none() {
                curve.crossing = Some(size);
            }
            let name = match auto {
                Form::Gram => "gram",
                Form::Direct => "direct",
            };
            let line = format!("{axis},{size},{:.2},{:.2},{name}\n", times[0], times[1]);
            print!("{line}");
            csv += &line;
            curve.points.push((size, times));
        }
        curves.push(curve);
    }
    std::fs::create_dir_all(&args.out)
        .and_then(|()| std::fs::write(args.out.join("growth.csv"), csv))
        .map_err(|e| Error::file(&args.out, e))?;
    let path = args.out.join("growth.svg");
    plot(&path, &curves).map_err(|e| Error::file(&path, e))
}

/// Milliseconds per epoch and partition.
fn measure(point: Point, form: FirstLayer, epochs: usize, device: Choice) -> ssan::Result<f64> {
    let domain = (point.rows, point.features);
    let sizes = Sizes {
        source: domain,
        target: domain,
        classes: point.classes,
    };
    let setup = Setup::new(sizes, point.partitions, 256, epochs, form);
    let load = |graph| device.load(graph);
    let (problem, options, initial) = (&setup.problem, &setup.options, &setup.initial);
    let outcome = train::<f32>(problem, options, initial, load, &mut |_| Ok(()))?;
    Ok(outcome.ms_per_epoch)
}

/// A panel for each axis, both scales logarithmic; a dashed line where the cost model changes the form.
fn plot(path: &std::path::Path, curves: &[Curve]) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::new(path, (960, 720)).into_drawing_area();
    area.fill(&WHITE)?;
    let panels = area.split_evenly((2, 2));
    for (panel, curve) in panels.iter().zip(curves) {
        let (Some(first), Some(last)) = (curve.points.first(), curve.points.last()) else {
            continue;
        };
        let times = || curve.points.iter().flat_map(|point| point.1);
        // Whole decades.
        let least = 10f64.powf(times().fold(f64::INFINITY, f64::min).log10().floor());
        let most = 10f64.powf(times().fold(0.0, f64::max).log10().ceil());
        let mut chart = ChartBuilder::on(panel)
            .margin(14)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(
                (first.0 as f64..last.0 as f64 * 1.05).log_scale(),
                (least..most).log_scale(),
            )?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .disable_x_mesh()
            .x_labels(4)
            .x_desc(curve.axis)
            .y_desc("ms per epoch and partition")
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| format!("{y}"))
            .draw()?;
        if let Some(crossing) = curve.crossing {
            let line = [(crossing as f64, least), (crossing as f64, most)];
            let grey = RGBColor(150, 150, 150);
            chart
                .draw_series(DashedLineSeries::new(line, 4, 4, grey.into()))?
                .label("the cost model changes here")
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], grey));
        }
        for (i, (_, name, color)) in FORMS.into_iter().enumerate() {
            let points = || {
                curve
                    .points
                    .iter()
                    .map(move |&(x, times)| (x as f64, times[i]))
            };
            chart
                .draw_series(LineSeries::new(points(), color.stroke_width(2)))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
            chart.draw_series(points().map(|at| Circle::new(at, 3, color.filled())))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE)
            .draw()?;
    }
    area.present()?;
    Ok(())
}
