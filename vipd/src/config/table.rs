//! Typed access to a TOML table that remembers where everything stands.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::Key;
use super::problem::Collector;

/// What is wrong with a value: the byte it stands at and the message.
pub(super) type Refusal = (usize, String);

/// A table and the byte its header stands at.
#[derive(Debug)]
pub(super) struct Table<'t> {
    entries: &'t DeTable<'t>,
    at: usize,
    /// Where a person sees it, for "unknown key `x` in an instance".
    place: &'static str,
}

/// A value that may be a text alone or a table with more to say.
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

    /// Refuses every key that is not in `known`, with the nearest one that is.
    pub(super) fn refuse_unknown(&self, known: &[&str], problems: &mut Collector<'_>) {
        for key in self.entries.keys() {
            let name = key.get_ref();
            if known.contains(&name.as_ref()) {
                continue;
            }
            let place = self.place;
            let remedy = match nearest(name, known) {
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

    /// Reads a key that must be there; `None` after a problem was reported.
    pub(super) fn required<T>(
        &self,
        key: &'static Key,
        problems: &mut Collector<'_>,
        read: impl FnOnce(&Value<'t>) -> Result<T, Refusal>,
    ) -> Option<Located<T>> {
        let value = self.given(key, problems, read)?;
        if value.is_none() {
            let Key { name, allowed, example, .. } = key;
            problems.absent(
                name,
                self.at,
                format!("{key} is missing; it must be {allowed}; add e.g. `{example}`"),
            );
        }
        value
    }

    /// Reads a key that may be left out, `Some(None)` then; `None` after a problem was reported.
    #[expect(clippy::option_option, reason = "refused, left out and given are three answers")]
    pub(super) fn optional<T>(
        &self,
        key: &'static Key,
        problems: &mut Collector<'_>,
        read: impl FnOnce(&Value<'t>) -> Result<T, Refusal>,
    ) -> Option<Option<T>> {
        Some(self.given(key, problems, read)?.map(|located| located.value))
    }

    /// As [`optional`](Self::optional), with the place of the value.
    #[expect(clippy::option_option, reason = "refused, left out and given are three answers")]
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

/// A value that was read and the byte it stands at.
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

    /// An integer from `min` to 255.
    pub(super) fn integer(&self, min: u8) -> Result<u8, Refusal> {
        let integer = self.spanned.get_ref().as_integer().ok_or_else(|| self.wrong_type())?;
        i128::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .and_then(|number| u8::try_from(number).ok())
            .filter(|number| *number >= min)
            .ok_or_else(|| self.refused(integer.to_string(), "choose another number"))
    }

    /// The elements of an array; `key` is what each is told to be.
    pub(super) fn elements(&self, key: &'static Key) -> Result<Vec<Self>, Refusal> {
        let array = self.spanned.get_ref().as_array().ok_or_else(|| self.wrong_type())?;
        Ok(array.iter().map(|spanned| Self { key, spanned }).collect())
    }

    /// A table that stands at `place`.
    pub(super) fn table(&self, place: &'static str) -> Result<Table<'t>, Refusal> {
        match self.spanned.get_ref() {
            DeValue::Table(entries) => Ok(Table::new(entries, self.at(), place)),
            _ => Err(self.wrong_type()),
        }
    }

    /// A text, or a table that stands at `place`.
    pub(super) fn form(&self, place: &'static str) -> Result<Form<'t>, Refusal> {
        match self.spanned.get_ref() {
            DeValue::String(text) => Ok(Form::Text(text)),
            _ => self.table(place).map(Form::Table),
        }
    }

    /// The byte it stands at.
    pub(super) fn at(&self) -> usize {
        self.spanned.span().start
    }

    /// Its key.
    pub(super) fn key(&self) -> &'static Key {
        self.key
    }

    /// The refusal of what was found, with what is allowed and what to do.
    pub(super) fn refused(&self, found: impl AsRef<str>, remedy: &str) -> Refusal {
        let Key { allowed, .. } = self.key;
        let (key, found) = (self.key, found.as_ref());
        (self.at(), format!("{key} is {found}; it must be {allowed}; {remedy}"))
    }

    /// A refusal in the words of the caller.
    pub(super) fn refused_because(&self, message: impl Into<String>) -> Refusal {
        (self.at(), message.into())
    }

    fn wrong_type(&self) -> Refusal {
        self.refused(kind(self.spanned.get_ref()), &format!("write e.g. `{}`", self.key.example))
    }
}

/// The type of a value, with its article.
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

/// The known word that `found` is most likely a slip of.
fn nearest<'k>(found: &str, known: &[&'k str]) -> Option<&'k str> {
    let lower = found.to_lowercase();
    let (similarity, near) = known
        .iter()
        .map(|word| (strsim::jaro_winkler(&lower, word), *word))
        .max_by(|one, other| one.0.total_cmp(&other.0))?;
    // Below this the words share letters by chance ("weight" is not "preempt").
    (similarity >= 0.8).then_some(near)
}
