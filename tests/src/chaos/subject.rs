//! The program under test, its settings, and whether it has a guardian.

use super::sabotage::Sabotage;
use crate::agent::AgentKind;

/// The program that runs on all nodes, and its settings.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The program.
    pub agent: AgentKind,
    /// Top-level settings in the syntax of vipd's configuration; empty for the defaults.
    pub settings: String,
    /// A defect that the lab simulates. Requires vipd as the program.
    pub sabotage: Option<Sabotage>,
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
            Subject { agent, settings: settings.to_owned(), sabotage }.has_guardian()
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
