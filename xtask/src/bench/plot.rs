//! A picture as SVG.

use std::ops::Range;

use anyhow::{Result, anyhow};
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use vipd_tests::bench::thousands;

use super::pictures::{Axis, Line, Picture};
use super::scenario::Who;

const SIZE: (u32, u32) = (860, 500);
/// Sizes of letters; in pixels four fifths of that.
const TITLE: u32 = 22;
const TEXT: u32 = 17;
/// Height of title and legend in pixels.
const HEAD: u32 = 68;
const FONT: &str = "sans-serif";
/// Two colours that people who see fewer of them can tell apart, too.
const VIPD: RGBColor = RGBColor(0, 114, 178);
const KEEPALIVED: RGBColor = RGBColor(213, 94, 0);
const GRID: RGBColor = RGBColor(204, 204, 204);

/// Draws it. The background is white, whatever the page's is.
pub(super) fn svg(picture: &Picture) -> Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        draw(&area, picture).map_err(|error| anyhow!("cannot draw {}: {error}", picture.file))?;
        area.present()?;
    }
    Ok(text)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw(area: &Area<'_>, picture: &Picture) -> Result<(), Box<dyn std::error::Error>> {
    area.fill(&WHITE)?;
    let points = || picture.lines.iter().flat_map(|line| &line.points);
    let (x, y) = (
        Scale::of(picture.x, points().map(|point| point.0)),
        Scale::of(picture.y, points().map(|point| point.1)),
    );
    let (above, below) = area.split_vertically(HEAD);
    head(&above, picture)?;
    let mut chart = ChartBuilder::on(&below)
        .margin(12)
        .margin_right(44)
        .x_label_area_size(52)
        .y_label_area_size(72)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .x_desc(picture.x.label)
        .y_desc(picture.y.label)
        .axis_desc_style((FONT, TEXT))
        .label_style((FONT, TEXT))
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .draw()?;
    for line in &picture.lines {
        let (colour, points) = (colour(line.who), line.points.iter().copied());
        if line.dashed {
            chart.draw_series(DashedLineSeries::new(points.clone(), 6, 4, colour.stroke_width(2)))?;
        } else {
            chart.draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?;
        }
        if line.marked {
            points.map(|point| chart.backend_coord(&point)).try_for_each(|at| mark(area, line.who, at))?;
        }
    }
    Ok(())
}

/// The title, and under it the lines' names.
fn head(area: &Area<'_>, picture: &Picture) -> Result<(), Box<dyn std::error::Error>> {
    let middle = VPos::Center;
    let title = (FONT, TITLE).into_text_style(area).pos(Pos::new(HPos::Center, middle));
    let centre = i32::try_from(SIZE.0 / 2)?;
    area.draw(&Text::new(picture.title, (centre, 24), title))?;
    let name = (FONT, TEXT).into_text_style(area).pos(Pos::new(HPos::Left, middle));
    // A letter is about half as wide as high.
    let width = |line: &Line| i32::try_from(line.name.chars().count()).map(|letters| letters * 7 + 58);
    let widths = picture.lines.iter().map(width).collect::<Result<Vec<_>, _>>()?;
    let (mut left, y) = (centre - widths.iter().sum::<i32>() / 2, 54);
    for (line, width) in picture.lines.iter().zip(widths) {
        let parts: &[(i32, i32)] = if line.dashed { &[(0, 9), (15, 24)] } else { &[(0, 24)] };
        for (from, to) in parts {
            let ends = [(left + from, y), (left + to, y)];
            area.draw(&PathElement::new(ends, colour(line.who).stroke_width(3)))?;
        }
        if line.marked {
            mark(area, line.who, (left + 12, y))?;
        }
        area.draw(&Text::new(line.name.clone(), (left + 32, y), name.clone()))?;
        left += width;
    }
    Ok(())
}

/// A point: a circle is vipd's, a triangle the other's.
fn mark(area: &Area<'_>, who: Who, at: (i32, i32)) -> Result<(), Box<dyn std::error::Error>> {
    let colour = colour(who).filled();
    match who {
        Who::Keepalived => area.draw(&TriangleMarker::new(at, 7, colour))?,
        _ => area.draw(&Circle::new(at, 5, colour))?,
    }
    Ok(())
}

fn colour(who: Who) -> RGBColor {
    match who {
        Who::Vipd => VIPD,
        Who::Keepalived => KEEPALIVED,
        Who::Kernel => BLACK,
    }
}

/// An axis with its numbers.
#[derive(Debug, Clone, PartialEq)]
struct Scale {
    logarithmic: bool,
    range: Range<f64>,
    ticks: Vec<f64>,
}

impl Scale {
    /// One that has all values.
    fn of(axis: Axis, values: impl Iterator<Item = f64>) -> Self {
        let values: Vec<f64> = values.filter(|value| !axis.logarithmic || *value > 0.0).collect();
        let least = values.iter().copied().min_by(f64::total_cmp).unwrap_or(1.0);
        let most = values.iter().copied().max_by(f64::total_cmp).unwrap_or(1.0);
        if axis.logarithmic { Self::logarithmic(least, most) } else { Self::linear(most) }
    }

    /// From a little under 0, so that a line of zeroes can be seen.
    fn linear(most: f64) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let step = nice().find(|step| *step * 6.0 >= most).unwrap_or(most);
        let ticks: Vec<f64> = (0..=6).map(|count| step * f64::from(count)).collect();
        let ticks: Vec<f64> = ticks.into_iter().filter(|tick| *tick < most + step * 0.999).collect();
        let top = ticks.last().copied().unwrap_or(most).max(most);
        Self { logarithmic: false, range: -top * 0.02..top * 1.02, ticks }
    }

    /// From and to a nice number.
    fn logarithmic(least: f64, most: f64) -> Self {
        let low = nice().take_while(|tick| *tick <= least).last().unwrap_or(least);
        let high = nice().find(|tick| *tick >= most && *tick > low).unwrap_or(most);
        let ticks: Vec<f64> = nice().filter(|tick| (low..=high).contains(tick)).collect();
        Self { logarithmic: true, range: low..high, ticks }
    }

    fn share(&self, value: f64) -> f64 {
        let of = |value: f64| if self.logarithmic { value.max(self.range.start).log10() } else { value };
        (of(value) - of(self.range.start)) / (of(self.range.end) - of(self.range.start))
    }
}

/// 1, 2 and 5 of each power of ten.
fn nice() -> impl Iterator<Item = f64> {
    (-4..9).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)))
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        #[expect(clippy::cast_possible_truncation, reason = "a pixel of a picture")]
        let offset = (self.share(*value) * f64::from(limit.1 - limit.0)).round() as i32;
        limit.0 + offset
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Scale {
    fn format_ext(&self, value: &f64) -> String {
        if *value < 1000.0 {
            // As many digits as the number has: 0.05, 20.
            return format!("{value:.4}").trim_end_matches('0').trim_end_matches('.').to_owned();
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number on an axis"
        )]
        thousands(*value as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_all_values_between_nice_numbers() {
        let axis = |logarithmic| Axis { label: "", logarithmic };
        let scale = Scale::of(axis(true), [0.073, 1.9].into_iter());
        assert_eq!((scale.range.start, scale.range.end), (0.05, 2.0));
        assert_eq!(scale.ticks, [0.05, 0.1, 0.2, 0.5, 1.0, 2.0]);
        let scale = Scale::of(axis(false), [0.0, 56.0].into_iter());
        assert_eq!(scale.ticks, [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
        assert!(scale.range.contains(&0.0) && scale.range.contains(&60.0));
        // Nothing happened to anybody.
        let scale = Scale::of(axis(false), [0.0, 0.0].into_iter());
        assert!(scale.range.contains(&1.0));
    }

    #[test]
    fn numbers_on_an_axis_are_short() {
        let scale = Scale::linear(1.0);
        let all = [0.05, 0.2, 1.0, 20.0, 20_000.0].map(|value| scale.format_ext(&value));
        assert_eq!(all, ["0.05", "0.2", "1", "20", "20,000"]);
    }

    #[test]
    fn a_picture_is_svg_with_its_words() {
        let line = |who, points| Line { name: format!("{who}"), who, dashed: false, marked: true, points };
        let picture = Picture {
            file: "test.svg",
            title: "A title",
            x: Axis { label: "across", logarithmic: true },
            y: Axis { label: "upwards", logarithmic: false },
            lines: vec![
                line(Who::Vipd, vec![(1.0, 0.0), (10.0, 2.0)]),
                line(Who::Keepalived, vec![(5.0, 7.0)]),
            ],
        };
        let text = svg(&picture).unwrap();
        for word in ["<svg", "A title", "across", "upwards", "vipd", "keepalived", "</svg>"] {
            assert!(text.contains(word), "{word} in {text}");
        }
    }
}
