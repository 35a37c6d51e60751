//! The error type of the tests: an error and the location of the `?` that returned it.

use std::fmt;
use std::panic::Location;

/// Return type of a test. For an error, the test harness prints the location of the `?` that
/// returned the error.
pub type TestResult<T = ()> = Result<T, Failure>;

/// An error and the location in the test that returned it.
pub struct Failure {
    location: &'static Location<'static>,
    error: anyhow::Error,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    /// Converts an error and records the location of the caller, which is the `?` operator.
    #[track_caller]
    fn from(error: E) -> Self {
        Self { location: Location::caller(), error: error.into() }
    }
}

/// The format in which the test harness prints a failure.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:#}", self.location, self.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context as _, Result};

    #[test]
    fn failure_reports_the_line_of_the_question_mark() {
        let fails = || -> Result<()> { "x".parse::<u8>().map(drop).context("reading") };
        let test = || -> TestResult {
            fails()?;
            Ok(())
        };
        let printed = format!("{:?}", test().unwrap_err());
        let line = line!() - 4;
        assert!(printed.starts_with(&format!("{}:{line}:", file!())), "{printed}");
        assert!(printed.contains("reading: invalid digit"), "{printed}");
    }
}
