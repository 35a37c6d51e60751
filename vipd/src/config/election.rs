//! Who becomes master, how soon, and whether it accepts packets to the addresses.

use super::duration;
use super::keys;
use super::problem::Collector;
use super::table::{Table, Value};
use crate::vrrp::config::{DOWN_AFTER_ADVERTS, PRIORITY_DEFAULT, PRIORITY_OWNER};

/// Longest delay in nanoseconds: 1000 s, as keepalived.
const MAX_DELAY: u64 = 1_000_000_000_000;

/// The keys of the election; what was refused has its default here and was reported.
#[derive(Clone, Copy, Debug)]
pub(super) struct Election {
    pub(super) priority: u8,
    pub(super) preempt: bool,
    /// Nanoseconds.
    pub(super) preempt_delay: u64,
    /// Nanoseconds.
    pub(super) startup_delay: u64,
    pub(super) down_after_adverts: u8,
    pub(super) accept: bool,
}

impl Election {
    pub(super) fn read(table: &Table<'_>, problems: &mut Collector<'_>) -> Self {
        let priority = table
            .optional(&keys::PRIORITY, problems, |value| value.integer(1))
            .flatten()
            .unwrap_or(PRIORITY_DEFAULT);
        let delay = |value: &Value<'_>| duration::read(value, &(0..=MAX_DELAY));
        let preempt = table.given(&keys::PREEMPT, problems, Value::boolean).flatten();
        let preempt_delay = table.given(&keys::PREEMPT_DELAY, problems, delay).flatten();
        let startup_delay = table.optional(&keys::STARTUP_DELAY, problems, delay).flatten();
        let down_after_adverts = table
            .given(&keys::DOWN_AFTER_ADVERTS, problems, |value| {
                value.integer(1).and_then(|adverts| match adverts {
                    1..=100 => Ok(adverts),
                    more => Err(value.refused(more.to_string(), "choose another number")),
                })
            })
            .flatten();
        let accept = table.given(&keys::ACCEPT, problems, Value::boolean).flatten();

        let is_owner = priority == PRIORITY_OWNER;
        let never = preempt.as_ref().filter(|preempt| !preempt.value);
        let delayed = preempt_delay.as_ref().filter(|delay| delay.value > 0);
        if is_owner {
            for (at, key) in
                [(never.map(|at| at.at), &keys::PREEMPT), (delayed.map(|at| at.at), &keys::PREEMPT_DELAY)]
            {
                if let Some(at) = at {
                    problems.warn(
                        at,
                        format!(
                            "{key} has no effect with priority 255; the owner of the addresses always takes over at \
                             once (RFC 9568 section 6.1); remove it, or lower the priority"
                        ),
                    );
                }
            }
        } else if let (Some(_), Some(delayed)) = (never, delayed) {
            problems.add(
                delayed.at,
                "preempt_delay is set and preempt is false; there is nothing to delay; remove one of them",
            );
        }
        if let Some(refused) = accept.as_ref().filter(|accept| is_owner && !accept.value) {
            problems.add(
                refused.at,
                "accept is false and priority is 255; the owner of the addresses accepts packets to them (RFC 9568 \
                 section 6.1); remove it, or lower the priority",
            );
        }
        if let Some(unusual) = down_after_adverts.as_ref().filter(|found| found.value != DOWN_AFTER_ADVERTS) {
            problems.warn(
                unusual.at,
                format!(
                    "down_after_adverts is {}; RFC 9568 section 6.1 has 3; set the same on all routers of this virtual \
                     router",
                    unusual.value
                ),
            );
        }
        Self {
            priority,
            preempt: preempt.is_none_or(|preempt| preempt.value),
            preempt_delay: preempt_delay.map_or(0, |delay| delay.value),
            startup_delay: startup_delay.unwrap_or(0),
            down_after_adverts: down_after_adverts.map_or(DOWN_AFTER_ADVERTS, |found| found.value),
            accept: accept.is_none_or(|accept| accept.value),
        }
    }
}
