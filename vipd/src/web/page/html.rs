//! HTML: escaped text, and slots for texts that change with each snapshot.

use std::fmt::{self, Display, Write};

use serde::Serialize;

/// Begins a slot. Escaped text contains no `<`, so it cannot contain a slot.
const SLOT: &str = "<span data-value=\"";

/// A value whose text is escaped, for use between tags and in quoted attribute values.
pub(super) struct Text<T>(pub(super) T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaper(formatter), "{}", self.0)
    }
}

struct Escaper<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaper<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|character| match character {
            '&' => self.0.write_str("&amp;"),
            '<' => self.0.write_str("&lt;"),
            '>' => self.0.write_str("&gt;"),
            '"' => self.0.write_str("&quot;"),
            '\'' => self.0.write_str("&#39;"),
            other => self.0.write_char(other),
        })
    }
}

/// A place for one of an element's values. May occur more than once in the element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot(usize);

impl Display for Slot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{SLOT}{}\"></span>", self.0)
    }
}

/// The texts of an element that change without a change of state, such as ages, countdowns and
/// counters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct Values(Vec<String>);

impl Values {
    /// Adds a value, and returns its slot.
    pub(super) fn add(&mut self, value: impl Display) -> Slot {
        self.0.push(value.to_string());
        Slot(self.0.len() - 1)
    }

    /// Returns the values that differ from those of `former`, with their positions.
    pub(super) fn changes<'a>(&'a self, former: &'a Self) -> impl Iterator<Item = (usize, &'a str)> {
        let pairs = self.0.iter().zip(&former.0).enumerate();
        pairs.filter(|(_, (new, old))| new != old).map(|(index, (new, _))| (index, new.as_str()))
    }

    /// Returns the HTML of an element with each value in its slots.
    pub(super) fn fill(&self, html: &str) -> String {
        let mut parts = html.split(SLOT);
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (index, rest) = part.split_once("\">").unwrap_or_default();
            let value = index.parse().ok().and_then(|index: usize| self.0.get(index));
            // Writing to a string does not fail.
            let _ = write!(out, "{SLOT}{index}\">{}{rest}", Text(value.map_or("", String::as_str)));
        }
        out
    }
}

/// Escaped text with slots.
#[derive(Clone, Debug, Default)]
pub(super) struct Markup(String);

impl Markup {
    /// Escapes a text.
    pub(super) fn new(text: impl Display) -> Self {
        Self::default().text(text)
    }

    /// Appends a text, escaped.
    pub(super) fn text(mut self, text: impl Display) -> Self {
        // Writing to a string does not fail.
        let _ = write!(self.0, "{}", Text(text));
        self
    }

    /// Appends a slot.
    pub(super) fn slot(mut self, slot: Slot) -> Self {
        let _ = write!(self.0, "{slot}");
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Display for Markup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_and_filled_into_their_slots_only() {
        let mut values = Values::default();
        let (age, hostile) = (values.add("3ms"), values.add("<b>\"&"));
        let html = Markup::new("last <span data-value=\"0\"> ").slot(age).text(" & ").slot(hostile).slot(age);
        assert_eq!(
            values.fill(&html.to_string()),
            "last &lt;span data-value=&quot;0&quot;&gt; <span data-value=\"0\">3ms</span> &amp; \
             <span data-value=\"1\">&lt;b&gt;&quot;&amp;</span><span data-value=\"0\">3ms</span>"
        );
        assert_eq!(values.fill("no slot"), "no slot");
        let mut later = Values::default();
        later.add("4ms");
        later.add("<b>\"&");
        assert_eq!(later.changes(&values).collect::<Vec<_>>(), [(0, "4ms")]);
    }

    #[test]
    fn markup_and_quotes_are_escaped() {
        let hostile = "<b title=\"x\" id='y'>&amp;</b>";
        assert_eq!(
            Text(hostile).to_string(),
            "&lt;b title=&quot;x&quot; id=&#39;y&#39;&gt;&amp;amp;&lt;/b&gt;"
        );
        assert_eq!(Text("VI_1 → 10.0.0.1").to_string(), "VI_1 → 10.0.0.1");
    }
}
