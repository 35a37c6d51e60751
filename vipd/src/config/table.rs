//! Typed access to TOML tables. Every value keeps its byte offset, for messages.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::duration;
use super::problem::Collector;
use super::schema::{self, Key, Kind, Section};

/// A rejected value: its byte offset and the message.
pub(super) type Rejection = (usize, String);

/// A table and the byte offset at which it starts.
#[derive(Debug)]
pub(super) struct Table<'t> {
    entries: &'t DeTable<'t>,
    at: usize,
    /// Describes the table in messages: "unknown key `x` in an instance".
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

    /// Returns the byte offset of the table.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn get(&self, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.entries.get(key)
    }

    /// Reports every key that the schema does not have in `section`, and suggests the closest
    /// match.
    pub(super) fn reject_unknown(&self, section: Section, problems: &mut Collector<'_>) {
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
            problems.unknown(
                key.span().start,
                format!("unknown key `{}` {place}; {remedy} (allowed keys: {allowed})", name.escape_debug()),
            );
        }
    }

    /// Reads a required key; `None` if a problem was reported.
    pub(super) fn required<T>(
        &self,
        key: &'static Key,
        problems: &mut Collector<'_>,
        read: impl FnOnce(&Value<'t>) -> Result<T, Rejection>,
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

    /// Reads an optional key: `Some(None)` if it is absent, `None` if a problem was reported.
    #[expect(clippy::option_option, reason = "rejected, absent and given are distinct results")]
    pub(super) fn optional<T>(
        &self,
        key: &'static Key,
        problems: &mut Collector<'_>,
        read: impl FnOnce(&Value<'t>) -> Result<T, Rejection>,
    ) -> Option<Option<T>> {
        Some(self.given(key, problems, read)?.map(|located| located.value))
    }

    /// Like [`optional`](Self::optional), but also returns the value's byte offset.
    #[expect(clippy::option_option, reason = "rejected, absent and given are distinct results")]
    pub(super) fn given<T>(
        &self,
        key: &'static Key,
        problems: &mut Collector<'_>,
        read: impl FnOnce(&Value<'t>) -> Result<T, Rejection>,
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

/// A value and its byte offset.
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
    pub(super) fn string(&self) -> Result<&'t str, Rejection> {
        self.spanned.get_ref().as_str().ok_or_else(|| self.wrong_type())
    }

    pub(super) fn boolean(&self) -> Result<bool, Rejection> {
        self.spanned.get_ref().as_bool().ok_or_else(|| self.wrong_type())
    }

    /// Returns an integer within the key's range.
    pub(super) fn integer(&self) -> Result<u8, Rejection> {
        let Kind::Integer(min, max) = self.key.allowed else {
            unreachable!("{} is not an integer", self.key)
        };
        self.any_integer()?
            .and_then(|number| u8::try_from(number).ok())
            .filter(|number| (min..=max).contains(number))
            .ok_or_else(|| self.rejected(self.source_of_integer(), "choose another number"))
    }

    /// Returns an integer; `None` if it does not fit in 128 bits.
    pub(super) fn any_integer(&self) -> Result<Option<i128>, Rejection> {
        let integer = self.spanned.get_ref().as_integer().ok_or_else(|| self.wrong_type())?;
        Ok(i128::from_str_radix(integer.as_str(), integer.radix()).ok())
    }

    /// Returns an integer in the notation of the file, but without underscores.
    pub(super) fn source_of_integer(&self) -> String {
        self.spanned.get_ref().as_integer().map(ToString::to_string).unwrap_or_default()
    }

    /// Converts the chosen word to the corresponding element of `values`, which are in the order of
    /// the allowed words.
    pub(super) fn choice<T, const N: usize>(&self, values: [T; N]) -> Result<T, Rejection> {
        let Kind::Choice(words) = self.key.allowed else { unreachable!("{} is not a choice", self.key) };
        debug_assert_eq!(words.len(), N, "{}", self.key);
        let found = self.string()?;
        let chosen = words.iter().zip(values).find(|(word, _)| **word == found);
        chosen
            .map(|(_, value)| value)
            .ok_or_else(|| self.rejected(format!("{found:?}"), "choose one of them"))
    }

    /// Returns a duration within the key's range, or 0 for never if the key allows it, in
    /// nanoseconds.
    pub(super) fn duration(&self) -> Result<u64, Rejection> {
        let (range, never) = match self.key.allowed {
            Kind::Duration(min, max) => (min..=max, false),
            Kind::DurationOrNever(min, max) => (min..=max, true),
            _ => unreachable!("{} is not a duration", self.key),
        };
        let text = self.string()?;
        match duration::parse(text) {
            Ok(nanos) if range.contains(&nanos) || (never && nanos == 0) => Ok(nanos),
            Ok(_) => Err(self.rejected(format!("{text:?}"), "choose another duration")),
            Err(error) => Err(self.rejected(format!("{text:?}"), &duration::remedy(text, error))),
        }
    }

    /// Returns the elements of an array. `key` describes an element in messages.
    pub(super) fn elements(&self, key: &'static Key) -> Result<Vec<Self>, Rejection> {
        let array = self.spanned.get_ref().as_array().ok_or_else(|| self.wrong_type())?;
        Ok(array.iter().map(|spanned| Self { key, spanned }).collect())
    }

    /// Returns a table, described as `place` in messages.
    pub(super) fn table(&self, place: &'static str) -> Result<Table<'t>, Rejection> {
        match self.spanned.get_ref() {
            DeValue::Table(entries) => Ok(Table::new(entries, self.at(), place)),
            _ => Err(self.wrong_type()),
        }
    }

    /// Returns a string, or a table described as `place` in messages.
    pub(super) fn form(&self, place: &'static str) -> Result<Form<'t>, Rejection> {
        match self.spanned.get_ref() {
            DeValue::String(text) => Ok(Form::Text(text)),
            _ => self.table(place).map(Form::Table),
        }
    }

    /// Returns the value's byte offset.
    pub(super) fn at(&self) -> usize {
        self.spanned.span().start
    }

    /// Returns the value's position, with the quotation marks of a string.
    pub(super) fn span(&self) -> Range<usize> {
        self.spanned.span()
    }

    /// Returns the value's key.
    pub(super) fn key(&self) -> &'static Key {
        self.key
    }

    /// Rejects the value. The message states the value found, the allowed values, and the remedy.
    pub(super) fn rejected(&self, found: impl AsRef<str>, remedy: &str) -> Rejection {
        let Key { allowed, .. } = self.key;
        let (key, found) = (self.key, found.as_ref());
        (self.at(), format!("{key} is {found}; it must be {allowed}; {remedy}"))
    }

    /// Rejects the value with the given message.
    pub(super) fn rejected_because(&self, message: impl Into<String>) -> Rejection {
        (self.at(), message.into())
    }

    fn wrong_type(&self) -> Rejection {
        self.rejected(kind(self.spanned.get_ref()), &format!("use e.g. `{}`", self.key.example()))
    }
}

/// Returns the type of a value with its article (`an integer`), for messages.
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

/// Returns the known word that is closest to a misspelled word; `None` if no word is close.
fn nearest<'k>(found: &str, known: &[&'k str]) -> Option<&'k str> {
    let lower = found.to_lowercase();
    let (similarity, near) = known
        .iter()
        .map(|word| (strsim::jaro_winkler(&lower, word), *word))
        .max_by(|one, other| one.0.total_cmp(&other.0))?;
    // Below this threshold, similarity is coincidence ("weight" and "preempt").
    (similarity >= 0.8).then_some(near)
}
