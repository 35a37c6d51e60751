//! Choice of the XDP mode of an interface.

use super::attach::Mode;
use super::driver::{Cost, Driver};

/// The configured mode of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// Native if that mode of the driver is known not to affect other traffic, otherwise generic.
    #[default]
    Auto,
    /// Native, or generic if the driver refuses.
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

impl std::fmt::Display for Preference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The header with which the frames of an interface start. It determines which program is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// An Ethernet header.
    #[default]
    Ethernet,
    /// The IP header: a point-to-point interface without hardware addresses (WireGuard, GRE, tun).
    Bare,
}

/// A mode and a program to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) mode: Mode,
    /// Whether to attach the program for multi-buffer frames.
    pub(super) frags: bool,
}

/// The modes to try on an interface, in order, and the reason for the choice.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub(super) preference: Preference,
    pub(super) candidates: Vec<Candidate>,
    pub(super) reason: String,
}

/// Native: frags first, because for a program without frags, drivers limit the MTU of the interface
/// (veth: of its peer) to a page.
const NATIVE: [Candidate; 2] =
    [Candidate { mode: Mode::Native, frags: true }, Candidate { mode: Mode::Native, frags: false }];
/// Generic: only with frags, because the kernel would linearize each long packet otherwise.
const GENERIC: Candidate = Candidate { mode: Mode::Generic, frags: true };

impl Selection {
    pub(super) fn new(preference: Preference, framing: Framing, driver: Option<&Driver>) -> Self {
        if framing == Framing::Bare {
            // No driver has a native mode for such frames.
            let reason = "frames have no Ethernet header".to_owned();
            return Self { preference, candidates: vec![GENERIC], reason };
        }
        let name = driver.map_or("unknown driver", |driver| &driver.name);
        let (native, reason) = match preference {
            Preference::Native => (true, "configured".to_owned()),
            Preference::Generic => (false, "configured".to_owned()),
            Preference::Auto => match driver.map_or(&Cost::Unknown, |driver| &driver.cost) {
                Cost::None => (true, format!("{name} loses nothing in native mode")),
                Cost::Loses(what) => (false, format!("native mode on {name} {what}")),
                Cost::Unsupported => (false, format!("{name} has no native mode")),
                Cost::Unknown => (false, format!("cost of native mode on {name} is not known")),
            },
        };
        let native = if native { &NATIVE[..] } else { &[] };
        let candidates = native.iter().copied().chain([GENERIC]).collect();
        Self { preference, candidates, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(preference: Preference, driver: Option<&str>) -> Mode {
        let driver = driver.map(|name| Driver::named(name.to_owned()));
        Selection::new(preference, Framing::Ethernet, driver.as_ref()).candidates[0].mode
    }

    #[test]
    fn auto_is_native_only_where_the_driver_loses_nothing() {
        assert_eq!(first(Preference::Auto, Some("sfc")), Mode::Native);
        for driver in [Some("veth"), Some("virtio_net"), Some("bridge"), Some("mlx5_core"), None] {
            assert_eq!(first(Preference::Auto, driver), Mode::Generic, "{driver:?}");
        }
    }

    #[test]
    fn a_configured_mode_is_tried_first_on_any_driver() {
        for driver in [Some("veth"), Some("mlx5_core"), None] {
            assert_eq!(first(Preference::Native, driver), Mode::Native);
            assert_eq!(first(Preference::Generic, driver), Mode::Generic);
        }
        let ethernet = |preference| Selection::new(preference, Framing::Ethernet, None);
        let native = ethernet(Preference::Native);
        assert_eq!(native.candidates.last(), Some(&GENERIC), "generic is the fallback");
        assert_eq!(ethernet(Preference::Generic).candidates, [GENERIC], "no fallback");
    }

    #[test]
    fn the_reason_names_the_driver() {
        let veth = Driver::named("veth".to_owned());
        let veth = Selection::new(Preference::Auto, Framing::Ethernet, Some(&veth));
        assert!(veth.reason.contains("veth"), "{}", veth.reason);
    }

    #[test]
    fn without_an_ethernet_header_the_mode_is_generic_on_any_driver() {
        let tun = Driver::named("tun".to_owned());
        for preference in [Preference::Auto, Preference::Native, Preference::Generic] {
            let selection = Selection::new(preference, Framing::Bare, Some(&tun));
            assert_eq!(selection.candidates, [GENERIC]);
        }
    }
}
