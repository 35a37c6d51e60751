//! Log lines for events of virtual routers.

use std::io;

use crate::config::Instance;
use crate::engine::authentication::Refused;
use crate::vrrp::hmac::Refusal;
use crate::vrrp::{Discard, Event, Interval, Reason, State, Version};

/// Logs an event of an instance's virtual router.
pub(super) fn write(config: &Instance, event: &Event) {
    let instance = config.name.as_str();
    match event {
        Event::StateChanged { from, to, reason, late } => {
            if matches!(reason, Reason::MasterTimeout | Reason::Preempted | Reason::PriorityZero) {
                tracing::info!(instance, %from, %to, %reason, late_us = late / 1000, "state changed");
            } else if matches!(to, State::Fault(_)) || *reason == Reason::Stalled {
                tracing::warn!(instance, %from, %to, %reason, "state changed");
            } else {
                tracing::info!(instance, %from, %to, %reason, "state changed");
            }
        }
        Event::MasterChanged { source, priority } => {
            tracing::info!(instance, master = %source, priority, "following a master");
        }
        Event::Discarded { reason, source } => {
            let (reason, remedy) = match reason {
                Discard::OwnSource => {
                    ("source is this router's own address", "look for a loop or a duplicate address")
                }
                Discard::Interval => {
                    ("advert interval mismatch", "configure the same advert_interval on all routers")
                }
                Discard::AddressList => {
                    ("address list mismatch", "configure the same virtual_addresses on all routers")
                }
                Discard::Owner => {
                    ("this router is the address owner", "configure priority 255 on one router only")
                }
            };
            tracing::warn!(instance, %source, reason, remedy, "advert ignored");
        }
        Event::IntervalAdopted { source, interval } => {
            let theirs = Interval::from_wire(Version::V3, *interval).map(|interval| interval.to_string());
            let theirs = theirs.unwrap_or_default();
            let ours = config.router.interval;
            tracing::warn!(instance, %source, theirs, %ours, "advert interval mismatch; using the master's interval");
        }
        Event::AddressListDiffers { source } => {
            tracing::warn!(instance, %source, "address list mismatch: the sender advertises different addresses");
        }
        Event::OwnerConflict { source } => {
            tracing::warn!(instance, %source, "another router also has priority 255; configure priority 255 on one router only");
        }
        Event::LosingAdvert { source, priority } => {
            tracing::warn!(
                instance, %source, priority,
                "split brain: another router also claims mastership; staying master"
            );
        }
        Event::Reannounced => {
            tracing::info!(instance, "split brain is over; VIPs announced again");
        }
        Event::AddressRestored(address) => {
            tracing::warn!(instance, %address, "VIP removed externally; restored and announced");
        }
        Event::PrimaryChanged { primary } => tracing::info!(instance, %primary, "primary address changed"),
        Event::FeedLoss => {
            tracing::warn!(
                instance,
                "adverts were lost between the BPF program and the agent, or exceeded the budget for signed adverts"
            );
        }
    }
}

/// Logs an instance's advert that could not be verified.
pub(super) fn write_refused(config: &Instance, refused: &Refused) {
    let instance = config.name.as_str();
    let Refused { source, refusal, clock_offset } = refused;
    let (reason, remedy) = match refusal {
        Refusal::Missing => ("not signed", "configure `hmac` on the sender"),
        Refusal::Malformed => ("malformed trailer", "look for a router with another type of trailer"),
        Refusal::Stale => {
            ("its time differs from this host's clock by more than `window`", "synchronize the clocks")
        }
        Refusal::UnknownKey => ("unknown key ID", "configure the same keys on all routers"),
        Refusal::WrongHmac => {
            ("wrong HMAC", "configure the same keys on all routers; if they match, the advert is forged")
        }
        Refusal::Replayed => ("replayed", "look for a loop, an attacker or a clock that was set back"),
    };
    let offset_ms = clock_offset.filter(|_| *refusal == Refusal::Stale);
    tracing::warn!(
        instance, %source, reason, offset_ms, remedy,
        "advert ignored; further ones with this reason are counted, and logged once a minute"
    );
}

/// Logs an instance's frame that the kernel refused to send.
pub(super) fn write_unsent(config: &Instance, error: &io::Error) {
    let instance = config.name.as_str();
    // The address list does not fit into one packet.
    let is_too_long = error.raw_os_error() == Some(libc::EMSGSIZE);
    let remedy = is_too_long.then_some("move addresses to virtual_addresses_excluded");
    tracing::warn!(
        instance, %error, remedy,
        "cannot send a frame; further failures are not logged until an advert has been sent"
    );
}
