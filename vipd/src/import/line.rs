//! The lexical level of a line: comments, quotes, escapes and braces.

/// A physical line without its comment and surrounding white space.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cleaned {
    pub(super) text: String,
    /// Whether the line ends with a backslash, which continues a definition.
    pub(super) continues: bool,
    /// Whether a quote is not closed.
    pub(super) unterminated: bool,
}

/// Removes the comment, which begins with `#` or `!` outside of double quotes. Outside of double
/// quotes, a backslash makes one of these characters literal, and is removed. A backslash at the
/// end of the line continues a definition even in a comment.
pub(super) fn clean(physical: &str) -> Cleaned {
    let mut text = String::new();
    let mut is_quoted = false;
    let mut is_comment = false;
    let mut continues = false;
    let mut chars = physical.trim().chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            match chars.next() {
                None => continues = true,
                Some(_) if is_comment => {}
                Some(next @ ('#' | '!')) if !is_quoted => text.push(next),
                Some(next) => text.extend([c, next]),
            }
            continue;
        }
        is_comment |= !is_quoted && matches!(c, '#' | '!');
        if !is_comment {
            is_quoted ^= c == '"';
            text.push(c);
        }
    }
    text.truncate(text.trim_end().len());
    Cleaned { text, continues, unterminated: is_quoted }
}

/// A part of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'t> {
    /// Text without braces, except in double quotes and in `${NAME}`; not empty.
    Text(&'t str),
    /// `{`.
    Open,
    /// `}`.
    Close,
}

/// Splits a line at its braces, except those of `${NAME}`. As in keepalived, only double quotes
/// protect other braces; single quotes and backslashes do not.
pub(super) fn parts(line: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut is_quoted = false;
    let mut start = 0;
    let mut is_reference = false;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        let previous = std::mem::replace(&mut before, c);
        match c {
            '"' => is_quoted = !is_quoted,
            '{' if !is_quoted && previous == '$' => is_reference = true,
            '}' if !is_quoted && is_reference => is_reference = false,
            '{' | '}' if !is_quoted => {
                parts.extend(text(&line[start..at]));
                parts.push(if c == '{' { Part::Open } else { Part::Close });
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.extend(text(&line[start..]));
    parts
}

fn text(text: &str) -> Option<Part<'_>> {
    Some(text.trim()).filter(|text| !text.is_empty()).map(Part::Text)
}

/// Splits a statement into words at white space and double quotes. The quotes are removed, and the
/// text between them is one word. Single quotes and backslashes are literal.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted.split_once('"').unwrap_or((quoted, ""))
        } else {
            rest.split_at(rest.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(rest.len()))
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}

/// Splits a command, or a statement with a command, into words at white space. Quotes are removed,
/// and white space inside quotes is kept. An unmatched single quote is an apostrophe. A backslash
/// escapes the next character as in C.
pub(super) fn command_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            ('"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            ('\'', None) if chars.clone().any(|c| c == '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, Some(open)) if c == open => quote = None,
            ('\\', _) => {
                let escaped = escaped(&mut chars);
                word.get_or_insert_default().extend(escaped);
            }
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Reads the characters after a backslash and returns the character that they stand for.
fn escaped(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    let c = chars.next()?;
    let mut digits = |radix: u32, most: usize, first: u32| {
        let mut value = first;
        for _ in 0..most {
            let Some(digit) = chars.peek().and_then(|c| c.to_digit(radix)) else { break };
            value = value.wrapping_mul(radix).wrapping_add(digit) & 0xff;
            chars.next();
        }
        char::from_u32(value)
    };
    match c {
        'a' => Some('\u{7}'),
        'b' => Some('\u{8}'),
        'E' => Some('\u{1b}'),
        'f' => Some('\u{c}'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\u{b}'),
        'x' => digits(16, usize::MAX, 0),
        '0'..='7' => digits(8, 2, c.to_digit(8).unwrap_or(0)),
        'c' => chars.next().and_then(|c| char::from_u32(u32::from(c) & 0x1f)),
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_begin_outside_of_double_quotes() {
        for (line, text, continues, unterminated) in [
            ("  priority 100  # a", "priority 100", false, false),
            ("priority 100!a", "priority 100", false, false),
            ("# a", "", false, false),
            ("script \"a#b !c\" # d", "script \"a#b !c\"", false, false),
            ("a\\#b \\!c #d", "a#b !c", false, false),
            ("\"a\\\"#b\" #c", "\"a\\\"#b\"", false, false),
            ("$A= \\", "$A=", true, false),
            ("x \\", "x", true, false),
            ("x # y \\", "x", true, false),
            ("a \"b", "a \"b", false, true),
        ] {
            let expected = Cleaned { text: text.to_owned(), continues, unterminated };
            assert_eq!(clean(line), expected, "{line}");
        }
    }

    #[test]
    fn braces_split_lines_except_in_quotes_and_references() {
        use Part::{Close, Open, Text};
        for (line, expected) in [
            ("vrrp_instance A {", vec![Text("vrrp_instance A"), Open]),
            ("a{b}c", vec![Text("a"), Open, Text("b"), Close, Text("c")]),
            ("script \"a { b\" }", vec![Text("script \"a { b\""), Close]),
            ("it's }", vec![Text("it's"), Close]),
            ("a ${B} }", vec![Text("a ${B}"), Close]),
            ("a \\{ b", vec![Text("a \\"), Open, Text("b")]),
            ("\"a\\\"{ b\"", vec![Text("\"a\\\""), Open, Text("b\"")]),
            ("}}", vec![Close, Close]),
            ("é{é", vec![Text("é"), Open, Text("é")]),
        ] {
            assert_eq!(parts(line), expected, "{line}");
        }
    }

    #[test]
    fn only_double_quotes_group_words_of_statements() {
        for (text, expected) in [
            ("a  b\tc", vec!["a", "b", "c"]),
            ("a\"b c\"d", vec!["a", "b c", "d"]),
            ("p 'x y'", vec!["p", "'x", "y'"]),
            ("p a\\x41\\ b", vec!["p", "a\\x41\\", "b"]),
            ("p \"a\\\" b", vec!["p", "a\\", "b"]),
            ("\"\" x", vec!["", "x"]),
            ("\"open a", vec!["open a"]),
            ("", vec![]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn words_of_commands_have_no_quotes() {
        for (text, expected) in [
            ("a  b\tc", vec!["a", "b", "c"]),
            ("abcd\" efg h jkl \"mnop", vec!["abcd efg h jkl mnop"]),
            ("abcd \"efg h jkl\" mnop", vec!["abcd", "efg h jkl", "mnop"]),
            ("'a \"b\"' \"c 'd'\"", vec!["a \"b\"", "c 'd'"]),
            ("\"\" x", vec!["", "x"]),
            ("a\\ b \\x41\\102\\n\\E\\cA\\q", vec!["a b", "AB\n\u{1b}\u{1}q"]),
            ("\"a\\\"b\"", vec!["a\"b"]),
            ("\"open a", vec!["open a"]),
            ("it's a", vec!["it's", "a"]),
            ("\\", vec![""]),
            ("", vec![]),
        ] {
            assert_eq!(command_words(text), expected, "{text}");
        }
    }
}
