//! Observes VRRP on the wire, for `vipd scan`, `vipd capture` and `vipd doctor`.
//!
//! `Listener` receives frames without consuming them. `dissect` decodes a frame, `judge` predicts
//! the BPF program's decision about an advert, and `Survey` collects the adverts of each router.
//! `pcapng` encodes frames for a capture file. Tests compare the BPF program's decisions with
//! [`verdict`].

mod dissect;
mod judge;
mod listener;
pub(crate) mod pcapng;
mod survey;

use vipd_common::parse::ChecksumForm;

#[cfg(test)]
pub(crate) use dissect::Claim;
pub(crate) use dissect::{Advert, Packet, dissect};
pub use judge::{Verdict, verdict};
pub(crate) use judge::{check, judge, reason_of};
pub(crate) use listener::{Frame, Listener, Obstacle};
pub(crate) use survey::{Sender, Survey, VirtualRouter};

/// Returns the name of a checksum form in reports.
pub(crate) const fn checksum_name(form: ChecksumForm) -> &'static str {
    match form {
        ChecksumForm::V2 => "v2",
        ChecksumForm::Rfc5798 => "rfc5798",
        ChecksumForm::Rfc9568 => "rfc9568",
        ChecksumForm::Ipv6 => "ipv6",
    }
}

/// Formats an Ethernet address.
pub(crate) fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
