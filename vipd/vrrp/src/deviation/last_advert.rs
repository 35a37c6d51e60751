//! A master that yields sends one last advert.
//!
//! RFC 9568 section 6.4.3 has a master yield without a last advert (S22). If a split brain heals
//! and the loser receives the winner's advert first, the winner never detects the other master, and
//! hosts keep sending to the loser's MAC until their caches expire. The last advert makes the
//! winner announce its addresses again. keepalived does this with `higher_prio_send_advert`.

use super::Policy;

/// Returns whether to send the last advert. After a stall, the last advert is pointless, because
/// hosts have already learned the other router's MAC.
pub(crate) fn is_due(policy: Policy, stalled: bool) -> bool {
    policy.last_advert_on_yield && !stalled
}

#[cfg(test)]
mod tests;
