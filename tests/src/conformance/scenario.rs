//! A scenario: what it shows, and the steps that show it.

use std::time::Duration;

use super::Program;
use super::words::{Heard, RouterWords, Said};
use crate::configuration::Family;

/// A scenario, read from a document.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The document's name without its ending.
    pub name: String,
    /// Its first line.
    pub title: String,
    /// The items that it shows.
    pub items: Vec<String>,
    /// Whether it is played with the core alone, in virtual time.
    pub in_core: bool,
    /// Whether it is played with real programs.
    pub in_lab: bool,
    /// What is to be said of a program beforehand.
    pub notes: Vec<(Program, Note)>,
    /// Lines to add to vipd's configuration.
    pub vipd_lines: Vec<String>,
    /// The steps.
    pub lines: Vec<Line>,
}

/// A line of the script.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its number in the document.
    pub number: usize,
    /// What it says.
    pub step: Step,
    /// Which programs are not like it: `# not FRR, keepalived`.
    pub not: Vec<Program>,
}

/// What is to be said of a program beforehand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// It does otherwise, and why.
    Differs(String),
    /// It cannot be configured so.
    Cannot(String),
}

impl Note {
    /// The words.
    pub fn text(&self) -> &str {
        match self {
            Self::Differs(text) | Self::Cannot(text) => text,
        }
    }
}

impl Scenario {
    /// What is to be said of a program.
    pub fn note(&self, program: Program) -> Option<&Note> {
        self.notes.iter().find(|(about, _)| *about == program).map(|(_, note)| note)
    }

    /// Whether a program is known to do otherwise than this line says.
    pub fn differs_at(&self, program: Program, number: usize) -> bool {
        self.lines.iter().any(|line| line.number == number && line.not.contains(&program))
    }

    /// The routers under test: one of a family.
    pub fn routers(&self) -> impl Iterator<Item = &RouterWords> {
        self.lines.iter().filter_map(|line| match &line.step {
            Step::Router(words) => Some(words),
            _ => None,
        })
    }
}

/// One line of the script.
#[derive(Debug, Clone)]
pub enum Step {
    /// `router …`: configures the router under test, which is node 2.
    Router(RouterWords),
    /// `start`: runs it.
    Start,
    /// `stop`: asks it to leave.
    Stop,
    /// `hear advert …`: it hears a packet.
    Hear(Heard),
    /// `keep hearing advert … for D`: it hears one each interval.
    KeepHearing(Heard, Duration),
    /// `expect advert …` and `expect announcement …`: the next thing that it sends.
    Expect(Said, Moment),
    /// `expect no advert for D`: it sends none, of this family if one is named, counted from what came last.
    Silence(Option<Family>, Duration),
    /// `expect address` and `expect no address`: it is there for hosts, or not.
    Address(bool),
    /// `expect echo` and `expect no echo`: the address answers a ping sent to the router, or not.
    Echo(bool),
    /// `expect counter NAME N`: what vipd counts.
    Counter(String, u64),
}

/// When something is to come, counted from the last thing heard or sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// After this long.
    After(Duration),
    /// Some time.
    Eventually,
}
