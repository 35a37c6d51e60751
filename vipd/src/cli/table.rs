//! Tables with aligned columns.

use anstyle::{AnsiColor, Style};

/// Master.
pub(super) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Needs attention.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// A transitional state, or a warning.
pub(super) const WAITING: Style = AnsiColor::Yellow.on_default();
/// Column headings.
pub(super) const HEAD: Style = Style::new().bold();

/// Alignment of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Text and its style.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(super) fn styled(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn style(&self) -> Style {
        self.style
    }

    /// Returns the text between the ANSI sequences of its style.
    pub(super) fn to_ansi(&self) -> String {
        let Self { text, style } = self;
        format!("{style}{text}{style:#}")
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(value: T) -> Self {
        Self { text: value.to_string(), style: Style::new() }
    }
}

/// Rows under column headings. Cells must not be empty or contain white space, so that `awk` can
/// split the columns.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Row>,
}

#[derive(Debug)]
enum Row {
    Cells(Vec<Cell>),
    Note(Cell),
}

impl Table {
    pub(super) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row with one cell per column.
    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(Row::Cells(cells));
    }

    /// Adds an indented line about the row above.
    pub(super) fn note(&mut self, note: Cell) {
        self.rows.push(Row::Note(note));
    }

    /// Renders the table, with styles as ANSI sequences and without trailing white space.
    pub(super) fn render(&self) -> String {
        let mut widths: Vec<usize> = self.columns.iter().map(|(head, _)| head.len()).collect();
        for row in &self.rows {
            if let Row::Cells(cells) = row {
                for (width, cell) in widths.iter_mut().zip(cells) {
                    *width = (*width).max(cell.text.chars().count());
                }
            }
        }
        let mut out = String::new();
        let heads: Vec<Cell> = self.columns.iter().map(|(head, _)| Cell::styled(*head, HEAD)).collect();
        self.line(&mut out, &heads, &widths);
        for row in &self.rows {
            match row {
                Row::Cells(cells) => self.line(&mut out, cells, &widths),
                Row::Note(note) => {
                    out.push_str("  ");
                    out.push_str(&note.to_ansi());
                    out.push('\n');
                }
            }
        }
        out
    }

    fn line(&self, out: &mut String, cells: &[Cell], widths: &[usize]) {
        let mut pending = 0;
        for ((cell, width), (_, align)) in cells.iter().zip(widths).zip(&self.columns) {
            let padding = width.saturating_sub(cell.text.chars().count());
            let (before, after) = if *align == Align::Right { (padding, 0) } else { (0, padding) };
            // Write padding only before the next cell, so that no line ends in white space.
            out.extend(std::iter::repeat_n(' ', pending + before));
            out.push_str(&cell.to_ansi());
            pending = after + 2;
        }
        out.push('\n');
    }
}
