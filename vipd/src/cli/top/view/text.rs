//! Text in a limited width.

use ratatui::text::Span;

/// Returns the number of cells that the text occupies.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// Shortens text to `limit` cells. Shortened text ends in `…`.
pub(super) fn clip(text: &str, limit: usize) -> String {
    if width(text) <= limit {
        return text.to_owned();
    }
    let mut clipped = String::new();
    for character in text.chars() {
        clipped.push(character);
        if width(&clipped) >= limit {
            clipped.pop();
            break;
        }
    }
    if limit > 0 {
        clipped.push('…');
    }
    clipped
}

/// Breaks text into lines of at most `limit` cells, between words where possible.
pub(super) fn wrap(text: &str, limit: usize) -> Vec<String> {
    let limit = limit.max(1);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word = word.to_owned();
        let line = lines.last().map_or(0, |line| width(line));
        if line > 0 && line + 1 + width(&word) > limit {
            lines.push(String::new());
        }
        while let Some(line) = lines.last_mut() {
            let separator = if line.is_empty() { "" } else { " " };
            if width(line) + separator.len() + width(&word) <= limit {
                line.push_str(separator);
                line.push_str(&word);
                break;
            }
            // The word is longer than a line. Each line takes at least one character, which ensures
            // progress.
            let mut end = 0;
            for (at, character) in word.char_indices() {
                let next = at + character.len_utf8();
                if end > 0 && width(&word[..next]) > limit {
                    break;
                }
                end = next;
            }
            let rest = word.split_off(end);
            line.push_str(&word);
            word = rest;
            if word.is_empty() {
                break;
            }
            lines.push(String::new());
        }
    }
    lines
}

/// Keeps the first `limit` lines. If lines are cut off, the last line kept ends in `…`.
pub(super) fn shorten(mut lines: Vec<String>, limit: usize, columns: usize) -> Vec<String> {
    let is_cut = lines.len() > limit;
    lines.truncate(limit);
    if let Some(last) = lines.last_mut().filter(|_| is_cut) {
        *last = clip(last, columns.saturating_sub(1)).trim_end_matches('…').to_owned() + "…";
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipped_text_fits() {
        for (text, limit, expected) in [
            ("backup", 6, "backup"),
            ("backup", 5, "back…"),
            ("backup", 1, "…"),
            ("backup", 0, ""),
            // Wide characters occupy two cells.
            ("\u{8def}\u{7531}\u{5668}", 6, "\u{8def}\u{7531}\u{5668}"),
            ("\u{8def}\u{7531}\u{5668}", 4, "\u{8def}…"),
        ] {
            assert_eq!(clip(text, limit), expected, "{text} in {limit}");
        }
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("no agent is running", 10), ["no agent", "is running"]);
        assert_eq!(wrap("see /run/vipd-second now", 6), ["see", "/run/v", "ipd-se", "cond", "now"]);
        assert_eq!(wrap("", 5), [""]);
        assert_eq!(wrap("ab", 0), ["a", "b"]);
    }

    #[test]
    fn cut_lines_are_marked_with_an_ellipsis() {
        let lines = || ["one".to_owned(), "two".to_owned(), "three".to_owned()].to_vec();
        assert_eq!(shorten(lines(), 3, 5), ["one", "two", "three"]);
        assert_eq!(shorten(lines(), 2, 5), ["one", "two…"]);
        assert_eq!(shorten(lines(), 2, 3), ["one", "t…"]);
    }
}
