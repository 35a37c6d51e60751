//! Adverts that arrive while no process of the agent runs.

use vipd_tests::agent::Agent;
use vipd_tests::control::{counter, wait_for_state};
use vipd_tests::frame::Frame;
use vipd_tests::lab::Lab;
use vipd_tests::time::WallTime;
use vipd_tests::wait::wait_until;

use super::service::Service;
use super::{FAST, ONE, TIMEOUT, TWO, configuration, peer};

fn number(agent: &Agent, name: &str) -> u64 {
    counter(agent, name).expect("a counter")
}

/// Returns the number of adverts that the master has sent and the backup has not counted.
fn uncounted(master: &Agent, backup: &Agent) -> u64 {
    loop {
        let sent = number(master, "advertisement-sent");
        let received = number(backup, "advertisement-rcvd");
        // Otherwise, an advert may have been sent after the first of these counters was read.
        if number(master, "advertisement-sent") == sent && number(backup, "advertisement-rcvd") == received {
            return sent - received;
        }
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn backup_counts_the_adverts_that_arrive_while_no_process_runs() {
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let mut one = Service::start(&lab, ONE, &configuration(&[(1, 50)], FAST));
    let two = peer(&lab, configuration(&[(1, 200)], FAST));
    wait_for_state(&two, "master", TIMEOUT).expect("master");
    wait_for_state(&one.agent, "backup", TIMEOUT).expect("backup");
    let before = number(&one.agent, "advertisement-rcvd");
    wait_until("an advert", TIMEOUT, || number(&one.agent, "advertisement-rcvd") > before).expect("counted");
    let missed = uncounted(&two, &one.agent);
    let transitions = number(&one.agent, "master-transitions");
    one.leave().expect("the state is left");
    let left = WallTime::now();
    let is_advert = |frame: &Frame| frame.from == TWO && frame.advert().is_some();
    // Five adverts take longer than the time after which the backup would take over.
    wait_until("adverts", TIMEOUT, || {
        capture.filter_map(left, |frame| is_advert(frame).then_some(())).len() >= 5
    })
    .expect("captured");
    one.resume();
    assert_eq!(uncounted(&two, &one.agent), missed, "{}", one.log());
    assert_eq!(number(&one.agent, "master-transitions"), transitions, "{}", one.log());
}
