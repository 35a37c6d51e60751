//! Changes to individual instances: drain, failover, priority.

use super::{Administrator, input, not_stored};
use crate::service::line::Line;
use crate::service::order::{Done, Outcome, Refusal};
use crate::vrrp::config::PRIORITY_OWNER;
use crate::vrrp::{Fault, Impediment, Input, State};

impl Administrator {
    /// Drains or undrains the named instances and groups, or all instances if `names` is empty.
    pub(super) fn drain(&mut self, names: &[String], is_drained: bool) -> Outcome {
        let names = self.resolve(names)?;
        let text = |name: &String| match (self.drained.contains(name), is_drained) {
            (false, true) => "drained",
            (true, true) => "already drained",
            (true, false) => "no longer drained",
            (false, false) => "not drained",
        };
        let changes = names.iter().map(|name| Line::instance(name, text(name))).collect();
        let stored = self.drained.set(&names, is_drained);
        for running in names.iter().filter_map(|name| self.running.get(name)) {
            let change =
                if is_drained { Input::Impede(Fault::Drained) } else { Input::Clear(Impediment::Drained) };
            self.engine.send(input(running.id, change));
        }
        Ok(Done { changes, warnings: stored.err().iter().map(not_stored).collect() })
    }

    /// Hands over mastership of the instances if all of them are masters and none is the address
    /// owner. Otherwise, refuses the request.
    pub(super) fn fail_over(&self, names: &[String]) -> Outcome {
        if names.is_empty() {
            return Err("name at least one instance".to_owned().into());
        }
        let mut routers = Vec::new();
        for name in self.resolve(names)? {
            let Some(running) = self.running.get(&name) else { return Err(unknown(&name).into()) };
            if running.settings.router.priority == PRIORITY_OWNER {
                let message = format!(
                    "{name} is the address owner, which would become master again immediately; use `vipd drain {name}`"
                );
                return Err(Refusal::of(&name, message));
            }
            let state = self.latest.get(running.id).map_or(State::Initialize, |latest| latest.state);
            if state != State::Master {
                let message =
                    format!("{name} is in state {state}, not master; run the command on the master");
                return Err(Refusal::of(&name, message));
            }
            routers.push((running.id, name));
        }
        let mut changes = Vec::new();
        for (router, name) in routers {
            self.engine.send(input(router, Input::Failover));
            changes.push(Line::instance(&name, "mastership released"));
        }
        Ok(Done { changes, ..Done::default() })
    }

    pub(super) fn set_priority(&mut self, name: &str, priority: Option<u8>) -> Outcome {
        let Some(running) = self.running.get_mut(name) else {
            let message = match self.config.groups.iter().find(|group| group.name == name) {
                Some(group) => format!(
                    "{name} is a sync group, which has no priority; name one of its members: {}",
                    group.members.join(", ")
                ),
                None => unknown(name),
            };
            return Err(message.into());
        };
        let configured = running.settings.router.priority;
        if configured == PRIORITY_OWNER {
            let message = format!("{name} is the address owner, whose priority is always 255");
            return Err(Refusal::of(name, message));
        }
        if priority.is_some_and(|priority| !(1..PRIORITY_OWNER).contains(&priority)) {
            return Err(Refusal::of(name, "a priority must be 1 to 254".to_owned()));
        }
        let before = running.priority.unwrap_or(configured);
        running.priority = priority;
        let now = priority.unwrap_or(configured);
        self.tracker.set_base(name, now);
        let change = match priority {
            Some(_) => format!("priority {before} → {now}, until `vipd priority {name} reset`"),
            None => format!("priority {before} → {now}, as configured"),
        };
        Ok(Done { changes: vec![Line::instance(name, change)], ..Done::default() })
    }

    /// Resolves names of instances and sync groups to instances, without duplicates. Returns all
    /// instances if `names` is empty.
    fn resolve(&self, names: &[String]) -> Result<Vec<String>, String> {
        if names.is_empty() {
            return Ok(self.running.keys().cloned().collect());
        }
        let mut unique: Vec<String> = Vec::new();
        for name in names {
            let group = self.config.groups.iter().find(|group| group.name == *name);
            let members = match group {
                _ if self.running.contains_key(name) => std::slice::from_ref(name),
                Some(group) => group.members.as_slice(),
                None => return Err(unknown(name)),
            };
            for member in members {
                if !unique.contains(member) {
                    unique.push(member.clone());
                }
            }
        }
        Ok(unique)
    }
}

fn unknown(name: &str) -> String {
    format!("no instance or sync group is named {name:?}; `vipd status` lists the instances")
}
