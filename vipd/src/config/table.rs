//! Typed access to a TOML table; every value keeps its byte offset.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::duration;
use super::problem::Collector;
use super::schema::{self, Key, Kind, Section};

/// Rejection of a value: its byte offset and the message.
pub(super) type Refusal = (usize, String);

/// A table and the byte offset of its header.
#[derive(Debug)]
pub(super) struct Table<'t> {
    entries: &'t DeTable<'t>,
    at: usize,
    /// Description of the table in messages: "unknown key `x` in an instance".
    place: &'static str,
}

/// A value that is a string or a table.
#[derive(Debug)]
pub(super) enum Form<'t> {
    Text(&'t str),
    Table(Table<'t>),
}

impl<'t> Table<'t> {
    pub(super) fn new(entries: &'t DeTable<'t>, at: usize, place: &'static str) -> Self {
        Self { entries, at, place }
    }

    pub(super) fn get(&self, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.entries.get(key)
    }

    /// Reports every key that is not in `section` of the schema, with the nearest one that is.
    pub(super) fn refuse_unknown(&self, section: Section, problems: &mut Collector<'_>) {
        let known = schema::names(section);
        for key in self.entries.keys() {
            let name = key.get_ref();
            if known.contains(&name.as_ref()) {
                continue;
            }
            let place = self.place;
            let remedy = match nearest(name, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "remove it".to_owned(),
            };
            let allowed = known.join(", ");
            problems.add(
                key.span().start,
                format!("unknown key `{}` {place}; allowed are {allowed}; {remedy}", name.escape_debug()),
            );
        }
    }

    /// Reads a required key; `None` after a problem was reported.
    pub(super) fn required<T>(
        &self,
        key: &'static Key,
        problems: &mut Collector<'_>,
        read: impl FnOnce(&Value<'t>) -> Result<T, Refusal>,
    ) -> Option<Located<T>> {
        let value = self.given(key, problems, read)?;
        if value.is_none() {
            let Key { name, allowed, .. } = key;
            problems.absent(
                name,
                self.at,
                format!("{key} is missing; it must be {allowed}; add e.g. `{}`", key.example()),
            );
        }
        value
    }

    /// Reads an optional key: `Some(None)` if it is absent, `None` after a problem was reported.
    #[expect(clippy::option_option, reason = "refused, absent and given are three results")]
    pub(super) fn optional<T>(
        &self,
        key: &'static Key,
        problems: &mut Collector<'_>,
        read: impl FnOnce(&Value<'t>) -> Result<T, Refusal>,
    ) -> Option<Option<T>> {
        Some(self.given(key, problems, read)?.map(|located| located.value))
    }

    /// Reads a value like [`optional`](Self::optional), with its byte offset.
    #[expect(clippy::option_option, reason = "refused, absent and given are three results")]
    pub(super) fn given<T>(
        &self,
        key: &'static Key,
        problems: &mut Collector<'_>,
        read: impl FnOnce(&Value<'t>) -> Result<T, Refusal>,
    ) -> Option<Option<Located<T>>> {
        let Some(spanned) = self.get(key.name) else { return Some(None) };
        let at = spanned.span().start;
        match read(&Value { key, spanned }) {
            Ok(value) => Some(Some(Located { at, value })),
            Err((at, message)) => {
                problems.add(at, message);
                None
            }
        }
    }
}

/// A value that was read and its byte offset.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) at: usize,
    pub(super) value: T,
}

/// The value of a known key.
#[derive(Debug)]
pub(super) struct Value<'t> {
    key: &'static Key,
    spanned: &'t Spanned<DeValue<'t>>,
}

impl<'t> Value<'t> {
    pub(super) fn string(&self) -> Result<&'t str, Refusal> {
        self.spanned.get_ref().as_str().ok_or_else(|| self.wrong_type())
    }

    pub(super) fn boolean(&self) -> Result<bool, Refusal> {
        self.spanned.get_ref().as_bool().ok_or_else(|| self.wrong_type())
    }

    /// Reads an integer in the key's range.
    pub(super) fn integer(&self) -> Result<u8, Refusal> {
        let Kind::Integer(min, max) = self.key.allowed else { unreachable!("{} is no integer", self.key) };
        self.any_integer()?
            .and_then(|number| u8::try_from(number).ok())
            .filter(|number| (min..=max).contains(number))
            .ok_or_else(|| self.refused(self.source_of_integer(), "choose another number"))
    }

    /// Returns the integer, if it fits into 128 bits.
    pub(super) fn any_integer(&self) -> Result<Option<i128>, Refusal> {
        let integer = self.spanned.get_ref().as_integer().ok_or_else(|| self.wrong_type())?;
        Ok(i128::from_str_radix(integer.as_str(), integer.radix()).ok())
    }

    /// Returns an integer as written in the file.
    pub(super) fn source_of_integer(&self) -> String {
        self.spanned.get_ref().as_integer().map(ToString::to_string).unwrap_or_default()
    }

    /// Returns the element of `values` that corresponds to the chosen word of the key.
    pub(super) fn choice<T, const N: usize>(&self, values: [T; N]) -> Result<T, Refusal> {
        let Kind::Choice(words) = self.key.allowed else { unreachable!("{} is no choice", self.key) };
        debug_assert_eq!(words.len(), N, "{}", self.key);
        let found = self.string()?;
        let chosen = words.iter().zip(values).find(|(word, _)| **word == found);
        chosen.map(|(_, value)| value).ok_or_else(|| self.refused(format!("{found:?}"), "choose one of them"))
    }

    /// Nanoseconds in the key's range.
    pub(super) fn duration(&self) -> Result<u64, Refusal> {
        let (range, never) = match self.key.allowed {
            Kind::Duration(min, max) => (min..=max, false),
            Kind::DurationOrNever(min, max) => (min..=max, true),
            _ => unreachable!("{} is no duration", self.key),
        };
        let text = self.string()?;
        match duration::parse(text) {
            Ok(nanos) if range.contains(&nanos) || (never && nanos == 0) => Ok(nanos),
            Ok(_) => Err(self.refused(format!("{text:?}"), "choose another duration")),
            Err(error) => Err(self.refused(format!("{text:?}"), &duration::remedy(text, error))),
        }
    }

    /// Returns the elements of an array; `key` describes each in messages.
    pub(super) fn elements(&self, key: &'static Key) -> Result<Vec<Self>, Refusal> {
        let array = self.spanned.get_ref().as_array().ok_or_else(|| self.wrong_type())?;
        Ok(array.iter().map(|spanned| Self { key, spanned }).collect())
    }

    /// Reads a table, described as `place` in messages.
    pub(super) fn table(&self, place: &'static str) -> Result<Table<'t>, Refusal> {
        match self.spanned.get_ref() {
            DeValue::Table(entries) => Ok(Table::new(entries, self.at(), place)),
            _ => Err(self.wrong_type()),
        }
    }

    /// Reads a string, or a table described as `place` in messages.
    pub(super) fn form(&self, place: &'static str) -> Result<Form<'t>, Refusal> {
        match self.spanned.get_ref() {
            DeValue::String(text) => Ok(Form::Text(text)),
            _ => self.table(place).map(Form::Table),
        }
    }

    /// Returns the value's byte offset.
    pub(super) fn at(&self) -> usize {
        self.spanned.span().start
    }

    /// Returns the value's key.
    pub(super) fn key(&self) -> &'static Key {
        self.key
    }

    /// Rejects `found`, with the allowed values and the remedy.
    pub(super) fn refused(&self, found: impl AsRef<str>, remedy: &str) -> Refusal {
        let Key { allowed, .. } = self.key;
        let (key, found) = (self.key, found.as_ref());
        (self.at(), format!("{key} is {found}; it must be {allowed}; {remedy}"))
    }

    /// Rejects the value with this message.
    pub(super) fn refused_because(&self, message: impl Into<String>) -> Refusal {
        (self.at(), message.into())
    }

    fn wrong_type(&self) -> Refusal {
        self.refused(kind(self.spanned.get_ref()), &format!("write e.g. `{}`", self.key.example()))
    }
}

/// Returns the type of a value, with its article.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a floating-point number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// Returns the known word closest to a misspelled word.
fn nearest<'k>(found: &str, known: &[&'k str]) -> Option<&'k str> {
    let lower = found.to_lowercase();
    let (similarity, near) = known
        .iter()
        .map(|word| (strsim::jaro_winkler(&lower, word), *word))
        .max_by(|one, other| one.0.total_cmp(&other.0))?;
    // Below this, common letters are coincidence ("weight" is not "preempt").
    (similarity >= 0.8).then_some(near)
}
