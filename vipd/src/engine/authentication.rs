//! Signs the adverts of a virtual router, and verifies received adverts: the adapter of
//! [`hmac`](crate::vrrp::hmac) to the engine's clock and records.

use std::net::IpAddr;

use vipd_common::Timestamp;
use vipd_common::address::{from_words, to_words};
use vipd_common::hmac::PseudoHeader;
use vipd_common::parse::ChecksumForm;
use vipd_common::records::AdvertRecord;
use vipd_common::wire::{ipv6, trailer, vrrp};

use super::Engine;
use super::clock;
use super::command::Sent;
use super::id::RouterId;
use super::instance::Instance;
use super::poll::Ready;
use crate::config;
use crate::config::settings::Transport;
use crate::process::wall_clock_offset;
use crate::vrrp::Family;
use crate::vrrp::hmac::{
    self, Authenticator, Key, MULTICAST_SENDERS, Refusal, Saved, Sender, Verified, clock_offset,
};
use crate::xdp::Row;

/// The slot of a router's own address in the router's row of the map `SIGNERS`.
const OWN_SLOT: usize = 0;
const FOREVER: Timestamp = Timestamp::from_nanos(u64::MAX);
/// Interval between two reports of refused adverts with the same reason, in nanoseconds.
const REPORT_INTERVAL: u64 = 60_000_000_000;

/// The authenticator of a virtual router.
pub(crate) struct Authentication {
    authenticator: Authenticator,
    /// The source of the adverts that the instance signed before it was restarted by a reload.
    former_source: Option<IpAddr>,
    /// Times of the last reports, each with its reason.
    reported: Vec<(Refusal, Timestamp)>,
}

/// A refused advert, for the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    pub(crate) source: IpAddr,
    pub(crate) refusal: Refusal,
    /// Clock of the sender minus the clock of this host in milliseconds, according to the trailer.
    pub(crate) clock_offset: Option<i64>,
}

impl Authentication {
    /// Creates the authenticator of an instance; `None` if its adverts are neither signed nor
    /// verified.
    pub(crate) fn new(settings: &config::Instance) -> Option<Self> {
        let config = settings.hmac.clone()?;
        let authenticator = Authenticator::new(config, capacity(settings));
        Some(Self { authenticator, former_source: None, reported: Vec::new() })
    }

    /// Applies new settings, whose transport has not changed. The sequences stay, unless the new
    /// settings have no keys: `None` is then returned.
    pub(crate) fn change(former: Option<Self>, settings: &config::Instance) -> Option<Self> {
        let Some(mut authentication) = former else { return Self::new(settings) };
        authentication.authenticator.reconfigure(settings.hmac.clone()?);
        authentication.reported.clear();
        Some(authentication)
    }

    /// Returns the key with which adverts are signed; `None` if they are not.
    pub(crate) fn signing_key(&self) -> Option<&Key> {
        self.authenticator.config().signing_key()
    }

    /// Returns a signed trailer for an advert; `None` if adverts are not signed.
    pub(crate) fn sign(&mut self, header: &PseudoHeader, message: &[u8]) -> Option<[u8; trailer::LEN]> {
        self.authenticator.sign(clock::wall(clock::now()), header, message)
    }

    /// Remembers an address from which the router no longer sends adverts.
    pub(crate) fn leave(&mut self, address: IpAddr, now: Timestamp) -> Option<Verified> {
        self.authenticator.leave(address, clock::wall(now), now)
    }

    /// Returns the sequence of the last signed advert; `None` if none has been signed.
    pub(crate) fn sent(&self) -> Option<u64> {
        self.authenticator.sent()
    }

    /// Returns the senders whose adverts have been verified, and former addresses of this router.
    pub(crate) fn senders(&self) -> &[Sender] {
        self.authenticator.senders()
    }

    /// Takes the source of the adverts that were signed before a reload. Later calls return `None`.
    pub(crate) fn take_former_source(&mut self) -> Option<IpAddr> {
        self.former_source.take()
    }

    /// Returns the senders, with the remaining lifetime of each sender's mark at `now`.
    fn remembered(&self, now: Timestamp) -> impl Iterator<Item = Verified> {
        self.authenticator.remembered(clock::wall(now))
    }

    pub(crate) fn save(&self) -> Saved {
        self.authenticator.save()
    }

    fn resume(&mut self, saved: &Saved) {
        self.authenticator.resume(saved);
    }

    /// Returns whether a refused advert must be reported: at most one advert per reason and minute.
    fn must_report(&mut self, refusal: Refusal, now: Timestamp) -> bool {
        let Some((_, last)) = self.reported.iter_mut().find(|(reported, _)| *reported == refusal) else {
            self.reported.push((refusal, now));
            return true;
        };
        let is_due = now.nanos_since(*last) >= REPORT_INTERVAL;
        if is_due {
            *last = now;
        }
        is_due
    }
}

/// The sequences of a virtual router that a reload has removed, to be continued by the router that
/// replaces it.
///
/// A router that a reload restarts with changed settings is added as a new router. Without the
/// sequences, it would accept replays, and receivers would refuse its adverts if the clock had been
/// set back before the restart.
pub(super) struct Former {
    interface: String,
    vrid: u8,
    family: Family,
    /// The source of its adverts.
    source: Option<IpAddr>,
    sequences: Saved,
}

impl Former {
    /// Returns the sequences of a router; `None` if its adverts are neither signed nor verified.
    pub(super) fn of(instance: &Instance) -> Option<Self> {
        let config::Instance { interface, router, .. } = &*instance.settings;
        let (source, sequences) = (instance.primary(), instance.authentication.as_ref()?.save());
        let (interface, vrid, family) = (interface.clone(), router.vrid, router.family);
        Some(Self { interface, vrid, family, source, sequences })
    }

    fn is_replaced_by(&self, settings: &config::Instance) -> bool {
        let config::Instance { interface, router, .. } = settings;
        (&self.interface, self.vrid, self.family) == (interface, router.vrid, router.family)
    }
}

impl Engine {
    /// Continues, in the added router `id`, the sequences of the removed router that it replaces,
    /// if any.
    pub(super) fn continue_sequences(&mut self, id: RouterId, former: &[Former]) {
        let Some(instance) = self.topology.routers.get_mut(id) else { return };
        let Some(found) = former.iter().find(|one| one.is_replaced_by(&instance.settings)) else { return };
        if let Some(authentication) = &mut instance.authentication {
            authentication.former_source = found.source;
        }
        self.resume_sequences(id, &found.sequences);
    }

    /// Continues the sequences of another router or process.
    pub(super) fn resume_sequences(&mut self, id: RouterId, saved: &Saved) {
        let Some(instance) = self.topology.routers.get_mut(id) else { return };
        let Some(authentication) = &mut instance.authentication else { return };
        authentication.resume(saved);
        if let (Some(guardian), Some(sent)) = (&self.effects.guardian, authentication.sent()) {
            guardian.set_sequence(instance.row, sent);
        }
        if let Some(instance) = self.topology.routers.get(id) {
            self.republish_senders(instance);
        }
    }

    /// Publishes the sequence of a sender whose advert has been verified, or of a former address of
    /// this router, to the BPF program, which then drops replays. Has no effect for a sender
    /// without a slot in `SIGNERS`: only the engine recognizes the replays of such a sender. `from`
    /// is the time from which the lifetime of the sequence is counted.
    pub(super) fn publish_sender(&self, row: Row, verified: &Verified, from: Timestamp) {
        let Verified { sender, position, lifetime } = verified;
        let until = lifetime.map_or(FOREVER, |lifetime| from + lifetime);
        self.signers.verified(row, OWN_SLOT + 1 + position, to_words(sender.address), sender.mark, until);
    }

    /// Publishes the sequences of a router's senders again after the sequences were resumed, or
    /// after the clock or the anti-replay settings have changed. Clears the row of a router without
    /// keys, because the router may have had keys before.
    pub(super) fn republish_senders(&self, instance: &Instance) {
        let Some(authentication) = &instance.authentication else {
            self.signers.clear(instance.row);
            return;
        };
        let now = clock::now();
        for verified in authentication.remembered(now) {
            self.publish_sender(instance.row, &verified, now);
        }
        self.publish_own_source(instance);
    }

    /// Remembers an address from which the router no longer sends adverts, because its primary
    /// address has changed. Otherwise, replays of its own adverts from this address would appear to
    /// come from another router.
    pub(super) fn leave_source(&mut self, now: Timestamp, id: RouterId, former: IpAddr) {
        let Some(instance) = self.topology.routers.get_mut(id) else { return };
        let row = instance.row;
        let left = instance.authentication.as_mut().and_then(|own| own.leave(former, now));
        if let Some(left) = left {
            self.publish_sender(row, &left, now);
        }
    }

    /// Publishes the router's own address, so that the BPF program drops all signed adverts from
    /// this source as replays. Otherwise, a replay of the router's own adverts would fence its VIPs
    /// while the engine hangs.
    pub(super) fn publish_own_source(&self, instance: &Instance) {
        if let (Some(_), Some(primary)) = (&instance.authentication, instance.primary()) {
            let mark = clock::wall(clock::now()).beyond_all();
            self.signers.verified(instance.row, OWN_SLOT, to_words(primary), mark, FOREVER);
        }
    }

    /// Publishes the time window of a router, which the BPF program applies to adverts that fence
    /// VIPs.
    pub(super) fn publish_window(&self, id: RouterId) {
        let Some(instance) = self.topology.routers.get(id) else { return };
        let window = instance.settings.hmac.as_ref().and_then(hmac::Config::time_window);
        self.signers.set_window(instance.row, window.unwrap_or(0));
    }

    /// Publishes `CLOCK_REALTIME` minus `CLOCK_MONOTONIC` to the BPF program. The difference
    /// changes only when the wall clock is set.
    pub(super) fn publish_wall_clock(&self) {
        self.signers.set_clock(wall_clock_offset());
    }

    /// If the wall clock was set, publishes its offset and all sequences again.
    pub(super) fn follow_wall_clock(&self, ready: Ready) {
        if !ready.wall_clock {
            return;
        }
        self.clock_watch.acknowledge();
        self.publish_wall_clock();
        for (_, instance) in self.topology.routers.iter() {
            self.republish_senders(instance);
        }
    }
}

impl Instance {
    /// Verifies an advert from the ring, and counts it if it is verified or refused. `packet` is
    /// the IP packet of a signed advert, and empty for any other advert, which the BPF program has
    /// already counted. Returns the sender of a signed advert.
    ///
    /// # Errors
    /// Returns an error if the advert must be discarded. The error is `None` if the refusal must
    /// not be reported.
    pub(crate) fn verify(
        &mut self,
        record: &AdvertRecord,
        packet: &[u8],
    ) -> Result<Option<Verified>, Option<Refused>> {
        let Some(authentication) = &mut self.authentication else {
            // If the advert is signed, the keys were removed after it had arrived.
            return if packet.is_empty() { Ok(None) } else { Err(None) };
        };
        let arrival = Timestamp::from_nanos(record.arrival);
        // The time of arrival, because the advert may have waited in the ring.
        let now = clock::wall(arrival);
        let source = from_words(record.family, record.source);
        let (message, trailer) = split(record, packet).unzip();
        let header = PseudoHeader {
            family: record.family,
            version: record.version,
            vrid: record.vrid,
            source: record.source,
        };
        let message = message.unwrap_or_default();
        let verified = authentication.authenticator.verify(now, arrival, source, &header, message, trailer);
        match verified {
            Ok(verified) => {
                if verified.is_some() {
                    count_verified(&mut self.sent, record);
                }
                Ok(verified)
            }
            Err(refusal) => {
                count_refused(&mut self.sent, refusal);
                let clock_offset = trailer.map(|trailer| clock_offset(trailer, now));
                let refused = Refused { source, refusal, clock_offset };
                Err(authentication.must_report(refusal, clock::now()).then_some(refused))
            }
        }
    }

    /// Returns the pseudo-header of the router's own adverts from a source address.
    pub(crate) fn pseudo_header(&self, source: IpAddr) -> PseudoHeader {
        let config = self.router.config();
        PseudoHeader {
            family: config.family.number(),
            version: config.version().number(),
            vrid: config.vrid,
            source: to_words(source),
        }
    }
}

/// Returns the number of senders whose sequences an instance remembers.
fn capacity(settings: &config::Instance) -> usize {
    match &settings.transport {
        Transport::Multicast => MULTICAST_SENDERS,
        Transport::Unicast(peers) => peers.len(),
    }
}

/// Returns the VRRP message and the trailer of a signed advert. The packet may end with padding.
fn split<'a>(record: &AdvertRecord, packet: &'a [u8]) -> Option<(&'a [u8], &'a [u8; trailer::LEN])> {
    let headers = if record.family == Family::V6.number() {
        ipv6::HEADER_LEN
    } else {
        usize::from(packet.first()? & 0x0f) * 4
    };
    let length = vrrp::message_len(record.version, record.family, record.count);
    let (message, rest) = packet.get(headers..)?.split_at_checked(length)?;
    Some((message, rest.first_chunk()?))
}

/// Counts a verified advert like the BPF program counts one without a trailer.
fn count_verified(counters: &mut Sent, record: &AdvertRecord) {
    counters.verified += 1;
    counters.verified_priority_zero += u64::from(record.priority == 0);
    match ChecksumForm::from_number(record.checksum) {
        Some(ChecksumForm::Rfc5798) => counters.verified_rfc5798 += 1,
        Some(ChecksumForm::Rfc9568) => counters.verified_rfc9568 += 1,
        Some(ChecksumForm::V2 | ChecksumForm::Ipv6) | None => {}
    }
}

fn count_refused(counters: &mut Sent, refusal: Refusal) {
    *match refusal {
        Refusal::Missing => &mut counters.hmac_missing,
        Refusal::Malformed => &mut counters.hmac_malformed,
        Refusal::Stale => &mut counters.hmac_stale,
        Refusal::UnknownKey => &mut counters.hmac_unknown_key,
        Refusal::WrongHmac => &mut counters.hmac_failures,
        Refusal::Replayed => &mut counters.hmac_replayed,
    } += 1;
}
