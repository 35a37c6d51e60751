//! Deviations from RFC 9568 and RFC 3768. Each has its own file with the reason and the tests.
//!
//! [`Policy`] has a switch for each deviation. With [`Policy::RFC`], every scenario of the
//! conformance suite that can run on this crate passes, including those in which vipd deviates;
//! `vipd/tests/conformance` checks this.
//!
//! | switch | section | scenario in which vipd deviates |
//! | --- | --- | --- |
//! | [`down_timer_floor`](Policy::down_timer_floor) | 6.4.2 (S11) | `s11-interval-of-a-lower-priority-master` |
//! | [`ignore_foreign_priority_zero`](Policy::ignore_foreign_priority_zero) | 6.4.2 (S10) | `s10-priority-zero-from-another-router` |
//! | [`last_advert_on_yield`](Policy::last_advert_on_yield) | 6.4.3 (S22) | `s22-no-last-advert` |
//! | [`answer_limit`](Policy::answer_limit) | 6.4.3 (S21, S23) | `s23-every-losing-advert-is-answered` |
//! | [`yield_after_stall`](Policy::yield_after_stall) | 6.4.3 (S21 to S23) | none: a scenario cannot stall a router |
//! | [`reannounce_after_split_brain`](Policy::reannounce_after_split_brain) | 6.4.3 (S23) | none: the RFC allows additional announcements |
//! | [`group_adverts`](Policy::group_adverts) | 6.4.1 to 6.4.3 (S1, S9, S21) | none: on this crate, the scenarios run without it, because it shortens an interval by up to 1.6 % |
//!
//! Sync groups, signed adverts, `preempt_delay` (RFC 8347 hold-time), `startup_delay`,
//! `down_after_adverts` and the repetition of announcements are extensions set in the
//! configuration, not deviations.

pub(crate) mod advert_phase;
pub(crate) mod answer_limit;
pub(crate) mod down_timer_floor;
pub(crate) mod foreign_priority_zero;
pub(crate) mod last_advert;
pub(crate) mod split_brain;
pub(crate) mod stall;

/// Selects the deviations from the RFC that are enabled.
#[expect(clippy::struct_excessive_bools, reason = "independent switches, one for each deviation")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// An advert from a lower-ranking router does not shorten a backup's wait for the
    /// higher-ranking router's next advert.
    pub down_timer_floor: bool,
    /// While a backup follows a master, a priority-0 advert from another router does not shorten
    /// Active_Down_Timer.
    pub ignore_foreign_priority_zero: bool,
    /// A master that yields sends one last advert.
    pub last_advert_on_yield: bool,
    /// Losing and priority-0 adverts are answered at a limited rate.
    pub answer_limit: bool,
    /// A master that has not sent an advert for too long yields to a router that has since taken
    /// over.
    pub yield_after_stall: bool,
    /// After a split brain, the remaining master announces its addresses again.
    pub reannounce_after_split_brain: bool,
    /// Masters that took over at different times send their adverts in groups.
    pub group_adverts: bool,
}

impl Policy {
    /// vipd's behavior: all deviations are enabled.
    pub const VIPD: Self = Self {
        down_timer_floor: true,
        ignore_foreign_priority_zero: true,
        last_advert_on_yield: true,
        answer_limit: true,
        yield_after_stall: true,
        reannounce_after_split_brain: true,
        group_adverts: true,
    };
    /// The RFC's behavior: no deviations are enabled.
    pub const RFC: Self = Self {
        down_timer_floor: false,
        ignore_foreign_priority_zero: false,
        last_advert_on_yield: false,
        answer_limit: false,
        yield_after_stall: false,
        reannounce_after_split_brain: false,
        group_adverts: false,
    };
}

impl Default for Policy {
    fn default() -> Self {
        Self::VIPD
    }
}
