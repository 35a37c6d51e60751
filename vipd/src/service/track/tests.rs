//! Tests of the tracker. No checks run except in the last test; the other tests supply readings and
//! compare the inputs that the engine receives.

use std::sync::mpsc::Receiver;

use super::object::{ObjectId, Reading};
use super::*;
use crate::config::Config;
use crate::config::track::{Script, Track, Tracked};
use crate::engine::command::Command;
use crate::engine::id::Id as _;
use crate::vrrp::{Fault, Impediment, Input};

const CONFIG: &str = "[[script]]\nname = \"web\"\ncommand = [\"/bin/true\"]\n\
                      [[file]]\nname = \"manual\"\npath = \"/no/such/file\"\n";

/// The values last sent to the engine for an instance that starts with priority 100.
const NOTHING_TRACKED: Known = Known { is_fault: Some(false), priority: Some(100) };

fn instance(track: &str) -> Instance {
    let text = format!(
        "[[instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\nvrid = 1\npriority = 100\n\
         virtual_addresses = [\"10.0.0.1\"]\ntrack = [{track}]\n{CONFIG}"
    );
    let config = Config::parse(&text, "vipd.toml").unwrap_or_else(|problems| panic!("{problems}"));
    Instance::clone(&config.instances[0])
}

fn tracker() -> (Tracker, Receiver<Command>) {
    let (engine, commands) = Handle::without_engine().expect("a handle");
    let (shared, _) = SharedTracker::new(engine);
    let Ok(tracker) = Arc::try_unwrap(shared.0) else { panic!("not shared") };
    (tracker.into_inner().expect("not poisoned"), commands)
}

fn inputs(commands: &Receiver<Command>) -> Vec<Input> {
    let input = |command| match command {
        Command::Input { router, input } => {
            assert_eq!(router, RouterId::new(3, 1));
            input
        }
        _ => panic!("only inputs are sent"),
    };
    commands.try_iter().map(input).collect()
}

/// Returns the ID of an object, found by its kind and name.
fn id(tracker: &Tracker, name: &str) -> ObjectId {
    let found = tracker.objects.iter().find(|(_, object)| object.source.to_string() == name);
    *found.expect("it is tracked").0
}

fn update(tracker: &mut Tracker, name: &str, reading: Reading) -> Vec<ObjectChange> {
    let object = id(tracker, name);
    tracker.apply(Update { object, reading, detail: None })
}

#[test]
fn only_changes_are_sent_to_the_engine() {
    let (mut tracker, commands) = tracker();
    let settings =
        instance("{ interface = \"eth2\" }, { script = \"web\", weight = -60 }, { file = \"manual\" }");
    assert_eq!(tracker.preview(&settings, 100), (true, 100), "eth2 has not been read yet");
    tracker.set(RouterId::new(3, 1), &settings, 100, NOTHING_TRACKED, false);
    assert_eq!(inputs(&commands), [Input::Impede(Fault::Tracking)]);
    let changes = update(&mut tracker, "interface eth2", Reading::Up);
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].from.as_deref(), changes[0].to.as_str()), (None, "up"));
    assert_eq!(inputs(&commands), [Input::Clear(Impediment::Tracking)]);
    update(&mut tracker, "script web", Reading::Up);
    assert_eq!(inputs(&commands), []);
    update(&mut tracker, "script web", Reading::Down);
    assert_eq!(inputs(&commands), [Input::Priority(40)]);
    assert_eq!(update(&mut tracker, "script web", Reading::Down), [], "no change");
    update(&mut tracker, "file manual", Reading::Value(-50));
    assert_eq!(inputs(&commands), [Input::Priority(1)]);
    assert_eq!(tracker.report("VI_1").1, -110);
    update(&mut tracker, "interface eth2", Reading::Down);
    assert_eq!(inputs(&commands), [Input::Impede(Fault::Tracking)]);
    assert_eq!(tracker.preview(&settings, 200), (true, 90));
}

#[test]
fn administrators_priority_is_the_base_of_the_weights() {
    let (mut tracker, commands) = tracker();
    tracker.set(
        RouterId::new(3, 1),
        &instance("{ script = \"web\", weight = -60 }"),
        100,
        NOTHING_TRACKED,
        false,
    );
    update(&mut tracker, "script web", Reading::Down);
    assert_eq!(inputs(&commands), [Input::Priority(40)]);
    tracker.instances.get_mut("VI_1").expect("tracked").base = 200;
    tracker.update_engine("VI_1");
    assert_eq!(inputs(&commands), [Input::Priority(140)]);
}

/// Objects that are still tracked under the new settings keep their states.
#[test]
fn new_settings_keep_the_states_of_known_objects() {
    let (mut tracker, commands) = tracker();
    let router = RouterId::new(3, 1);
    tracker.set(router, &instance("{ script = \"web\", weight = -60 }"), 100, NOTHING_TRACKED, false);
    update(&mut tracker, "script web", Reading::Down);
    assert_eq!(inputs(&commands), [Input::Priority(40)]);
    tracker.change(router, &instance("{ script = \"web\", weight = -20 }"), 100);
    assert_eq!(inputs(&commands), [Input::Priority(80)]);
    tracker.change(router, &instance("{ script = \"web\" }"), 100);
    assert_eq!(inputs(&commands), [Input::Impede(Fault::Tracking), Input::Priority(100)]);
    tracker.change(router, &instance(""), 100);
    assert_eq!(inputs(&commands), [Input::Priority(100), Input::Clear(Impediment::Tracking)]);
    tracker.start();
    assert!(tracker.objects.is_empty(), "no object is tracked anymore");
}

/// A master must not enter Fault because a reload has added an object that has not been read yet.
#[test]
fn added_object_has_no_effect_until_it_is_read() {
    let (mut tracker, commands) = tracker();
    let router = RouterId::new(3, 1);
    tracker.set(router, &instance(""), 100, NOTHING_TRACKED, false);
    tracker.change(router, &instance("{ interface = \"eth2\" }, { interface = \"eth3\", weight = 50 }"), 100);
    assert_eq!(inputs(&commands), [Input::Priority(100)]);
    update(&mut tracker, "interface eth3", Reading::Up);
    assert_eq!(inputs(&commands), [Input::Priority(150)]);
    update(&mut tracker, "interface eth2", Reading::Down);
    assert_eq!(inputs(&commands), [Input::Impede(Fault::Tracking)]);
}

/// The engine applies a reload in several turns. If the engine receives a new priority between two
/// turns, that priority must remain in effect, not the priority computed at the beginning of the
/// reload.
#[test]
fn object_change_during_a_reload_is_not_lost() {
    let (mut tracker, commands) = tracker();
    let router = RouterId::new(3, 1);
    let settings = instance("{ script = \"web\", weight = -60 }, { interface = \"eth2\" }");
    tracker.set(router, &settings, 100, NOTHING_TRACKED, false);
    update(&mut tracker, "interface eth2", Reading::Up);
    update(&mut tracker, "script web", Reading::Up);
    drop(inputs(&commands));
    assert_eq!(tracker.preview(&settings, 100), (false, 100));
    update(&mut tracker, "script web", Reading::Down);
    assert_eq!(inputs(&commands), [Input::Priority(40)]);
    tracker.change(router, &settings, 100);
    assert_eq!(inputs(&commands), [Input::Priority(40)], "sent again after the reload");
    // The newer priority also remains in effect for an instance added with the states that objects
    // had at the beginning of the reload.
    tracker.set(router, &settings, 100, Known::default(), false);
    assert_eq!(inputs(&commands), [Input::Priority(40), Input::Clear(Impediment::Tracking)]);
}

/// New settings alone must not move mastership. For example, a longer timeout for a script that is
/// down must not make the script's instance preempt the master.
#[test]
fn reconfigured_check_keeps_its_state_until_it_has_run() {
    let (mut tracker, commands) = tracker();
    let router = RouterId::new(3, 1);
    let track = "{ script = \"web\", weight = -60 }";
    let old = instance(track);
    tracker.set(router, &old, 100, NOTHING_TRACKED, false);
    update(&mut tracker, "script web", Reading::Down);
    assert_eq!(inputs(&commands), [Input::Priority(40)]);
    let Tracked::Script(script) = &old.track[0].object else { panic!("a script") };
    let slower = Script { timeout: script.timeout * 2, ..Script::clone(script) };
    let object = Tracked::Script(Arc::new(slower));
    let new = Instance { track: vec![Track { object, weight: Some(-60) }], ..old };
    assert_eq!(tracker.preview(&new, 100), (false, 40));
    tracker.change(router, &new, 100);
    assert_eq!(inputs(&commands), [Input::Priority(40)]);
    assert_eq!(tracker.report("VI_1").0[0].state, "down");
}

/// At startup, an instance must not enter Fault merely because its objects have not been read yet.
#[test]
fn engine_gets_no_changes_until_all_objects_have_been_read() {
    let (engine, commands) = Handle::without_engine().expect("a handle");
    let (tracker, mut readings) = SharedTracker::new(engine);
    let settings = instance("{ script = \"web\", weight = -60 }, { interface = \"eth2\" }");
    tracker.add(RouterId::new(3, 1), &settings);
    let [web, eth2] = ["script web", "interface eth2"].map(|name| id(&tracker.lock(), name));
    let updates = tracker.lock().updates.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        for (object, reading) in [(web, Reading::Down), (eth2, Reading::Up)] {
            updates.send(Update { object, reading, detail: None }).await.expect("room");
        }
        assert_eq!(inputs(&commands), []);
        let changes = readings.settle(&tracker, Duration::from_secs(3600)).await;
        assert_eq!(changes.len(), 2);
    });
    assert_eq!(inputs(&commands), [Input::Priority(40)]);
    // Objects that cannot be read in time count as failed.
    tracker.add(RouterId::new(3, 1), &instance("{ interface = \"eth3\" }"));
    runtime.block_on(readings.settle(&tracker, Duration::ZERO));
    assert_eq!(inputs(&commands), [Input::Impede(Fault::Tracking)]);
}

/// If the objects were not read first, the instance and its whole sync group would start in Fault.
#[test]
fn objects_of_an_added_instance_are_read_before_it_starts() {
    let (engine, commands) = Handle::without_engine().expect("a handle");
    let (tracker, mut readings) = SharedTracker::new(engine);
    let settings = instance("{ interface = \"missing0\" }, { file = \"manual\", weight = 1 }");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        assert!(tracker.expect([&settings]), "not read yet");
        while tracker.is_reading() {
            readings.next(&tracker).await;
        }
        let known: Vec<_> = tracker.lock().objects.values().map(|object| object.reading).collect();
        assert_eq!(known, [Some(Reading::Down), Some(Reading::Value(0))]);
        assert!(!tracker.expect([&settings]), "they have been read");
        let router = RouterId::new(3, 1);
        tracker.set_added(router, &settings, 100);
        tracker.start();
        assert_eq!(tracker.lock().objects.len(), 2, "the same checks continue");
        // The next reload ends the checks that a failed reload started.
        tracker.expect([&instance("{ interface = \"eth7\" }")]);
        tracker.start();
        assert_eq!(tracker.lock().objects.len(), 2);
    });
    drop(commands);
}
