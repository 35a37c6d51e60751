//! Attachment: a program stays attached, and external detachment is detected.

use std::process::Command;

use vipd::xdp::{AttachError, Framing, Mode, Position, Preference};

use crate::bench::Bench;
use crate::interfaces::{private_links, private_pair};

/// Runs a command that must succeed, and returns its output.
fn output(command: &str) -> String {
    let words: Vec<_> = command.split(' ').collect();
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run `{command}`: {error}"));
    assert!(output.status.success(), "`{command}`: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
#[ignore = "needs CAP_NET_ADMIN, CAP_BPF and CAP_SYS_ADMIN"]
fn attaching_again_keeps_the_link() {
    let [left, _] = private_pair();
    let mut bench = Bench::new();
    for (preference, mode) in [(Preference::Native, Mode::Native), (Preference::Generic, Mode::Generic)] {
        let first = bench
            .loaded
            .kernel
            .attach(left, "left", preference, Framing::Ethernet)
            .expect("veth supports XDP");
        assert_eq!(first.mode, mode);
        assert!(first.reason.is_some(), "a new attachment has a reason");
        let id = first.probe.id();
        let again =
            bench.loaded.kernel.attach(left, "left", preference, Framing::Ethernet).expect("attached");
        assert_eq!((again.mode, again.reason, again.probe.id()), (first.mode, None, id));
        let auto =
            bench.loaded.kernel.attach(left, "left", Preference::Auto, Framing::Ethernet).expect("attached");
        assert_eq!((auto.mode, auto.probe.id()), (first.mode, id), "auto does not change a running mode");
    }
}

#[test]
#[ignore = "needs CAP_NET_ADMIN, CAP_BPF, CAP_SYS_ADMIN and bpftool"]
fn an_externally_detached_link_is_detected_and_attached_again() {
    let [left, _] = private_pair();
    let mut bench = Bench::new();
    let kernel = &mut bench.loaded.kernel;
    for preference in [Preference::Native, Preference::Auto] {
        let attach =
            |kernel: &mut vipd::xdp::Kernel| kernel.attach(left, "left", preference, Framing::Ethernet);
        let first = attach(kernel).expect("veth supports it");
        let probe = first.probe.clone();
        let position = std::thread::spawn(move || probe.position()).join().expect("no panic");
        assert_eq!(position, Position::First);
        output(&format!("bpftool link detach id {}", first.probe.id().expect("the kernel reports the ID")));
        assert_eq!(first.probe.position(), Position::Detached);
        let again = attach(kernel).expect("veth supports it");
        assert!(again.reason.is_some() && again.probe.position() == Position::First);
        assert_eq!(first.probe.position(), Position::Detached, "the former link stays detached");
        // A probe that outlives the attachment does not keep the program attached.
        kernel.detach(left);
        assert_eq!(again.probe.position(), Position::Detached);
    }
}

#[test]
#[ignore = "needs CAP_NET_ADMIN, CAP_BPF and CAP_SYS_ADMIN"]
fn program_behind_another_is_reattached_in_front() {
    let [left, _] = private_pair();
    let (mut bench, mut other) = (Bench::new(), Bench::new());
    let attach = |bench: &mut Bench| {
        bench.loaded.kernel.attach(left, "left", Preference::Auto, Framing::Ethernet).expect("TC ingress")
    };
    let first = attach(&mut bench).probe;
    assert_eq!(first.position(), Position::First);
    // Each new attachment runs before the existing attachments.
    let foreign = attach(&mut other).probe;
    assert_eq!((first.position(), foreign.position()), (Position::Behind, Position::First));
    let again = attach(&mut bench);
    assert!(again.reason.is_some(), "a new attachment");
    assert_eq!(
        (first.position(), again.probe.position(), foreign.position()),
        (Position::Detached, Position::First, Position::Behind)
    );
    other.loaded.kernel.detach(left);
    assert_eq!((again.probe.position(), foreign.position()), (Position::First, Position::Detached));
}

#[test]
#[ignore = "needs CAP_NET_ADMIN, CAP_BPF and CAP_SYS_ADMIN"]
fn a_deleted_interface_has_no_attachment() {
    let [left, _] = private_pair();
    let mut bench = Bench::new();
    let attached = bench
        .loaded
        .kernel
        .attach(left, "left", Preference::Auto, Framing::Ethernet)
        .expect("veth supports XDP");
    output("ip link delete left");
    assert_eq!(attached.probe.position(), Position::Detached);
    let error = bench
        .loaded
        .kernel
        .attach(left, "left", Preference::Auto, Framing::Ethernet)
        .expect_err("deleted interface");
    assert!(matches!(error, AttachError::NoDevice { .. }), "{error}");
}

#[test]
#[ignore = "needs CAP_NET_ADMIN, CAP_BPF and CAP_SYS_ADMIN"]
fn auto_selects_tc_ingress_on_veth_with_a_reason() {
    let [left, _] = private_pair();
    let mut bench = Bench::new();
    let attached = bench
        .loaded
        .kernel
        .attach(left, "left", Preference::Auto, Framing::Ethernet)
        .expect("veth supports XDP");
    assert_eq!(attached.mode, Mode::Tc);
    let reason = attached.reason.expect("a new attachment");
    assert!(reason.contains("veth") && reason.contains("segmentation"), "{reason}");
}

#[test]
#[ignore = "needs CAP_NET_ADMIN, CAP_BPF and CAP_SYS_ADMIN"]
fn a_rejected_native_mode_is_reported_with_errno_and_extack() {
    let [bridge, _] = private_links("left type bridge", ["left", "lo"]);
    let mut bench = Bench::new();
    let attached = bench
        .loaded
        .kernel
        .attach(bridge, "left", Preference::Native, Framing::Ethernet)
        .expect("TC ingress works");
    assert_eq!(attached.mode, Mode::Tc);
    let reason = attached.reason.expect("a new attachment");
    assert!(reason.contains("native mode refused: EOPNOTSUPP"), "{reason}");
    assert!(reason.contains("driver does not support XDP in native mode"), "{reason}");
}

#[test]
#[ignore = "needs CAP_NET_ADMIN, CAP_BPF and CAP_SYS_ADMIN"]
fn link_is_kept_if_native_mode_is_refused_when_attaching_again() {
    let [bridge, _] = private_links("left type bridge", ["left", "lo"]);
    let mut bench = Bench::new();
    let kernel = &mut bench.loaded.kernel;
    let first = kernel.attach(bridge, "left", Preference::Native, Framing::Ethernet);
    let id = first.expect("TC ingress works").probe.id();
    let again = kernel.attach(bridge, "left", Preference::Native, Framing::Ethernet).expect("it is attached");
    assert_eq!((again.mode, again.reason, again.probe.id()), (Mode::Tc, None, id));
}

#[test]
#[ignore = "needs CAP_NET_ADMIN, CAP_BPF and CAP_SYS_ADMIN"]
fn next_to_another_xdp_program_adverts_are_received_at_tc_ingress() {
    let [left, _] = private_pair();
    let (mut first, mut second) = (Bench::new(), Bench::new());
    first
        .loaded
        .kernel
        .attach(left, "left", Preference::Native, Framing::Ethernet)
        .expect("veth supports XDP");
    let mut attach = |preference| second.loaded.kernel.attach(left, "left", preference, Framing::Ethernet);
    let attached = attach(Preference::Native).expect("TC ingress takes several programs");
    assert_eq!(attached.mode, Mode::Tc);
    assert!(attached.reason.is_some_and(|reason| reason.contains("EBUSY")), "the reason names the refusal");
    let error = attach(Preference::Generic).expect_err("the generic hook takes one program");
    assert!(matches!(error, AttachError::Busy { .. }), "{error}");
}
