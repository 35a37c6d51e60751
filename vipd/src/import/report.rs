//! Messages about the translation, with file and line.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// A line of a keepalived configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Path by which the file was read. That of an included file is expanded from the pattern, and
    /// begins with the directory of the including file unless the pattern is absolute.
    pub file: Arc<str>,
    /// Line, counted from 1.
    pub line: usize,
}

/// Formats the position as `file:line`.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Whether a message requires an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// A setting was translated with a change, or is not needed. The result has the same meaning.
    Note,
    /// A setting could not be translated, or the result may behave differently from keepalived.
    Attention,
}

/// A message about one setting.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// Position of the setting.
    pub at: Position,
    /// Whether the setting requires an action.
    pub severity: Severity,
    /// The setting, its translation and, if an action is required, the remedy.
    pub text: String,
}

/// Formats the message as `file:line: text`.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.text)
    }
}

/// Collects messages. A message is recorded once for each line, even if a sequence or a definition
/// repeats the line.
#[derive(Debug, Default)]
pub(super) struct Report {
    messages: Vec<Message>,
    known: HashSet<Message>,
}

impl Report {
    /// Records a message that requires no action.
    pub(super) fn note(&mut self, at: &Position, text: impl Into<String>) {
        self.add(at, Severity::Note, text.into());
    }

    /// Records a message that requires an action.
    pub(super) fn attention(&mut self, at: &Position, text: impl Into<String>) {
        self.add(at, Severity::Attention, text.into());
    }

    fn add(&mut self, at: &Position, severity: Severity, text: String) {
        let message = Message { at: at.clone(), severity, text };
        if self.known.insert(message.clone()) {
            self.messages.push(message);
        }
    }

    /// Returns the number of messages so far.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Returns the messages recorded since [`len`](Self::len) returned `start`.
    pub(super) fn since(&self, start: usize) -> &[Message] {
        self.messages.get(start..).unwrap_or_default()
    }

    /// Returns all messages, in the order of files and lines.
    pub(super) fn finish(self) -> Vec<Message> {
        let mut messages = self.messages;
        // The files are in the order of their first messages. The sort is stable, so messages about
        // the same line keep their order.
        let mut files: Vec<Arc<str>> = Vec::new();
        for message in &messages {
            if !files.contains(&message.at.file) {
                files.push(Arc::clone(&message.at.file));
            }
        }
        let rank = |file: &Arc<str>| files.iter().position(|other| other == file);
        messages.sort_by_key(|message| (rank(&message.at.file), message.at.line));
        messages
    }
}
