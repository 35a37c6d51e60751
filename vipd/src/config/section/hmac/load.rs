//! Warns if genuine adverts use too much of the budget for signed adverts.

use vipd_common::records::{PASSED_BURST, PASSED_TOKEN_BYTES, PASSED_TOKEN_INTERVAL};
use vipd_common::wire::{ipv4, ipv6, trailer, vrrp};

use crate::config::problem::Collector;
use crate::config::section::instance::Draft;
use crate::vrrp::config::Family;

/// Warns if the adverts that instances with `hmac` receive use more than half of the budget, or if
/// one advert of each instance, received at once, uses more than unknown senders may use. The BPF
/// program drops adverts beyond the budget, genuine ones included.
///
/// Instances that became master on one node at the same time send their adverts together. All of
/// these senders are unknown to a router that has just started.
pub(in crate::config) fn check_load(drafts: &[Draft], problems: &mut Collector<'_>) {
    let Some(at) = drafts.iter().find_map(|draft| draft.hmac.as_ref()?.positions.first().copied()) else {
        return;
    };
    let loads = || drafts.iter().filter_map(load);
    let used = loads().map(|load| load.per_second).sum::<u64>() * PASSED_TOKEN_INTERVAL;
    if used > 500_000_000 {
        let percent = used.div_ceil(10_000_000);
        problems.warn(
            at,
            format!(
                "the adverts of the masters of all instances with hmac use {percent} % of the budget for signed adverts, \
                 above which adverts are dropped; use longer intervals, or distribute the instances over more nodes"
            ),
        );
    }
    let at_once = loads().map(|load| load.per_advert).sum::<u64>();
    let allowed = PASSED_BURST / 2;
    if at_once > allowed {
        problems.warn(
            at,
            format!(
                "if one node is master of all instances with hmac and sends their adverts together, they use {at_once} \
                 tokens of the budget for signed adverts at once; adverts beyond {allowed} tokens may be dropped; \
                 distribute the instances over more nodes"
            ),
        );
    }
}

/// Tokens that the adverts of an instance's master take.
struct Load {
    per_advert: u64,
    per_second: u64,
}

/// Returns the tokens that the adverts of an instance's master take; `None` without `hmac`, or if
/// the instance's interval or family is invalid.
fn load(draft: &Draft) -> Option<Load> {
    draft.hmac.as_ref()?;
    let (interval, family) = (draft.interval?, draft.addresses.family?);
    let header = if family == Family::V6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
    let count = u8::try_from(draft.addresses.advertised.len()).ok()?;
    let message = vrrp::message_len(interval.version().number(), family.number(), count);
    let length = u64::try_from(header + message + trailer::LEN).ok()?;
    let per_advert = 1 + length / PASSED_TOKEN_BYTES;
    // Rounded up: the longest intervals are several minutes.
    let per_second = (per_advert * 1_000_000_000).div_ceil(interval.nanos().max(1));
    Some(Load { per_advert, per_second })
}
