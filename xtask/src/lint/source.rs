//! What is left of Rust source when comments, literals and tests are blanked.
//!
//! Everything keeps its line, so that a rule can say where it was broken. This is no parser: it knows just enough
//! of the language not to take a word in a comment or a string for code.

/// Blanks comments, string and character literals, and items under `#[cfg(test)]`.
pub(super) fn code(source: &str) -> String {
    without_tests(&without_literals(source))
}

fn without_literals(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let length = literal(&chars, at);
        if length == 0 {
            out.push(chars[at]);
            at += 1;
        } else {
            let end = chars.len().min(at + length);
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Length of the comment or literal that begins at `at`; 0 if none does.
fn literal(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    let inside_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match rest {
        ['/', '/', ..] => rest.iter().take_while(|c| **c != '\n').count(),
        ['/', '*', ..] => block_comment(rest),
        ['"', ..] => quoted(rest, '"'),
        ['b' | 'c', '"', ..] if !inside_word => 1 + quoted(&rest[1..], '"'),
        ['r', '"' | '#', ..] if !inside_word => raw(rest, 1),
        ['b' | 'c', 'r', '"' | '#', ..] if !inside_word => raw(rest, 2),
        // A character, not a lifetime: escaped, or closed after one.
        ['\'', '\\', ..] | ['\'', _, '\'', ..] => quoted(rest, '\''),
        _ => 0,
    }
}

/// Length of a block comment; Rust's nest.
fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Length of a literal up to its closing quote.
fn quoted(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// Length of a raw string whose hashes begin at `prefix`; 0 for a raw identifier.
fn raw(rest: &[char], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|c| **c == '#').count();
    let start = prefix + hashes;
    if rest.get(start) != Some(&'"') {
        return 0;
    }
    let closes = |at: &usize| {
        rest[*at] == '"' && rest[at + 1..].iter().take_while(|c| **c == '#').take(hashes).count() == hashes
    };
    (start + 1..rest.len()).find(closes).map_or(rest.len(), |at| at + 1 + hashes)
}

/// Blanks what `#[cfg(test)]` stands before: up to the end of its block, or to its semicolon.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        out.push_str(&rest[..at]);
        let end = at + MARK.len() + item(&rest[at + MARK.len()..]);
        out.extend(rest[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[end..];
    }
    out + rest
}

/// Length of the item that `code` begins with.
fn item(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => continue,
        }
        if depth == 0 && c == '}' {
            return at + 1;
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::code;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_kept() {
        let source =
            "a // tokio\n/* x /* aya */ y */b\n\"std::fs \\\" \" c 'x' '\\'' r#\"q\" rand\"# d\n'life";
        let found = code(source);
        let words: Vec<&str> = found.split_whitespace().collect();
        assert_eq!(words, ["a", "b", "c", "d", "'life"]);
        assert_eq!(found.lines().count(), source.lines().count());
    }

    #[test]
    fn raw_identifiers_are_code() {
        assert_eq!(code("r#type"), "r#type");
    }

    #[test]
    fn tests_are_blanked() {
        let source = "use a::b;\n#[cfg(test)]\nmod tests {\n    fn f() { }\n}\nuse c::d;\n#[cfg(test)]\nmod t;\nfn g() {}";
        let found = code(source);
        let words: Vec<&str> = found.split_whitespace().collect();
        assert_eq!(words, ["use", "a::b;", "use", "c::d;", "fn", "g()", "{}"]);
    }
}
