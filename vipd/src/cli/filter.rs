//! `--interface` and `--vrid`.

use anyhow::bail;

use crate::control::model::StatsReport;

/// Selects instances. Without options, all are selected.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) interface: Option<String>,
    pub(super) vrid: Option<u8>,
}

impl Filter {
    /// Removes from a report the instances that do not match.
    ///
    /// # Errors
    /// Returns an error if no instance matches. The error lists all instances.
    pub(super) fn apply(&self, mut report: StatsReport) -> anyhow::Result<StatsReport> {
        if self.interface.is_none() && self.vrid.is_none() {
            return Ok(report);
        }
        let existing: Vec<String> = report
            .instances
            .iter()
            .map(|instance| {
                format!("{} (--interface {} --vrid {})", instance.name, instance.interface, instance.vrid)
            })
            .collect();
        report.instances.retain(|instance| {
            self.interface.as_ref().is_none_or(|interface| *interface == instance.interface)
                && self.vrid.is_none_or(|vrid| vrid == instance.vrid)
        });
        if report.instances.is_empty() {
            let mut criteria = Vec::new();
            criteria.extend(self.interface.as_ref().map(|interface| format!("interface {interface}")));
            criteria.extend(self.vrid.map(|vrid| format!("VRID {vrid}")));
            let existing = if existing.is_empty() { "none".to_owned() } else { existing.join(", ") };
            bail!("no instance matches {}; instances: {existing}", criteria.join(" and "));
        }
        Ok(report)
    }
}
