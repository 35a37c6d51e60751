//! Access control of the control socket.
//!
//! The kernel reports the user and the groups of a client ([`Credentials`]), so a client cannot
//! forge them. Without groups in `[control]`, the mode of the socket file admits its owner and its
//! group, and only root and the agent's user may change the agent. With groups, any process can
//! connect, and the agent immediately rejects clients other than root, its own user and members of
//! the configured groups.

use std::fmt;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use rustix::process::geteuid;
use tokio::net::UnixStream;

use crate::process::peer_groups;

/// The groups whose members may use the control socket. Root and the agent's user always have
/// access.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Group whose members may query the agent.
    pub read_group: Option<Group>,
    /// Group whose members may also change the agent.
    pub admin_group: Option<Group>,
}

/// A group of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Name, for messages.
    pub name: String,
    /// Group ID.
    pub gid: u32,
}

/// The process that has connected (`SO_PEERCRED`, `SO_PEERGROUPS`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Effective user ID.
    pub uid: u32,
    /// Process ID, if the agent's PID namespace contains the process.
    pub pid: Option<i32>,
    /// Effective group ID and supplementary groups.
    pub groups: Vec<u32>,
}

impl Credentials {
    pub(super) fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let mut groups = peer_groups(stream.as_fd())?;
        groups.push(credentials.gid());
        Ok(Self { uid: credentials.uid(), pid: credentials.pid(), groups })
    }
}

/// The rights of a client. Each right includes the rights listed before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// No access.
    Nothing,
    /// Query status, counters and events.
    Query,
    /// Change the running agent.
    Change,
}

/// The access rules in use, which a reload replaces.
#[derive(Clone, Debug, Default)]
pub struct Access(Arc<RwLock<Current>>);

#[derive(Debug, Default)]
struct Current {
    rules: Rules,
    generation: Generation,
}

/// Number of times that the rules have been replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generation(u64);

impl Access {
    /// Creates the access control with the rules of a configuration.
    pub fn new(rules: Rules) -> Self {
        Self(Arc::new(RwLock::new(Current { rules, generation: Generation(0) })))
    }

    /// Replaces the rules.
    pub fn replace(&self, rules: Rules) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        current.rules = rules;
        current.generation.0 += 1;
    }

    fn current(&self) -> RwLockReadGuard<'_, Current> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the generation of the rules, for [`still_admits`](Self::still_admits).
    pub(super) fn generation(&self) -> Generation {
        self.current().generation
    }

    /// Returns whether a client that connected under the rules of this generation may still query
    /// the agent.
    pub(super) fn still_admits(&self, client: &Credentials, connected: Generation) -> bool {
        // The kernel checks the mode of the socket file only when a client connects.
        let is_checked = self.is_by_group() || self.generation() == connected;
        self.right(client) >= if is_checked { Right::Query } else { Right::Change }
    }

    /// Returns whether these rules are in use.
    pub fn has(&self, rules: &Rules) -> bool {
        self.current().rules == *rules
    }

    /// Returns whether groups are configured. If so, any process can connect.
    pub fn is_by_group(&self) -> bool {
        !self.has(&Rules::default())
    }

    /// Returns the rights of a client.
    pub fn right(&self, client: &Credentials) -> Right {
        let rules = &self.current().rules;
        let Rules { read_group, admin_group } = rules;
        let is_in = |gid: u32| client.groups.contains(&gid);
        let is_owner = client.uid == 0 || client.uid == geteuid().as_raw();
        if is_owner || admin_group.as_ref().is_some_and(|group| is_in(group.gid)) {
            Right::Change
        } else if *rules == Rules::default() || read_group.as_ref().is_some_and(|group| is_in(group.gid)) {
            // Without groups, the mode of the socket file has already admitted the client.
            Right::Query
        } else {
            Right::Nothing
        }
    }

    /// Returns the error for a client without the right `needed`. The error names a configured
    /// group that has this right, if there is one.
    pub(super) fn refusal(&self, client: &Credentials, needed: Right) -> Refusal {
        let rules = &self.current().rules;
        let group = match needed {
            Right::Change => rules.admin_group.as_ref(),
            Right::Query | Right::Nothing => rules.read_group.as_ref().or(rules.admin_group.as_ref()),
        };
        Refusal { uid: client.uid, needed, group: group.map(|group| group.name.clone()) }
    }
}

/// The refusal of a request that the client has no right to make.
#[derive(Debug)]
pub(super) struct Refusal {
    uid: u32,
    needed: Right,
    group: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.needed == Right::Change { "change" } else { "query" };
        write!(f, "user {} may not {verb} the agent; run the command as root", self.uid)?;
        match &self.group {
            Some(group) => write!(f, " or as a member of group {group}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(read: Option<(&str, u32)>, admin: Option<(&str, u32)>) -> Rules {
        let group = |(name, gid): (&str, u32)| Group { name: name.to_owned(), gid };
        Rules { read_group: read.map(group), admin_group: admin.map(group) }
    }

    fn client(uid: u32, groups: &[u32]) -> Credentials {
        Credentials { uid, pid: None, groups: groups.to_vec() }
    }

    #[test]
    fn rights_depend_on_user_and_groups() {
        const STRANGER: u32 = 54_321;
        let none = Access::default();
        let read = Access::new(rules(Some(("adm", 4)), None));
        let admin = Access::new(rules(None, Some(("vipd", 900))));
        let both = Access::new(rules(Some(("adm", 4)), Some(("vipd", 900))));
        for (access, uid, groups, right) in [
            (&none, 0, &[][..], Right::Change),
            (&none, geteuid().as_raw(), &[], Right::Change),
            (&none, STRANGER, &[1, 2], Right::Query),
            (&read, STRANGER, &[1, 4], Right::Query),
            (&read, STRANGER, &[1, 900], Right::Nothing),
            (&admin, STRANGER, &[4], Right::Nothing),
            (&admin, STRANGER, &[900], Right::Change),
            (&both, STRANGER, &[4], Right::Query),
            (&both, STRANGER, &[4, 900], Right::Change),
            (&both, STRANGER, &[], Right::Nothing),
            (&both, 0, &[], Right::Change),
        ] {
            assert_eq!(access.right(&client(uid, groups)), right, "{access:?}, user {uid} in {groups:?}");
        }
    }

    #[test]
    fn refusal_names_the_group_that_has_the_right() {
        let both = Access::new(rules(Some(("adm", 4)), Some(("vipd", 900))));
        let refusal = |needed| both.refusal(&client(1000, &[]), needed).to_string();
        assert_eq!(
            refusal(Right::Change),
            "user 1000 may not change the agent; run the command as root or as a member of group vipd"
        );
        assert_eq!(
            refusal(Right::Query),
            "user 1000 may not query the agent; run the command as root or as a member of group adm"
        );
    }

    #[test]
    fn reload_replaces_the_rules() {
        let access = Access::default();
        let shared = access.clone();
        assert!(!access.is_by_group());
        shared.replace(rules(Some(("adm", 4)), None));
        assert!(access.is_by_group());
    }

    #[test]
    fn connected_clients_are_admitted_by_the_rules_in_use() {
        let access = Access::new(rules(Some(("adm", 4)), None));
        let (reader, root) = (client(1000, &[4]), client(0, &[]));
        let connected = access.generation();
        assert!(access.still_admits(&reader, connected));
        access.replace(rules(Some(("adm", 4)), Some(("vipd", 900))));
        assert!(access.still_admits(&reader, connected));
        // Without groups, only the mode of the socket file restricts queries, and the kernel has
        // not checked the new mode for a client that was already connected.
        access.replace(Rules::default());
        assert!(!access.still_admits(&reader, connected) && access.still_admits(&root, connected));
        assert!(access.still_admits(&reader, access.generation()), "the reader connected under the new mode");
    }
}
