//! Finds the causes of VRRP problems on this host and on its segments, for `vipd doctor`.
//!
//! [`collect`](collect::collect) reads the [`Facts`]. Each check in [`CHECKS`] is a pure function
//! of the facts, and returns [`Finding`]s with evidence and remedy.

mod checks;
pub(crate) mod collect;
mod daemons;
mod facts;
mod process;

use serde::Serialize;

pub(crate) use facts::Facts;

/// Severity of a finding, from most to least serious.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Severity {
    /// VRRP does not work as configured.
    Problem,
    /// VRRP works, but something may disrupt it, or make problems harder to diagnose.
    Warning,
    /// Worth knowing, and probably intended.
    Note,
}

/// A problem, warning or note that a check reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Name of the finding, as in `docs/troubles.md`.
    pub(crate) check: &'static str,
    pub(crate) severity: Severity,
    /// The affected interface or instance, the path of the configuration file, or this host.
    pub(crate) subject: String,
    /// One sentence without a period.
    pub(crate) summary: String,
    /// The observation that led to the finding.
    pub(crate) evidence: String,
    /// The recommended action.
    pub(crate) remedy: String,
}

/// The checks, in the order in which they run.
const CHECKS: &[fn(&Facts) -> Vec<Finding>] = &[
    checks::agent::is_running,
    checks::agent::is_here,
    checks::agent::configuration_is_valid,
    checks::agent::configuration_is_applied,
    checks::agent::instances_have_no_fault,
    checks::agent::guardian_runs,
    checks::agent::fence_is_complete,
    checks::agent::engine_is_real_time,
    checks::agent::errors_do_not_increase,
    checks::agent::adverts_reach_the_agent,
    checks::agent::adverts_leave_the_interface,
    checks::host::kernel_is_recent,
    checks::host::process_can_run_the_agent,
    checks::host::no_other_daemon_runs,
    checks::clock::clock_is_synchronized,
    checks::clock::clock_is_not_set,
    checks::stale::no_address_is_stale,
    checks::stale::no_program_is_stale,
    checks::stale::no_macvlan_is_stale,
    checks::interface::interfaces_carry_multicast,
    checks::interface::groups_are_joined,
    checks::interface::bridges_have_a_querier,
    checks::interface::native_mode_is_free,
    checks::interface::native_mode_is_used,
    checks::interface::no_other_xdp_program_runs,
    checks::interface::vlan_tags_are_visible,
    checks::addresses::vips_are_only_vipds,
    checks::addresses::one_interface_answers_for_a_subnet,
    checks::addresses::ipv6_is_enabled,
    checks::addresses::sysctls_are_as_virtual_macs_need_them,
    checks::wire::is_observed,
    checks::masters::one_master,
    checks::masters::some_master,
    checks::adverts::versions_match,
    checks::adverts::checksums_match,
    checks::adverts::passwords_match,
    checks::hmac::routers_sign_alike,
    checks::hmac::keys_match,
    checks::hmac::clocks_agree,
    checks::adverts::intervals_match,
    checks::adverts::address_lists_match,
    checks::adverts::ttl_is_255,
    checks::adverts::transport_matches,
    checks::masters::priorities_differ,
    checks::adverts::adverts_are_well_formed,
    checks::masters::adverts_are_regular,
    checks::adverts::first_address_is_link_local,
    checks::wire::vrids_are_configured,
    checks::wire::adverts_are_untagged,
    checks::wire::addresses_are_unique,
    checks::wire::sources_are_unique,
    checks::wire::unicast_peers_are_reachable,
];

pub(crate) const CHECK_COUNT: usize = CHECKS.len();

/// Runs all checks. The findings are in descending order of severity.
pub(crate) fn diagnose(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for check in CHECKS {
        for finding in check(facts) {
            add(&mut findings, finding);
        }
    }
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// Adds a finding. Limits the number of findings with the same name and subject, because anyone can
/// send forged adverts from many addresses.
fn add(findings: &mut Vec<Finding>, finding: Finding) {
    const MAX_ALIKE: usize = 4;
    const MORE: &str = "; more findings of this kind are not listed";
    let is_alike = |one: &&mut Finding| (one.check, &one.subject) == (finding.check, &finding.subject);
    let mut alike = findings.iter_mut().filter(is_alike);
    match alike.nth(MAX_ALIKE - 1) {
        None => findings.push(finding),
        Some(last) if last.summary.ends_with(MORE) => {}
        Some(last) => last.summary.push_str(MORE),
    }
}

impl Severity {
    /// Returns the name in the output.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

impl Finding {
    fn problem(check: &'static str, subject: impl Into<String>, summary: impl Into<String>) -> Self {
        Self {
            check,
            severity: Severity::Problem,
            subject: subject.into(),
            summary: summary.into(),
            evidence: String::new(),
            remedy: String::new(),
        }
    }

    fn warning(check: &'static str, subject: impl Into<String>, summary: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::problem(check, subject, summary) }
    }

    fn note(check: &'static str, subject: impl Into<String>, summary: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::problem(check, subject, summary) }
    }

    fn evidence(self, evidence: impl Into<String>) -> Self {
        Self { evidence: evidence.into(), ..self }
    }

    fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: remedy.into(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    /// Returns the names of the findings in the source of the checks: the first literal in each
    /// constructor call.
    fn coded() -> BTreeSet<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/doctor/checks");
        let mut names = BTreeSet::new();
        for file in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_none() {
                continue;
            }
            let text = fs::read_to_string(file).unwrap();
            for constructor in ["Finding::problem(", "Finding::warning(", "Finding::note("] {
                let calls = text.split(constructor).skip(1);
                let literals = calls.filter_map(|call| call.trim_start().strip_prefix('"'));
                names.extend(literals.filter_map(|literal| literal.split('"').next()).map(str::to_owned));
            }
        }
        names
    }

    #[test]
    fn each_finding_is_documented() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/troubles.md");
        let text = fs::read_to_string(path).unwrap();
        let (text, _) = text.split_once("\n### The clock").unwrap();
        let rows = text.lines().filter(|line| line.starts_with("| "));
        let mut documented = BTreeSet::new();
        for row in rows {
            // The name is in the second column of the first table, and in the first column of the
            // second.
            let mut cells = row.trim_matches('|').split(" | ").map(|cell| cell.trim_matches([' ', '|']));
            let names = cells.find(|cell| cell.starts_with('`')).unwrap_or_default();
            documented.extend(names.split(", ").map(|name| name.trim_matches('`').to_owned()));
        }
        documented.remove("");
        assert_eq!(coded(), documented);
    }
}
