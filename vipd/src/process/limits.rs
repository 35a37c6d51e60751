//! Resource limits (getrlimit(2)).

use std::io;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit on open files to the hard limit and returns the new limit, or `None` if it
/// is unlimited.
///
/// The soft limit is usually 1024 only because select(2) cannot handle higher descriptors.
///
/// # Errors
/// Returns an error if setrlimit(2) fails. This is not expected, because any process may raise its
/// soft limit to the hard limit.
pub fn raise_open_files() -> io::Result<Option<u64>> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit)?;
    }
    Ok(limit.current)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_limit_on_open_files_is_raised_to_the_hard_limit() {
        let raised = raise_open_files().expect("raised");
        let limit = getrlimit(Resource::Nofile);
        assert_eq!((limit.current, raised), (limit.maximum, limit.maximum));
    }
}
