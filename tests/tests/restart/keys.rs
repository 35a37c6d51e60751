//! Keys of signed adverts.

use std::fs::{self, File};
use std::io::{IoSliceMut, Read as _, Seek as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use vipd_tests::control::{counter, reload, wait_for_state};
use vipd_tests::hmac::{hex, key};
use vipd_tests::lab::Lab;

use super::service::{KEY_FILE, Service};
use super::{FAST, ONE, TIMEOUT, configuration};

/// Receives all messages of a stored channel. Returns them and the contents of all anonymous memory
/// that is passed with them, but not the contents of BPF maps, which only root can read.
fn contents(channel: &OwnedFd) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let mut message = vec![0; 1 << 16];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = recvmsg(channel, &mut [IoSliceMut::new(&mut message)], &mut control, flags);
        let Some(received) = received.ok().filter(|received| received.bytes > 0) else { return all };
        all.extend_from_slice(&message[..received.bytes]);
        for message in control.drain() {
            let RecvAncillaryMessage::ScmRights(descriptors) = message else { continue };
            for descriptor in descriptors {
                let target = fs::read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd()));
                if target.expect("open").to_string_lossy().starts_with("/memfd:") {
                    let mut memory = File::from(descriptor);
                    memory.rewind().expect("memory");
                    memory.read_to_end(&mut all).expect("memory");
                }
            }
        }
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn stored_state_contains_no_key() {
    let lab = Lab::new(1).expect("create the lab");
    // The key with ID 2 is in a file, which contains `hex(1)`.
    let signed = |first: u8| {
        let comment = format!("# {{ id = 3, hex = \"{}\" }}", hex(4));
        let keys = format!("{{ id = 1, hex = \"{}\" }}, {{ id = 2, file = \"{KEY_FILE}\" }}", hex(first));
        configuration(&[(1, 200)], &format!("{FAST}\n{comment}\nhmac = {{ active = 1, keys = [{keys}] }}"))
    };
    let mut one = Service::start(&lab, ONE, &signed(2));
    wait_for_state(&one.agent, "master", TIMEOUT).expect("master");
    // The next process continues although the configuration file has another key 1 and no key 2.
    let logged = one.log().len();
    one.configure(&signed(3).replace(&format!(", {{ id = 2, file = \"{KEY_FILE}\" }}"), ""));
    one.leave().expect("the state is left");
    one.resume();
    one.wait_for_log(logged, "continuing with the state");
    assert_eq!(counter(&one.agent, "master-transitions").expect("a counter"), 1, "{}", one.log());
    one.configure(&signed(3));
    reload(&one.agent).expect("reloaded");

    one.leave().expect("the state is left");
    let state = contents(&one.take_stored().expect("a descriptor"));
    let contains = |bytes: &[u8]| state.windows(bytes.len()).any(|part| part == bytes);
    // The stored state contains the configuration and the state of the engine.
    assert!(contains(KEY_FILE.as_bytes()) && contains(br#""VI_1""#));
    for id in 1..=4 {
        assert!(!contains(hex(id).as_bytes()) && !contains(&key(id)), "key {id}");
    }
}
