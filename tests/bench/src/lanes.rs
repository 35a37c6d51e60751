//! A chart that shows which node answered for the VIP before and after each fault. For each fault,
//! each agent has one lane for the old master and one for the new master.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::figure::Timeline;
use crate::measure::owners::{Fault, point};
use crate::metric::Metric;
use crate::plot::Image;
use crate::results::Results;
use crate::scenario::Scenario;
use crate::subject::Who;

const TITLE: &str = "Signals to the master's processes at 1 s: which node answers for the address";
/// Advertisement interval of the charted results, in milliseconds.
const INTERVAL: u32 = 1000;
/// Start of the x axis, in milliseconds after the fault.
const FROM: f64 = -500.0;
const FONT: &str = "sans-serif";
/// Colors, chosen so that people with color blindness can tell them apart.
const ANSWERS: RGBColor = RGBColor(0, 114, 178);
const LATE: RGBColor = RGBColor(213, 94, 0);
const LANE: RGBColor = RGBColor(232, 232, 232);

const WIDTH: u32 = 860;
const LEFT: i32 = 112;
const RIGHT: i32 = 844;
/// Space between the columns, in pixels.
const GUTTER: i32 = 28;
/// Height of the title and the column headings, in pixels.
const TOP: i32 = 84;
/// Height of a fault's name, in pixels.
const NAME: i32 = 22;
const LANE_HEIGHT: i32 = 18;
/// Distance between the tops of two lanes, in pixels.
const LANE_SPACING: i32 = 22;
/// Height of a fault's name and its two lanes, including the space below them, in pixels.
const ROW: i32 = NAME + 2 * LANE_SPACING + 14;

/// An agent and its timelines, by fault.
struct Column {
    who: Who,
    timelines: Vec<(Fault, Timeline)>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Draws the chart. Returns `None` if there are no results for [`INTERVAL`].
///
/// # Errors
/// Returns an error if plotters fails to draw the chart.
pub(crate) fn image(results: &Results) -> Result<Option<Image>> {
    let columns: Vec<_> =
        [Who::Vipd, Who::Other, Who::Keepalived].into_iter().filter_map(|who| column(results, who)).collect();
    if columns.is_empty() {
        return Ok(None);
    }
    let mut svg = String::new();
    draw(&mut svg, &columns).map_err(|error| anyhow!("cannot draw the chart of answers: {error}"))?;
    Ok(Some(Image { file: "owners.svg", title: TITLE, svg }))
}

fn column(results: &Results, who: Who) -> Option<Column> {
    let measured = results.of(Scenario::Owners)?;
    let timeline = |fault| {
        let row = (Metric::LateAnswers, Some(point(fault, INTERVAL)));
        Some((fault, measured.series(who, row)?.timeline.clone()?))
    };
    let timelines: Vec<_> = Fault::ALL.into_iter().filter_map(timeline).collect();
    (!timelines.is_empty()).then_some(Column { who, timelines })
}

/// The horizontal extent of a column in pixels, and the end of its x axis.
#[derive(Clone, Copy)]
struct Scale {
    left: i32,
    right: i32,
    /// End of the x axis, in milliseconds after the fault.
    to: f64,
}

impl Scale {
    fn x(self, millis: f64) -> i32 {
        let share = (millis.clamp(FROM, self.to) - FROM) / (self.to - FROM);
        #[expect(clippy::cast_possible_truncation, reason = "at most the width of the picture")]
        let offset = (f64::from(self.right - self.left) * share).round() as i32;
        self.left + offset
    }
}

fn draw(svg: &mut String, columns: &[Column]) -> Drawn {
    let rows = i32::try_from(Fault::ALL.len())?;
    let bottom = TOP + rows * ROW;
    let area = SVGBackend::with_string(svg, (WIDTH, u32::try_from(bottom + 96)?)).into_drawing_area();
    area.fill(&WHITE)?;
    text(&area, TITLE, 22, HPos::Center, (i32::try_from(WIDTH / 2)?, 28))?;
    let ends = columns.iter().flat_map(|column| &column.timelines).map(|(_, timeline)| timeline.end);
    let to = ends.max_by(f64::total_cmp).unwrap_or_default().max(1.0);
    let count = i32::try_from(columns.len())?;
    let width = (RIGHT - LEFT - GUTTER * (count - 1)) / count;
    for (number, column) in (0..).zip(columns) {
        let left = LEFT + number * (width + GUTTER);
        let scale = Scale { left, right: left + width, to };
        text(&area, &column.who.to_string(), 18, HPos::Center, (left + width / 2, TOP - 20))?;
        for (fault, timeline) in &column.timelines {
            row(&area, scale, TOP + *fault as i32 * ROW, timeline)?;
        }
        axis(&area, scale, bottom)?;
    }
    for fault in Fault::ALL {
        let top = TOP + fault as i32 * ROW;
        text(&area, fault.description(), 15, HPos::Left, (16, top + NAME / 2))?;
        for (name, lane) in [("old master", 0), ("new master", 1)] {
            text(&area, name, 13, HPos::Right, (LEFT - 8, lane_top(top, lane) + LANE_HEIGHT / 2))?;
        }
    }
    legend(&area, bottom + 72)?;
    area.present()?;
    Ok(())
}

fn lane_top(row: i32, lane: i32) -> i32 {
    row + NAME + lane * LANE_SPACING
}

fn row(area: &Area<'_>, scale: Scale, top: i32, timeline: &Timeline) -> Drawn {
    for (spans, lane) in [(&timeline.old, 0), (&timeline.new, 1)] {
        let top = lane_top(top, lane);
        bar(area, (scale.left, scale.x(timeline.end)), top, LANE)?;
        for (from, to) in spans {
            // A span of a single frame is drawn one pixel wide.
            let pixels = |from, to| (scale.x(from), scale.x(to).max(scale.x(from) + 1));
            let is_old = lane == 0;
            if !is_old || *from < timeline.takeover {
                let end = if is_old { to.min(timeline.takeover) } else { *to };
                bar(area, pixels(*from, end), top, ANSWERS)?;
            }
            // Answers in flight at the takeover are not late.
            if is_old && *to > timeline.takeover + 1.0 {
                bar(area, pixels(from.max(timeline.takeover), *to), top, LATE)?;
            }
        }
    }
    let ends = (lane_top(top, 0) - 3, lane_top(top, 1) + LANE_HEIGHT + 3);
    dashes(area, scale.x(0.0), ends)?;
    line(area, (scale.x(timeline.takeover), ends.0), (scale.x(timeline.takeover), ends.1))
}

fn axis(area: &Area<'_>, scale: Scale, top: i32) -> Drawn {
    line(area, (scale.left, top), (scale.right, top))?;
    let seconds = (0..).map(|second: u32| (second, f64::from(second) * 1000.0));
    for (second, millis) in seconds.take_while(|(_, millis)| *millis <= scale.to) {
        line(area, (scale.x(millis), top), (scale.x(millis), top + 5))?;
        text(area, &second.to_string(), 14, HPos::Center, (scale.x(millis), top + 15))?;
    }
    let middle = i32::midpoint(scale.left, scale.right);
    text(area, "seconds after the signal", 15, HPos::Center, (middle, top + 36))
}

fn legend(area: &Area<'_>, y: i32) -> Drawn {
    let (top, bottom) = (y - 7, y + 7);
    for (x, color, name) in
        [(LEFT, ANSWERS, "answers"), (216, LATE, "answers of the old master after the takeover")]
    {
        area.draw(&Rectangle::new([(x, top), (x + 18, bottom)], color.filled()))?;
        text(area, name, 14, HPos::Left, (x + 24, y))?;
    }
    dashes(area, 548, (top, bottom))?;
    text(area, "signal", 14, HPos::Left, (556, y))?;
    line(area, (620, top), (620, bottom))?;
    text(area, "first advert of the new master", 14, HPos::Left, (628, y))
}

fn bar(area: &Area<'_>, (left, right): (i32, i32), top: i32, color: RGBColor) -> Drawn {
    Ok(area.draw(&Rectangle::new([(left, top), (right, top + LANE_HEIGHT)], color.filled()))?)
}

fn line(area: &Area<'_>, from: (i32, i32), to: (i32, i32)) -> Drawn {
    Ok(area.draw(&PathElement::new([from, to], BLACK.stroke_width(2)))?)
}

/// Draws a dashed vertical line.
fn dashes(area: &Area<'_>, x: i32, (top, bottom): (i32, i32)) -> Drawn {
    (top..bottom).step_by(6).try_for_each(|y| line(area, (x, y), (x, (y + 3).min(bottom))))
}

/// Draws text that is vertically centered at a position.
fn text(area: &Area<'_>, text: &str, size: i32, anchor: HPos, position: (i32, i32)) -> Drawn {
    let style = (FONT, size).into_font().color(&BLACK).pos(Pos::new(anchor, VPos::Center));
    Ok(area.draw(&Text::new(text, position, style))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Figure;
    use crate::results::Measured;

    fn results(late: bool) -> Results {
        let mut measured = Measured::new(Scenario::Owners);
        let old = vec![(-500.0, if late { 4600.0 } else { 3600.4 })];
        let timeline = Timeline { old, new: vec![(3601.0, 4600.0)], takeover: 3600.0, end: 4600.0 };
        for fault in Fault::ALL {
            let figure = Figure::new(Metric::LateAnswers, 0.0).at(point(fault, INTERVAL), 1000.0);
            measured.add(Who::Vipd, vec![figure.with_timeline(timeline.clone())]);
        }
        Results { measured: vec![measured], ..Results::default() }
    }

    #[test]
    fn only_answers_after_the_takeover_are_highlighted() {
        for (late, count) in [(false, 0), (true, Fault::ALL.len())] {
            let svg = image(&results(late)).unwrap().unwrap().svg;
            // The legend contains the color once.
            assert_eq!(svg.matches("#D55E00").count(), count + 1, "{svg}");
            assert!(Fault::ALL.iter().all(|fault| svg.contains(fault.description())), "{svg}");
        }
    }

    #[test]
    fn nothing_is_drawn_without_results() {
        assert!(image(&Results::default()).unwrap().is_none());
    }
}
