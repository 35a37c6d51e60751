//! Compiler flags that keep the paths of this machine out of programs.

use std::env;
use std::path::{Path, PathBuf};

/// Returns flags that replace the paths of the workspace and of cargo's home directory, where the
/// sources of dependencies are.
pub(crate) fn flags(root: &Path) -> Vec<String> {
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let places = [(Some(root.to_owned()), "/vipd"), (cargo_home, "/cargo")];
    places.into_iter().filter_map(|(place, name)| place.map(|place| flag(&place, name))).collect()
}

/// Returns the flag that replaces one path.
pub(crate) fn flag(place: &Path, name: &str) -> String {
    format!("--remap-path-prefix={}={name}", place.display())
}
