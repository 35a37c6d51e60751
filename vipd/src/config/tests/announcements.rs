//! Rules for `garp`.

use super::{assert_rows, parsed};
use crate::vrrp::config::Announcements;

#[test]
fn omitted_keys_have_defaults() {
    let usual = Announcements::default();
    for line in ["", "garp = {}"] {
        let instance = parsed(line);
        assert_eq!((instance.router.announcements, instance.announce_interval), (usual, 0));
    }
    let instance = parsed("garp = { delay = \"0s\", interval = \"500us\" }");
    assert_eq!(instance.router.announcements, Announcements { delay: 0, ..usual });
    assert_eq!(instance.announce_interval, 500_000);
}

#[test]
fn garp_may_be_an_inline_table_or_a_section() {
    let instance = parsed(
        "[instance.garp]\nrepeat = 255\ndelay = \"1000s\"\nrefresh = \"1s\"\nrefresh_repeat = 2\ninterval = \"1s\"",
    );
    let expected =
        Announcements { repeat: 255, delay: 1_000_000_000_000, refresh: 1_000_000_000, refresh_repeat: 2 };
    assert_eq!(instance.router.announcements, expected);
    assert_eq!(instance.announce_interval, 1_000_000_000);
}

#[test]
fn invalid_values_are_rejected() {
    assert_rows(&[
        ("garp = 5", "6:8: garp is an integer; it must be a table; use e.g. `garp = { repeat = 5 }`"),
        (
            "garp = { repeats = 5 }",
            "6:10: unknown key `repeats` in `garp`; did you mean `repeat`? (allowed keys: repeat, delay, refresh, \
             refresh_repeat, interval)",
        ),
        (
            "garp = { repeat = 0, refresh_repeat = 256 }",
            "6:19: garp.repeat is 0; it must be an integer from 1 to 255; choose another number\n\
             6:39: garp.refresh_repeat is 256; it must be an integer from 1 to 255; choose another number",
        ),
        (
            "garp = { delay = \"1001s\" }",
            "6:18: garp.delay is \"1001s\"; it must be a duration as a string, from \"0s\" to \"1000s\"; choose \
             another duration",
        ),
        (
            "garp = { refresh = \"999ms\" }",
            "6:20: garp.refresh is \"999ms\"; it must be a duration as a string, from \"1s\" to \"86400s\", or \"0s\" for never; choose another duration",
        ),
        (
            "garp = { interval = \"1001ms\" }",
            "6:21: garp.interval is \"1001ms\"; it must be a duration as a string, from \"0s\" to \"1s\"; choose \
             another duration",
        ),
        (
            "garp = { interval = 5 }",
            "6:21: garp.interval is an integer; it must be a duration as a string, from \"0s\" to \"1s\"; use e.g. \
             `interval = \"1ms\"`",
        ),
    ]);
}
