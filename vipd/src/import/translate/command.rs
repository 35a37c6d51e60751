//! Commands: scripts and notifications.

use super::context::Context;
use crate::import::line;
use crate::import::report::Position;
use crate::import::tree::Statement;

/// A command and the user that it runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) argv: Vec<String>,
    /// The user given with the command.
    pub(super) user: Option<String>,
}

/// Translates `notify… COMMAND [USER [GROUP]]`.
pub(super) fn notification(statement: &Statement, context: &mut Context<'_>) -> Option<Command> {
    let mut words = statement.command_arguments().into_iter();
    let Some(text) = words.next() else {
        context.invalid(statement, "a command");
        return None;
    };
    let user = words.next();
    if let (Some(user), Some(group)) = (&user, words.next()) {
        context.group_of_user(&statement.at, user, &group);
    }
    if let Some(extra) = words.next() {
        context.attention(
            &statement.at,
            format!("`{}` is left out: a command with arguments must be in quotes", extra.escape_debug()),
        );
    }
    let argv = argv(&statement.at, &text, context)?;
    Some(Command { argv, user })
}

/// Translates `script COMMAND`. Like keepalived, uses only the first word, which is the whole
/// command if the command is in quotes.
pub(super) fn script(statement: &Statement, context: &mut Context<'_>) -> Option<Vec<String>> {
    let words = statement.command_arguments();
    let Some((text, rest)) = words.split_first().filter(|(text, _)| !text.trim().is_empty()) else {
        context.invalid(statement, "a command");
        return None;
    };
    if !rest.is_empty() {
        context.attention(
            &statement.at,
            format!(
                "`{}` is left out: keepalived ignores it, too, because a command with arguments must be in quotes; if the \
                 command needs it, add it to `command`",
                rest.join(" ").escape_debug()
            ),
        );
    }
    argv(&statement.at, text, context)
}

/// Splits a command into a program and its arguments. A program name without a slash is replaced by
/// its path on this machine or, if it is not installed, run with `/usr/bin/env`. A relative path is
/// kept and reported. As in keepalived, no shell is used except for a redirection such as
/// `</dev/tcp/127.0.0.1/80`.
fn argv(at: &Position, text: &str, context: &mut Context<'_>) -> Option<Vec<String>> {
    if text.trim_start().starts_with('<') {
        context.note(at, format!("{text:?} runs with /bin/sh -c, as in keepalived"));
        return Some(["/bin/sh", "-c", text].map(str::to_owned).to_vec());
    }
    let mut argv = line::command_words(text);
    let program = argv.first_mut()?;
    if program.contains('\0') || program.is_empty() {
        context.attention(at, format!("{text:?} is not a command; it is left out; correct it"));
        return None;
    }
    if program.starts_with('/') {
        return Some(argv);
    }
    if program.contains('/') {
        context.attention(
            at,
            format!("the path of the command {program:?} is relative; make it absolute, as vipd requires"),
        );
        return Some(argv);
    }
    let found = context.files.program(program).and_then(|path| path.to_str().map(str::to_owned));
    if let Some(path) = found {
        context.note(at, format!("the command {program:?} becomes {path}, its path on this machine"));
        *program = path;
    } else {
        context.attention(
            at,
            format!("the program {program:?} is not installed on this machine; replace it with its path"),
        );
        argv.insert(0, "/usr/bin/env".to_owned());
    }
    Some(argv)
}
