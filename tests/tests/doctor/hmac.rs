//! Signed adverts.

use std::time::{Duration, SystemTime};

use vipd_tests::agent::Agent;
use vipd_tests::binary::vipd;
use vipd_tests::control::wait_for_state;
use vipd_tests::lab::Lab;
use vipd_witness::{Advert, Trailer, Version, sequence_at};

use crate::wire::doctor_during;
use crate::{ONE, TIMEOUT, TWO, doctor, doctor_for, write};

const KEY: [u8; 32] = [0x5a; 32];

/// Returns the configuration of node 1: an instance without keys, and instances with the key 1, a
/// window of 60 s and these modes.
fn configuration(modes: &[&str]) -> String {
    let instance = |vrid: usize| {
        format!(
            "[[instance]]\nname = \"VI_{vrid}\"\ninterface = \"eth1\"\nvrid = {vrid}\npriority = 150\n\
             advert_interval = \"100ms\"\nvirtual_addresses = [\"192.168.122.{vrid}/24\"]\n"
        )
    };
    let key = "5a".repeat(KEY.len());
    let signed = modes.iter().enumerate().map(|(number, mode)| {
        let rules = format!(
            "hmac = {{ keys = [{{ id = 1, hex = \"{key}\" }}], mode = \"{mode}\", window = \"60s\" }}\n"
        );
        instance(52 + number) + &rules
    });
    instance(51) + &signed.collect::<String>()
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn troubles_of_signed_adverts_are_named() {
    let lab = Lab::new(2).unwrap();
    let text = configuration(&["enforce", "permissive"]);
    let mut agent = Agent::with_configuration(&lab, ONE, vipd().unwrap(), text).unwrap();
    agent.start().unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();

    // Each advert has its own source address, and thus its own router.
    let from = |host: u8, vrid: u8, signed: Option<Trailer>| Advert {
        source: [192, 168, 122, host].into(),
        interval: 10,
        addresses: vec![[192, 168, 122, vrid].into()],
        signed,
        ..TWO.advert(Version::V3, vrid, 100)
    };
    let key = |id: u8| Trailer::new(&KEY, id);
    let in_seconds = |seconds: u64| {
        let sequence = sequence_at(SystemTime::now() + Duration::from_secs(seconds));
        Some(Trailer { sequence, ..key(1) })
    };
    let cases: &[(&str, &str, Advert)] = &[
        ("hmac-mismatch", "received: key 1; configured here: no hmac", from(101, 51, Some(key(1)))),
        ("hmac-mismatch", "received: no trailer; configured here: mode enforce, key 1", from(102, 52, None)),
        ("hmac-unknown-key", "received: key 7; configured here: key 1", from(103, 52, Some(key(7)))),
        (
            "hmac-failures",
            "received: key 1, from the MAC 02:00:00:00:00:02",
            from(104, 52, Some(Trailer::new(&[1; 32], 1))),
        ),
        ("clocks-differ", "the clock of 192.168.122.105 is 4", from(105, 53, in_seconds(45))),
        ("clocks-differ", "the clock of 192.168.122.106 is 3", from(106, 52, in_seconds(3600))),
        // The same advert is sent repeatedly.
        ("errors-increase", "vipd:hmac-replayed went from ", from(107, 53, in_seconds(0))),
    ];
    let mut frames: Vec<_> = cases.iter().map(|(_, _, advert)| advert.frame()).collect();
    // This advert is accepted although it is unsigned, because the mode of VI_53 is permissive.
    frames.push(from(108, 53, None).frame());
    let diagnosis = doctor_during(&lab, &frames, Duration::from_millis(100));
    for (check, evidence, _) in cases {
        diagnosis.names_with(check, evidence);
    }
    diagnosis.names_with(
        "two-masters",
        "192.168.122.11 (this host): VRRPv3, priority 150, interval 100ms, checksum rfc5798, key 1",
    );
    diagnosis.lacks(&["malformed-adverts", "configuration-not-applied"]);
    for finding in diagnosis.findings.iter().filter(|finding| finding["check"] == "hmac-mismatch") {
        assert_ne!(finding["subject"], "VI_53", "{finding}");
    }
    // Node 2 sends no more adverts.
    doctor(&lab).lacks(&cases.iter().map(|(check, ..)| *check).collect::<Vec<_>>());

    let changed = write(&lab, "changed.toml", &configuration(&["enforce", "enforce"]));
    let diagnosis = doctor_for(&lab, &changed, "0.1");
    let evidence = diagnosis.evidence("configuration-not-applied");
    assert!(evidence.starts_with("VI_53: authentication hmac: permissive, signs with key 1"), "{evidence}");
}
