//! The program under test, its settings, and whether it has a guardian.

use super::attacker::WINDOW;
use super::sabotage::Sabotage;
use super::segment::Segment;
use crate::agent::AgentKind;
use crate::configuration::Instance;
use crate::hmac::Hmac;

/// The program that runs on all nodes, and its settings.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The program.
    pub agent: AgentKind,
    /// Top-level settings in the syntax of vipd's configuration; empty for the defaults.
    pub settings: String,
    /// A defect that the lab simulates. Requires vipd as the program.
    pub sabotage: Option<Sabotage>,
    /// Whether an attacker is on the segment. The routers then sign their adverts and discard all
    /// other adverts; with [`Sabotage::Permissive`], they accept unsigned ones. Requires vipd as
    /// the program.
    pub is_attacked: bool,
}

impl Subject {
    /// Returns whether the agents have a guardian: vipd has one unless `fence` is `"off"`.
    pub fn has_guardian(&self) -> bool {
        let is_fenced = !self.configuration().lines().any(turns_fence_off);
        matches!(self.agent, AgentKind::Vipd(_)) && is_fenced
    }

    /// Returns the top-level settings, including the settings of the sabotage.
    pub(super) fn configuration(&self) -> String {
        match self.sabotage {
            Some(Sabotage::NoFence) => format!("{}\nfence = \"off\"\n", self.settings),
            _ => self.settings.clone(),
        }
    }
}

impl Subject {
    /// Returns the instances in the configuration of a node.
    pub(super) fn instances(&self, segment: &Segment, node: u8) -> Vec<Instance> {
        let mut instances = segment.instances(node);
        if self.is_attacked {
            let mode = if self.sabotage == Some(Sabotage::Permissive) { "permissive" } else { "enforce" };
            let hmac = Hmac { mode: mode.to_owned(), window: Some(WINDOW), ..Hmac::enforce() };
            for instance in &mut instances {
                instance.hmac = Some(hmac.clone());
            }
        }
        instances
    }
}

fn turns_fence_off(line: &str) -> bool {
    let value = line.split_once('=').filter(|(key, _)| key.trim() == "fence").map(|(_, value)| value.trim());
    value.is_some_and(|value| value.starts_with("\"off\"") || value.starts_with("'off'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_agents_with_a_fence_have_a_guardian() {
        let has_guardian = |agent, settings: &str, sabotage| {
            Subject { agent, settings: settings.to_owned(), sabotage, is_attacked: false }.has_guardian()
        };
        let vipd = || AgentKind::Vipd("vipd".into());
        assert!(has_guardian(vipd(), "", None));
        assert!(has_guardian(vipd(), "fence = \"on\"", Some(Sabotage::StuckLease)));
        assert!(has_guardian(vipd(), "# fence = \"off\"", Some(Sabotage::LateGuardian)));
        assert!(!has_guardian(vipd(), "max_interfaces = 4\n fence=\"off\" # none", None));
        assert!(!has_guardian(vipd(), "", Some(Sabotage::NoFence)));
        assert!(!has_guardian(AgentKind::Keepalived, "", None));
    }
}
