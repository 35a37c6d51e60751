//! Converts the styles used by other commands to ratatui styles.

use std::io;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Effects};
use ratatui::style::{Color, Modifier, Style};

/// Converts styles. Without colors, bold text remains bold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    pub(super) has_color: bool,
}

impl Theme {
    /// Uses colors under the same conditions as the other commands: `--color` and the environment
    /// (see [`color`](crate::color)).
    pub(super) fn detect() -> Self {
        Self { has_color: AutoStream::choice(&io::stdout()) != ColorChoice::Never }
    }

    pub(super) fn style(self, style: anstyle::Style) -> Style {
        let color = match style.get_fg_color() {
            Some(anstyle::Color::Ansi(AnsiColor::Red)) => Some(Color::Red),
            Some(anstyle::Color::Ansi(AnsiColor::Green)) => Some(Color::Green),
            Some(anstyle::Color::Ansi(AnsiColor::Yellow)) => Some(Color::Yellow),
            _ => None,
        };
        let is_bold = style.get_effects().contains(Effects::BOLD);
        Style {
            fg: color.filter(|_| self.has_color),
            add_modifier: if is_bold { Modifier::BOLD } else { Modifier::empty() },
            ..Style::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::{BAD, GOOD, HEAD, WAITING};

    #[test]
    fn styles_of_states_and_headings_are_converted() {
        let colored = [GOOD, BAD, WAITING, HEAD].map(|style| Theme { has_color: true }.style(style));
        assert_eq!(
            colored.map(|style| (style.fg, style.add_modifier)),
            [
                (Some(Color::Green), Modifier::BOLD),
                (Some(Color::Red), Modifier::BOLD),
                (Some(Color::Yellow), Modifier::empty()),
                (None, Modifier::BOLD),
            ]
        );
        let plain = [GOOD, BAD, WAITING].map(|style| Theme { has_color: false }.style(style));
        assert_eq!(plain.map(|style| style.fg), [None; 3]);
        assert_eq!(plain[1].add_modifier, Modifier::BOLD);
    }
}
