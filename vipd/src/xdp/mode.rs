//! Chooses the hook to which the program is attached.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::driver::{Cost, Driver};
use super::program::Entry;

/// The kernel hook at which the program runs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// XDP in the driver, before the kernel allocates a packet buffer.
    Native,
    /// TC ingress in the network stack (TCX, Linux 6.6). Has no measurable cost for the interface's
    /// other traffic.
    Tc,
    /// XDP in the network stack. The kernel copies packets that span several buffers, are cloned or
    /// lack headroom.
    Generic,
}

impl Mode {
    /// Returns the name used in logs, in reports and in the names of pins.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Tc => "tc",
            Self::Generic => "generic",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The configured mode of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Preference {
    /// Native mode if the driver's native mode is known not to affect other traffic. If it is not,
    /// if native mode is refused, or if frames have no Ethernet header, TC ingress is tried first,
    /// and then generic mode.
    #[default]
    Auto,
    /// Native mode. If native mode is refused, or if frames have no Ethernet header, TC ingress is
    /// tried first, and then generic mode.
    Native,
    /// Generic only.
    Generic,
}

impl Preference {
    /// Returns the value of the configuration key.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

impl fmt::Display for Preference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The first header of an interface's frames, which determines the program to attach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// An Ethernet header.
    #[default]
    Ethernet,
    /// An IP header, as on a point-to-point interface without hardware addresses (WireGuard, GRE,
    /// tun).
    Bare,
}

/// A mode and a program to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) mode: Mode,
    pub(super) entry: Entry,
}

/// The modes to try on an interface, in order, and the reason for the choice.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub(super) preference: Preference,
    pub(super) candidates: Vec<Candidate>,
    pub(super) reason: String,
}

impl Selection {
    pub(super) fn new(preference: Preference, framing: Framing, driver: Option<&Driver>) -> Self {
        let name = driver.map_or("an unidentified driver", |driver| &driver.name);
        let (native, reason) = match (preference, framing) {
            (Preference::Generic, _) => (false, "configured".to_owned()),
            // No driver has a native mode for frames without an Ethernet header.
            (_, Framing::Bare) => (false, "frames have no Ethernet header".to_owned()),
            (Preference::Native, _) => (true, "configured".to_owned()),
            (Preference::Auto, _) => match driver.map_or(&Cost::Unknown, |driver| &driver.cost) {
                Cost::None => (true, format!("native mode on {name} does not affect other traffic")),
                Cost::Loses(what) => (false, format!("native mode on {name} {what}")),
                Cost::Unsupported => (false, format!("{name} has no native mode")),
                Cost::Unknown => (false, format!("the cost of native mode on {name} is unknown")),
            },
        };
        let mut candidates = Vec::with_capacity(4);
        let mut add = |mode, frags| {
            candidates.push(Candidate { mode, entry: Entry::of(mode, framing, frags) });
        };
        if native {
            // The program with multi-buffer support is tried first: with the other program, drivers
            // limit the MTU of the interface to about a page (for veth, the MTU of its peer).
            add(Mode::Native, true);
            add(Mode::Native, false);
        }
        if preference != Preference::Generic {
            add(Mode::Tc, true);
        }
        add(Mode::Generic, true);
        Self { preference, candidates, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modes(preference: Preference, framing: Framing, driver: Option<&str>) -> Vec<Mode> {
        let driver = driver.map(|name| Driver::named(name.to_owned()));
        let mut modes: Vec<_> = Selection::new(preference, framing, driver.as_ref())
            .candidates
            .iter()
            .map(|candidate| candidate.mode)
            .collect();
        modes.dedup();
        modes
    }

    #[test]
    fn auto_is_native_only_if_native_mode_does_not_affect_other_traffic() {
        let auto = |driver| modes(Preference::Auto, Framing::Ethernet, driver);
        assert_eq!(auto(Some("sfc")), [Mode::Native, Mode::Tc, Mode::Generic]);
        for driver in [Some("veth"), Some("virtio_net"), Some("bridge"), Some("mlx5_core"), None] {
            assert_eq!(auto(driver), [Mode::Tc, Mode::Generic], "{driver:?}");
        }
    }

    #[test]
    fn a_configured_mode_is_tried_first_on_any_driver() {
        for driver in [Some("veth"), Some("mlx5_core"), None] {
            let modes = |preference| modes(preference, Framing::Ethernet, driver);
            assert_eq!(modes(Preference::Native), [Mode::Native, Mode::Tc, Mode::Generic]);
            assert_eq!(modes(Preference::Generic), [Mode::Generic], "no fallback");
        }
    }

    #[test]
    fn native_mode_tries_the_multi_buffer_program_first() {
        let entries = Selection::new(Preference::Native, Framing::Ethernet, None).candidates;
        assert_eq!(
            entries[..2].iter().map(|next| next.entry).collect::<Vec<_>>(),
            [Entry::XdpFrags, Entry::Xdp]
        );
    }

    #[test]
    fn the_reason_names_the_driver() {
        let veth = Driver::named("veth".to_owned());
        let veth = Selection::new(Preference::Auto, Framing::Ethernet, Some(&veth));
        assert!(veth.reason.contains("veth"), "{}", veth.reason);
    }

    #[test]
    fn without_an_ethernet_header_no_driver_runs_the_program_natively() {
        for (preference, expected) in [
            (Preference::Auto, &[Mode::Tc, Mode::Generic][..]),
            (Preference::Native, &[Mode::Tc, Mode::Generic]),
            (Preference::Generic, &[Mode::Generic]),
        ] {
            assert_eq!(modes(preference, Framing::Bare, Some("tun")), expected);
        }
    }
}
