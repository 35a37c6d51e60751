//! `--interface` and `--vrid`.

use anyhow::bail;

use crate::control::model::StatsReport;

/// Selects instances; without any option, all.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) interface: Option<String>,
    pub(super) vrid: Option<u8>,
}

impl Filter {
    /// Removes the other instances from a report.
    ///
    /// # Errors
    /// When none matches; lists the instances of the report.
    pub(super) fn apply(&self, mut report: StatsReport) -> anyhow::Result<StatsReport> {
        if self.interface.is_none() && self.vrid.is_none() {
            return Ok(report);
        }
        let there: Vec<String> = report
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
            let mut asked = Vec::new();
            asked.extend(self.interface.as_ref().map(|interface| format!("interface {interface}")));
            asked.extend(self.vrid.map(|vrid| format!("VRID {vrid}")));
            let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            bail!("no instance has {}; instances: {there}", asked.join(" and "));
        }
        Ok(report)
    }
}
