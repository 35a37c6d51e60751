//! The checks: pure functions of the facts.

pub(super) mod addresses;
pub(super) mod adverts;
pub(super) mod agent;
pub(super) mod clock;
pub(super) mod hmac;
pub(super) mod host;
pub(super) mod interface;
pub(super) mod masters;
pub(super) mod stale;
pub(super) mod wire;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use vipd_common::parse::ChecksumForm;

use super::Facts;
use crate::config::Instance;
use crate::config::settings::Transport;
use crate::observe::{Sender, Survey, VirtualRouter, checksum_name};

/// Returns the virtual router of an instance, without a VLAN tag.
fn virtual_router(instance: &Instance) -> VirtualRouter {
    VirtualRouter { vlan: None, family: instance.router.family.number(), vrid: instance.router.vrid }
}

/// Returns the instances whose interface was observed.
fn observed(facts: &Facts) -> impl Iterator<Item = (&Instance, &Survey)> {
    facts.instances().iter().filter_map(|one| Some((&**one, facts.survey(&one.interface)?)))
}

/// Returns whether a sender with the VRID of a unicast instance probably belongs to another
/// cluster: it sends multicast adverts for other addresses.
fn is_unrelated(instance: &Instance, sender: &Sender) -> bool {
    let is_own = |address: &IpAddr| instance.router.all_addresses().any(|vip| vip.address == *address);
    instance.transport != Transport::Multicast
        && sender.advert.is_multicast()
        && !sender.advert.addresses.iter().any(is_own)
}

/// Returns the senders of adverts for an instance's virtual router, except unrelated ones.
fn senders<'a>(instance: &'a Instance, survey: &'a Survey) -> impl Iterator<Item = &'a Sender> {
    survey.senders_of(virtual_router(instance)).filter(|sender| !is_unrelated(instance, sender))
}

/// Returns each pair of an instance and another host that sent adverts for the same virtual router.
fn others(facts: &Facts) -> impl Iterator<Item = (&Instance, &Sender)> {
    observed(facts).flat_map(|(instance, survey)| {
        let others = senders(instance, survey).filter(|sender| !sender.is_local);
        others.map(move |sender| (instance, sender))
    })
}

fn checksum_text(form: Option<ChecksumForm>) -> &'static str {
    form.map_or("invalid", checksum_name)
}

/// Formats a duration in milliseconds or seconds.
fn time(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 { format!("{millis} ms") } else { format!("{:.1} s", duration.as_secs_f64()) }
}

/// Formats an advert interval, given in nanoseconds, as in the configuration: `1s`, `300ms`.
fn interval(nanos: u64) -> String {
    let millis = nanos / 1_000_000;
    if millis.is_multiple_of(1000) { format!("{}s", millis / 1000) } else { format!("{millis}ms") }
}

/// Joins descriptions with commas.
fn list(all: impl IntoIterator<Item = impl ToString>) -> String {
    list_with(all, ", ")
}

/// Joins descriptions. Lists only the first 8, because anyone can send forged adverts.
fn list_with(all: impl IntoIterator<Item = impl ToString>, separator: &str) -> String {
    const MAX: usize = 8;
    let mut all = all.into_iter().map(|one| one.to_string());
    let mut listed: Vec<String> = all.by_ref().take(MAX).collect();
    let more = all.count();
    if more > 0 {
        listed.push(format!("and {more} more"));
    }
    listed.join(separator)
}
