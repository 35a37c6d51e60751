//! Plays scenarios with a device: any VRRP router that is reachable through an interface.
//!
//! ```text
//!   Declaration ──► probe: compares adverts with the declaration ──► Profile
//!   Scenario ──► adapt: fits it to the configuration, or gives a reason to skip it ──► stage
//! ```
//!
//! A device has one fixed configuration, cannot be restarted and is observed only on the wire.
//! `adapt` replaces the VRID, the priorities, the intervals, the times and the addresses of a
//! scenario, and `reset` brings the device back to Backup before each scenario, unless it is the
//! address owner. This machine sends all adverts, requests and answers from source addresses that
//! are reserved for the test, with two exceptions: adverts `from itself` have the device's own
//! address, and the probes that check whether an address is in use have no source address. The
//! kernel also sends membership reports for the VRRP group, from the interface's own address.

mod adapt;
mod declaration;
mod interface;
mod probe;
mod profile;
mod reset;
mod times;

use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::table::{self, Row, Verdict};
use super::{Program, Scenario, Step, stage};
use crate::protocol::down_interval;
use crate::time::WallTime;
use adapt::adapt;
use interface::Interface;
use profile::Profile;

pub use declaration::Declaration;

/// A device whose adverts match its declaration.
#[derive(Debug)]
pub struct Device {
    profile: Profile,
    interface: Interface,
}

/// The result of [`Device::play_all`] for a scenario, for progress messages.
#[derive(Debug)]
pub struct Progress<'a> {
    /// Number of scenarios so far that were not skipped, including this one.
    pub done: usize,
    /// Number of scenarios that can be played with the device.
    pub all: usize,
    /// The scenario, which was played unless the verdict is [`Verdict::Unsupported`].
    pub scenario: &'a Scenario,
    /// The final verdict, after a second attempt if one was needed.
    pub verdict: &'a Verdict,
}

impl Device {
    /// Waits for the device's adverts and compares them with the declaration, and checks that the
    /// device, unless it is the address owner, yields to an advert with priority 255.
    ///
    /// # Errors
    /// Returns an error if the declaration is invalid, if the interface cannot be used, if no
    /// adverts with this VRID arrive, or if frames are lost. Also returns an error if the adverts
    /// differ from the declaration or come from several routers, if the source addresses are not on
    /// both sides of the device's address, if one of them is in use, or if the device does not
    /// yield.
    pub fn find(declaration: Declaration) -> Result<Self> {
        declaration.check()?;
        let interface = Interface::open(&declaration.interface, declaration.family())?;
        let profile = probe::find(declaration, &interface)?;
        let mut device = Self { profile, interface };
        device.check_that_it_yields()?;
        Ok(device)
    }

    /// Returns the number of scenarios that can be played with the device, and about how long they
    /// take.
    pub fn plan(&self, scenarios: &[Scenario]) -> (usize, Duration) {
        let adapted: Vec<_> =
            scenarios.iter().filter_map(|scenario| adapt(scenario, &self.profile).ok()).collect();
        (adapted.len(), adapted.iter().map(|scenario| self.length(scenario)).sum())
    }

    fn length(&self, scenario: &Scenario) -> Duration {
        let Declaration { version, interval, priority, .. } = self.profile.declaration;
        let steps = scenario.lines.iter().map(|line| match &line.step {
            Step::Start => 2 * interval,
            Step::KeepReceiving(_, length) | Step::Silence(_, length) => *length,
            Step::Expect(_, super::scenario::Moment::After(time)) => *time,
            Step::Expect(frame, _) if !frame.announcement => down_interval(version, interval, priority),
            Step::Address(_) | Step::Echo(_) => Duration::from_millis(100),
            _ => Duration::ZERO,
        });
        steps.sum()
    }

    /// Plays the scenarios one after the other, and calls `progress` for each one that is not
    /// skipped.
    ///
    /// `program` is the device's implementation, whose documented differences apply, or
    /// [`Program::Device`] if the implementation is unknown.
    ///
    /// Returns the verdicts, and an error if the run ended early because frames cannot be sent or
    /// captured, or because the device no longer yields or no longer sends the declared adverts
    /// after a scenario that it failed.
    pub fn play_all<'a>(
        &mut self,
        scenarios: &'a [Scenario],
        program: Program,
        progress: impl Fn(&Progress<'_>),
    ) -> (Vec<Row<'a>>, Result<()>) {
        let (all, _) = self.plan(scenarios);
        let (mut rows, mut done) = (Vec::new(), 0);
        for scenario in scenarios {
            let (verdict, usable) = match adapt(scenario, &self.profile) {
                Err(reason) => (Verdict::Skipped(reason), Ok(())),
                Ok(adapted) => {
                    let verdict = table::judge_twice(&adapted, program, |scenario| self.play(scenario));
                    done += 1;
                    progress(&Progress { done, all, scenario, verdict: &verdict });
                    let usable = self.check_after(&verdict);
                    (verdict, usable)
                }
            };
            rows.push(Row { scenario, verdicts: vec![(program, verdict)] });
            if let Err(error) = usable {
                return (rows, Err(error.context(format!("in the scenario {}", scenario.name))));
            }
        }
        (rows, Ok(()))
    }

    /// Checks that further scenarios can be played after a scenario with this verdict.
    fn check_after(&mut self, verdict: &Verdict) -> Result<()> {
        match verdict {
            Verdict::LabError(error) => Err(anyhow!("{error:#}")),
            Verdict::Fails(_) => {
                // A device that has been shut down would fail every further scenario. A running
                // device may have learned a long interval, which the reset replaces.
                self.check_that_it_yields()?;
                probe::check(&self.profile.declaration, &self.interface)
            }
            _ => Ok(()),
        }
    }

    fn play(&mut self, scenario: &Scenario) -> Result<()> {
        let wire = self.interface.wire()?;
        stage::play(scenario, scenario.routers().cloned().collect(), wire, self)
    }

    fn check_that_it_yields(&mut self) -> Result<()> {
        let (wire, router) = (self.interface.wire()?, self.profile.router());
        let started = stage::Subject::start(self, &wire, &router);
        // If the capture lost adverts, the device may not have yielded.
        wire.capture.stop()?;
        started.map(|_| ()).with_context(|| {
            format!(
                "the device does not act on adverts from {}; check that it is configured for multicast, that \
                 nothing between it and {} filters them, and that no other setting makes it discard them",
                self.profile.segment.higher.address, self.profile.declaration.interface
            )
        })
    }
}

/// Returns how long ago a time was.
fn elapsed(since: WallTime) -> Duration {
    WallTime::now().saturating_since(since)
}
