//! `~SEQ` and `~LST`: lines that are repeated with different values of a parameter.

/// Maximum number of repetitions of a line by one sequence.
const MAX_STEPS: u128 = 1 << 16;

/// A line that is repeated.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sequence<'t> {
    /// The parameters and their values in each repetition.
    pub(super) steps: Vec<Vec<(String, String)>>,
    /// The line, without the sequence.
    pub(super) line: &'t str,
}

/// Splits a line that begins with `~` into the kind of sequence, the text in parentheses and the
/// rest of the line.
pub(super) fn parts(line: &str) -> Option<(&str, &str, &str)> {
    let (kind, rest) = line.split_once('(')?;
    let (inside, rest) = rest.split_once(')')?;
    Some((kind.trim_end(), inside, rest.trim_start()))
}

/// Parses a sequence. `inside` is the text in parentheses, in which parameters have been replaced.
///
/// # Errors
/// Returns a message for the user if the sequence is invalid or too long.
pub(super) fn parse<'t>(kind: &str, inside: &str, line: &'t str) -> Result<Sequence<'t>, String> {
    let steps = match kind {
        "~SEQ" => numbers(inside, false)?,
        "~SEQx" => numbers(inside, true)?,
        "~LST" => list(inside)?,
        _ => return Err("is not a sequence; use ~SEQ, ~SEQx or ~LST".to_owned()),
    };
    Ok(Sequence { steps, line })
}

/// Parses `NAME, [START, [STEP,]] END`.
fn numbers(inside: &str, is_hexadecimal: bool) -> Result<Vec<Vec<(String, String)>>, String> {
    let invalid = || "is not a valid sequence; use e.g. ~SEQ(NAME, 1, 10)".to_owned();
    let mut words = inside.split(',').map(str::trim);
    let name = words.next().filter(|name| !name.is_empty()).ok_or_else(invalid)?;
    let numbers: Vec<i64> = words.map(|word| number(word).ok_or_else(invalid)).collect::<Result<_, _>>()?;
    let direction = |start: i64, end: i64| if start <= end { 1 } else { -1 };
    let (start, step, end) = match numbers[..] {
        [end] if end < 0 => (-1, -1, end),
        [end] => (1, direction(1, end), end),
        [start, end] => (start, direction(start, end), end),
        [start, step, end] => (start, step, end),
        _ => return Err(invalid()),
    };
    if step == 0 || (start < end && step < 0) || (start > end && step > 0) {
        return Err("never reaches its end; change the step".to_owned());
    }
    if is_hexadecimal && (start < 0 || end < 0) {
        return Err("has a negative number, which ~SEQx does not allow; use numbers from 0".to_owned());
    }
    let last = i128::from(end).abs_diff(start.into()) / u128::from(step.unsigned_abs());
    if last >= MAX_STEPS {
        return Err(format!("has more than {MAX_STEPS} repetitions; use several sequences"));
    }
    let mut steps = Vec::new();
    let mut next = Some(start);
    while let Some(value) = next.filter(|value| if step > 0 { *value <= end } else { *value >= end }) {
        let text = if is_hexadecimal { format!("{value:x}") } else { value.to_string() };
        steps.push(vec![(name.to_owned(), text)]);
        next = value.checked_add(step);
    }
    Ok(steps)
}

/// Parses a number as C does: decimal, hexadecimal with `0x` or octal with `0`.
fn number(text: &str) -> Option<i64> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, radix) = match digits {
        "0" => ("0", 10),
        digits if digits.starts_with("0x") || digits.starts_with("0X") => (&digits[2..], 16),
        digits => digits.strip_prefix('0').map_or((digits, 10), |octal| (octal, 8)),
    };
    // `from_str_radix` would accept another sign.
    let number = Some(digits).filter(|digits| !digits.starts_with(['+', '-']))?;
    let number = i64::from_str_radix(number, radix).ok()?;
    Some(if is_negative { -number } else { number })
}

/// Parses `NAME, VALUE, …` or `{NAME, NAME}, {VALUE, VALUE}, …`.
fn list(inside: &str) -> Result<Vec<Vec<(String, String)>>, String> {
    let mut groups = groups(inside).into_iter();
    let names = groups.next().unwrap_or_default();
    if names.iter().any(String::is_empty) || names.is_empty() {
        return Err("is not a valid list; use e.g. ~LST(NAME, 1, 2)".to_owned());
    }
    let mut steps = Vec::new();
    for values in groups {
        if values.len() != names.len() {
            return Err(format!(
                "has {} values for {} names; use as many values as names",
                values.len(),
                names.len()
            ));
        }
        steps.push(names.iter().cloned().zip(values).collect());
    }
    if steps.is_empty() { Err("has no values; add values".to_owned()) } else { Ok(steps) }
}

/// Splits at commas outside of braces. Each part is the list of words in a pair of braces, or a
/// single word.
fn groups(inside: &str) -> Vec<Vec<String>> {
    let (mut groups, mut rest) = (Vec::new(), inside.trim());
    while !rest.is_empty() {
        let in_braces = rest.strip_prefix('{').and_then(|open| open.split_once('}'));
        let (group, after) = if let Some((words, after)) = in_braces {
            (words.split(',').map(|word| word.trim().to_owned()).collect(), after)
        } else {
            let (word, after) = rest.find(',').map_or((rest, ""), |comma| rest.split_at(comma));
            (vec![word.trim().to_owned()], after)
        };
        groups.push(group);
        let after = after.trim_start();
        rest = after.strip_prefix(',').unwrap_or(after).trim_start();
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(line: &str) -> Result<String, String> {
        let (kind, inside, rest) = parts(line).ok_or("no sequence")?;
        let Sequence { steps, line } = parse(kind, inside, rest)?;
        let step = |step: &Vec<(String, String)>| {
            step.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        let steps: Vec<String> = steps.iter().map(step).collect();
        Ok(format!("{}: {line}", steps.join(", ")))
    }

    #[test]
    fn sequences_expand_to_all_values() {
        for (line, expected) in [
            ("~SEQ(X, 0, 3) a $X", "X=0, X=1, X=2, X=3: a $X"),
            ("~SEQ (X,3,1)a", "X=3, X=2, X=1: a"),
            ("~SEQ(X,2) a", "X=1, X=2: a"),
            ("~SEQ(X,-2) a", "X=-1, X=-2: a"),
            ("~SEQ(X,168,2,173) a", "X=168, X=170, X=172: a"),
            ("~SEQx(X, 0x90, 0x10, 0xb0) a", "X=90, X=a0, X=b0: a"),
            ("~SEQ(X, 010, 011) a", "X=8, X=9: a"),
            ("~LST(X, 1, a b) c", "X=1, X=a b: c"),
            ("~LST({X,   Y}, {10,1},{20,4}) z", "X=10 Y=1, X=20 Y=4: z"),
            (
                "~SEQ(X, 9223372036854775806, 9223372036854775807) a",
                "X=9223372036854775806, X=9223372036854775807: a",
            ),
        ] {
            assert_eq!(expand(line).as_deref(), Ok(expected), "{line}");
        }
    }

    #[test]
    fn invalid_sequences_are_rejected() {
        for line in [
            "~SEQ(X) a",
            "~SEQ(,1,2) a",
            "~SEQ(X,a,2) a",
            "~SEQ(X,1,0,2) a",
            "~SEQ(X,1,-1,2) a",
            "~SEQ(X,1,2,3,4) a",
            "~SEQx(X,-1,2) a",
            "~SEQ(X,1,1000000) a",
            "~SEQ(X,1,65537) a",
            "~SEQ(X,-9223372036854775807,9223372036854775807) a",
            "~LST(X) a",
            "~LST() a",
            "~LST({X,Y},{1},{2}) a",
            "~FOO(X,1) a",
            "~SEQ(X,--1) a",
            "~SEQ(X,0x) a",
            "~SEQ a",
        ] {
            assert!(expand(line).is_err(), "{line}: {:?}", expand(line));
        }
    }
}
