//! Compares the verdict of `vipd capture` with that of the BPF program, for the frames of the tests
//! that do not change the routers and peers of a new bench. Verdicts in the rows of
//! [`SIGNED`](crate::bench::SIGNED) are not compared.

use std::sync::Arc;

use vipd::config::{Config, Instance};
use vipd::observe::{self, Verdict as Captured};
use vipd::xdp::Framing;
use vipd_common::counters::Counter;

use crate::reference::Verdict;

/// The routers of a new [`Bench`](crate::bench::Bench), except those in
/// [`SIGNED`](crate::bench::SIGNED), each named after its row.
const CONFIGURATION: &str = r#"
instance = [
    { name = "1", vrid = 51, interface = "eth0", virtual_addresses = ["10.1.0.1/24"] },
    { name = "2", vrid = 52, interface = "eth0", virtual_addresses = ["10.1.0.2/24"], version = 2 },
    { name = "3", vrid = 51, interface = "eth0", virtual_addresses = ["fe80::1/64"] },
    { name = "4", vrid = 61, interface = "eth0", virtual_addresses = ["10.1.0.3/24"], unicast_source = "10.0.0.2", unicast_peers = [{ address = "10.0.0.1", min_ttl = 250 }] },
    { name = "5", vrid = 62, interface = "eth0", virtual_addresses = ["10.1.0.4/24"], version = 2, auth_pass = "geheim" },
    { name = "6", vrid = 63, interface = "eth0", virtual_addresses = [], virtual_addresses_excluded = ["10.1.0.5/24"] },
]
"#;

/// Returns the instances that correspond to the routers of a new bench, except those in
/// [`SIGNED`](crate::bench::SIGNED).
pub(crate) fn instances() -> Vec<Arc<Instance>> {
    Config::parse(CONFIGURATION, "vipd.toml").unwrap_or_else(|problems| panic!("{problems}")).instances
}

/// Compares the verdict of `vipd capture` on a frame with that of the BPF program.
///
/// # Errors
/// Returns an error that states both verdicts if they differ.
pub(crate) fn compare(
    instances: &[Arc<Instance>],
    framing: Framing,
    frame: &[u8],
    verdict: &Verdict,
) -> Result<(), String> {
    let captured = observe::verdict(instances, "eth0", frame, framing == Framing::Ethernet);
    let is_same = match (verdict, &captured) {
        (Verdict::Accepted(row, _), Some(Captured::Accepted(name))) => row.to_string() == *name,
        (Verdict::Discarded(row, counter), Some(Captured::Dropped(name, stated))) => {
            (&row.to_string(), counter) == (name, stated)
        }
        (Verdict::Passed(Some(counter)), Some(Captured::Passed(reason))) => *counter == reason.counter(),
        // `NotAccepted` counts packets that are not adverts.
        (Verdict::Passed(None), None | Some(Captured::OtherVlan(_)))
        | (Verdict::Discarded(_, Counter::NotAccepted), None) => true,
        _ => false,
    };
    if is_same {
        Ok(())
    } else {
        Err(format!("capture states {captured:?}, but the parser returns {verdict:?}"))
    }
}
