//! Whether an administrator's command is safe to run.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::geteuid;

/// Returns why a command must not be run, as the end of a sentence that starts with its path; `None` if
/// it may be.
///
/// The agent runs commands with its own privileges. Whoever can replace the file, or a directory on its
/// path, would have them as well.
pub(crate) fn defect(path: &Path) -> Option<String> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return Some(format!("cannot be run: {error}")),
    };
    if !metadata.is_file() {
        return Some("is not a file".to_owned());
    }
    if metadata.mode() & 0o111 == 0 {
        return Some("is not executable; use chmod +x".to_owned());
    }
    // The real path, so that the directories behind symbolic links are checked.
    let path = match fs::canonicalize(path) {
        Ok(path) => path,
        Err(error) => return Some(format!("cannot be run: {error}")),
    };
    for part in path.ancestors() {
        let Ok(found) = fs::metadata(part) else { return Some("cannot be inspected".to_owned()) };
        let what = if part == path { "it".to_owned() } else { part.display().to_string() };
        if found.uid() != 0 && found.uid() != geteuid().as_raw() {
            return Some(format!(
                "is unsafe: {what} belongs to user {}; it must belong to root",
                found.uid()
            ));
        }
        // In a directory with the sticky bit, only the owner of a file can replace it.
        let is_sticky = found.is_dir() && found.mode() & 0o1000 != 0;
        if found.mode() & 0o022 != 0 && !is_sticky {
            return Some(format!("is unsafe: {what} is writable by its group or others; use chmod go-w"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn files_and_directories_that_others_can_replace_are_unsafe() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("script");
        let set =
            |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).expect("changed");
        assert!(defect(&path).is_some_and(|why| why.starts_with("cannot be run: No such file")));
        fs::write(&path, "#!/bin/sh\n").expect("written");
        for (mode, expected) in [
            (0o755, None),
            (0o700, None),
            (0o644, Some("is not executable; use chmod +x")),
            (0o775, Some("is unsafe: it is writable by its group or others; use chmod go-w")),
            (0o757, Some("is unsafe: it is writable by its group or others; use chmod go-w")),
        ] {
            set(&path, mode);
            assert_eq!(defect(&path).as_deref(), expected, "{mode:o}");
        }
        set(&path, 0o755);
        set(directory.path(), 0o777);
        assert!(defect(&path).is_some_and(|why| why.contains("is writable by its group or others")));
        set(directory.path(), 0o1777);
        assert_eq!(defect(&path), None);
        let link = directory.path().join("link");
        symlink(&path, &link).expect("linked");
        assert_eq!(defect(&link), None);
        assert_eq!(defect(directory.path()).as_deref(), Some("is not a file"));
    }
}
