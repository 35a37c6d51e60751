//! `vipd capture`.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::args::{CaptureArgs, DEFAULT_CONFIG};
use super::status::seconds;
use super::{check, output};
use crate::config::machine::Machine;
use crate::config::{Config, Instance};
use crate::observe::{Frame, Listener, Packet, dissect, judge, pcapng, reason_of};
use crate::xdp::Action;

/// Interval at which to check whether an obstacle to the capture has appeared or disappeared.
const CHECK: Duration = Duration::from_millis(500);

pub(super) fn run(args: &CaptureArgs) -> anyhow::Result<()> {
    let judge = Judge { interface: &args.interface, instances: instances(args.config.as_deref())? };
    let mut listener = Listener::new()?;
    let interface = listener.add(&args.interface)?;
    let has_ethernet = listener.has_ethernet(interface);
    let mut file = args.write.as_deref().map(open).transpose()?;
    if let Some(file) = &mut file {
        file.write(&pcapng::header(&args.interface, has_ethernet))?;
    }
    let deadline = args.seconds.map(|seconds| Instant::now() + seconds);
    let mut reported = None;
    loop {
        let obstacle = listener.obstacle(interface);
        if obstacle != reported.as_ref() {
            match obstacle {
                Some(obstacle) => eprintln!("vipd: {}", obstacle.describe(&args.interface)),
                None => eprintln!("vipd: all adverts of {} are visible again", args.interface),
            }
            reported = obstacle.cloned();
        }
        let check = Instant::now() + CHECK;
        let Some(frame) = listener.next(Some(deadline.map_or(check, |end| end.min(check))))? else {
            if listener.is_ended() || deadline.is_some_and(|end| end <= Instant::now()) {
                let lost = listener.take_lost(interface);
                if lost > 0 {
                    eprintln!(
                        "vipd: {lost} frames were not captured, because they arrived faster than they were written"
                    );
                }
                return Ok(());
            }
            continue;
        };
        let Some(packet) = dissect(&frame.bytes, has_ethernet) else { continue };
        let Some(comment) = judge.comment(&frame, &packet) else { continue };
        match &mut file {
            Some(file) => file.write(&pcapng::packet(&frame, &comment))?,
            None => output::print(&line(&frame, &packet, &comment))?,
        }
    }
}

/// Returns the configured instances, which frames are compared with. Without `path`, uses the
/// default file, and returns no instances if it is missing or invalid.
fn instances(path: Option<&Path>) -> anyhow::Result<Vec<Arc<Instance>>> {
    let machine = Machine { credentials: check::credentials(), ..Machine::default() };
    let load = |path| Config::load_protected(path, &machine);
    match path {
        Some(path) => Ok(load(path)?.instances),
        None if !Path::new(DEFAULT_CONFIG).exists() => Ok(Vec::new()),
        None => Ok(load(Path::new(DEFAULT_CONFIG)).map_or_else(
            |error| {
                eprintln!("vipd: adverts are not compared with a configuration: {error}");
                Vec::new()
            },
            |config| config.instances,
        )),
    }
}

/// Destination of captured frames. Each frame is written immediately, so that the file is complete
/// when the command is interrupted.
enum Sink {
    File(File),
    Stdout,
}

fn open(path: &Path) -> anyhow::Result<Sink> {
    if path != Path::new("-") {
        let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        return Ok(Sink::File(file));
    }
    if io::stdout().is_terminal() {
        bail!(
            "standard output is a terminal; write the capture to a file, or to a pipe: `… -w - | tshark -r -`"
        );
    }
    Ok(Sink::Stdout)
}

impl Sink {
    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::File(file) => file.write_all(bytes).context("cannot write the capture")?,
            Self::Stdout => output::bytes(bytes)?,
        }
        Ok(())
    }
}

/// Predicts the verdict that the BPF program of an agent with this configuration returns, within
/// the limits of [`judge()`].
struct Judge<'a> {
    interface: &'a str,
    instances: Vec<Arc<Instance>>,
}

impl Judge<'_> {
    /// Returns the comment on a frame; `None` if the frame is not VRRP.
    fn comment(&self, frame: &Frame, packet: &Packet) -> Option<String> {
        let verdict = judge(&self.instances, self.interface, packet)?;
        let mut comment = match (packet, verdict) {
            _ if frame.is_local => "sent by this host".to_owned(),
            (Packet::Advert(advert), _) if self.instances.is_empty() => match advert.defect {
                None => "valid advert; no configuration to compare it with".to_owned(),
                Some(reason) => format!("invalid advert: {}", reason_of(reason)),
            },
            (_, verdict) => verdict.to_string(),
        };
        if let Some(action) = frame.action {
            let action = match action {
                Action::Drop => "XDP_DROP",
                Action::Pass => "XDP_PASS",
            };
            comment = format!("{comment} ({action})");
        }
        Some(comment)
    }
}

/// Returns a line for a frame: time of day (UTC), direction, addresses, the advert and the comment.
/// If no advert can be located in the packet, names only its protocol instead of the addresses and
/// the advert.
fn line(frame: &Frame, packet: &Packet, comment: &str) -> String {
    let direction = if frame.is_local { "out" } else { "in " };
    let what = match packet {
        Packet::Advert(advert) => format!(
            "{} > {} VRRPv{} VRID {} priority {} interval {}",
            advert.source,
            advert.destination,
            advert.version,
            advert.vrid(),
            advert.priority,
            seconds(advert.interval)
        ),
        Packet::NotLocated(..) | Packet::Claim(_) => "IP protocol 112".to_owned(),
    };
    format!("{} {direction} {what}: {comment}\n", time_of_day(frame.time))
}

/// Formats a time since the Unix epoch as hours, minutes, seconds and microseconds of the day in
/// UTC.
fn time_of_day(time: Duration) -> String {
    let seconds = time.as_secs() % 86_400;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{:06}", seconds % 60, time.subsec_micros())
}

#[cfg(test)]
mod tests {
    use vipd_witness::{Advert as Sent, Version};

    use super::*;

    fn frame(action: Option<Action>, is_local: bool) -> Frame {
        let sent = Sent {
            addresses: vec![std::net::Ipv4Addr::new(192, 0, 2, 50).into()],
            ..Sent::new(Version::V3, 51, 200, std::net::Ipv4Addr::new(192, 0, 2, 1))
        };
        let bytes = sent.frame();
        let length = bytes.len();
        let time = Duration::new(86_400 + 3_661, 7_000);
        Frame { interface: 0, time, arrival: Duration::ZERO, is_local, action, bytes, length }
    }

    #[test]
    fn line_has_time_direction_advert_and_verdict() {
        let text = "[[instance]]\nname = \"a\"\ninterface = \"eth0\"\nvrid = 51\nvirtual_addresses = [\"192.0.2.50/24\"]\n";
        let config = Config::parse(text, "vipd.toml").unwrap_or_else(|problems| panic!("{problems}"));
        let configured = Judge { interface: "eth0", instances: config.instances };
        let bare = Judge { interface: "eth0", instances: Vec::new() };
        for (judge, frame, expected) in [
            (&configured, frame(Some(Action::Drop), false), "accepted for a (XDP_DROP)"),
            (&configured, frame(None, true), "sent by this host"),
            (&bare, frame(None, false), "valid advert; no configuration to compare it with"),
        ] {
            let packet = dissect(&frame.bytes, true).expect("an advert");
            let comment = judge.comment(&frame, &packet).expect("a comment");
            assert_eq!(comment, expected);
            let direction = if frame.is_local { "out" } else { "in " };
            assert_eq!(
                line(&frame, &packet, &comment),
                format!(
                    "01:01:01.000007 {direction} 192.0.2.1 > 224.0.0.18 VRRPv3 VRID 51 priority 200 interval 1s: {expected}\n"
                )
            );
        }
    }
}
