//! Several owners of the same addresses: a misconfiguration that is logged (P2) and, in VRRPv3,
//! resolves to one master.
//!
//! RFC 9568 section 7.1, like RFC 3768, requires an owner to discard all received adverts (R7), so
//! all owners would stay master. Erratum 8298 corrects this: the usual rules apply, and the owner
//! with the lower address yields (S22).

use super::*;
use crate::{Discard, Reason};

const DOWN: u64 = 3 * SECOND + SECOND / 256;
const OWNER_ADVERT: Action = Action::SendAdvert { priority: 255 };

fn conflicts(events: &[Event], source: IpAddr) -> usize {
    events.iter().filter(|event| **event == Event::OwnerConflict { source }).count()
}

#[test]
fn r7_and_p2_the_owner_with_the_higher_address_stays_master() {
    let mut script = Script::started(owner(Version::V3, SECOND));
    let mut logged = 0;
    for count in 1..=5 {
        script.advert(255, LOWER);
        logged += conflicts(&script.events, LOWER);
        assert_eq!(script.state(), State::Master, "S23");
        assert_eq!(script.router.snapshot().counters.owner_conflicts, count, "P2");
    }
    assert_eq!(logged, 1, "P2: logged once");
}

#[test]
fn r7_and_p2_the_owner_with_the_lower_address_yields() {
    let mut script = Script::started(owner(Version::V3, SECOND));
    let mut logged = 0;
    for _ in 0..10 {
        script.advert(255, HIGHER);
        logged += conflicts(&script.events, HIGHER);
        assert_eq!(script.state(), State::Backup, "S22");
        assert_eq!(script.router.snapshot().master, Some(HIGHER));
        script.wait(SECOND);
    }
    assert_eq!(logged, 1, "P2: logged once");
    assert_eq!(script.router.snapshot().counters.owner_conflicts, 10);
}

#[test]
fn m2_and_s9_an_owner_that_yielded_takes_over_when_the_other_owner_stops() {
    for (priority_zero, wait, reason) in
        [(false, DOWN, Reason::MasterTimeout), (true, SECOND / 256, Reason::PriorityZero)]
    {
        let mut script = Script::started(owner(Version::V3, SECOND));
        script.advert(255, HIGHER);
        if priority_zero {
            script.advert(0, HIGHER);
        }
        let actions: Vec<_> = script.wait(wait).into_iter().map(|(_, action)| action).collect();
        assert_eq!(actions, [OWNER_ADVERT, ADD, ANNOUNCE], "S9");
        assert_eq!(script.router.snapshot().reason, Some(reason));
        // The next conflict is logged again.
        script.advert(255, HIGHER);
        assert_eq!(conflicts(&script.events, HIGHER), 1, "P2");
    }
}

#[test]
fn s25_an_owner_in_backup_preempts_any_lower_priority_master() {
    let delayed = RouterConfig { preempt: false, preempt_delay: 100 * SECOND, ..owner(Version::V3, SECOND) };
    let mut script = Script::started(delayed);
    script.advert(255, HIGHER);
    for _ in 0..3 {
        script.advert(254, LOWER);
        assert_eq!(script.router.snapshot().master, Some(HIGHER), "S12, S25");
        script.wait(SECOND);
    }
    script.wait(DOWN - 3 * SECOND);
    assert_eq!(script.state(), State::Master, "S25: regardless of Preempt_Mode and hold-time");
}

#[test]
fn s13_an_owner_in_backup_follows_another_owner_regardless_of_its_address() {
    let mut script = Script::started(owner(Version::V3, SECOND));
    script.advert(255, HIGHER);
    script.wait(SECOND);
    script.advert(255, LOWER);
    assert_eq!((script.router.snapshot().master, script.next()), (Some(LOWER), Some(DOWN)), "S13");
}

#[test]
fn r7_vrrpv2_owners_discard_each_others_adverts() {
    for source in [LOWER, HIGHER] {
        let mut script = Script::started(owner(Version::V2, SECOND));
        script.wait(10 * SECOND);
        let mut events = Vec::new();
        for _ in 0..5 {
            assert_eq!(script.advert(255, source), [], "R7");
            events.append(&mut script.events);
        }
        let discarded = Event::Discarded { reason: Discard::Owner, source };
        assert_eq!(events, [Event::OwnerConflict { source }, discarded], "P2, R7: once each");
        assert_eq!(script.router.snapshot().counters.owner_conflicts, 5);
        let later = script.wait(60 * SECOND);
        assert_eq!(announcements(&later), [100 * MILLI], "hosts may have learned the other owner's MAC");
        assert_eq!(script.state(), State::Master, "R7");
    }
}
