//! `vipd top`: a live view of a running agent.
//!
//! The [`feed`] queues keys, signals, and the agent's reports and events. The [`model`] combines
//! these updates, the [`view`] draws the model, and [`keys`] maps keys to actions on the model.
//! Only the feed and the [`screen`] do I/O.

mod feed;
mod keys;
mod model;
mod order;
mod row;
mod screen;
#[cfg(test)]
mod tests;
mod theme;
mod timeline;
mod verb;
mod view;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::control::client::Client;
use crate::process::Signals;
use feed::{Feed, Update};
use model::{Effect, Model};
use screen::Screen;
use theme::Theme;

/// Minimum interval between frames, so that a burst of events costs little over a slow connection.
const FRAME: Duration = Duration::from_millis(50);

pub(super) fn run(runtime_dir: &Path) -> anyhow::Result<()> {
    // Must happen before any thread starts, because threads inherit the signal mask.
    let signals = Signals::block().context("cannot open a file descriptor for signals")?;
    let theme = Theme::detect();
    let mut screen = Screen::open()?;
    let feed = Feed::start(Client::new(runtime_dir), signals)?;
    let mut model = Model::new();
    loop {
        screen.draw(|frame| view::draw(&model, theme, frame))?;
        let next_frame = Instant::now() + FRAME;
        let mut update = Some(feed.updates.recv()?);
        while let Some(next) = update {
            if let Some(end) = apply(next, &mut model, &feed) {
                return end;
            }
            let left = next_frame.saturating_duration_since(Instant::now());
            update = if left.is_zero() { None } else { feed.updates.recv_timeout(left).ok() };
        }
    }
}

/// Applies an update to the model. If the program must end, returns its result.
fn apply(update: Update, model: &mut Model, feed: &Feed) -> Option<anyhow::Result<()>> {
    match update {
        Update::Report(report) => model.report(*report),
        Update::Disconnected { at, error } => model.disconnected(at, error),
        Update::Event(event) => model.event(*event),
        Update::NoEvents(error) => model.events_error = Some(error),
        Update::Changed(notice) => model.changed(notice),
        Update::Key(key) => {
            let effect = keys::action(key, &model.mode).and_then(|action| model.perform(action));
            match effect {
                None => {}
                Some(Effect::Quit) => return Some(Ok(())),
                Some(Effect::Request(change)) => return feed.request(&change).err().map(Err),
            }
        }
        // The next frame has the new size.
        Update::Resized => {}
        Update::End(result) => return Some(result),
    }
    None
}
