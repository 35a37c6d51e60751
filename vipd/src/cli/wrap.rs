//! Line breaks for a terminal.

use anstream::adapter::strip_str;
use unicode_width::UnicodeWidthStr as _;

/// Breaks a text at spaces into lines of at most `width` columns. The first line starts in column
/// `indent`, and all later lines are indented by `indent` spaces. A word longer than a line is not
/// broken. ANSI sequences do not count toward the width.
pub(super) fn wrap(text: &str, width: usize, indent: usize) -> String {
    let mut out = String::new();
    let mut column = indent;
    for (index, word) in text.split(' ').enumerate() {
        let columns = strip_str(word).to_string().width();
        if index > 0 && column + 1 + columns > width {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if index > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += columns;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_spaces() {
        for (text, width, indent, expected) in [
            ("", 10, 2, ""),
            ("one two", 9, 2, "one two"),
            ("one two", 8, 2, "one\n  two"),
            ("one two three", 10, 0, "one two\nthree"),
            ("unbreakable two", 8, 2, "unbreakable\n  two"),
            ("日本 日本 x", 6, 0, "日本\n日本 x"),
            ("\u{1b}[31mone\u{1b}[0m two", 7, 0, "\u{1b}[31mone\u{1b}[0m two"),
        ] {
            assert_eq!(wrap(text, width, indent), expected, "{text:?}");
        }
    }
}
