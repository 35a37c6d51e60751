//! Statements and their blocks, with positions.

use super::line::{self, Part};
use super::preprocess::Line;
use super::report::{Position, Report};

/// Maximum nesting of blocks. keepalived uses five levels.
const MAX_DEPTH: usize = 16;

/// A line of a block, with the block that it opens, if any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) at: Position,
    /// At least one word, without double quotes.
    pub(super) words: Vec<String>,
    /// The text of the statement, which is split into words differently for a command.
    pub(super) text: String,
    /// The statements of the block; `None` without a block.
    pub(super) block: Option<Vec<Self>>,
}

impl Statement {
    /// Returns the first word.
    pub(super) fn keyword(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Returns the words after the keyword.
    pub(super) fn arguments(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }

    /// Returns the first word after the keyword.
    pub(super) fn argument(&self) -> Option<&str> {
        self.words.get(1).map(String::as_str)
    }

    /// Returns the words after the keyword, split like a command.
    pub(super) fn command_arguments(&self) -> Vec<String> {
        line::command_words(&self.text).into_iter().skip(1).collect()
    }

    /// Returns the statements of the block; none without a block.
    pub(super) fn children(&self) -> &[Self] {
        self.block.as_deref().unwrap_or_default()
    }
}

/// The block that is being read.
struct Open {
    statements: Vec<Statement>,
    /// Position of the `{`.
    at: Option<Position>,
}

/// Builds the tree and returns the statements outside of all blocks. Reports unmatched braces.
pub(super) fn build(lines: &[Line], report: &mut Report) -> Vec<Statement> {
    let mut stack = Vec::new();
    let mut current = Open { statements: Vec::new(), at: None };
    // Number of open blocks that are nested too deeply and are left out.
    let mut ignored = 0_usize;
    for Line { text, at } in lines {
        for part in line::parts(text) {
            match part {
                Part::Open if ignored > 0 || stack.len() == MAX_DEPTH => {
                    if ignored == 0 {
                        report.attention(
                            at,
                            "blocks are nested more than 16 levels deep; this one is left out; remove it",
                        );
                    }
                    ignored += 1;
                }
                Part::Close if ignored > 0 => ignored -= 1,
                Part::Text(_) if ignored > 0 => {}
                Part::Text(text) => {
                    if text.contains("\\\"") && text.matches('"').count() % 2 == 1 {
                        report.attention(
                            at,
                            "has a quote that is not closed: keepalived ignores the line, because a backslash does not \
                             escape a quote here; correct it",
                        );
                    }
                    current.statements.push(statement(at, text));
                }
                Part::Open => {
                    if current.statements.last().is_none_or(|last| last.block.is_some()) {
                        report.attention(at, "`{` does not follow a keyword; remove it and its `}`");
                        current.statements.push(statement(at, ""));
                    }
                    let open = Open { statements: Vec::new(), at: Some(at.clone()) };
                    stack.push(std::mem::replace(&mut current, open));
                }
                Part::Close => match stack.pop() {
                    Some(outer) => close(&mut current, outer),
                    None => report.attention(at, "`}` closes no block; remove it"),
                },
            }
        }
    }
    while let Some(outer) = stack.pop() {
        if let Some(at) = &current.at {
            report.attention(at, "the block is not closed; add `}`");
        }
        close(&mut current, outer);
    }
    current.statements
}

/// Ends the current block, which belongs to the last statement of the outer block.
fn close(current: &mut Open, outer: Open) {
    let inner = std::mem::replace(current, outer);
    if let Some(owner) = current.statements.last_mut() {
        owner.block = Some(inner.statements);
    }
}

/// Returns a statement without a block.
fn statement(at: &Position, text: &str) -> Statement {
    let words = line::words(text);
    let words = if words.is_empty() { vec![String::new()] } else { words };
    Statement { at: at.clone(), words, text: text.to_owned(), block: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(source: &str) -> (String, Vec<String>) {
        let lines: Vec<Line> = source
            .lines()
            .enumerate()
            .map(|(index, text)| Line {
                text: text.to_owned(),
                at: Position { file: "f".into(), line: index + 1 },
            })
            .collect();
        let mut report = Report::default();
        let statements = build(&lines, &mut report);
        (show(&statements), report.finish().iter().map(ToString::to_string).collect())
    }

    fn show(statements: &[Statement]) -> String {
        let one = |statement: &Statement| {
            let block = statement.block.as_ref().map(|block| format!(" {{{}}}", show(block)));
            format!("{}:{}{}", statement.at.line, statement.words.join(","), block.unwrap_or_default())
        };
        statements.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn blocks_may_be_on_one_line_or_begin_on_the_next() {
        for (source, expected) in [
            ("a b {\nc d\n}\ne", "1:a,b {2:c,d} 4:e"),
            ("a\n{\nb\n}", "1:a {3:b}"),
            ("a { b } c { d }", "1:a {1:b} 1:c {1:d}"),
            ("a {}\nb", "1:a {} 2:b"),
            ("a { b { c } d }", "1:a {1:b {1:c} 1:d}"),
        ] {
            assert_eq!(parse(source), (expected.to_owned(), vec![]), "{source}");
        }
    }

    #[test]
    fn unmatched_braces_are_reported() {
        for (source, expected, message) in [
            ("a {\nb", "1:a {2:b}", "f:1: the block is not closed; add `}`"),
            ("a\n}\nb", "1:a 3:b", "f:2: `}` closes no block; remove it"),
            ("{\na\n}", "1: {2:a}", "f:1: `{` does not follow a keyword; remove it and its `}`"),
            ("a { } { b }", "1:a {} 1: {1:b}", "f:1: `{` does not follow a keyword; remove it and its `}`"),
        ] {
            assert_eq!(parse(source), (expected.to_owned(), vec![message.to_owned()]), "{source}");
        }
    }

    #[test]
    fn escaped_quotes_are_reported() {
        let message = "f:1: has a quote that is not closed: keepalived ignores the line, because a backslash does not escape a quote \
             here; correct it";
        assert_eq!(parse("a \"b\\\"c\""), ("1:a,b\\,c,".to_owned(), vec![message.to_owned()]));
    }

    #[test]
    fn deep_blocks_are_left_out() {
        let (shown, messages) = parse(&format!("{}{}z", "a { ".repeat(100), "} ".repeat(100)));
        assert!(shown.ends_with(" 1:z"), "{shown}");
        assert_eq!(
            messages,
            ["f:1: blocks are nested more than 16 levels deep; this one is left out; remove it"]
        );
    }
}
