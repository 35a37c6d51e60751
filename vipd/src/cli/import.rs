//! `vipd import`.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::mem;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::args::ImportArgs;
use super::output;
use super::table::WAITING;
use crate::config::machine::Machine;
use crate::config::{self, Config};
use crate::import::{self, Files, ImportError, Message, Options, Severity};
use crate::process::prevent_core_dumps;

/// Directories to search for programs: those in the `PATH` of the commands that the agent runs.
const PROGRAMS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Mode of the written file, which may contain passwords and keys.
const MODE: u32 = 0o640;

pub(super) fn run(args: &ImportArgs) -> anyhow::Result<()> {
    if let Some(output) = args.output.as_ref().filter(|output| !args.force && output.exists()) {
        bail!("{} exists; specify another file, or --force to overwrite it", output.display());
    }
    // keepalived's files may contain passwords and keys.
    prevent_core_dumps();
    let options = Options {
        id: args.config_id.clone(),
        host_name: host_name(),
        directory: std::env::current_dir().context("cannot determine the working directory")?,
    };
    let translation = match import::import(&args.file, &options, &Disk) {
        Ok(translation) => translation,
        Err(error) => {
            if let ImportError::NoInstance { messages, .. } = &error {
                print_messages(messages)?;
            }
            return Err(error.into());
        }
    };
    match &args.output {
        Some(path) => write(path, &translation.toml, args.force)?,
        None => output::print(&translation.toml)?,
    }
    print_messages(&translation.messages)?;
    let file = args.output.as_deref().unwrap_or(Path::new("the result"));
    let attention = translation.attention().count();
    // The keys may be on another machine, and the credentials of a service are not available here.
    let machine = Machine { lacks_secrets: true, ..Machine::default() };
    if let Err(problems) = Config::parse_on(&translation.toml, &file.display().to_string(), &machine) {
        return Err(anyhow::Error::new(config::ConfigError::Problems(problems)));
    }
    match attention {
        0 => Ok(()),
        1 => bail!("1 setting needs attention"),
        count => bail!("{count} settings need attention"),
    }
}

/// Prints messages to standard error, one per line.
fn print_messages(messages: &[Message]) -> anyhow::Result<()> {
    let mut stderr = anstream::stderr().lock();
    for Message { at, severity, text } in messages {
        match severity {
            Severity::Note => writeln!(stderr, "{at}: note: {text}"),
            Severity::Attention => {
                let style = WAITING;
                writeln!(stderr, "{at}: {style}attention{style:#}: {text}")
            }
        }
        .context("cannot write to standard error")?;
    }
    Ok(())
}

/// Writes a file. Without `force`, fails if the file exists.
fn write(path: &Path, text: &str, force: bool) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).mode(MODE);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let written = options.open(path).and_then(|mut file| {
        // Otherwise, an existing file would keep its mode.
        if file.metadata()?.is_file() {
            file.set_permissions(Permissions::from_mode(MODE))?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Returns the host name up to its first dot, as keepalived does for its configuration ID.
fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().split('.').next().unwrap_or_default().to_owned()
}

/// The files of this machine.
struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // Opening a FIFO would block.
        let found = fs::metadata(path)?;
        if found.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !found.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        config::read(path).map(|mut bytes| mem::take(&mut *bytes))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        fs::read_dir(directory)?
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect()
    }

    fn program(&self, name: &str) -> Option<PathBuf> {
        let is_program = |path: &PathBuf| {
            fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        };
        PROGRAMS.iter().map(|directory| Path::new(directory).join(name)).find(is_program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn existing_files_are_overwritten_only_with_force() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("vipd.toml");
        write(&path, "first", false).expect("written");
        assert_eq!(fs::metadata(&path).expect("written").permissions().mode() & 0o137, 0);
        let refused = format!("{:#}", write(&path, "second", false).expect_err("the file exists"));
        assert!(refused.contains("File exists"), "{refused}");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("changed");
        write(&path, "2", true).expect("overwritten");
        assert_eq!(fs::metadata(&path).expect("written").permissions().mode() & 0o777, MODE);
        assert_eq!(fs::read_to_string(&path).expect("written"), "2");
    }

    #[test]
    fn only_regular_files_of_limited_size_are_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let large = directory.path().join("large");
        fs::write(&large, vec![b'\n'; 1 << 20]).expect("written");
        assert_eq!(Disk.read(&large).expect("not too large").len(), 1 << 20);
        fs::write(&large, vec![b'\n'; (1 << 20) + 1]).expect("written");
        let kind = |path: &Path| Disk.read(path).expect_err("refused").kind();
        assert_eq!(kind(&large), io::ErrorKind::FileTooLarge);
        assert_eq!(kind(directory.path()), io::ErrorKind::IsADirectory);
        assert_eq!(kind(Path::new("/dev/zero")), io::ErrorKind::InvalidInput);
        assert_eq!(Disk.list(directory.path()).expect("listed"), ["large"]);
        assert_eq!(Disk.program("sh"), Some(PathBuf::from("/usr/bin/sh")).filter(|path| path.exists()));
        assert_eq!(Disk.program("no-such-program"), None);
    }
}
