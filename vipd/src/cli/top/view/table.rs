//! The table of instances. Columns are placed in the order of their importance. A column that does
//! not fit is left out, and less important columns that fit are still shown.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

use super::text::{clip, width};
use crate::cli::status::{age, state};
use crate::cli::table::{Align, BAD, Cell, HEAD, WAITING};
use crate::cli::top::model::{Connection, Model};
use crate::cli::top::order::Sort;
use crate::cli::top::row::{Master, Row};
use crate::cli::top::theme::Theme;

struct Column {
    head: &'static str,
    align: Align,
    /// Columns with lower numbers are placed first. A column that does not fit is left out.
    rank: u8,
    /// Minimum width of the contents, so that the columns do not move with every report.
    least: usize,
    most: usize,
    sort: Option<Sort>,
    cell: fn(&Row) -> Cell,
}

const COLUMNS: [Column; 15] = [
    column("NAME", Align::Left, 0, (8, 24), Some(Sort::Name), |row| row.name().into()),
    column("INTERFACE", Align::Left, 12, (4, 15), None, |row| (&row.status.interface).into()),
    column("VRID", Align::Right, 11, (3, 3), None, |row| row.status.vrid.into()),
    column("STATE", Align::Left, 1, (6, 10), Some(Sort::State), |row| state(row.status.state)),
    column("PRIO", Align::Right, 2, (3, 7), Some(Sort::Priority), priority),
    column("MASTER", Align::Left, 3, (9, 39), None, master),
    column("RCVD/S", Align::Right, 5, (6, 9), Some(Sort::Received), |row| per_second(row.received)),
    column("SENT/S", Align::Right, 6, (6, 9), Some(Sort::Sent), |row| per_second(row.sent)),
    column("LAST-ADV", Align::Right, 4, (6, 8), Some(Sort::LastAdvert), last_advert),
    column("CHECKS", Align::Right, 7, (3, 7), None, checks),
    column("FENCE", Align::Left, 8, (4, 7), None, fence),
    column("SINCE", Align::Right, 9, (6, 6), Some(Sort::Since), since),
    column("DROPPED", Align::Right, 10, (4, 20), Some(Sort::Dropped), dropped),
    column("LATE", Align::Right, 13, (5, 9), None, late),
    column("NOTE", Align::Left, 14, (20, 200), None, note),
];

const fn column(
    head: &'static str,
    align: Align,
    rank: u8,
    (least, most): (usize, usize),
    sort: Option<Sort>,
    cell: fn(&Row) -> Cell,
) -> Column {
    Column { head, align, rank, least, most, sort, cell }
}

fn priority(row: &Row) -> Cell {
    let (effective, configured) = (row.status.effective_priority, row.status.priority);
    if effective == configured {
        return effective.into();
    }
    Cell::styled(format!("{effective}/{configured}"), WAITING)
}

fn master(row: &Row) -> Cell {
    match row.master() {
        Master::Unknown => "-".into(),
        Master::This => "this node".into(),
        Master::Other(address, _) => address.into(),
    }
}

fn per_second(rate: Option<f64>) -> Cell {
    rate.map_or_else(|| "-".into(), |rate| format!("{rate:.1}").into())
}

/// Highlights the time since the last advert if it exceeds two intervals. After one interval, the
/// next advert may still be in transit.
fn last_advert(row: &Row) -> Cell {
    let Some(millis) = row.last_advert_ms() else { return "-".into() };
    let interval = row.status.active_advertise_interval_ns / 1_000_000;
    if millis > 2 * interval.max(1) { Cell::styled(age(millis), WAITING) } else { age(millis).into() }
}

fn checks(row: &Row) -> Cell {
    let (passing, all) = (row.passing_checks(), row.status.track.len());
    match all {
        0 => "-".into(),
        _ if passing < all => Cell::styled(format!("{passing}/{all}"), WAITING),
        _ => format!("{passing}/{all}").into(),
    }
}

fn fence(row: &Row) -> Cell {
    row.status.fence.as_ref().map_or_else(|| "-".into(), Cell::from)
}

fn since(row: &Row) -> Cell {
    row.status.last_transition_ms.map_or_else(|| "-".into(), |millis| age(millis).into())
}

fn dropped(row: &Row) -> Cell {
    match row.dropped() {
        0 => 0.into(),
        count => Cell::styled(count.to_string(), BAD),
    }
}

fn late(row: &Row) -> Cell {
    row.lateness.map_or_else(|| "-".into(), |late| format!("{}µs", late.last / 1000).into())
}

fn note(row: &Row) -> Cell {
    Cell::styled(row.note().unwrap_or_default(), WAITING)
}

/// Draws the headings, and the page of instances that contains the selected instance.
pub(super) fn draw(model: &Model, theme: Theme, visible: &[&Row], area: Rect, buffer: &mut Buffer) {
    let Some(lines) = usize::from(area.height).checked_sub(1) else { return };
    let position = model.position(visible);
    let page = position.checked_div(lines).unwrap_or_default() * lines;
    let rows = &visible[page.min(visible.len())..visible.len().min(page + lines)];
    let cells: Vec<Vec<Cell>> =
        rows.iter().map(|row| COLUMNS.iter().map(|column| (column.cell)(row)).collect()).collect();
    let shown = fit(&cells, usize::from(area.width));

    let heads = COLUMNS.iter().map(|column| {
        let is_key = column.sort == Some(model.sort);
        let modifier = if is_key { Modifier::UNDERLINED } else { Modifier::empty() };
        Span::styled(column.head, theme.style(HEAD).add_modifier(modifier))
    });
    buffer.set_line(area.x, area.y, &line(&shown, heads.collect()), area.width);
    for (index, cells) in cells.iter().enumerate() {
        let Ok(below) = u16::try_from(index + 1) else { return };
        let spans = cells.iter().map(|cell| Span::styled(cell.text(), theme.style(cell.style())));
        let y = area.y + below;
        buffer.set_line(area.x, y, &line(&shown, spans.collect()), area.width);
        let row = Rect { y, height: 1, ..area };
        if matches!(model.connection, Connection::Down { .. }) {
            buffer.set_style(row, Modifier::DIM);
        }
        if page + index == position {
            buffer.set_style(row, Modifier::REVERSED);
        }
    }
}

/// Returns the width of each column, or `None` for a column that is left out.
fn fit(cells: &[Vec<Cell>], limit: usize) -> Vec<Option<usize>> {
    let natural = |(index, column): (usize, &Column)| {
        let longest = cells.iter().map(|row| width(row[index].text())).max().unwrap_or_default();
        longest.clamp(column.least, column.most).max(width(column.head))
    };
    let widths: Vec<usize> = COLUMNS.iter().enumerate().map(natural).collect();
    let mut by_rank: Vec<usize> = (0..COLUMNS.len()).collect();
    by_rank.sort_by_key(|index| COLUMNS[*index].rank);
    let mut shown = vec![None; COLUMNS.len()];
    let mut used = 0;
    for index in by_rank {
        let gap = usize::from(used > 0);
        let left = limit.saturating_sub(used + gap);
        // Notes use the remaining width.
        let wanted = if COLUMNS[index].head == "NOTE" { widths[index].min(left) } else { widths[index] };
        if wanted <= left && wanted >= COLUMNS[index].least {
            shown[index] = Some(wanted);
            used += gap + wanted;
        }
    }
    shown
}

/// Aligns the spans, one per column, and joins those of the shown columns into a line.
fn line<'a>(shown: &[Option<usize>], spans: Vec<Span<'a>>) -> Line<'a> {
    let mut arranged = Vec::new();
    for ((span, column), limit) in spans.into_iter().zip(&COLUMNS).zip(shown) {
        let Some(limit) = *limit else { continue };
        if !arranged.is_empty() {
            arranged.push(Span::raw(" "));
        }
        let text = clip(&span.content, limit);
        let padding = Span::raw(" ".repeat(limit.saturating_sub(width(&text))));
        let span = Span::styled(text, span.style);
        match column.align {
            Align::Left => arranged.extend([span, padding]),
            Align::Right => arranged.extend([padding, span]),
        }
    }
    Line::from(arranged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(limit: usize) -> Vec<&'static str> {
        let shown = fit(&[], limit);
        COLUMNS.iter().zip(&shown).filter(|(_, shown)| shown.is_some()).map(|(one, _)| one.head).collect()
    }

    #[test]
    fn the_least_important_columns_are_left_out() {
        assert_eq!(heads(15), ["NAME", "STATE"]);
        assert_eq!(heads(40), ["NAME", "STATE", "PRIO", "MASTER", "LAST-ADV"]);
        assert_eq!(
            heads(80),
            [
                "NAME", "VRID", "STATE", "PRIO", "MASTER", "RCVD/S", "SENT/S", "LAST-ADV", "CHECKS", "FENCE",
                "SINCE"
            ]
        );
        assert_eq!(heads(200).len(), COLUMNS.len());
        assert_eq!(heads(0), [""; 0]);
    }
}
