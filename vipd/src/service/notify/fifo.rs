//! Writes a line for each change of state to a FIFO, in keepalived's format.
//!
//! The FIFO is opened for reading and writing, so that it can be opened without a reader, and lines
//! remain in it when a reader restarts. When the FIFO is full, lines are dropped. A reader may
//! replace the FIFO.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, lstat, mknodat, open};

use super::notice::{Notice, Subject};

/// An open FIFO.
#[derive(Debug)]
pub(super) struct Fifo {
    path: PathBuf,
    descriptor: OwnedFd,
    dropped: u64,
    /// Whether the last line was dropped.
    is_full: bool,
}

impl Fifo {
    /// Opens the FIFO at `path`, and creates it with mode 0600 if it does not exist.
    ///
    /// # Errors
    /// Returns an error if the FIFO cannot be created or opened, or if the path is not a FIFO.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        match mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let descriptor = open(path, flags, Mode::empty())?;
        if FileType::from_raw_mode(fstat(&descriptor)?.st_mode) != FileType::Fifo {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it exists and is not a FIFO"));
        }
        Ok(Self { path: path.to_owned(), descriptor, dropped: 0, is_full: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a line without blocking. If writing fails, usually because the FIFO is full, drops
    /// and counts the line. Only the first failure is logged until a line has been written again.
    pub(super) fn write(&mut self, subject: &Subject, notice: &Notice) {
        let Notice { kind, priority, .. } = notice;
        let line =
            format!("{} \"{}\" {} {priority}\n", subject.upper_case(), subject.name(), kind.upper_case());
        self.follow_replacement();
        // A line is shorter than PIPE_BUF and therefore written completely or not at all.
        let path = self.path.display();
        match rustix::io::write(&self.descriptor, line.as_bytes()) {
            Ok(_) if std::mem::take(&mut self.is_full) => {
                tracing::info!(fifo = %path, dropped = self.dropped, "the notification FIFO can be written again");
            }
            Ok(_) => {}
            Err(error) => {
                self.dropped += 1;
                if !std::mem::replace(&mut self.is_full, true) {
                    if error == rustix::io::Errno::AGAIN {
                        tracing::warn!(fifo = %path, "the notification FIFO is full; dropping lines until it is read");
                    } else {
                        tracing::warn!(fifo = %path, %error, "cannot write to the notification FIFO; dropping lines");
                    }
                }
            }
        }
    }

    /// Reopens the path if another FIFO has replaced the open FIFO.
    fn follow_replacement(&mut self) {
        let identity = |found: Stat| (found.st_dev, found.st_ino);
        let (Ok(own), Ok(found)) = (fstat(&self.descriptor), lstat(&self.path)) else { return };
        if identity(own) != identity(found)
            && let Ok(Self { descriptor, .. }) = Self::open(&self.path)
        {
            (self.descriptor, self.is_full) = (descriptor, false);
            tracing::info!(fifo = %self.path.display(), "the notification FIFO was replaced; opened again");
        }
    }

    /// Returns the number of lines dropped so far, including those of a FIFO that has been
    /// replaced.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs::{self, File, OpenOptions};
    use std::io::Read as _;
    use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};

    use super::*;
    use crate::service::notify::notice::Kind;

    fn notice(kind: Kind) -> Notice {
        Notice { kind, reason: "startup".to_owned(), priority: 150 }
    }

    /// Reads all lines in a FIFO.
    pub(in crate::service::notify) fn read_all(path: &Path) -> String {
        let mut options = OpenOptions::new();
        let mut reader = options.read(true).custom_flags(libc::O_NONBLOCK).open(path).expect("the FIFO");
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = reader.read(&mut buffer) {
            bytes.extend(&buffer[..length]);
        }
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn lines_have_the_format_of_keepalived() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("fifo");
        let mut fifo = Fifo::open(&path).expect("created");
        let metadata = fs::metadata(&path).expect("exists");
        assert!(metadata.file_type().is_fifo());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        fifo.write(&Subject::Instance("VI_1".into()), &notice(Kind::Master));
        fifo.write(&Subject::Group("gateway".into()), &notice(Kind::Stop));
        assert_eq!(read_all(&path), "INSTANCE \"VI_1\" MASTER 150\nGROUP \"gateway\" STOP 150\n");
        // Reopening a FIFO keeps the lines in it.
        drop(Fifo::open(&path).expect("exists"));
        assert_eq!(fifo.dropped(), 0);
    }

    /// Some readers create the FIFO when they start.
    #[test]
    fn lines_are_written_to_a_replacement_fifo() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("fifo");
        let mut fifo = Fifo::open(&path).expect("created");
        let subject = Subject::Instance("VI_1".into());
        fs::remove_file(&path).expect("removed");
        fifo.write(&subject, &notice(Kind::Backup));
        assert!(!path.exists(), "the reader creates the FIFO");
        drop(Fifo::open(&path).expect("created by the reader"));
        fifo.write(&subject, &notice(Kind::Master));
        assert_eq!(read_all(&path), "INSTANCE \"VI_1\" MASTER 150\n");
        fs::remove_file(&path).expect("removed");
        File::create(&path).expect("not a FIFO");
        fifo.write(&subject, &notice(Kind::Stop));
        assert_eq!(fs::read_to_string(&path).expect("a file"), "");
    }

    #[test]
    fn full_fifo_drops_whole_lines_and_counts_them() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("fifo");
        let mut fifo = Fifo::open(&path).expect("created");
        let subject = Subject::Instance("VI_1".into());
        for _ in 0..5000 {
            fifo.write(&subject, &notice(Kind::Backup));
        }
        assert!(fifo.dropped() > 0);
        let text = read_all(&path);
        assert!(text.lines().all(|line| line == "INSTANCE \"VI_1\" BACKUP 150"));
        assert_eq!(text.lines().count() as u64 + fifo.dropped(), 5000);
        fifo.write(&subject, &notice(Kind::Master));
        assert_eq!(read_all(&path), "INSTANCE \"VI_1\" MASTER 150\n");
    }

    #[test]
    fn other_files_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        File::create(&path).expect("created");
        assert!(Fifo::open(&path).is_err());
        assert!(Fifo::open(&directory.path().join("missing/fifo")).is_err());
    }
}
