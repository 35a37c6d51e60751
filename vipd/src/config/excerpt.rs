//! Excerpt of a line that has a problem, shown below the message.

/// Maximum number of characters kept on each side of the position. Few terminals are wider than
/// this.
const CONTEXT: usize = 200;
/// A line that contains one of these texts, in uppercase or lowercase, is not shown, because it may
/// contain a password or a key.
const SECRETS: [&str; 2] = ["pass", "hex"];
/// A line with this many or more hexadecimal digits in a row is not shown, because it may contain a
/// part of a key.
const DIGITS: usize = 16;
/// If a line ends in one of these strings, the next line is not shown, because it may contain the
/// value of a password or a key.
const CONTINUED: [&str; 3] = ["=", "\"\"\"", "'''"];

/// The part of a line around the position of a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The text before the position. Begins with an [ellipsis](Self::ELLIPSIS) if its start is cut
    /// off.
    pub before: String,
    /// The text from the position on. Ends with an [ellipsis](Self::ELLIPSIS) if its end is cut
    /// off.
    pub after: String,
}

impl Excerpt {
    /// Stands for the characters that are cut off.
    pub const ELLIPSIS: char = '…';

    /// Creates the excerpt around a column of `line`; columns are counted in characters from 1.
    /// `previous` is the line before, or empty. Returns `None` if the line may contain a password
    /// or a key, or is too short to have this column.
    pub fn new(previous: &str, line: &str, column: usize) -> Option<Self> {
        // A byte-order mark is not counted.
        let line = line.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r']);
        let previous = previous.trim_end();
        if may_be_secret(line) || CONTINUED.iter().any(|end| previous.ends_with(end)) {
            return None;
        }
        let mut positions = line.char_indices().map(|(at, _)| at).chain([line.len()]);
        let (before, after) = line.split_at(positions.nth(column.checked_sub(1)?)?);
        Some(Self { before: last(before), after: first(after.trim_end()) })
    }
}

/// Returns whether a line may contain a password or a key.
fn may_be_secret(line: &str) -> bool {
    // Without a copy of the line, which would stay in memory.
    let contains = |secret: &&str| {
        line.as_bytes().windows(secret.len()).any(|part| part.eq_ignore_ascii_case(secret.as_bytes()))
    };
    SECRETS.iter().any(contains)
        || line.split(|c: char| !c.is_ascii_hexdigit()).any(|digits| digits.len() >= DIGITS)
}

/// Returns the last [`CONTEXT`] characters of a text. Prepends an ellipsis if the text is longer.
fn last(text: &str) -> String {
    match text.char_indices().rev().nth(CONTEXT) {
        Some((at, cut)) => format!("{}{}", Excerpt::ELLIPSIS, &text[at + cut.len_utf8()..]),
        None => text.to_owned(),
    }
}

/// Returns the first [`CONTEXT`] characters of a text. Appends an ellipsis if the text is longer.
fn first(text: &str) -> String {
    match text.char_indices().nth(CONTEXT) {
        Some((at, _)) => format!("{}{}", &text[..at], Excerpt::ELLIPSIS),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_split_at_the_column() {
        for (line, column, expected) in [
            ("vrid = 510", 8, Some(("vrid = ", "510"))),
            ("vrid = 510", 1, Some(("", "vrid = 510"))),
            ("name = \"é\"\r", 9, Some(("name = \"", "é\""))),
            ("name = \"é\"\r", 10, Some(("name = \"é", "\""))),
            ("\u{feff}vrid = 510", 8, Some(("vrid = ", "510"))),
            ("vrid =", 7, Some(("vrid =", ""))),
            ("vrid =   ", 9, Some(("vrid =  ", ""))),
            ("", 1, Some(("", ""))),
            ("vrid = 510", 0, None),
            ("vrid = 510", 12, None),
        ] {
            let found = Excerpt::new("", line, column);
            let found = found.as_ref().map(|found| (found.before.as_str(), found.after.as_str()));
            assert_eq!(found, expected, "{line:?}, column {column}");
        }
    }

    #[test]
    fn line_that_may_contain_a_password_or_a_key_is_hidden() {
        for (previous, line, is_hidden) in [
            ("", "auth_pass = \"secret\"", true),
            ("", "AUTH_PASS = \"secret\"", true),
            ("", "Password: secret", true),
            ("", "{ interface = \"eth1\", authpass = \"secret\" }", true),
            ("auth_pass =", "\"secret\"", true),
            ("auth_pass = \r", "  \"secret\"", true),
            ("auth_pass = \"\"\"", "secret\"\"\"", true),
            ("", "keys = [{ id = 1, hex = \"00\" }]", true),
            ("", "    0123456789ABCDEF\"\"\"", true),
            ("", "keys = [{ id = 1, file = \"0123456789abcde\" }]", false),
            ("auth_pass = \"secret\"", "vrid = 510", false),
            ("vrid = 51", "priority = 300", false),
        ] {
            assert_eq!(Excerpt::new(previous, line, 1).is_none(), is_hidden, "{previous:?}, {line:?}");
        }
    }

    #[test]
    fn long_line_is_cut() {
        let line = format!("{}|{}", "x".repeat(1000), "é".repeat(1000));
        let excerpt = Excerpt::new("", &line, 1001).expect("an excerpt");
        assert_eq!(excerpt.before, format!("…{}", "x".repeat(CONTEXT)));
        assert_eq!(excerpt.after, format!("|{}…", "é".repeat(CONTEXT - 1)));
    }
}
