//! Priority, preemption, delays and Accept_Mode.

use super::{assert_rows, parsed, warnings};

#[test]
fn delays_and_modes_are_read() {
    let instance =
        parsed("preempt_delay = \"5m\"\nstartup_delay = \"1000s\"\ndown_after_adverts = 100\naccept = false");
    let router = &instance.router;
    assert_eq!((router.preempt_delay, router.startup_delay), (300_000_000_000, 1_000_000_000_000));
    assert_eq!((router.down_after_adverts, instance.accept), (100, false));
    assert_eq!(parsed("preempt = false\npreempt_delay = \"0s\"").router.preempt_delay, 0);
    assert_eq!(parsed("down_after_adverts = 1").router.down_after_adverts, 1);
}

#[test]
fn invalid_values_are_rejected() {
    for key in ["preempt_delay", "startup_delay"] {
        let allowed =
            format!("{key} is \"1001s\"; it must be a duration as a string, from \"0s\" to \"1000s\"");
        assert_rows(&[(&format!("{key} = \"1001s\""), &format!("6:17: {allowed}; choose another duration"))]);
    }
    assert_rows(&[
        (
            "startup_delay = \"5\"",
            "6:17: startup_delay is \"5\"; it must be a duration as a string, from \"0s\" to \"1000s\"; use \"5s\" \
             or \"5ms\"",
        ),
        (
            "preempt_delay = 5",
            "6:17: preempt_delay is an integer; it must be a duration as a string, from \"0s\" to \"1000s\"; use e.g. `preempt_delay = \"30s\"`",
        ),
        (
            "preempt = false\npreempt_delay = \"30s\"",
            "7:17: preempt_delay and preempt = false are mutually exclusive; remove one of them",
        ),
        (
            "down_after_adverts = 0",
            "6:22: down_after_adverts is 0; it must be an integer from 1 to 100; choose another number",
        ),
        (
            "down_after_adverts = 101",
            "6:22: down_after_adverts is 101; it must be an integer from 1 to 100; choose another number",
        ),
        (
            "accept = false\npriority = 255",
            "6:10: accept is false and priority is 255; an address owner always accepts packets to its addresses (RFC 9568 \
             section 6.1); remove `accept`, or lower the priority",
        ),
        (
            "priority = 255\nvirtual_mac = true",
            "7:15: virtual_mac is true and priority is 255; an owner's addresses are the interface's own and use its MAC; remove `virtual_mac`, or lower the priority",
        ),
        (
            "accept = false\nvirtual_addresses_excluded = [{ address = \"10.0.0.1/24\", dev = \"eth2\" }]",
            "7:31: accept is false and a VIP has its own `dev`, but packets to VIPs can be dropped only on the instance's \
             interface; remove `accept` or `dev`",
        ),
        (
            "accept = false\nvirtual_addresses_excluded = [{ address = \"10.0.0.1/24\", dev = \"eth1\" }]\npriority = 0",
            "8:12: priority is 0; it must be an integer from 1 to 255; choose another number",
        ),
        ("accept = \"no\"", "6:10: accept is a string; it must be true or false; use e.g. `accept = true`"),
    ]);
}

#[test]
fn unusual_values_cause_warnings() {
    assert_eq!(
        warnings("priority = 255\npreempt = false\npreempt_delay = \"1s\""),
        "7:11: preempt has no effect with priority 255; the owner of the addresses always takes over at once (RFC \
         9568 section 6.1); remove it, or lower the priority\n\
         8:17: preempt_delay has no effect with priority 255; the owner of the addresses always takes over at once \
         (RFC 9568 section 6.1); remove it, or lower the priority"
    );
    assert_eq!(
        warnings("down_after_adverts = 5"),
        "6:22: down_after_adverts is 5; RFC 9568 section 6.1 specifies 3; set the same value on all routers of this virtual router"
    );
    assert_eq!(warnings("priority = 255\npreempt = true\naccept = true\ndown_after_adverts = 3"), "");
}
