//! Checks of received adverts that depend on the configuration (RFC 9568 section 7.1, RFC 3768
//! section 7.1). The BPF program performs the other checks of these sections, and
//! [`hmac`](crate::hmac) verifies signed adverts.
//!
//! | | VRRPv3 | VRRPv2 |
//! | --- | --- | --- |
//! | S28 source is the router's own address | discarded | discarded |
//! | R7 received by the owner | accepted (erratum 8298) | discarded |
//! | R11 interval differs | accepted, logged if adopted | discarded |
//! | R12 address list differs | accepted, logged | discarded unless the advert has priority 255 |

use core::net::IpAddr;

use crate::common::{Common, Repeating};
use crate::input::Received;
use crate::interval::Version;
use crate::output::{Discard, Event};
use crate::priority::PRIORITY_OWNER;

/// Checks an advert against the configuration, up to the first mismatch for which it must be
/// discarded. Counts the mismatches found, and logs the mismatch for which the advert is discarded.
/// A VRRPv2 owner counts only adverts from its own address and other owners' adverts.
///
/// # Errors
/// Returns an error if the advert must be discarded.
#[inline]
pub(crate) fn check(common: &mut Common, advert: &Received) -> Result<(), Discard> {
    let v2 = common.config.version() == Version::V2;
    // S28: a loop or a duplicate address.
    if advert.source == common.primary {
        common.counters.own_adverts += 1;
        return discard(common, Repeating::OwnSource, Discard::OwnSource, advert);
    }
    // R7
    if common.discards_all() {
        if common.is_owner_conflict(advert) {
            owner_conflict(common, advert.source);
        }
        return discard(common, Repeating::Owner, Discard::Owner, advert);
    }
    // R11
    if advert.interval != common.config.interval.wire() {
        common.counters.interval_errors += 1;
        if v2 {
            return discard(common, Repeating::Interval, Discard::Interval, advert);
        }
    }
    // R12
    if advert.addresses != common.digest {
        common.counters.address_list_errors += 1;
        if v2 && advert.priority != PRIORITY_OWNER {
            return discard(common, Repeating::AddressList, Discard::AddressList, advert);
        }
    }
    Ok(())
}

/// Logs mismatches of an accepted advert, and counts a conflict of owners. Must be called after the
/// advert has been handled: handling may change the state or the master, which resets the log-once
/// flags, so that a mismatch logged before the handling would be logged twice.
#[inline]
pub(crate) fn log_mismatch(common: &mut Common, advert: &Received) {
    if common.is_owner_conflict(advert) {
        owner_conflict(common, advert.source);
    }
    if advert.addresses != common.digest {
        common.log_once(Repeating::AddressList, Event::AddressListDiffers { source: advert.source });
    }
}

/// Counts and logs a second address owner (P2).
fn owner_conflict(common: &mut Common, source: IpAddr) {
    common.counters.owner_conflicts += 1;
    common.log_once(Repeating::OwnerConflict, Event::OwnerConflict { source });
}

fn discard(common: &mut Common, kind: Repeating, reason: Discard, advert: &Received) -> Result<(), Discard> {
    common.log_once(kind, Event::Discarded { reason, source: advert.source });
    Err(reason)
}
