//! Time against documents on logarithmic axes, one line a system, as SVG.

use anyhow::{Context as _, anyhow};
use plotters::element::DashedPathElement;
use plotters::prelude::*;

use super::results::{Comparison, Measured, Start};
use super::table::series;

const SIZE: (u32, u32) = (1_120, 600);
/// The part of the width that the lines have; their names are beside them.
const PLOT: u32 = 830;
/// Colours that people tell apart who see few (Okabe and Ito, 2008).
const COLOURS: [(&str, RGBColor); 6] = [
    ("Spark", RGBColor(213, 94, 0)),
    ("Firesteel", RGBColor(0, 114, 178)),
    ("MongoDB", RGBColor(0, 158, 115)),
    ("DuckDB", RGBColor(230, 159, 0)),
    ("Polars", RGBColor(204, 121, 167)),
    ("DataFusion", RGBColor(90, 90, 90)),
];

/// The chart; `None` where a single size makes no line.
pub(super) fn svg(comparison: &Comparison) -> anyhow::Result<Option<String>> {
    let Some(last) = comparison.sizes.last().filter(|_| comparison.sizes.len() > 1) else { return Ok(None) };
    let lines: Vec<(&Measured, Vec<(f64, f64)>)> = last
        .measured
        .iter()
        .map(|one| (one, series(comparison, one).map(|(x, wall)| (x as f64, wall.median)).collect()))
        .collect();
    let mut text = String::new();
    // Plotters' errors borrow the drawing.
    draw(comparison, &lines, &mut text).map_err(|error| anyhow!("{error}")).context("drawing the chart")?;
    Ok(Some(text + "\n"))
}

fn draw(
    comparison: &Comparison,
    lines: &[(&Measured, Vec<(f64, f64)>)],
    text: &mut String,
) -> Result<(), Box<dyn std::error::Error>> {
    let points = || lines.iter().flat_map(|(_, points)| points.iter().copied());
    let ends = |of: fn((f64, f64)) -> f64| {
        points().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
    };
    let ((left, right), (low, high)) = (ends(|(x, _)| x), ends(|(_, y)| y));
    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (plot, names) = area.split_horizontally(PLOT);
    let caption =
        format!("Wrong inferences by producer: time over documents ({} cores)", comparison.machine.cores);
    let mut chart = ChartBuilder::on(&plot)
        .caption(caption, ("sans-serif", 20))
        .margin(14)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .right_y_label_area_size(0)
        .build_cartesian_2d(
            (left * 0.8..right * 1.25).log_scale(),
            (low.max(1e-4) * 0.7..high * 1.6).log_scale(),
        )?;
    chart
        .configure_mesh()
        .light_line_style(RGBColor(240, 240, 240))
        .bold_line_style(RGBColor(215, 215, 215))
        .x_desc("documents")
        .y_desc("seconds (median)")
        .x_label_formatter(&|x| short(*x))
        .y_label_formatter(&|y| format!("{y}"))
        .label_style(("sans-serif", 14))
        .draw()?;
    let mut used = std::collections::BTreeMap::new();
    for (number, (one, points)) in lines.iter().enumerate() {
        let colour =
            COLOURS.iter().find(|(system, _)| *system == one.system).map_or(BLACK, |(_, colour)| *colour);
        // Of one system, each further line is paler.
        let seen = used.entry(one.system.as_str()).or_insert(0_u32);
        let style = colour.mix(1.0 - 0.18 * f64::from(*seen)).stroke_width(2);
        *seen += 1;
        let row = 60 + i32::try_from(number)? * 24;
        let sample = [(0, row), (28, row)];
        let name = match one.start {
            Start::Cold => {
                chart.draw_series(DashedLineSeries::new(points.iter().copied(), 7, 4, style))?;
                names.draw(&DashedPathElement::new(sample, 7, 4, style))?;
                format!("{} (cold)", one.name())
            }
            Start::Warm => {
                chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
                names.draw(&PathElement::new(sample, style))?;
                one.name()
            }
        };
        names.draw(&Text::new(name, (36, row - 7), ("sans-serif", 13)))?;
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, style.filled())))?;
    }
    area.present()?;
    Ok(())
}

fn short(count: f64) -> String {
    match count {
        _ if count >= 1e6 => format!("{}M", count / 1e6),
        _ if count >= 1e3 => format!("{}k", count / 1e3),
        _ => format!("{count}"),
    }
}
