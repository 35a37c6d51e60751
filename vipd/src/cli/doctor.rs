//! `vipd doctor`.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use anstyle::Style;
use serde::Serialize;

use super::args::DoctorArgs;
use super::table::{BAD, GOOD, HEAD, HINT, WAITING};
use super::wrap::wrap;
use super::{check, output, terminal};
use crate::config::ConfigError;
use crate::doctor::{self, CHECK_COUNT, Finding, Severity};

/// Column of the evidence and the remedy.
const TEXT: usize = 12;

/// Runs all checks. Returns failure if there is a problem.
pub(super) fn run(args: &DoctorArgs, runtime_dir: &Path) -> anyhow::Result<ExitCode> {
    let path = &args.config.config;
    let file = path.display().to_string();
    let config = check::load(path).map_err(|error| match error {
        ConfigError::Problems(problems) => problems.list().iter().map(|one| one.in_file(&file)).collect(),
        other @ ConfigError::Read { .. } => vec![other.to_string()],
    });
    let facts = doctor::collect::collect(path, config, runtime_dir, args.seconds)?;
    let findings = doctor::diagnose(&facts);
    let text = if args.json {
        serde_json::to_string(&Report { checks: CHECK_COUNT, findings: &findings })? + "\n"
    } else {
        render(&findings, terminal::width(&io::stdout()))
    };
    output::print(&text)?;
    let has_problem = findings.iter().any(|finding| finding.severity == Severity::Problem);
    Ok(if has_problem { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The JSON output.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(rename = "vipd:checks")]
    checks: usize,
    #[serde(rename = "vipd:findings")]
    findings: &'a [Finding],
}

/// Renders the findings for a terminal of this width or for a pipe.
fn render(findings: &[Finding], width: Option<usize>) -> String {
    let mut text = String::new();
    for Finding { check, severity, subject, summary, evidence, remedy } in findings {
        let style = style(*severity);
        let line = |text: &str, indent| width.map_or(text.to_owned(), |width| wrap(text, width, indent));
        // Writing to a String does not fail.
        let head =
            format!("{style}{:<8}{style:#} {HEAD}{check}{HEAD:#} {subject}: {summary}", severity.as_str());
        let _ = writeln!(text, "{}", line(&head, 9).trim_start());
        for (label, value) in [("evidence", evidence), ("remedy", remedy)] {
            let _ = writeln!(text, "  {HINT}{label:<8}{HINT:#}  {}", line(value, TEXT));
        }
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (problems, warnings) = (count(Severity::Problem), count(Severity::Warning));
    let style = if problems > 0 {
        BAD
    } else if warnings > 0 {
        WAITING
    } else {
        GOOD
    };
    let _ = writeln!(
        text,
        "{style}{}, {}{style:#} in {CHECK_COUNT} checks",
        counted(problems, "problem"),
        counted(warnings, "warning")
    );
    text
}

fn style(severity: Severity) -> Style {
    match severity {
        Severity::Problem => BAD,
        Severity::Warning => WAITING,
        Severity::Note => HINT,
    }
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;

    fn finding(severity: Severity) -> Finding {
        Finding {
            check: "two-masters",
            severity,
            subject: "VI_1".to_owned(),
            summary: "2 routers are master of VRID 51 at the same time".to_owned(),
            evidence: "192.0.2.11 (this host): VRRPv3, priority 200; 192.0.2.12: VRRPv2, priority 100"
                .to_owned(),
            remedy: "use the same VRRP version on all routers".to_owned(),
        }
    }

    #[test]
    fn each_finding_has_evidence_and_remedy() {
        let text =
            strip_str(&render(&[finding(Severity::Problem), finding(Severity::Note)], None)).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "problem  two-masters VI_1: 2 routers are master of VRID 51 at the same time");
        assert_eq!(
            lines[1],
            "  evidence  192.0.2.11 (this host): VRRPv3, priority 200; 192.0.2.12: VRRPv2, priority 100"
        );
        assert_eq!(lines[2], "  remedy    use the same VRRP version on all routers");
        assert!(lines[3].starts_with("note     two-masters"), "{text}");
        assert_eq!(lines[6], format!("1 problem, 0 warnings in {CHECK_COUNT} checks"));
    }

    #[test]
    fn findings_fit_a_terminal() {
        let text = strip_str(&render(&[finding(Severity::Warning)], Some(50))).to_string();
        assert!(text.lines().all(|line| line.chars().count() <= 50), "{text}");
        assert!(text.contains("\n            "), "continued below the text: {text}");
    }

    #[test]
    fn without_findings_the_output_is_one_line() {
        let text = strip_str(&render(&[], None)).to_string();
        assert_eq!(text, format!("0 problems, 0 warnings in {CHECK_COUNT} checks\n"));
    }
}
