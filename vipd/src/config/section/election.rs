//! Priority, preemption, delays and Accept_Mode.

use crate::config::problem::Collector;
use crate::config::schema;
use crate::config::table::{Table, Value};
use crate::vrrp::config::{DOWN_AFTER_ADVERTS, PRIORITY_DEFAULT, PRIORITY_OWNER};

/// Settings of the election. A rejected key has its default value.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Election {
    pub(in crate::config) priority: u8,
    pub(in crate::config) preempt: bool,
    /// Delay in nanoseconds; 0 for no delay.
    pub(in crate::config) preempt_delay: u64,
    /// Delay in nanoseconds; 0 for no delay.
    pub(in crate::config) startup_delay: u64,
    pub(in crate::config) down_after_adverts: u8,
    pub(in crate::config) accept: bool,
}

impl Election {
    pub(in crate::config) fn read(table: &Table<'_>, problems: &mut Collector<'_>) -> Self {
        let priority =
            table.optional(&schema::PRIORITY, problems, Value::integer).flatten().unwrap_or(PRIORITY_DEFAULT);
        let preempt = table.given(&schema::PREEMPT, problems, Value::boolean).flatten();
        let preempt_delay = table.given(&schema::PREEMPT_DELAY, problems, Value::duration).flatten();
        let startup_delay = table.optional(&schema::STARTUP_DELAY, problems, Value::duration).flatten();
        let down_after_adverts = table.given(&schema::DOWN_AFTER_ADVERTS, problems, Value::integer).flatten();
        let accept = table.given(&schema::ACCEPT, problems, Value::boolean).flatten();

        let is_owner = priority == PRIORITY_OWNER;
        let never = preempt.as_ref().filter(|preempt| !preempt.value);
        let delayed = preempt_delay.as_ref().filter(|delay| delay.value > 0);
        if is_owner {
            for (at, key) in
                [(never.map(|at| at.at), &schema::PREEMPT), (delayed.map(|at| at.at), &schema::PREEMPT_DELAY)]
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
                "preempt_delay and preempt = false are mutually exclusive; remove one of them",
            );
        }
        if let Some(rejected) = accept.as_ref().filter(|accept| is_owner && !accept.value) {
            problems.add(
                rejected.at,
                "accept is false and priority is 255; an address owner always accepts packets to its addresses (RFC 9568 \
                 section 6.1); remove `accept`, or lower the priority",
            );
        }
        if let Some(unusual) = down_after_adverts.as_ref().filter(|found| found.value != DOWN_AFTER_ADVERTS) {
            problems.warn(
                unusual.at,
                format!(
                    "down_after_adverts is {}; RFC 9568 section 6.1 specifies 3; set the same value on all routers of this virtual \
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
