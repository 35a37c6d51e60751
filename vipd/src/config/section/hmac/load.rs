//! The share of the budget for signed adverts that genuine adverts use.

use vipd_common::records::{PASSED_TOKEN_BYTES, PASSED_TOKEN_INTERVAL};
use vipd_common::wire::{ipv4, ipv6, trailer, vrrp};

use crate::config::problem::Collector;
use crate::config::section::instance::Draft;
use crate::vrrp::config::Family;

/// Warns if the adverts that instances with `hmac` receive use more than half of the budget. The
/// BPF program drops adverts beyond the budget, genuine ones included.
pub(in crate::config) fn check_load(drafts: &[Draft], problems: &mut Collector<'_>) {
    let used = drafts.iter().filter_map(load).sum::<u64>() * PASSED_TOKEN_INTERVAL;
    let first = drafts.iter().find_map(|draft| draft.hmac.as_ref()?.positions.first().copied());
    if let Some(at) = first.filter(|_| used > 500_000_000) {
        let percent = used.div_ceil(10_000_000);
        problems.warn(
            at,
            format!(
                "the adverts of the masters of all instances with hmac use {percent} % of the budget for signed adverts, \
                 above which adverts are dropped; use longer intervals, or distribute the instances over more nodes"
            ),
        );
    }
}

/// Returns the number of tokens per second that the adverts of an instance's master take.
fn load(draft: &Draft) -> Option<u64> {
    draft.hmac.as_ref()?;
    let (interval, family) = (draft.interval?, draft.addresses.family?);
    let header = if family == Family::V6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
    let count = u8::try_from(draft.addresses.advertised.len()).ok()?;
    let message = vrrp::message_len(interval.version().number(), family.number(), count);
    let length = u64::try_from(header + message + trailer::LEN).ok()?;
    // Rounded up: the longest intervals are several minutes.
    Some(((1 + length / PASSED_TOKEN_BYTES) * 1_000_000_000).div_ceil(interval.nanos().max(1)))
}
