//! Maps keys to actions.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::Mode;
use super::verb::Verb;

/// Number of instances that Page Up and Page Down skip.
const PAGE: isize = 10;

/// The action of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Quit,
    /// Moves the selection down by this number of lines, or up if it is negative.
    Move(isize),
    /// Begins to edit the filter.
    EditFilter,
    /// Appends to the filter.
    Type(char),
    /// Deletes the filter's last character.
    Delete,
    /// Ends editing and keeps the filter.
    KeepFilter,
    /// Ends editing and shows all instances.
    ClearFilter,
    NextSort,
    PreviousSort,
    Reverse,
    /// Asks whether to change the selected instance.
    Propose(Verb),
    Confirm,
    Cancel,
}

/// Returns the action of a key.
pub(super) fn action(key: KeyEvent, mode: &Mode) -> Option<Action> {
    let has = |modifier| key.modifiers.contains(modifier);
    // Terminals in raw mode send Ctrl-C as a key.
    if has(KeyModifiers::CONTROL) {
        return (key.code == KeyCode::Char('c')).then_some(Action::Quit);
    }
    if has(KeyModifiers::ALT) {
        return None;
    }
    match mode {
        Mode::Browse => browse(key.code),
        Mode::Filter => edit(key.code),
        Mode::Confirm(_) => answer(key.code),
    }
}

fn browse(code: KeyCode) -> Option<Action> {
    Some(match code {
        KeyCode::Char('q') => Action::Quit,
        KeyCode::Char('k') => Action::Move(-1),
        KeyCode::Char('j') => Action::Move(1),
        KeyCode::Char('/') => Action::EditFilter,
        KeyCode::Esc => Action::ClearFilter,
        KeyCode::Char('s') => Action::NextSort,
        KeyCode::Char('S') => Action::PreviousSort,
        KeyCode::Char('r') => Action::Reverse,
        KeyCode::Char('d') => Action::Propose(Verb::Drain),
        KeyCode::Char('u') => Action::Propose(Verb::Undrain),
        KeyCode::Char('f') => Action::Propose(Verb::Failover),
        _ => return movement(code),
    })
}

fn edit(code: KeyCode) -> Option<Action> {
    match code {
        KeyCode::Char(character) => Some(Action::Type(character)),
        KeyCode::Backspace => Some(Action::Delete),
        KeyCode::Enter => Some(Action::KeepFilter),
        KeyCode::Esc => Some(Action::ClearFilter),
        _ => movement(code),
    }
}

/// Only `y` or `Y` confirms, because Enter may be pressed by mistake.
fn answer(code: KeyCode) -> Option<Action> {
    match code {
        KeyCode::Char('y' | 'Y') => Some(Action::Confirm),
        KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc => Some(Action::Cancel),
        _ => None,
    }
}

fn movement(code: KeyCode) -> Option<Action> {
    match code {
        KeyCode::Up => Some(Action::Move(-1)),
        KeyCode::Down => Some(Action::Move(1)),
        KeyCode::PageUp => Some(Action::Move(-PAGE)),
        KeyCode::PageDown => Some(Action::Move(PAGE)),
        KeyCode::Home => Some(Action::Move(isize::MIN)),
        KeyCode::End => Some(Action::Move(isize::MAX)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::verb::Change;
    use super::*;

    fn press(code: KeyCode, modifiers: KeyModifiers, mode: &Mode) -> Option<Action> {
        action(KeyEvent::new(code, modifiers), mode)
    }

    fn confirm() -> Mode {
        Mode::Confirm(Change { verb: Verb::Drain, instance: "VI_1".to_owned() })
    }

    #[test]
    fn meaning_of_letters_depends_on_the_mode() {
        let typed = |letter, mode: &Mode| press(KeyCode::Char(letter), KeyModifiers::NONE, mode);
        for (letter, browsing, answering) in [
            ('q', Some(Action::Quit), Some(Action::Cancel)),
            ('d', Some(Action::Propose(Verb::Drain)), None),
            ('u', Some(Action::Propose(Verb::Undrain)), None),
            ('f', Some(Action::Propose(Verb::Failover)), None),
            ('s', Some(Action::NextSort), None),
            ('r', Some(Action::Reverse), None),
            ('y', None, Some(Action::Confirm)),
            ('n', None, Some(Action::Cancel)),
            ('j', Some(Action::Move(1)), None),
        ] {
            assert_eq!(typed(letter, &Mode::Browse), browsing, "{letter}");
            assert_eq!(typed(letter, &Mode::Filter), Some(Action::Type(letter)), "{letter}");
            assert_eq!(typed(letter, &confirm()), answering, "{letter}");
        }
    }

    #[test]
    fn enter_does_not_confirm_a_change() {
        assert_eq!(press(KeyCode::Enter, KeyModifiers::NONE, &confirm()), None);
        assert_eq!(press(KeyCode::Enter, KeyModifiers::NONE, &Mode::Browse), None);
        assert_eq!(press(KeyCode::Enter, KeyModifiers::NONE, &Mode::Filter), Some(Action::KeepFilter));
    }

    #[test]
    fn control_c_quits_in_every_mode_and_other_chords_do_nothing() {
        for mode in [Mode::Browse, Mode::Filter, confirm()] {
            assert_eq!(press(KeyCode::Char('c'), KeyModifiers::CONTROL, &mode), Some(Action::Quit));
            for chord in ['d', 'y', 'f'] {
                assert_eq!(press(KeyCode::Char(chord), KeyModifiers::CONTROL, &mode), None);
                assert_eq!(press(KeyCode::Char(chord), KeyModifiers::ALT, &mode), None);
            }
        }
    }
}
