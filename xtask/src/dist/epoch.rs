//! The time in packages: fixed by their sources, so that builds are reproducible.

use std::env;

use anyhow::{Context, Result};

use crate::support::process::{output, program};
use crate::support::workspace;

/// Environment variable with the time of the sources, in seconds since 1970
/// (<https://reproducible-builds.org/specs/source-date-epoch/>).
pub(super) const VARIABLE: &str = "SOURCE_DATE_EPOCH";

/// A time in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Epoch(pub(super) u64);

impl Epoch {
    /// Formats the time in UTC. `option` is an option or the `+FORMAT` operand of date(1).
    fn format(self, option: &str) -> Result<String> {
        let text = output(program("date").args(["--utc", option]).arg(format!("--date=@{}", self.0)))?;
        Ok(text.trim().to_owned())
    }

    /// Formats the time for a Debian changelog (RFC 5322).
    pub(super) fn email(self) -> Result<String> {
        self.format("--rfc-email")
    }

    /// Formats the time as RFC 3339.
    pub(super) fn rfc3339(self) -> Result<String> {
        self.format("+%Y-%m-%dT%H:%M:%SZ")
    }
}

/// Returns `SOURCE_DATE_EPOCH` or, if it is not set, the time of the latest commit.
pub(super) fn determine() -> Result<Epoch> {
    let text = match env::var(VARIABLE) {
        Ok(text) => text,
        Err(_) => {
            output(program("git").current_dir(workspace::root()).args(["log", "-1", "--format=%ct"]))
                .with_context(|| format!("cannot determine the time of the latest commit; set {VARIABLE}"))?
        }
    };
    let text = text.trim();
    let seconds =
        text.parse().with_context(|| format!("{VARIABLE} is `{text}`; it must be a number of seconds"))?;
    Ok(Epoch(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_formatted_in_utc() {
        let epoch = Epoch(1_700_000_000);
        assert_eq!(epoch.email().expect("date"), "Tue, 14 Nov 2023 22:13:20 +0000");
        assert_eq!(epoch.rfc3339().expect("date"), "2023-11-14T22:13:20Z");
    }
}
