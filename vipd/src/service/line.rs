//! Lines that describe changes, for answers to clients and for the log.

use std::fmt;

/// The subject of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The agent as a whole.
    Agent,
    /// An instance, by name.
    Instance(String),
    /// A sync group, by name.
    Group(String),
}

impl Subject {
    /// Returns the values of the log fields `instance` and `group`.
    pub(super) fn fields(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::Agent => (None, None),
            Self::Instance(name) => (Some(name), None),
            Self::Group(name) => (None, Some(name)),
        }
    }
}

/// One change. `Display` formats it as in the answer to a client: `VI_1: drained`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    subject: Subject,
    text: String,
}

impl Line {
    pub(super) fn agent(text: impl Into<String>) -> Self {
        Self { subject: Subject::Agent, text: text.into() }
    }

    pub(super) fn instance(name: &str, text: impl Into<String>) -> Self {
        Self { subject: Subject::Instance(name.to_owned()), text: text.into() }
    }

    pub(super) fn group(name: &str, text: impl Into<String>) -> Self {
        Self { subject: Subject::Group(name.to_owned()), text: text.into() }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Subject::Agent => f.write_str(&self.text),
            Subject::Instance(name) => write!(f, "{name}: {}", self.text),
            Subject::Group(name) => write!(f, "group {name}: {}", self.text),
        }
    }
}

/// Combines consecutive lines about the same instance or group into one log message. The name of
/// the instance or group is a separate log field.
pub(super) fn by_subject(lines: &[Line]) -> impl Iterator<Item = (&Subject, String)> {
    let is_same = |a: &Line, b: &Line| a.subject == b.subject && a.subject != Subject::Agent;
    lines.chunk_by(is_same).filter_map(|lines| {
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        Some((&lines.first()?.subject, texts.join("; ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_an_instance_or_group_are_combined_for_the_log() {
        let lines = [
            Line::instance("VI_1", "priority 100 → 150"),
            Line::instance("VI_1", "track changed"),
            Line::instance("VI_2", "added"),
            Line::group("gateway", "track changed"),
            Line::group("gateway", "notify changed"),
            Line::agent("notify: fifo changed"),
            Line::agent("realtime: takes effect at the next start"),
        ];
        let shown: Vec<String> = lines.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "VI_1: priority 100 → 150",
                "VI_1: track changed",
                "VI_2: added",
                "group gateway: track changed",
                "group gateway: notify changed",
                "notify: fifo changed",
                "realtime: takes effect at the next start"
            ]
        );
        let [one, two] = ["VI_1", "VI_2"].map(|name| Subject::Instance(name.to_owned()));
        let group = Subject::Group("gateway".to_owned());
        let expected = [
            (&one, "priority 100 → 150; track changed"),
            (&two, "added"),
            (&group, "track changed; notify changed"),
            (&Subject::Agent, "notify: fifo changed"),
            (&Subject::Agent, "realtime: takes effect at the next start"),
        ];
        let logged: Vec<_> = by_subject(&lines).collect();
        assert_eq!(logged, expected.map(|(subject, text)| (subject, text.to_owned())));
    }
}
