//! Draws charts as SVG.

use anyhow::{Result, anyhow};
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

use crate::lanes;
use crate::pictures::{self, Axis, Picture};
use crate::results::Results;
use crate::subject::Who;

const SIZE: (u32, u32) = (860, 500);
const FONT: &str = "sans-serif";
/// Line colors, chosen so that people with color blindness can tell them apart.
const VIPD: RGBColor = RGBColor(0, 114, 178);
const OTHER: RGBColor = RGBColor(0, 158, 115);
const KEEPALIVED: RGBColor = RGBColor(213, 94, 0);

/// A chart as SVG.
pub(crate) struct Image {
    pub(crate) file: &'static str,
    pub(crate) title: &'static str,
    pub(crate) svg: String,
}

/// Draws all charts for which there are results.
///
/// # Errors
/// Returns an error if plotters fails to draw a chart.
pub(crate) fn images(results: &Results) -> Result<Vec<Image>> {
    let pictures = pictures::of(results).into_iter();
    let charts =
        pictures.map(|picture| Ok(Image { file: picture.file, title: picture.title, svg: svg(&picture)? }));
    charts.chain(lanes::image(results).transpose()).collect()
}

/// Draws a chart with a white background.
///
/// # Errors
/// Returns an error if plotters fails to draw the chart.
fn svg(picture: &Picture) -> Result<String> {
    let points = || picture.lines.iter().flat_map(|line| &line.points);
    let (x0, x1) = range(picture.x, points().map(|point| point.0));
    let (y0, y1) = range(picture.y, points().map(|point| point.1));
    let drawn = match (picture.x.logarithmic, picture.y.logarithmic) {
        (false, false) => draw(picture, x0..x1, y0..y1),
        (false, true) => draw(picture, x0..x1, (y0..y1).log_scale()),
        (true, false) => draw(picture, (x0..x1).log_scale(), y0..y1),
        (true, true) => draw(picture, (x0..x1).log_scale(), (y0..y1).log_scale()),
    };
    drawn.map_err(|error| anyhow!("cannot draw {}: {error}", picture.file))
}

fn draw<X, Y>(picture: &Picture, x: X, y: Y) -> Result<String, Box<dyn std::error::Error>>
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(picture.title, (FONT, 22))
            .margin(16)
            .x_label_area_size(52)
            .y_label_area_size(72)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .x_desc(picture.x.label)
            .y_desc(picture.y.label)
            .axis_desc_style((FONT, 17))
            .label_style((FONT, 15))
            .x_label_formatter(&label)
            .y_label_formatter(&label)
            .light_line_style(TRANSPARENT)
            .draw()?;
        for line in &picture.lines {
            let style = color(line.who).stroke_width(if line.thin { 1 } else { 3 });
            let series = LineSeries::new(line.points.iter().copied(), style);
            chart
                .draw_series(series)?
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], style));
        }
        chart
            .configure_series_labels()
            .label_font((FONT, 15))
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK)
            .draw()?;
        area.present()?;
    }
    Ok(text)
}

/// Returns the range of an axis. A linear axis starts slightly below 0, so that a line of zeros is
/// visible.
fn range(axis: Axis, values: impl Iterator<Item = f64>) -> (f64, f64) {
    let values: Vec<f64> = values.filter(|value| !axis.logarithmic || *value > 0.0).collect();
    let min = values.iter().copied().min_by(f64::total_cmp).unwrap_or(1.0);
    let max = values.iter().copied().max_by(f64::total_cmp).unwrap_or(1.0);
    if axis.logarithmic {
        (min / 1.2, max * 1.2)
    } else {
        let max = if max > 0.0 { max } else { 1.0 };
        (-max * 0.02, max * 1.05)
    }
}

/// Formats a value without trailing zeros: 0.05, 20.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "signature required by plotters")]
fn label(value: &f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn color(who: Who) -> RGBColor {
    match who {
        Who::Vipd | Who::Native | Who::Generic => VIPD,
        Who::Other => OTHER,
        Who::Keepalived => KEEPALIVED,
        Who::Kernel => BLACK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::Line;

    #[test]
    fn every_combination_of_axes_is_drawn() {
        for (x, y) in [(false, false), (false, true), (true, false), (true, true)] {
            let axis = |logarithmic| Axis { label: "quantity", logarithmic };
            let line = |points| Line { name: "vipd".to_owned(), who: Who::Vipd, thin: false, points };
            let lines = vec![line(vec![(0.0, 0.0), (1.0, 2.0), (300.0, 40.0)]), line(vec![(1.0, 0.0)])];
            let picture = Picture { file: "a.svg", title: "Title", x: axis(x), y: axis(y), lines };
            let text = svg(&picture).unwrap();
            assert!(text.contains("<svg") && text.contains("Title"), "{text}");
        }
    }

    #[test]
    fn labels_have_no_trailing_zeros() {
        assert_eq!([0.05, 20.0, 1000.0].map(|value| label(&value)), ["0.05", "20", "1000"]);
    }
}
