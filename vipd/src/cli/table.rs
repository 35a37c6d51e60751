//! Tables with aligned columns.

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr as _;

use super::wrap::wrap;

/// The Master state, or a change that succeeded.
pub(super) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// A fault, an error, or a nonzero error counter.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// A transitional state, or a warning.
pub(super) const WAITING: Style = AnsiColor::Yellow.on_default();
/// Hints about the output.
pub(super) const HINT: Style = Style::new().dimmed();
/// Column headings.
pub(super) const HEAD: Style = Style::new().bold();

/// Alignment of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// The way in which a column makes room if the table is wider than the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Yield {
    /// The column is hidden.
    Hide,
    /// Each cell moves to a line below its row, preceded by this text.
    Below(&'static str),
}

/// A cell without a value.
pub(super) const NONE: &str = "-";
/// Indentation of lines below a row.
const INDENT: usize = 2;
/// Number of spaces between two columns.
const GAP: usize = 2;

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

    /// Makes columns yield, in the given order, until the table fits in this width, and wraps the
    /// lines below rows. Returns the headings of hidden columns.
    pub(super) fn fit(&mut self, width: usize, yielding: &[(&str, Yield)]) -> Vec<&'static str> {
        let mut hidden = Vec::new();
        for (head, how) in yielding {
            if self.width() <= width {
                break;
            }
            let Some(index) = self.columns.iter().position(|(found, _)| found == head) else { continue };
            let (head, _) = self.columns.remove(index);
            match how {
                Yield::Hide => hidden.push(head),
                Yield::Below(_) => {}
            }
            let rows = std::mem::take(&mut self.rows);
            self.rows = rows.into_iter().flat_map(|row| row.without(index, *how)).collect();
        }
        for row in &mut self.rows {
            if let Row::Note(note) = row {
                note.text = wrap(&note.text, width, INDENT);
            }
        }
        hidden
    }

    fn width(&self) -> usize {
        self.widths().iter().sum::<usize>() + GAP * self.columns.len().saturating_sub(1)
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|(head, _)| head.len()).collect();
        for row in &self.rows {
            if let Row::Cells(cells) = row {
                for (width, cell) in widths.iter_mut().zip(cells) {
                    *width = (*width).max(cell.text.width());
                }
            }
        }
        widths
    }

    /// Renders the table, with styles as ANSI sequences and without trailing white space.
    pub(super) fn render(&self) -> String {
        let widths = self.widths();
        let mut out = String::new();
        let heads: Vec<Cell> = self.columns.iter().map(|(head, _)| Cell::styled(*head, HEAD)).collect();
        self.line(&mut out, &heads, &widths);
        for row in &self.rows {
            match row {
                Row::Cells(cells) => self.line(&mut out, cells, &widths),
                Row::Note(note) => {
                    out.extend([' '; INDENT]);
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
            let padding = width.saturating_sub(cell.text.width());
            let (before, after) = if *align == Align::Right { (padding, 0) } else { (0, padding) };
            // Write padding only before the next cell, so that no line ends in white space.
            out.extend(std::iter::repeat_n(' ', pending + before));
            out.push_str(&cell.to_ansi());
            pending = after + GAP;
        }
        out.push('\n');
    }
}

impl Row {
    /// Removes a cell from the row. Returns the row, followed by a note if the cell moves below the
    /// row.
    fn without(self, index: usize, how: Yield) -> impl Iterator<Item = Self> {
        let (row, below) = match (self, how) {
            (Self::Cells(mut cells), how) => {
                let Cell { text, style } = cells.remove(index);
                let below = match how {
                    Yield::Below(before) if text != NONE => {
                        // Items of a cell are separated by commas only; a note has room for spaces.
                        let text = format!("{before}{}", text.replace(',', ", "));
                        Some(Self::Note(Cell { text, style }))
                    }
                    Yield::Below(_) | Yield::Hide => None,
                };
                (Self::Cells(cells), below)
            }
            (note @ Self::Note(_), _) => (note, None),
        };
        [row].into_iter().chain(below)
    }
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[("NAME", Align::Left), ("COUNT", Align::Right), ("LIST", Align::Left)]);
        table.row(vec!["first".into(), 7.into(), "a,b,c".into()]);
        table.note(Cell::styled("a longer note about it", BAD));
        table.row(vec!["日本".into(), 10_000.into(), NONE.into()]);
        table
    }

    #[track_caller]
    fn check(width: usize, yielding: &[(&str, Yield)], hidden: &[&str], expected: &str) {
        let mut table = table();
        assert_eq!(table.fit(width, yielding), hidden, "width {width}");
        assert_eq!(strip_str(&table.render()).to_string(), expected, "width {width}");
    }

    #[test]
    fn columns_yield_in_order_until_the_table_fits() {
        let yielding = [("LIST", Yield::Below("list: ")), ("COUNT", Yield::Hide)];
        let wide = "\
NAME   COUNT  LIST
first      7  a,b,c
  a longer note about it
日本   10000  -
";
        assert_eq!(strip_str(&table().render()).to_string(), wide);
        check(24, &yielding, &[], wide);
        check(19, &yielding, &[], &wide.replace("note about", "note\n  about"));
        check(
            18,
            &yielding,
            &[],
            "NAME   COUNT\nfirst      7\n  list: a, b, c\n  a longer note\n  about it\n日本   10000\n",
        );
        check(
            11,
            &yielding,
            &["COUNT"],
            "NAME\nfirst\n  list: a,\n  b, c\n  a longer\n  note\n  about it\n日本\n",
        );
    }
}
