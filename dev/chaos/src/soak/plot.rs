//! Rate, lag and memory over time, as SVG.

use super::series::{Phase, Sample, rates};
use anyhow::{Context as _, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

const SIZE: (u32, u32) = (1_120, 860);
/// Rates are averaged over so many seconds.
const WINDOW: f64 = 10.0;
/// Colours that people tell apart who see few (Okabe and Ito, 2008).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Line = (String, Vec<(f64, f64)>);

/// The three panels, one above the other.
pub(crate) fn svg(samples: &[Sample], title: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    // Plotters' errors borrow the drawing.
    draw(samples, title, &mut text).map_err(|error| anyhow!("{error}")).context("drawing the plot")?;
    Ok(text + "\n")
}

fn draw(samples: &[Sample], title: &str, text: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let area = area.titled(title, ("sans-serif", 20))?;
    let panels = area.split_evenly((3, 1));
    let rate = vec![
        ("produced".to_owned(), rates(samples, WINDOW, |sample| sample.produced)),
        ("stored".to_owned(), rates(samples, WINDOW, |sample| sample.stored)),
    ];
    let lag = samples.iter().map(|sample| (sample.at, sample.lag() as f64)).collect();
    let names = samples.last().map(|sample| sample.memory.keys().cloned().collect::<Vec<_>>());
    let memory = names.unwrap_or_default().into_iter().map(|name| {
        let mib = |sample: &Sample| Some((sample.at, *sample.memory.get(&name)? as f64 / f64::from(1 << 20)));
        (name.clone(), samples.iter().filter_map(mib).collect())
    });
    let lines: [(&str, Vec<Line>); 3] = [
        ("images a second", rate),
        ("images under way", vec![("lag".to_owned(), lag)]),
        ("MiB", memory.collect()),
    ];
    for (panel, (unit, lines)) in panels.iter().zip(&lines) {
        one(panel, unit, lines, samples)?;
    }
    area.present()?;
    Ok(())
}

fn one(
    panel: &Area<'_>,
    unit: &str,
    lines: &[Line],
    samples: &[Sample],
) -> Result<(), Box<dyn std::error::Error>> {
    let end = samples.last().map_or(1.0, |sample| sample.at).max(1.0);
    let top = lines.iter().flat_map(|(_, points)| points.iter().map(|(_, y)| *y)).fold(1.0, f64::max) * 1.08;
    let mut chart = ChartBuilder::on(panel)
        .margin(8)
        .margin_right(170)
        .x_label_area_size(34)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    chart
        .configure_mesh()
        .light_line_style(RGBColor(240, 240, 240))
        .bold_line_style(RGBColor(215, 215, 215))
        .x_desc("seconds")
        .y_desc(unit)
        .y_label_formatter(&|y| format!("{y:.0}"))
        .x_label_formatter(&|x| format!("{x:.0}"))
        .label_style(("sans-serif", 13))
        .draw()?;
    // Where the overload begins, and where production ends.
    for phase in [Phase::Overload, Phase::Drain] {
        if let Some(begin) = samples.iter().find(|sample| sample.phase == phase) {
            let line = [(begin.at, 0.0), (begin.at, top)];
            chart.draw_series(DashedLineSeries::new(line, 4, 4, BLACK.mix(0.5).stroke_width(1)))?;
        }
    }
    let right = i32::try_from(SIZE.0)? - 160;
    for (number, (name, points)) in lines.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        // A second process of a role is paler.
        let paler = if number >= COLOURS.len() { 0.5 } else { 1.0 };
        let style = colour.mix(paler).stroke_width(2);
        chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
        let row = 20 + i32::try_from(number)? * 18;
        panel.draw(&PathElement::new([(right, row), (right + 22, row)], style))?;
        panel.draw(&Text::new(name.clone(), (right + 28, row - 6), ("sans-serif", 12)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_and_every_panel_is_drawn() {
        let sample = |at: u64| Sample {
            at: at as f64,
            phase: if at < 50 { Phase::Steady } else { Phase::Drain },
            produced: at * 10,
            stored: at * 9,
            memory: [("scheduler".to_owned(), 1 << 27)].into(),
        };
        let text = svg(&(0..60).map(sample).collect::<Vec<_>>(), "a soak").expect("drawn");
        for word in ["<svg", "a soak", "produced", "stored", "lag", "scheduler", "MiB", "seconds"] {
            assert!(text.contains(word), "{word}");
        }
    }
}
