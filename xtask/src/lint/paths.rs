//! The paths that a source file names, `use` groups taken apart.

/// A path and the line it is on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// Line, from 1.
    pub(super) line: usize,
    /// Segments: `std::fs::read` is three. An identifier on its own is a path of one.
    pub(super) segments: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Colons,
    Other(char),
}

/// Every path in `code`, which [`super::source::code`] has blanked.
pub(super) fn paths(code: &str) -> Vec<Named> {
    let tokens = tokens(code);
    let mut named = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].1 {
            // `use<'a>` in a type captures lifetimes.
            Token::Word("use") if !matches!(tokens.get(at + 1), Some((_, Token::Other('<')))) => {
                at = tree(&tokens, at + 1, &[], &mut named);
            }
            Token::Word(_) => at = plain(&tokens, at, &mut named),
            _ => at += 1,
        }
    }
    named
}

/// A path in an expression, a type or a declaration; returns where it ends.
fn plain(tokens: &[(usize, Token)], start: usize, named: &mut Vec<Named>) -> usize {
    let mut segments = Vec::new();
    let mut at = start;
    while let Some((_, Token::Word(word))) = tokens.get(at) {
        segments.push((*word).to_owned());
        at += 1;
        match (tokens.get(at), tokens.get(at + 1)) {
            (Some((_, Token::Colons)), Some((_, Token::Word(_)))) => at += 1,
            _ => break,
        }
    }
    named.push(Named { line: tokens[start].0, segments });
    at
}

/// One branch of a `use`, below `prefix`; returns where it ends.
fn tree(tokens: &[(usize, Token)], start: usize, prefix: &[String], named: &mut Vec<Named>) -> usize {
    let mut segments = prefix.to_vec();
    let line = tokens.get(start).map_or(0, |(line, _)| *line);
    let mut at = start;
    while let Some((_, token)) = tokens.get(at) {
        match token {
            Token::Word("as") => at += 1, // the new name says nothing about where it comes from
            Token::Word("self") if !segments.is_empty() => {}
            Token::Word(word) => segments.push((*word).to_owned()),
            Token::Other('{') => {
                at += 1;
                while !matches!(tokens.get(at), None | Some((_, Token::Other('}')))) {
                    at = tree(tokens, at, &segments, named);
                    at += usize::from(matches!(tokens.get(at), Some((_, Token::Other(',')))));
                }
                return at + 1;
            }
            Token::Other(',' | '}' | ';') => break,
            Token::Colons | Token::Other(_) => {}
        }
        at += 1;
    }
    named.push(Named { line, segments });
    at
}

fn tokens(code: &str) -> Vec<(usize, Token<'_>)> {
    let mut tokens = Vec::new();
    for (line, text) in code.lines().enumerate() {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let (token, length) = if word > 0 {
                (Token::Word(&rest[..word]), word)
            } else if rest.starts_with("::") {
                (Token::Colons, 2)
            } else {
                (Token::Other(first), first.len_utf8())
            };
            tokens.push((line + 1, token));
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::paths;

    fn named(code: &str) -> Vec<(usize, String)> {
        paths(code).into_iter().map(|named| (named.line, named.segments.join("::"))).collect()
    }

    #[test]
    fn groups_are_taken_apart() {
        let found = named("use std::{fs, net::{self, Ipv4Addr as V4},\n    env::*};\nuse tokio;");
        let expected =
            [(1, "std::fs"), (1, "std::net"), (1, "std::net::Ipv4Addr"), (2, "std::env"), (3, "tokio")];
        assert_eq!(found, expected.map(|(line, path)| (line, path.to_owned())));
    }

    #[test]
    fn paths_in_expressions() {
        let found = named("let x = std::fs::read(path)?;");
        assert!(found.contains(&(1, "std::fs::read".to_owned())), "{found:?}");
    }
}
