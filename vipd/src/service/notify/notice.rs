//! Notifications and the commands that deliver them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::queue::{Commands, Job};
use crate::process::child::Spec;
use crate::vrrp::{Reason, State};

/// The states that have notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Master,
    Backup,
    Fault,
    /// The agent has stopped, or a reload has removed the instance or group.
    Stop,
}

impl Kind {
    /// Returns the kind of notification for a transition. Returns `None` for a transition without a
    /// notification, such as the one to Initialize when the startup delay begins.
    pub(crate) fn of(state: State, reason: Reason) -> Option<Self> {
        match state {
            State::Master => Some(Self::Master),
            State::Backup => Some(Self::Backup),
            State::Fault(_) => Some(Self::Fault),
            State::Initialize => (reason == Reason::Shutdown).then_some(Self::Stop),
        }
    }

    /// Returns the name of the state in keepalived's FIFO and script arguments.
    pub(super) fn upper_case(self) -> &'static str {
        match self {
            Self::Master => "MASTER",
            Self::Backup => "BACKUP",
            Self::Fault => "FAULT",
            Self::Stop => "STOP",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Master => "master",
            Self::Backup => "backup",
            Self::Fault => "fault",
            Self::Stop => "stop",
        })
    }
}

/// The content of a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    /// The new state.
    pub(crate) kind: Kind,
    pub(crate) reason: String,
    /// Effective priority, or the configured priority if the effective priority is not known. 0 for
    /// a group.
    pub(crate) priority: u8,
}

/// An instance or a group. Its notifications are delivered in order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Instance(Arc<str>),
    Group(Arc<str>),
}

impl Subject {
    /// Returns the name from the configuration.
    pub(crate) fn name(&self) -> &str {
        let (Self::Instance(name) | Self::Group(name)) = self;
        name
    }

    /// Returns the values of the log fields `instance` and `group`.
    pub(super) fn fields(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::Instance(name) => (Some(name), None),
            Self::Group(name) => (None, Some(name)),
        }
    }

    /// Returns the word for this kind of subject in keepalived's FIFO and script arguments.
    pub(super) fn upper_case(&self) -> &'static str {
        match self {
            Self::Instance(_) => "INSTANCE",
            Self::Group(_) => "GROUP",
        }
    }
}

/// The commands of a subject, and the values passed to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    /// Command for the transition to Master. The next three fields are for the transitions to
    /// Backup and Fault, and for a stop.
    pub(crate) master: Option<Vec<String>>,
    pub(crate) backup: Option<Vec<String>>,
    pub(crate) fault: Option<Vec<String>>,
    pub(crate) stop: Option<Vec<String>>,
    /// Command that runs for every transition and for a stop, after the command for the new state.
    pub(crate) any: Option<Vec<String>>,
    /// User that runs the commands; `None` for the agent's user.
    pub(crate) user: Option<String>,
    /// Maximum duration of each command.
    pub(crate) timeout: Duration,
    /// Interface and VRID of an instance.
    pub(crate) interface: Option<(String, u8)>,
    /// Name of the instance's sync group, if it belongs to one.
    pub(crate) group: Option<String>,
}

impl Target {
    fn specific(&self, kind: Kind) -> Option<&Vec<String>> {
        match kind {
            Kind::Master => self.master.as_ref(),
            Kind::Backup => self.backup.as_ref(),
            Kind::Fault => self.fault.as_ref(),
            Kind::Stop => self.stop.as_ref(),
        }
    }
}

impl Commands for Arc<Target> {
    fn has(&self, kind: Kind) -> bool {
        self.specific(kind).or(self.any.as_ref()).is_some()
    }
}

/// Returns the commands of a job, each with its key in the configuration, in the order in which
/// they run.
///
/// Like keepalived's `notify` scripts, the command `any` receives four more arguments: `INSTANCE`
/// or `GROUP`, the name, the state in capitals, and the priority.
pub(super) fn commands(job: &Job<Subject, Arc<Target>>) -> Vec<(&'static str, Spec)> {
    let Job { subject, notice, previous, commands: target } = job;
    let key = match notice.kind {
        Kind::Master => "master",
        Kind::Backup => "backup",
        Kind::Fault => "fault",
        Kind::Stop => "stop",
    };
    let environment = environment(subject, notice, *previous, target);
    let spec = |argv: Vec<String>| Spec { argv, environment: environment.clone(), user: target.user.clone() };
    let specific = target.specific(notice.kind).map(|argv| (key, spec(argv.clone())));
    let any = target.any.as_ref().map(|argv| {
        let state = notice.kind.upper_case().to_owned();
        let further =
            [subject.upper_case().to_owned(), subject.name().to_owned(), state, notice.priority.to_string()];
        ("any", spec(argv.iter().cloned().chain(further).collect()))
    });
    specific.into_iter().chain(any).collect()
}

fn environment(
    subject: &Subject,
    notice: &Notice,
    previous: Option<Kind>,
    target: &Target,
) -> Vec<(&'static str, String)> {
    let previous = previous.map_or_else(|| "initialize".to_owned(), |kind| kind.to_string());
    let mut variables = vec![
        ("VIPD_STATE", notice.kind.to_string()),
        ("VIPD_PREVIOUS_STATE", previous),
        ("VIPD_PRIORITY", notice.priority.to_string()),
        ("VIPD_REASON", notice.reason.clone()),
    ];
    match subject {
        Subject::Instance(name) => variables.push(("VIPD_INSTANCE", name.to_string())),
        Subject::Group(name) => variables.push(("VIPD_GROUP", name.to_string())),
    }
    if let (Subject::Instance(_), Some(group)) = (subject, &target.group) {
        variables.push(("VIPD_GROUP", group.clone()));
    }
    if let Some((interface, vrid)) = &target.interface {
        variables.push(("VIPD_INTERFACE", interface.clone()));
        variables.push(("VIPD_VRID", vrid.to_string()));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vrrp::Fault;

    fn argv(command: &str) -> Vec<String> {
        command.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn specific_command_runs_before_any() {
        let target = Target {
            master: Some(argv("/bin/m up")),
            any: Some(argv("/bin/any")),
            user: Some("nobody".to_owned()),
            interface: Some(("eth0".to_owned(), 51)),
            group: Some("gateway".to_owned()),
            ..Target::default()
        };
        let target = Arc::new(target);
        assert!(target.has(Kind::Master) && target.has(Kind::Stop));
        let job = Job {
            subject: Subject::Instance("VI_1".into()),
            notice: Notice { kind: Kind::Master, reason: "master-timeout".to_owned(), priority: 150 },
            previous: Some(Kind::Backup),
            commands: target,
        };
        let commands = commands(&job);
        let lines: Vec<_> = commands.iter().map(|(key, spec)| (*key, spec.argv.join(" "))).collect();
        let any = "/bin/any INSTANCE VI_1 MASTER 150".to_owned();
        assert_eq!(lines, [("master", "/bin/m up".to_owned()), ("any", any)]);
        let mut variables: Vec<_> =
            commands[0].1.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        variables.sort();
        let expected = [
            "VIPD_GROUP=gateway",
            "VIPD_INSTANCE=VI_1",
            "VIPD_INTERFACE=eth0",
            "VIPD_PREVIOUS_STATE=backup",
            "VIPD_PRIORITY=150",
            "VIPD_REASON=master-timeout",
            "VIPD_STATE=master",
            "VIPD_VRID=51",
        ];
        assert_eq!(variables, expected);
        assert!(commands.iter().all(|(_, spec)| spec.user.as_deref() == Some("nobody")));
    }

    #[test]
    fn group_is_named_in_arguments_and_environment() {
        let job = Job {
            subject: Subject::Group("gateway".into()),
            notice: Notice { kind: Kind::Fault, reason: "group".to_owned(), priority: 0 },
            previous: None,
            commands: Arc::new(Target { any: Some(argv("/bin/any")), ..Target::default() }),
        };
        let commands = commands(&job);
        assert_eq!(commands[0].1.argv.join(" "), "/bin/any GROUP gateway FAULT 0");
        let environment = &commands[0].1.environment;
        assert!(environment.contains(&("VIPD_GROUP", "gateway".to_owned())));
        assert!(environment.contains(&("VIPD_PREVIOUS_STATE", "initialize".to_owned())));
        assert!(environment.iter().all(|(name, _)| *name != "VIPD_INSTANCE"));
    }

    #[test]
    fn initialize_has_a_notification_only_at_shutdown() {
        assert_eq!(Kind::of(State::Initialize, Reason::Shutdown), Some(Kind::Stop));
        assert_eq!(Kind::of(State::Initialize, Reason::Startup), None);
        let fault = Fault::InterfaceDown;
        assert_eq!(Kind::of(State::Fault(fault), Reason::Fault(fault)), Some(Kind::Fault));
    }
}
