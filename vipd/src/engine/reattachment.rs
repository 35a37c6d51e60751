//! Limits how often the BPF program of a link is attached again.
//!
//! Another application may repeatedly attach its program ahead of vipd's at TC ingress, or detach
//! vipd's. Without a limit, the two programs would displace each other continuously, and each
//! attachment takes the rtnl lock.

use vipd_common::Timestamp;

/// Pause after the first attachment that did not last, in nanoseconds. Doubles with each further
/// attachment that does not last.
const MIN_PAUSE: u64 = 1_000_000_000;
/// Maximum pause, in nanoseconds.
const MAX_PAUSE: u64 = 60_000_000_000;
/// Time after which an attachment counts as lasting, in nanoseconds.
const LASTED: u64 = 60_000_000_000;

/// Determines when to attach the program of a link again.
#[derive(Debug, Default)]
pub(crate) struct Reattachment {
    /// Time at which to request the next attachment; `None` unless the program was lost and no
    /// attachment has been requested since.
    at: Option<Timestamp>,
    /// Time at which the last attachment was requested.
    requested_at: Option<Timestamp>,
    /// The pause before the last attachment, in nanoseconds.
    pause: u64,
}

impl Reattachment {
    /// Schedules an attachment after the program was found to be lost: immediately if the previous
    /// attachment lasted, otherwise after a pause. Returns whether the previous attachment lasted.
    /// The first attachment since the interface appeared always counts as lasting.
    pub(super) fn lost(&mut self, now: Timestamp) -> bool {
        let lasted = self.requested_at.is_none_or(|requested| now >= requested + LASTED);
        self.pause = if lasted { 0 } else { (self.pause * 2).clamp(MIN_PAUSE, MAX_PAUSE) };
        self.at = Some(now + self.pause);
        lasted
    }

    /// Returns whether to request an attachment now.
    pub(super) fn take_due(&mut self, now: Timestamp) -> bool {
        let is_due = self.at.take_if(|at| *at <= now).is_some();
        if is_due {
            self.requested_at = Some(now);
        }
        is_due
    }

    /// Returns the time at which the next attachment is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the times, in seconds, at which an attachment is requested. The program is first
    /// lost at 0, and each attachment is lost after the number of seconds in `lasted`.
    fn requested(lasted: &[u64]) -> Vec<u64> {
        const SECOND: u64 = 1_000_000_000;
        let (start, mut reattachment) = (Timestamp::from_nanos(5), Reattachment::default());
        let mut now = start;
        let attached = lasted.iter().map(|lasted| {
            reattachment.lost(now);
            let at = reattachment.next().expect("it is scheduled");
            assert!(!reattachment.take_due(Timestamp::from_nanos(at.as_nanos() - 1)));
            assert!(reattachment.take_due(at));
            assert_eq!((reattachment.take_due(at), reattachment.next()), (false, None), "only once");
            now = at + lasted * SECOND;
            at.nanos_since(start) / SECOND
        });
        attached.collect()
    }

    #[test]
    fn pause_doubles_while_the_attachment_does_not_last() {
        for (lasted, expected) in [
            (&[0; 9][..], &[0, 1, 3, 7, 15, 31, 63, 123, 183][..]),
            (&[1, 1, 1, 1], &[0, 2, 5, 10]),
            // One attachment lasts for a minute: the next attachment is immediate, and the pause is
            // 1 s again.
            (&[0, 0, 60, 0, 0], &[0, 1, 3, 63, 64]),
            (&[59, 59, 59], &[0, 60, 121]),
            (&[3_600, 3_600], &[0, 3_600]),
        ] {
            assert_eq!(requested(lasted), expected, "{lasted:?}");
        }
    }
}
