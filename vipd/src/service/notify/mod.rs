//! Notifications of state changes: commands, and lines in a FIFO.

mod fifo;
pub(crate) mod notice;
mod queue;
mod runner;

use std::collections::BTreeSet;
use std::path::Path;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use super::changes::Change;
use super::groups::{GroupChange, GroupStates};
use crate::config::Instance;
use crate::config::operate::{Group, Notify};
use crate::vrrp::{Reason, State};
use fifo::Fifo;
use notice::{Kind, Notice, Subject, Target};
use runner::{Runner, STOP_TIMEOUT};

pub(super) use runner::{Counts, SharedCounts};

/// Delivers notifications. Methods that may start commands must be called in a tokio runtime.
pub(super) struct Notifications {
    runner: Runner,
    fifo: Option<Fifo>,
    /// Number of lines that previous FIFOs have dropped.
    fifo_dropped: u64,
    groups: GroupStates,
}

impl Notifications {
    pub(super) fn new<'a>(
        instances: impl IntoIterator<Item = &'a Arc<Instance>>,
        groups: &[Arc<Group>],
    ) -> Self {
        let states = GroupStates::default();
        let mut new = Self { runner: Runner::new(), fifo: None, fifo_dropped: 0, groups: states };
        new.set_groups(groups);
        instances.into_iter().for_each(|instance| new.configure(instance));
        new
    }

    /// Sets the states that instances had in a predecessor, without notifications. Commands are
    /// held back until [`release`](Self::release).
    pub(super) fn resume(&mut self, states: &[(Arc<Instance>, Option<State>)], groups: &[Arc<Group>]) {
        // The runner is replaced, because `configure` sets the state only when it adds a subject.
        let counts = self.runner.counts();
        self.runner = Runner::with_counts(counts);
        self.runner.hold();
        self.groups
            .resume(states.iter().filter_map(|(instance, state)| Some((instance.name.as_str(), (*state)?))));
        self.set_groups(groups);
        for (instance, _) in states {
            self.configure(instance);
        }
    }

    /// Starts the commands that were held back. Called when the predecessor has ended. In an
    /// upgrade, the predecessor first waits for its own commands. A process that is being stopped
    /// waits for the predecessor only for a limited time.
    pub(super) fn release(&mut self) {
        self.runner.release();
    }

    /// Returns the counters of notifications, for reports.
    pub(super) fn counts(&self) -> SharedCounts {
        self.runner.counts()
    }

    /// Sets the FIFO that receives a line for each notification; `None` for no FIFO. If the FIFO
    /// cannot be opened, logs the failure and continues without a FIFO.
    pub(super) fn set_fifo(&mut self, path: Option<&Path>) {
        if self.fifo.as_ref().is_some_and(|fifo| Some(fifo.path()) == path) {
            return;
        }
        let dropped = self.fifo.take().map_or(0, |fifo| fifo.dropped());
        self.fifo_dropped += dropped;
        let Some(path) = path else { return };
        match Fifo::open(path) {
            Ok(fifo) => self.fifo = Some(fifo),
            Err(error) => {
                let path = path.display();
                tracing::error!(fifo = %path, %error, "cannot open the notification FIFO; running without it");
            }
        }
    }

    /// Adds an instance, or changes its commands or group.
    fn configure(&mut self, instance: &Instance) {
        let subject = subject(instance);
        let group = self.groups.of(&instance.name).map(|group| group.name.clone());
        match instance.notify.as_deref().map(|notify| target(notify, Some(instance), group)) {
            Some(target) => {
                let present = self.groups.state_of_instance(&instance.name).and_then(present);
                self.runner.configure(subject, Arc::new(target), present);
            }
            None => self.runner.remove(&subject),
        }
    }

    /// Replaces all groups and their commands.
    fn set_groups(&mut self, groups: &[Arc<Group>]) {
        for (old, is_stopped) in self.groups.replace(groups) {
            let subject = group_subject(&old.name);
            if !is_stopped {
                self.deliver(&subject, group_notice(Kind::Stop, Reason::Shutdown.to_string()), 1);
            }
            self.runner.remove(&subject);
        }
        for group in groups {
            match &group.notify {
                Some(notify) => {
                    let present = self.groups.state(&group.name).and_then(present);
                    let target = Arc::new(target(notify, None, None));
                    self.runner.configure(group_subject(&group.name), target, present);
                }
                None => self.runner.remove(&group_subject(&group.name)),
            }
        }
    }

    /// Applies a reload. The reports of removed instances must already have been passed to
    /// [`change`](Self::change). If an added instance has the name of a removed one, their
    /// notifications are delivered in order. `instances` contains all instances after the reload,
    /// because an instance's group may change while its own settings do not.
    ///
    /// Returns the groups' state changes caused by changed membership.
    pub(super) fn reload(
        &mut self,
        removed: &[Arc<Instance>],
        instances: &[Arc<Instance>],
        groups: &[Arc<Group>],
    ) -> Vec<GroupChange> {
        self.set_groups(groups);
        let names: BTreeSet<&str> = instances.iter().map(|instance| instance.name.as_str()).collect();
        for old in removed.iter().filter(|old| !names.contains(old.name.as_str())) {
            // This notice has no effect if the change to `stop` has already been reported.
            let stop = Notice {
                kind: Kind::Stop,
                reason: Reason::Shutdown.to_string(),
                priority: old.router.priority,
            };
            self.runner.push(&subject(old), stop, 1);
            self.runner.remove(&subject(old));
            self.groups.remove(&old.name);
        }
        for instance in instances {
            self.configure(instance);
        }
        let changes = self.groups.regrouped();
        for change in &changes {
            self.group_changed(change);
        }
        changes
    }

    fn group_changed(&mut self, change: &GroupChange) {
        if let Some(kind) = Kind::of(change.to, change.reason) {
            self.deliver(&group_subject(&change.name), group_notice(kind, change.reason.to_string()), 1);
        }
    }

    /// Returns the members of an instance's group, or only the instance itself if it has no group.
    /// All members of a group advertise the lowest priority among them.
    pub(super) fn group_of<'a>(&'a self, instance: &'a String) -> &'a [String] {
        self.groups.of(instance).map_or(slice::from_ref(instance), |group| &group.members)
    }

    /// Delivers the notification of an instance's state change. If the change also changes the
    /// state of the instance's group, delivers a notification of the group. Returns the group's
    /// state change, if any. `priority` is the effective priority, if it is known.
    pub(super) fn change(
        &mut self,
        change: &Change,
        instance: &Instance,
        priority: Option<u8>,
    ) -> Option<GroupChange> {
        // Another fault while in Fault causes no notification.
        let is_same = matches!((change.from, change.to), (State::Fault(_), State::Fault(_)));
        if let Some(kind) = Kind::of(change.to, change.reason)
            && !(is_same && change.changes == 1)
        {
            let priority = priority.unwrap_or(instance.router.priority);
            let notice = Notice { kind, reason: change.reason.to_string(), priority };
            self.deliver(&subject(instance), notice, change.changes);
        }
        let changed = self.groups.changed(&instance.name, change.to, change.reason)?;
        self.group_changed(&changed);
        Some(changed)
    }

    fn deliver(&mut self, subject: &Subject, notice: Notice, changes: u64) {
        if let Some(fifo) = &mut self.fifo {
            fifo.write(subject, &notice);
            self.runner.counts().set_fifo_dropped(self.fifo_dropped + fifo.dropped());
        }
        self.runner.push(subject, notice, changes);
    }

    /// Waits until the commands of any one instance or group have ended, and then starts pending
    /// commands. Waits forever if no command is running. Safe to cancel.
    pub(super) async fn next(&mut self) {
        self.runner.next().await;
    }

    /// Returns whether no command is running and none is pending.
    pub(super) fn is_idle(&self) -> bool {
        self.runner.is_idle()
    }

    /// Waits at most a minute for all notifications to be delivered.
    pub(super) async fn stop(&mut self) {
        self.runner.stop(STOP_TIMEOUT).await;
    }
}

/// Returns the kind of notification for the present state of a running instance or group.
fn present(state: State) -> Option<Kind> {
    Kind::of(state, Reason::Startup)
}

fn subject(instance: &Instance) -> Subject {
    Subject::Instance(instance.name.as_str().into())
}

fn group_subject(name: &str) -> Subject {
    Subject::Group(name.into())
}

/// Returns a notice about a group. Its priority is 0, as in keepalived's notifications.
fn group_notice(kind: Kind, reason: String) -> Notice {
    Notice { kind, reason, priority: 0 }
}

/// Returns the commands of an instance (with the name of its group, if any) or of a group.
fn target(notify: &Notify, instance: Option<&Instance>, group: Option<String>) -> Target {
    let Notify { master, backup, fault, stop, any, user, timeout } = notify.clone();
    Target {
        master,
        backup,
        fault,
        stop,
        any,
        user: user.map(|user| user.name),
        timeout: Duration::from_nanos(timeout),
        interface: instance.map(|instance| (instance.interface.clone(), instance.router.vrid)),
        group,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::Config;
    use crate::engine::id::{Id as _, RouterId};
    use crate::service::notify::fifo::tests::read_all;
    use crate::vrrp::Fault;

    fn instance(name: &str, vrid: u8, script: Option<&Path>) -> Arc<Instance> {
        let text = format!(
            "[[instance]]\nname = \"{name}\"\ninterface = \"eth0\"\nvrid = {vrid}\nvirtual_addresses = [\"10.0.0.1\"]\n"
        );
        let Ok(config) = Config::parse(&text, "vipd.toml") else { panic!("a valid configuration") };
        let notify = script.map(|script| Notify {
            master: None,
            backup: None,
            fault: None,
            stop: None,
            any: Some(vec!["/bin/sh".to_owned(), script.display().to_string()]),
            user: None,
            timeout: 600_000_000_000,
        });
        Arc::new(Instance { notify: notify.map(Arc::new), ..Instance::clone(&config.instances[0]) })
    }

    fn change(generation: u32, to: State, reason: Reason) -> Change {
        let router = RouterId::new(0, generation);
        Change { router, from: State::Initialize, to, reason, at: None, late: None, changes: 1 }
    }

    #[test]
    fn notifications_of_an_instance_that_a_reload_replaces_are_in_order() {
        let directory = tempfile::tempdir().expect("a directory");
        let [out, script, fifo] = ["out", "script", "fifo"].map(|name| directory.path().join(name));
        fs::write(&script, format!("sleep 0.05; echo $3 $VIPD_VRID >>{}", out.display())).expect("written");
        let [old, new] = [1, 2].map(|vrid| instance("VI_1", vrid, Some(&script)));
        let quiet = instance("VI_2", 3, None);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut notifications = Notifications::new([&old, &quiet], &[]);
            notifications.set_fifo(Some(&fifo));
            notifications.change(&change(0, State::Backup, Reason::Startup), &old, None);
            notifications.change(&change(0, State::Backup, Reason::Startup), &quiet, None);
            while fs::read_to_string(&out).unwrap_or_default().is_empty() {
                notifications.next().await;
            }
            notifications.change(&change(0, State::Initialize, Reason::Shutdown), &old, None);
            notifications.reload(&[Arc::clone(&old)], &[Arc::clone(&new)], &[]);
            // The `stop` command is now running.
            notifications.change(&change(1, State::Backup, Reason::Startup), &new, None);
            notifications.next().await;
            notifications.reload(&[Arc::clone(&new)], &[], &[]);
            notifications.stop().await;
        });
        assert_eq!(fs::read_to_string(&out).expect("written"), "BACKUP 1\nSTOP 1\nBACKUP 2\nSTOP 2\n");
    }

    /// A reload adds commands and a group to an instance that is master.
    #[test]
    fn first_notification_after_a_reload_names_the_new_group() {
        let directory = tempfile::tempdir().expect("a directory");
        let [out, script] = ["out", "script"].map(|name| directory.path().join(name));
        let text = format!("echo $1 $3 ${{VIPD_GROUP-none}} $VIPD_PREVIOUS_STATE >>{}", out.display());
        fs::write(&script, text).expect("written");
        let [quiet, loud] = [None, Some(script.as_path())].map(|script| instance("VI_1", 1, script));
        let notify = loud.notify.clone();
        let members = vec!["VI_1".to_owned()];
        let group = Arc::new(Group { name: "both".to_owned(), members, track: Vec::new(), notify });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut notifications = Notifications::new([&quiet], &[]);
            let change = |notifications: &mut Notifications, instance: &Instance, to, reason| {
                notifications.change(&change(0, to, reason), instance, None)
            };
            change(&mut notifications, &quiet, State::Master, Reason::MasterTimeout);
            notifications.reload(&[], &[Arc::clone(&loud)], &[]);
            notifications.reload(&[], &[Arc::clone(&loud)], &[group]);
            let changed = change(&mut notifications, &loud, State::Backup, Reason::HigherPriority);
            assert_eq!(changed.map(|group| (group.from, group.to)), Some((State::Master, State::Backup)));
            notifications.stop().await;
        });
        let text = fs::read_to_string(&out).expect("written");
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["GROUP BACKUP both master", "INSTANCE BACKUP both master"]);
    }

    #[test]
    fn fifo_has_one_line_per_state_with_the_effective_priority() {
        let directory = tempfile::tempdir().expect("a directory");
        let [first, second] = ["first", "second"].map(|name| directory.path().join(name));
        let one = instance("VI_1", 1, None);
        let mut notifications = Notifications::new([&one], &[]);
        notifications.set_fifo(Some(&first));
        let fault = |fault| (State::Fault(fault), Reason::Fault(fault));
        let (down, tracking) = (fault(Fault::InterfaceDown), fault(Fault::Tracking));
        for ((from, _), (to, reason), priority) in [
            ((State::Backup, Reason::Startup), (State::Master, Reason::MasterTimeout), Some(40)),
            ((State::Master, Reason::Startup), down, None),
            (down, tracking, None),
        ] {
            notifications.change(&Change { from, ..change(0, to, reason) }, &one, priority);
        }
        assert_eq!(read_all(&first), "INSTANCE \"VI_1\" MASTER 40\nINSTANCE \"VI_1\" FAULT 100\n");
        notifications.set_fifo(Some(&second));
        notifications.change(&change(0, State::Backup, Reason::Startup), &one, None);
        assert_eq!(read_all(&second), "INSTANCE \"VI_1\" BACKUP 100\n");
    }
}
