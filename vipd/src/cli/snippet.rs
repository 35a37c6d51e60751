//! A line of a configuration file, with a caret under the position of a problem.

use std::fmt::Write as _;

use anstyle::Style;
use unicode_width::UnicodeWidthChar as _;

use crate::config::Excerpt;

/// Number of columns shown for a tab.
const TAB: usize = 4;
/// Minimum number of columns to which a line is cut.
const MIN_WIDTH: usize = 20;
/// Style of the line number.
const NUMBER: Style = Style::new().dimmed();

/// A character and the number of columns that it occupies.
type Cell = (char, usize);

/// Renders an excerpt as two lines, the text and the caret, each of at most `width` columns. On a
/// terminal that is too narrow, the excerpt still has [`MIN_WIDTH`] columns.
pub(super) fn render(line: usize, excerpt: &Excerpt, width: usize, caret: Style) -> String {
    let number = format!("{line:>5} | ");
    let margin = format!("{:>1$}", "| ", number.len());
    let available = width.saturating_sub(number.len()).max(MIN_WIDTH);
    let before = cells(&excerpt.before);
    let mut all = before.clone();
    all.extend(cells(&excerpt.after));
    let (start, end) = window(&all, before.len(), available);
    let mut text: String = all[start..end].iter().map(|(shown, _)| *shown).collect();
    let mut indent = columns(&all[start..before.len()]);
    if start > 0 {
        text.insert(0, Excerpt::ELLIPSIS);
        indent += 1;
    }
    if end < all.len() {
        text.push(Excerpt::ELLIPSIS);
    }
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(out, "{NUMBER}{number}{NUMBER:#}{text}");
    let _ = writeln!(out, "{NUMBER}{margin}{NUMBER:#}{:indent$}{caret}^{caret:#}", "");
    out
}

/// Returns the cells of a text. Characters that would move the cursor or reorder the text are
/// replaced.
fn cells(text: &str) -> Vec<Cell> {
    let mut cells = Vec::new();
    for character in text.chars() {
        match character {
            '\t' => cells.extend([(' ', 1); TAB]),
            // Marks, embeddings, overrides and isolates of the bidirectional algorithm (Unicode TR9).
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                cells.push((char::REPLACEMENT_CHARACTER, 1));
            }
            _ => cells.push(match character.width() {
                Some(width) => (character, width),
                None => (char::REPLACEMENT_CHARACTER, 1),
            }),
        }
    }
    cells
}

fn columns(cells: &[Cell]) -> usize {
    cells.iter().map(|(_, width)| width).sum()
}

/// Returns the range of cells to show, around position `at`. If cells are cut off, leaves room for
/// two ellipses.
fn window(cells: &[Cell], at: usize, available: usize) -> (usize, usize) {
    // The caret may be after the last character.
    if columns(cells) < available {
        return (0, cells.len());
    }
    let available = available - 2;
    let (mut start, mut end, mut used) = (at, at, 0);
    let extend_left = |start: &mut usize, used: &mut usize, limit: usize| {
        while let Some((_, width)) = start.checked_sub(1).map(|left| cells[left])
            && *used + width <= limit
        {
            *start -= 1;
            *used += width;
        }
    };
    extend_left(&mut start, &mut used, available / 2);
    while let Some((_, width)) = cells.get(end)
        && used + width <= available
    {
        end += 1;
        used += width;
    }
    extend_left(&mut start, &mut used, available);
    (start, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, column: usize, width: usize, expected: [&str; 2]) {
        let excerpt = Excerpt::new("", line, column).expect("an excerpt");
        let rendered = render(7, &excerpt, width, Style::new());
        let rendered = anstream::adapter::strip_str(&rendered).to_string();
        assert_eq!(rendered.lines().collect::<Vec<_>>(), expected, "{line:?}, column {column}");
        for shown in rendered.lines() {
            let columns: usize = shown.chars().filter_map(char::width).sum();
            assert!(columns <= width.max(MIN_WIDTH + 8), "{columns} columns: {shown}");
        }
    }

    #[test]
    fn caret_is_under_the_column() {
        for (line, column, expected) in [
            ("vrid = 510", 1, ["    7 | vrid = 510", "      | ^"]),
            ("vrid = 510", 8, ["    7 | vrid = 510", "      |        ^"]),
            ("vrid =", 7, ["    7 | vrid =", "      |       ^"]),
            // A tab is shown as four spaces.
            ("\tvrid\t= 510", 9, ["    7 |     vrid    = 510", "      |               ^"]),
            // A wide character occupies two columns, and a combining character none.
            ("name = \"日本\" x", 13, ["    7 | name = \"日本\" x", "      |               ^"]),
            ("name = \"e\u{301}\" x", 13, ["    7 | name = \"e\u{301}\" x", "      |            ^"]),
            // Control characters do not reach the terminal.
            ("a\u{1b}[2J = 1", 8, ["    7 | a\u{fffd}[2J = 1", "      |        ^"]),
            ("a\u{61c}b = 1", 7, ["    7 | a\u{fffd}b = 1", "      |       ^"]),
            ("a\u{202e}b = 1", 7, ["    7 | a\u{fffd}b = 1", "      |       ^"]),
        ] {
            check(line, column, 80, expected);
        }
    }

    #[test]
    fn long_lines_are_cut_around_the_column() {
        let line = "virtual_addresses = [\"192.0.2.10/24\", \"192.0.2.11/24\", \"192.0.2.12/24\"]";
        for (column, expected) in [
            (1, ["    7 | virtual_addresses = [\"192.0.2.1…", "      | ^"]),
            (39, ["    7 | …92.0.2.10/24\", \"192.0.2.11/24\",…", "      |                 ^"]),
            (
                72,
                ["    7 | …92.0.2.11/24\", \"192.0.2.12/24\"]", "      |                                 ^"],
            ),
        ] {
            check(line, column, 41, expected);
        }
        let wide = "日".repeat(40);
        check(&wide, 20, 40, ["    7 | …日日日日日日日日日日日日日日日…", "      |                ^"]);
    }

    #[test]
    fn a_narrow_terminal_still_shows_some_text() {
        check("virtual_addresses = []", 21, 5, ["    7 | …ual_addresses = []", "      |                  ^"]);
    }
}
