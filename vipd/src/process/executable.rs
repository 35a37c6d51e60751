//! Checks whether a configured command, or the executable for an upgrade, is safe to run.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::process::geteuid;

/// Maximum number of symbolic links on the way to a file, as in the kernel.
const MAX_LINKS: usize = 40;

/// Returns the reason why a command must not be run, as the end of a sentence that starts with the
/// command's path. Returns `None` if the command may be run.
///
/// A command runs as the agent's user or as a configured user. Anyone who can replace the file, or
/// a directory on its path, would gain that user's rights.
pub(crate) fn defect(path: &Path) -> Option<String> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return Some(format!("cannot be run: {error}")),
    };
    if !metadata.is_file() {
        return Some("is not a regular file".to_owned());
    }
    if metadata.mode() & 0o111 == 0 {
        return Some("is not executable; use chmod +x".to_owned());
    }
    let parts = match parts(path) {
        Ok(parts) => parts,
        Err(error) => return Some(format!("cannot be run: {error}")),
    };
    for part in &parts {
        let what = if part == path { "it".to_owned() } else { part.display().to_string() };
        let Ok(found) = fs::symlink_metadata(part) else {
            return Some(format!("is unsafe: cannot inspect {what}"));
        };
        if found.uid() != 0 && found.uid() != geteuid().as_raw() {
            return Some(format!(
                "is unsafe: {what} belongs to user {}; it must belong to root or the agent's user",
                found.uid()
            ));
        }
        // In a directory with the sticky bit, only a file's owner can replace the file. The mode of
        // a symbolic link has no meaning.
        let is_sticky = found.is_dir() && found.mode() & 0o1000 != 0;
        if found.mode() & 0o022 != 0 && !is_sticky && !found.is_symlink() {
            return Some(format!("is unsafe: {what} is writable by its group or others; use chmod go-w"));
        }
    }
    None
}

/// Returns all paths that the kernel visits when it resolves `path`: directories, symbolic links,
/// the directories in their targets, and the file. A user who can change any of these paths
/// controls which program runs.
fn parts(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut parts = vec![PathBuf::from("/")];
    let mut at = PathBuf::from("/");
    let mut links = 0;
    let mut remaining: Vec<PathBuf> = names(path);
    while let Some(name) = remaining.pop() {
        if name.as_os_str() == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        parts.push(next.clone());
        if !fs::symlink_metadata(&next)?.is_symlink() {
            at = next;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(rustix::io::Errno::LOOP.into());
        }
        let target = fs::read_link(&next)?;
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        remaining.extend(names(&target));
    }
    Ok(parts)
}

/// Returns the components of a path below its root, in reverse order.
fn names(path: &Path) -> Vec<PathBuf> {
    let names =
        path.components().rev().filter(|one| matches!(one, Component::Normal(_) | Component::ParentDir));
    names.map(|one| PathBuf::from(one.as_os_str())).collect()
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
        assert_eq!(defect(directory.path()).as_deref(), Some("is not a regular file"));
    }

    /// A user who can write to a link's directory could replace the link after the check, so that
    /// another program runs.
    #[test]
    fn symbolic_links_that_others_can_replace_are_unsafe() {
        let directory = tempfile::tempdir().expect("a directory");
        let [inner, link, chain] = ["inner", "inner/link", "chain"].map(|name| directory.path().join(name));
        fs::create_dir(&inner).expect("created");
        symlink("/bin/../bin/sh", &link).expect("linked");
        symlink("inner/link", &chain).expect("linked");
        assert_eq!((defect(&link), defect(&chain)), (None, None));
        let inner_is_writable = format!("is unsafe: {} is writable by its group or others", inner.display());
        fs::set_permissions(&inner, Permissions::from_mode(0o777)).expect("changed");
        for path in [&link, &chain] {
            let why = defect(path).unwrap_or_default();
            assert!(why.starts_with(&inner_is_writable), "{}: {why}", path.display());
        }
        let itself = directory.path().join("itself");
        symlink("itself", &itself).expect("linked");
        assert!(defect(&itself).is_some_and(|why| why.starts_with("cannot be run: ")));
    }
}
