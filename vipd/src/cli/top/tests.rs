//! Tests of the model, and a sample model for the tests of the view.

use std::time::{Duration, Instant};

use super::keys::Action;
use super::model::{Connection, Effect, Mode, Model, Notice, Report};
use super::order::Sort;
use super::verb::{Change, Verb};
use crate::cli::tests::{instance_stats, instance_status};
use crate::control::event::EventRecord;
use crate::control::model::{
    GlobalStatistics, InstanceStatus, PeerStatus, State, Statistics, StatsReport, StatusReport, TrackedObject,
};

/// Returns a report in which each instance has received `value` adverts and sent ten times as many.
pub(super) fn report(at: Instant, instances: Vec<InstanceStatus>, value: u64) -> Report {
    let statistics =
        Statistics { advertisement_rcvd: value, advertisement_sent: 10 * value, ..Statistics::default() };
    let stats = instances.iter().map(|one| instance_stats(&one.name, &one.interface, one.vrid, &statistics));
    let stats = StatsReport { global: GlobalStatistics::default(), instances: stats.collect() };
    Report { at, status: StatusReport { instances, guardian: Some(true) }, stats }
}

/// Returns a model of three instances: a master, a backup with dropped adverts and a priority
/// lowered by a script, and a drained instance.
pub(super) fn three_instances(start: Instant) -> Model {
    let object = |name: &str, state: &str, detail: Option<&str>| TrackedObject {
        kind: "script".to_owned(),
        name: name.to_owned(),
        state: state.to_owned(),
        weight: Some(-60),
        detail: detail.map(str::to_owned),
        since_ms: 182_000,
        changes: 1,
    };
    let gateway =
        InstanceStatus { last_transition_ms: Some(3_800_000), ..instance_status("gateway", State::Master) };
    let web = InstanceStatus {
        interface: "eth2".to_owned(),
        vrid: 52,
        effective_priority: 40,
        track: vec![object("web", "down", Some("exit status 1")), object("disk", "up", None)],
        track_weight: -60,
        peers: vec![PeerStatus {
            address: [192, 0, 2, 2].into(),
            priority: 150,
            checksum: "rfc5798".to_owned(),
            last_heard_ms: 320,
            key_id: None,
            clock_offset_ms: None,
        }],
        master_down_in_ns: Some(3_289_000_000),
        last_transition_reason: Some("higher-priority".to_owned()),
        ..instance_status("web", State::Backup)
    };
    let spare = InstanceStatus {
        vrid: 53,
        last_adv_source: None,
        fault_reason: Some("drained by the administrator".to_owned()),
        last_transition_ms: Some(12_300),
        ..instance_status("spare", State::Fault)
    };
    let instances = vec![gateway, web, spare];
    let mut model = Model::new();
    let mut first = report(start, instances.clone(), 100);
    first.stats.instances[1].statistics.checksum_errors = 2;
    let mut second = report(start + Duration::from_secs(2), instances, 102);
    second.stats.instances[1].statistics.checksum_errors = 5;
    for event in [
        transition("gateway", "26T16:00:00.000000001", "backup", "master", "master-timeout", 12_345),
        transition("web", "26T17:01:02.500000000", "master", "backup", "higher-priority", 0),
        transition("spare", "26T17:03:52.250000000", "backup", "fault", "drained", 0),
    ] {
        model.event(event);
    }
    model.report(first);
    model.report(second);
    model
}

fn transition(instance: &str, time: &str, from: &str, to: &str, reason: &str, late: u64) -> EventRecord {
    EventRecord {
        time: format!("2026-11-{time}Z"),
        instance: instance.to_owned(),
        event: "state-changed".to_owned(),
        from: Some(from.to_owned()),
        to: Some(to.to_owned()),
        reason: Some(reason.to_owned()),
        late_ns: Some(late),
        ..EventRecord::default()
    }
}

fn names(model: &Model) -> String {
    model.visible().iter().map(|row| row.name()).collect::<Vec<_>>().join(" ")
}

fn selected(model: &Model) -> String {
    let visible = model.visible();
    visible[model.position(&visible)].name().to_owned()
}

fn type_filter(model: &mut Model, text: &str) {
    model.perform(Action::EditFilter);
    for character in text.chars() {
        model.perform(Action::Type(character));
    }
}

#[test]
fn rates_come_from_consecutive_reports_of_a_running_agent() {
    let start = Instant::now();
    let mut model = three_instances(start);
    let rates = |model: &Model| model.row("gateway").map(|row| (row.received, row.sent));
    assert_eq!(rates(&model), Some((Some(1.0), Some(10.0))));
    model.disconnected(start + Duration::from_secs(7), "gone".to_owned());
    let silent = Some(Duration::from_secs(5));
    assert_eq!(model.connection, Connection::Down { error: "gone".to_owned(), silent });
    assert_eq!(names(&model), "gateway web spare", "the last report is kept");
    assert_eq!(rates(&model), Some((None, None)));

    // The agent was restarted: the counters are lower, so the first report gives no rate.
    let instances = |model: &Model| model.visible().iter().map(|row| row.status.clone()).collect::<Vec<_>>();
    let restarted = instances(&model);
    model.report(report(start + Duration::from_secs(8), restarted.clone(), 5));
    assert_eq!((&model.connection, rates(&model)), (&Connection::Up, Some((None, None))));
    model.report(report(start + Duration::from_secs(9), restarted, 6));
    assert_eq!(rates(&model), Some((Some(1.0), Some(10.0))));
}

#[test]
fn filter_matches_parts_of_names_regardless_of_case() {
    let mut model = three_instances(Instant::now());
    type_filter(&mut model, "WE");
    assert_eq!(names(&model), "web");
    model.perform(Action::Delete);
    assert_eq!(names(&model), "gateway web");
    model.perform(Action::KeepFilter);
    assert_eq!((names(&model).as_str(), &model.mode), ("gateway web", &Mode::Browse));
    model.perform(Action::ClearFilter);
    assert_eq!(names(&model), "gateway web spare");
    type_filter(&mut model, "none");
    assert_eq!(names(&model), "");
    // If no instance is visible, none can be selected or changed.
    model.perform(Action::Move(1));
    model.perform(Action::Propose(Verb::Drain));
    assert_eq!(model.mode, Mode::Filter);
}

#[test]
fn selection_follows_its_instance() {
    let mut model = three_instances(Instant::now());
    assert_eq!(selected(&model), "gateway");
    model.perform(Action::Move(1));
    assert_eq!(selected(&model), "web");
    while model.sort != Sort::State {
        model.perform(Action::NextSort);
    }
    assert_eq!((names(&model).as_str(), selected(&model).as_str()), ("spare gateway web", "web"));
    model.perform(Action::Reverse);
    assert_eq!((names(&model).as_str(), selected(&model).as_str()), ("web gateway spare", "web"));
    for (lines, expected) in [(isize::MAX, "spare"), (1, "spare"), (-1, "gateway"), (isize::MIN, "web")] {
        model.perform(Action::Move(lines));
        assert_eq!(selected(&model), expected, "{lines}");
    }
}

#[test]
fn change_is_requested_only_after_confirmation() {
    let mut model = three_instances(Instant::now());
    let change = Change { verb: Verb::Drain, instance: "gateway".to_owned() };
    assert_eq!(model.perform(Action::Propose(Verb::Drain)), None);
    assert_eq!(model.mode, Mode::Confirm(change.clone()));
    assert_eq!(model.perform(Action::Cancel), None);
    assert_eq!((model.mode.clone(), model.perform(Action::Confirm)), (Mode::Browse, None));
    model.perform(Action::Propose(Verb::Drain));
    // The question names the instance, so neither sorting nor a report may change which instance is
    // meant.
    model.perform(Action::Reverse);
    assert_eq!(model.perform(Action::Confirm), Some(Effect::Request(change)));

    // Only one change may be pending at a time.
    model.perform(Action::Propose(Verb::Drain));
    let waiting = "the agent has not yet answered the change of gateway";
    assert_eq!(
        (&model.mode, model.notice.as_ref().map(|one| one.text.as_str())),
        (&Mode::Browse, Some(waiting))
    );
    let done = Notice { text: "gateway: drained".to_owned(), is_error: false };
    model.changed(done.clone());
    assert_eq!(model.notice, Some(done));
    model.perform(Action::Propose(Verb::Drain));
    assert!(matches!(model.mode, Mode::Confirm(_)));
    assert_eq!(model.notice, None, "a notice stays until the next key");
}

#[test]
fn pointless_changes_are_refused() {
    let start = Instant::now();
    let mut model = three_instances(start);
    let notice = |model: &Model| model.notice.clone().map(|notice| notice.text).unwrap_or_default();
    model.perform(Action::Move(1));
    model.perform(Action::Propose(Verb::Failover));
    assert_eq!(notice(&model), "web is not master; fail it over on the master's node");
    model.disconnected(start + Duration::from_secs(3), "gone".to_owned());
    model.perform(Action::Propose(Verb::Drain));
    assert_eq!((notice(&model).as_str(), &model.mode), ("the agent does not reply", &Mode::Browse));
}

#[test]
fn confirmation_closes_when_its_instance_is_removed() {
    let start = Instant::now();
    let mut model = three_instances(start);
    model.perform(Action::Propose(Verb::Drain));
    let at = start + Duration::from_secs(3);
    let others = vec![instance_status("web", State::Backup)];
    model.report(report(at, others, 103));
    assert_eq!(model.mode, Mode::Browse);
    assert_eq!(selected(&model), "web");
}
