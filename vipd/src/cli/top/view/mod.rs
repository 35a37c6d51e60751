//! Draws the model. The same model always gives the same screen.

mod panels;
mod table;
#[cfg(test)]
mod tests;
mod text;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Widget as _};

use super::model::{Connection, Mode, Model};
use super::order::Sort;
use super::theme::Theme;
use super::verb::Change;
use crate::cli::status::age;
use crate::cli::table::{BAD, GOOD, HEAD, WAITING};
use crate::control::model::State;
use text::{shorten, wrap};

/// Maximum number of lines of an error or notice.
const MESSAGE_LINES: usize = 3;
/// Maximum width of the confirmation.
const DIALOG_WIDTH: u16 = 64;
/// Keys and their actions, the most important first.
const HELP: [(&str, &str); 8] = [
    ("q", "quit"),
    ("d", "drain"),
    ("u", "undrain"),
    ("f", "failover"),
    ("/", "filter"),
    ("s", "sort"),
    ("r", "reverse"),
    ("↑↓", "select"),
];

/// Draws the whole screen.
pub(super) fn draw(model: &Model, theme: Theme, frame: &mut Frame<'_>) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    let columns = usize::from(area.width);
    let visible = model.visible();
    let selected = visible.get(model.position(&visible)).copied();

    let banner = banner(model, columns);
    let notice = notice(model, columns);
    let details = selected.map(|row| panels::details(row, columns, theme)).unwrap_or_default();
    let timeline = panels::timeline(model, usize::from(area.height), theme);
    let fixed = 2 + banner.len() + notice.len();
    let left = usize::from(area.height).saturating_sub(fixed);
    let [rows, described, events] = share(left, [visible.len(), details.len(), timeline.len()]);
    let heights = [1, banner.len(), rows, described, events, notice.len(), 1];
    let areas: [Rect; 7] =
        Layout::vertical(heights.map(|lines| Constraint::Length(saturate(lines)))).areas(area);
    let [head, banner_area, table, details_area, events_area, notice_area, footer_area] = areas;

    put(buffer, head, &header(model, theme));
    Paragraph::new(lines(banner)).style(theme.style(BAD)).render(banner_area, buffer);
    table::draw(model, theme, &visible, table, buffer);
    if let Some(row) = selected {
        panel(&panels::title(row), cut(details, described.saturating_sub(1)), theme, details_area, buffer);
    }
    panel("latest transitions (UTC)", timeline, theme, events_area, buffer);
    let is_error = model.notice.as_ref().is_some_and(|notice| notice.is_error);
    Paragraph::new(lines(notice))
        .style(theme.style(if is_error { BAD } else { GOOD }))
        .render(notice_area, buffer);
    put(buffer, footer_area, &footer(model, theme, columns));
    if let Mode::Confirm(change) = &model.mode {
        dialog(model, change, theme, area, buffer);
    }
}

/// Divides the screen's lines among the table, the details and the timeline. `contents` has the
/// number of lines that each could fill. Each returned number includes a heading. The table is
/// never left out; the details need at least four lines.
fn share(lines: usize, contents: [usize; 3]) -> [usize; 3] {
    const LEAST: usize = 4;
    let [rows, details, events] = contents.map(|lines| lines + 1);
    let mut table = rows.max(2).min((lines / 2).max(LEAST)).min(lines);
    let left = lines - table;
    let events_least = if left >= LEAST { events.clamp(2, LEAST) } else { 0 };
    let details = match left - events_least {
        space if space >= LEAST && details > 1 => details.min(space),
        _ => 0,
    };
    let events = if events_least > 0 { left - details } else { 0 };
    table += left - details - events;
    // The table uses lines that the timeline does not need.
    let spare = events.saturating_sub(contents[2].max(LEAST - 1) + 1).min(rows.saturating_sub(table));
    [table + spare, details, events - spare]
}

fn header(model: &Model, theme: Theme) -> Line<'static> {
    let mut spans = vec![Span::styled("vipd top", theme.style(HEAD))];
    let mut add = |text: String, style| {
        spans.push(Span::raw("  "));
        spans.push(Span::styled(text, theme.style(style)));
    };
    let plain = anstyle::Style::new();
    for (state, name, style) in [
        (State::Master, "master", GOOD),
        (State::Backup, "backup", plain),
        (State::Initialize, "initialize", WAITING),
        (State::Fault, "fault", BAD),
    ] {
        let count = model.count(state);
        if count > 0 {
            add(format!("{count} {name}"), style);
        }
    }
    if model.connection == Connection::Up && model.instances() == 0 {
        add("no instances".to_owned(), WAITING);
    }
    if model.dropped() > 0 {
        add(format!("{} dropped", model.dropped()), BAD);
    }
    match model.guardian {
        Some(true) => add("guardian runs".to_owned(), plain),
        Some(false) => add("no guardian".to_owned(), BAD),
        None => {}
    }
    if model.sort != Sort::default() || model.is_reversed {
        let reversed = if model.is_reversed { ", reversed" } else { "" };
        add(format!("sorted by {}{reversed}", model.sort.description()), plain);
    }
    Line::from(spans)
}

/// Returns the reason for the lack of a current report.
fn banner(model: &Model, columns: usize) -> Vec<String> {
    let text = match &model.connection {
        Connection::Up => return Vec::new(),
        Connection::Waiting => "waiting for the agent".to_owned(),
        Connection::Down { error, silent } => {
            let last = silent.map(|silent| {
                let millis = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
                format!("last report {} ago; ", age(millis))
            });
            format!("reconnecting; {}{error}", last.unwrap_or_default())
        }
    };
    shorten(wrap(&text, columns), MESSAGE_LINES, columns)
}

fn notice(model: &Model, columns: usize) -> Vec<String> {
    let text =
        model.notice.as_ref().map(|notice| shorten(wrap(&notice.text, columns), MESSAGE_LINES, columns));
    text.unwrap_or_default()
}

/// Returns the filter while it is being edited; otherwise, the active filter, if any, and as many
/// keys as fit.
fn footer(model: &Model, theme: Theme, columns: usize) -> Line<'static> {
    if model.mode == Mode::Filter {
        return Line::from(vec![
            Span::styled("filter: ", theme.style(HEAD)),
            Span::raw(format!("{}_", model.filter)),
            Span::raw("   Enter keep  Esc clear"),
        ]);
    }
    let mut line = Line::default();
    if !model.filter.is_empty() {
        line.push_span(Span::styled(format!("filter: {}", model.filter), theme.style(WAITING)));
        line.push_span(Span::raw("  Esc clear"));
    }
    for (key, action) in HELP {
        let gap = if line.width() > 0 { "  " } else { "" };
        if line.width() + text::width(gap) + text::width(key) + 1 + text::width(action) > columns {
            break;
        }
        line.push_span(Span::raw(gap));
        line.push_span(Span::styled(key, theme.style(HEAD)));
        line.push_span(Span::raw(format!(" {action}")));
    }
    line
}

/// Draws a rule with a title, and below it as many lines as fit.
fn panel(title: &str, content: Vec<Line<'static>>, theme: Theme, area: Rect, buffer: &mut Buffer) {
    put(buffer, area, &panels::rule(title, usize::from(area.width), theme));
    let below = Rect { y: area.y.saturating_add(1), height: area.height.saturating_sub(1), ..area };
    Paragraph::new(content).render(below, buffer);
}

/// Keeps as many lines as fit. If lines are cut off, the last line shows their number.
fn cut(mut lines: Vec<Line<'static>>, room: usize) -> Vec<Line<'static>> {
    if lines.len() > room {
        let shown = room.saturating_sub(1);
        let missing = lines.len() - shown;
        lines.truncate(shown);
        lines.push(Line::from(format!("… {missing} more lines; enlarge the terminal")));
    }
    lines
}

/// Draws one line, if there is room for it.
fn put(buffer: &mut Buffer, area: Rect, line: &Line<'_>) {
    if !area.is_empty() {
        buffer.set_line(area.x, area.y, line, area.width);
    }
}

/// Asks for confirmation of a change. The keys are shown in the border, so that they are never cut
/// off.
fn dialog(model: &Model, change: &Change, theme: Theme, screen: Rect, buffer: &mut Buffer) {
    let Some(row) = model.row(&change.instance) else { return };
    let width = screen.width.min(DIALOG_WIDTH);
    let columns = usize::from(width.saturating_sub(4));
    let room = usize::from(screen.height.saturating_sub(2));
    let consequence = shorten(wrap(&change.verb.consequence(row), columns), room, columns);
    let height = saturate(consequence.len() + 2).min(screen.height);
    let area = screen.centered(Constraint::Length(width), Constraint::Length(height));
    let block = Block::bordered()
        .title(format!(" {} {}? ", change.verb.title(), change.instance))
        .title_bottom(" y: yes  n: no ")
        .title_style(theme.style(HEAD))
        .border_style(theme.style(WAITING));
    let inside = block.inner(area);
    let inside = Rect { x: inside.x + 1, width: inside.width.saturating_sub(2), ..inside };
    Clear.render(area, buffer);
    block.render(area, buffer);
    Paragraph::new(lines(consequence)).render(inside.intersection(area), buffer);
}

fn lines(texts: Vec<String>) -> Vec<Line<'static>> {
    texts.into_iter().map(Line::from).collect()
}

fn saturate(lines: usize) -> u16 {
    u16::try_from(lines).unwrap_or(u16::MAX)
}
