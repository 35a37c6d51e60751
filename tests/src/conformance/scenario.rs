//! Scenarios and their steps.

use std::time::Duration;

use super::Program;
use super::syntax::{ExpectedFrame, ReceivedAdvert, RouterSpec};
use crate::configuration::Family;

/// A scenario parsed from a document.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// File name, without extension.
    pub name: String,
    /// The heading of the document.
    pub title: String,
    /// Items that the scenario covers.
    pub items: Vec<String>,
    /// Whether the scenario is played with vipd's core in virtual time.
    pub in_core: bool,
    /// Whether the scenario is played with real programs.
    pub in_lab: bool,
    /// Known differences, by program.
    pub notes: Vec<(Program, Note)>,
    /// Additional lines for vipd's configuration.
    pub vipd_lines: Vec<String>,
    /// The script, without blank lines.
    pub lines: Vec<Line>,
}

/// A line of the script.
#[derive(Debug, Clone)]
pub struct Line {
    /// Line number in the document, from 1.
    pub number: usize,
    /// The statement before any `#`, parsed.
    pub step: Step,
    /// Programs that are known to fail this step: `# not FRR, keepalived`.
    pub not: Vec<Program>,
}

/// A known difference of a program from the expected behavior.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Why the program behaves differently.
    Differs(String),
    /// Why the program cannot be configured as the scenario requires.
    Unsupported(String),
}

impl Note {
    /// Returns the reason.
    pub fn text(&self) -> &str {
        match self {
            Self::Differs(text) | Self::Unsupported(text) => text,
        }
    }
}

impl Scenario {
    /// Returns the known difference of a program, if any.
    pub fn note(&self, program: Program) -> Option<&Note> {
        self.notes.iter().find(|(about, _)| *about == program).map(|(_, note)| note)
    }

    /// Returns whether a program is known to fail this line.
    pub fn differs_at(&self, program: Program, number: usize) -> bool {
        self.lines.iter().any(|line| line.number == number && line.not.contains(&program))
    }

    /// Returns the routers under test, at most one per address family.
    pub fn routers(&self) -> impl Iterator<Item = &RouterSpec> {
        self.lines.iter().filter_map(|line| match &line.step {
            Step::Router(words) => Some(words),
            _ => None,
        })
    }
}

/// The statement on a line of the script.
#[derive(Debug, Clone)]
pub enum Step {
    /// `router …`: configures the router under test, which is node 2.
    Router(RouterSpec),
    /// `start`: starts the program.
    Start,
    /// `stop`: shuts the program down.
    Stop,
    /// `receive advert …`: injects an advert.
    Receive(ReceivedAdvert),
    /// `receive again`: injects the last advert again.
    ReceiveAgain,
    /// `keep receiving advert … for D`: injects one advert per interval for this long.
    KeepReceiving(ReceivedAdvert, Duration),
    /// `expect advert …` and `expect announcement …`: checks the next such frame that the router
    /// sends.
    Expect(ExpectedFrame, Moment),
    /// `expect no advert for D`: the router of this family, or else the first router, sends no
    /// advert for this long. The period starts at the time that a [`Moment`] is relative to.
    Silence(Option<Family>, Duration),
    /// `expect address` and `expect no address`: whether hosts can resolve the last VIP of the
    /// first router; in virtual time, whether its VIPs are present.
    Address(bool),
    /// `expect echo` and `expect no echo`: whether the first VIP of the first router answers an
    /// echo request.
    Echo(bool),
    /// `expect counter NAME N`: the value of a vipd counter.
    Counter(String, u64),
}

/// Time at which a frame is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// After this delay, relative to the latest `start`, `stop`, received frame, or sent frame that
    /// a [`Step::Expect`] matched, or to the end of a later [`Step::Silence`].
    After(Duration),
    /// Within ten advert intervals plus a fixed timeout, from the time at which the step begins.
    Eventually,
}
