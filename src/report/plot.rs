//! Plots as SVG that sits in a page of either colour scheme: text has the page's colour, the
//! background none.

use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Stands for the page's text colour until the plot is drawn.
const TEXT: RGBColor = RGBColor(1, 2, 3);
/// Stands for the colour of grid lines.
const GRID: RGBColor = RGBColor(4, 5, 6);

/// More classes than this are drawn small, without counts.
pub(super) const MANY: usize = 16;

/// Height of a row of the legend below.
const LEGEND: u32 = 24;
/// Entries in a row of it.
const COLUMNS: usize = 2;
/// The least that a logarithmic axis shows: it never ends where numbers lose their precision.
const LEAST: f64 = 1e-45;
const FONT: (&str, u32) = ("sans-serif", 15);
/// Of a plot without its legend: narrow, so that text can be read on a phone.
const SIZE: (u32, u32) = (480, 300);

/// Values over epochs.
pub(super) struct Series {
    pub name: String,
    pub color: RGBColor,
    /// Epoch, value.
    pub points: Vec<(f64, f64)>,
    /// Epoch, smallest and largest value of what the series is the mean of.
    pub band: Vec<(f64, f64, f64)>,
}

/// What stands for a row in a picture of the common space.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Source,
    Labelled,
    Unlabelled,
}

/// A row in a picture of the common space.
pub(super) struct Point {
    pub at: (f64, f64),
    /// `None` where its class is not known.
    pub class: Option<usize>,
    pub shape: Shape,
}

/// Colours that people of any colour vision tell apart (Okabe & Ito 2008), without those that
/// vanish on white or black; for more classes, hues all around.
pub(super) fn color(i: usize, of: usize) -> RGBColor {
    const FEW: [RGBColor; 7] = [
        RGBColor(0, 114, 178),
        RGBColor(230, 159, 0),
        RGBColor(0, 158, 115),
        RGBColor(213, 94, 0),
        RGBColor(86, 180, 233),
        RGBColor(204, 121, 167),
        RGBColor(140, 140, 140),
    ];
    if of <= FEW.len() {
        return FEW[i % FEW.len()];
    }
    let lightness = [0.42, 0.58][i % 2];
    let (r, g, b) = HSLColor(i as f64 / of as f64, 0.65, lightness).rgb();
    RGBColor(r, g, b)
}

/// The text of an SVG, drawn by `draw`.
fn svg(size: (u32, u32), title: &str, draw: impl FnOnce(&Area) -> Drawn) -> String {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        draw(&root).and_then(|()| Ok(root.present()?)).expect(DRAWS);
    }
    let sized = format!("width=\"{}\" height=\"{}\" ", size.0, size.1);
    let label = maud::html! { (title) }.into_string();
    text.replacen(&sized, &format!("role=\"img\" aria-label=\"{label}\" "), 1)
        .replace("#010203", "currentColor")
        .replace("#040506", "#888888")
}

const DRAWS: &str = "text can be written to memory";
type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn font(area: &Area) -> TextStyle<'static> {
    FONT.into_text_style(area).color(&TEXT)
}

/// Whole numbers where the range is wide enough.
fn number(x: &f64) -> String {
    match x.abs() {
        0.0 => "0".to_string(),
        a if a >= 10.0 => format!("{x:.0}"),
        a if a >= 0.01 => format!("{}", (x * 1000.0).round() / 1000.0),
        _ => format!("{x:.0e}"),
    }
}

/// Lines over epochs; on a logarithmic scale, where `log` says so, of what is at least [`LEAST`].
pub(super) fn lines(title: &str, y_label: &str, series: &[Series], log: bool) -> String {
    let points = series.iter().flat_map(|s| {
        let band = s
            .band
            .iter()
            .flat_map(|&(x, low, high)| [(x, low), (x, high)]);
        s.points.iter().copied().chain(band)
    });
    let points: Vec<(f64, f64)> = points.filter(|p| !log || p.1 >= LEAST).collect();
    let last = points.iter().map(|p| p.0).fold(1.0, f64::max);
    let least = points.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
    let most = points.iter().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
    let (least, most) = match least.is_finite() && most.is_finite() {
        true => (least, most),
        false => (0.1, 1.0),
    };
    let rows = series.len().div_ceil(COLUMNS) as u32;
    svg((SIZE.0, SIZE.1 + LEGEND * rows), title, |root| {
        let (above, below) = root.split_vertically(SIZE.1);
        for (i, s) in series.iter().enumerate() {
            let x = 72 + (i % COLUMNS) as i32 * 200;
            let y = (LEGEND * (i / COLUMNS) as u32 + LEGEND / 2) as i32;
            let line = [(x, y - 2), (x + 22, y + 2)];
            below.draw(&Rectangle::new(line, s.color.filled()))?;
            let style = font(root).pos(Pos::new(HPos::Left, VPos::Center));
            below.draw(&Text::new(s.name.clone(), (x + 28, y), style))?;
        }
        if log {
            let y = (least * 0.8..most * 1.25).log_scale();
            draw_lines(&above, root, y_label, last, y, series, |y| y >= LEAST)
        } else {
            let room = 0.05 * (most - least).max(1e-3);
            let y: RangedCoordf64 = (least - room..most + room).into();
            draw_lines(&above, root, y_label, last, y, series, |_| true)
        }
    })
}

fn draw_lines<Y>(
    area: &Area,
    root: &Area,
    y_label: &str,
    last: f64,
    y: Y,
    series: &[Series],
    shown: impl Fn(f64) -> bool,
) -> Drawn
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_right(20)
        .x_label_area_size(42)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..last, y)?;
    chart
        .configure_mesh()
        .axis_style(TEXT)
        .bold_line_style(GRID.mix(0.35))
        .light_line_style(TRANSPARENT)
        .label_style(font(root))
        .axis_desc_style(font(root))
        .x_desc("epoch")
        .y_desc(y_label)
        .x_labels(6)
        .y_labels(6)
        .x_label_formatter(&number)
        .y_label_formatter(&number)
        .draw()?;
    for s in series {
        let low = s.band.iter().map(|&(x, low, _)| (x, low));
        let high = s.band.iter().rev().map(|&(x, _, high)| (x, high));
        let outline: Vec<(f64, f64)> = low.chain(high).collect();
        if !outline.is_empty() {
            chart.draw_series([Polygon::new(outline, s.color.mix(0.2).filled())])?;
        }
        let points = s.points.iter().copied().filter(|p| shown(p.1));
        chart.draw_series(LineSeries::new(points, s.color.stroke_width(2)))?;
    }
    Ok(())
}

/// Rows in two dimensions, of `classes` classes.
pub(super) fn scatter(title: &str, points: &[Point], classes: usize) -> String {
    const SIDE: u32 = 420;
    let range = |of: fn(&Point) -> f64| {
        let values = points.iter().map(of);
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| {
            (l.min(x), h.max(x))
        });
        let room = 0.05 * (high - low).max(1e-6);
        low - room..high + room
    };
    svg((SIDE, SIDE), title, |root| {
        if points.is_empty() {
            return Ok(());
        }
        let mut chart = ChartBuilder::on(root)
            .margin(4)
            .build_cartesian_2d(range(|p| p.at.0), range(|p| p.at.1))?;
        let color = |p: &Point| match p.class {
            Some(class) => color(class, classes),
            None => GRID,
        };
        let of = |shape| points.iter().filter(move |p| p.shape == shape);
        chart.draw_series(
            of(Shape::Source).map(|p| Circle::new(p.at, 3, color(p).mix(0.55).stroke_width(1))),
        )?;
        chart.draw_series(
            of(Shape::Unlabelled).map(|p| Cross::new(p.at, 3, color(p).stroke_width(1))),
        )?;
        chart.draw_series(
            of(Shape::Labelled).map(|p| TriangleMarker::new(p.at, 8, color(p).filled())),
        )?;
        Ok(())
    })
}

/// Rows by true class and predicted class, as shares of the true class.
pub(super) fn confusion(title: &str, counts: &[Vec<usize>], names: &[String]) -> String {
    let k = counts.len();
    let cell = (520 / k as u32).clamp(16, 44);
    let letter = if k > MANY { 11 } else { 14 };
    let longest = names.iter().map(|name| name.chars().count()).max();
    // Letters are about two thirds as wide as high.
    let room = 14 + longest.unwrap_or(0) as u32 * letter * 2 / 3;
    let (left, top) = (room, room);
    let size = (left + cell * k as u32 + 12, top + cell * k as u32 + 12);
    let at = |i: usize, j: usize| {
        (
            left as i32 + (cell * j as u32) as i32,
            top as i32 + (cell * i as u32) as i32,
        )
    };
    svg(size, title, |root| {
        let small = ("sans-serif", letter);
        let style = small.into_text_style(root).color(&TEXT);
        for (i, row) in counts.iter().enumerate() {
            let all: usize = row.iter().sum();
            for (j, &n) in row.iter().enumerate() {
                let (x, y) = at(i, j);
                let share = n as f64 / all.max(1) as f64;
                let edge = (x + cell as i32 - 1, y + cell as i32 - 1);
                let shade = if i == j {
                    RGBColor(0, 114, 178)
                } else {
                    RGBColor(213, 94, 0)
                };
                root.draw(&Rectangle::new([(x, y), edge], GRID.mix(0.08).filled()))?;
                if n > 0 {
                    let shade = shade.mix(0.12 + 0.6 * share).filled();
                    root.draw(&Rectangle::new([(x, y), edge], shade))?;
                    if k <= MANY {
                        let middle = (x + cell as i32 / 2, y + cell as i32 / 2);
                        let style = style.clone().pos(Pos::new(HPos::Center, VPos::Center));
                        root.draw(&Text::new(n.to_string(), middle, style))?;
                    }
                }
            }
            let half = cell as i32 / 2;
            let right = style.clone().pos(Pos::new(HPos::Right, VPos::Center));
            let (x, y) = at(i, 0);
            root.draw(&Text::new(names[i].clone(), (x - 6, y + half), right))?;
            let up = style
                .clone()
                .transform(FontTransform::Rotate270)
                .pos(Pos::new(HPos::Left, VPos::Center));
            let (x, y) = at(0, i);
            root.draw(&Text::new(names[i].clone(), (x + half, y - 6), up))?;
        }
        Ok(())
    })
}
