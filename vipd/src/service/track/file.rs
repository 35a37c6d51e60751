//! Files that contain a number, watched with inotify.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::object::{ObjectId, Reading, Update, Updates};
use crate::config::track::TrackedFile;
use crate::process::register;
use crate::service::log::limit::Repeats;

/// Maximum number of bytes to read: enough for a number with white space around it.
const MAX_BYTES: u64 = 64;
/// Pause after an event, so that several events in quick succession cause only one reading.
const PAUSE: Duration = Duration::from_millis(20);
/// Time after which a file whose read has not completed counts as unreadable.
const SLOW: Duration = Duration::from_secs(5);
/// Interval at which a file is read if its watches do not report all changes.
const INTERVAL: Duration = Duration::from_secs(5);

/// Watches a file until the task is aborted.
///
/// The watches are on the file (on the target of a symbolic link) and on the directory of the path,
/// because most programs replace a file by renaming another file to its name. The watches are
/// renewed after each event, before the file is read, so that no change is missed. Another thread
/// renews the watches and reads the file, because a file server may be unresponsive. If the watches
/// do not report all changes, the file is also read every [`INTERVAL`].
pub(super) async fn watch(object: ObjectId, file: Arc<TrackedFile>, updates: Updates) {
    let mut last = None;
    let mut repeats = Repeats::default();
    loop {
        let Err(error) = follow(object, &file, &mut last, &mut repeats, &updates).await;
        warn(&file, &error, &mut repeats);
        sleep(INTERVAL).await;
    }
}

fn warn(file: &TrackedFile, error: &io::Error, repeats: &mut Repeats) {
    if !repeats.is_due(&error.to_string(), Instant::now()) {
        return;
    }
    // ENOSPC gets its own text, because its description, "No space left on device", is misleading.
    let reason = match Errno::from_io_error(error) {
        Some(Errno::NOSPC) => {
            "too many inotify watches; raise the sysctl fs.inotify.max_user_watches".to_owned()
        }
        _ => error.to_string(),
    };
    let (path, interval) = (file.path.display(), INTERVAL.as_secs());
    tracing::warn!(file = file.name, %path, reason, "cannot watch tracked file; reading it every {interval} s");
}

async fn follow(
    object: ObjectId,
    file: &TrackedFile,
    last: &mut Option<Update>,
    repeats: &mut Repeats,
    updates: &Updates,
) -> io::Result<Infallible> {
    let mut report = async |result: Result<i32, String>| {
        let (number, detail) = match result {
            Ok(number) => (number, None),
            Err(problem) => (0, Some(format!("{problem}; counts as 0"))),
        };
        let update = Update { object, reading: Reading::Value(number), detail };
        if last.as_ref() != Some(&update) {
            *last = Some(update.clone());
            let _ = updates.send(update).await;
        }
    };
    let events = match inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC) {
        Ok(inotify) => register(Arc::new(inotify))?,
        Err(error) => {
            let path = file.path.clone();
            report(spawn_blocking(move || read(&path)).await.map_err(io::Error::other)?).await;
            return Err(error.into());
        }
    };
    let mut watches = BTreeSet::new();
    loop {
        let (inotify, path) = (Arc::clone(events.get_ref()), file.path.clone());
        let mut reading = spawn_blocking(move || (renew(&inotify, &path, &watches), read(&path)));
        let read = if let Ok(read) = timeout(SLOW, &mut reading).await {
            read
        } else {
            report(Err(format!("cannot be read: no answer for {} s", SLOW.as_secs()))).await;
            reading.await
        };
        let (renewed, number) = read.map_err(io::Error::other)?;
        report(number).await;
        watches = renewed.watches;
        if let Some(error) = renewed.error {
            warn(file, &error.into(), repeats);
        }
        let mut ready = if renewed.is_partial {
            let Ok(ready) = timeout(INTERVAL, events.readable()).await else { continue };
            ready?
        } else {
            events.readable().await?
        };
        sleep(PAUSE).await;
        let mut buffer = [0; 4096];
        while rustix::io::read(ready.get_inner(), &mut buffer).is_ok() {}
        ready.clear_ready();
    }
}

/// The watches of a file.
struct Renewed {
    watches: BTreeSet<i32>,
    /// The error if a watch on the file or a directory could not be added; `None` if the file or
    /// directory is only missing.
    error: Option<Errno>,
    /// Whether the file may change without an event, because a watch could not be added or the path
    /// contains a symbolic link, whose target may be replaced or created in a directory without a
    /// watch.
    is_partial: bool,
}

/// Watches a file and its directory, or the nearest ancestor that exists, and removes all other
/// watches. Returns the same watches as `before` if neither the file nor the directory was
/// replaced.
fn renew(inotify: &OwnedFd, path: &Path, before: &BTreeSet<i32>) -> Renewed {
    let changes = WatchFlags::CLOSE_WRITE | WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF;
    let entries = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO;
    let mut error = None;
    let mut add = |path: &Path, events| match inotify::add_watch(inotify, path, events) {
        Ok(watch) => Some(watch),
        // The watch on an ancestor will report when the path is created.
        Err(Errno::NOENT | Errno::NOTDIR) => None,
        Err(failure) => {
            error = Some(failure);
            None
        }
    };
    let file = add(path, changes | WatchFlags::ATTRIB);
    let directory = path.ancestors().skip(1).find_map(|one| add(one, changes | entries));
    let watches = file.into_iter().chain(directory).collect();
    for former in before.difference(&watches) {
        // Fails if the kernel removed the watch when the file was deleted.
        let _ = inotify::remove_watch(inotify, *former);
    }
    let is_partial = error.is_some() || path.ancestors().any(Path::is_symlink);
    Renewed { watches, error, is_partial }
}

/// Reads the number in the file. The error text does not contain the file's name.
fn read(path: &Path) -> Result<i32, String> {
    // Opening a FIFO without a writer must not block.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file: File = file.map_err(|error| format!("cannot be read: {error}"))?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err("is not a regular file".to_owned());
    }
    let mut text = String::new();
    let read = file.take(MAX_BYTES).read_to_string(&mut text);
    read.map_err(|error| format!("cannot be read: {error}"))?;
    let text = text.trim();
    text.parse().map_err(|_| format!("contains {text:?} instead of an integer"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn error_describes_a_file_without_a_valid_number() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("weight");
        assert!(read(&path).is_err_and(|why| why.starts_with("cannot be read: No such file")));
        for (text, expected) in [
            ("5", Ok(5)),
            (" -20 \n", Ok(-20)),
            ("+7\n", Ok(7)),
            ("", Err("contains \"\" instead of an integer")),
            ("up", Err("contains \"up\" instead of an integer")),
            ("1.5", Err("contains \"1.5\" instead of an integer")),
        ] {
            fs::write(&path, text).expect("written");
            assert_eq!(read(&path), expected.map_err(str::to_owned), "{text:?}");
        }
        assert_eq!(read(directory.path()), Err("is not a regular file".to_owned()));
        let fifo = directory.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("created");
        assert_eq!(read(&fifo), Err("is not a regular file".to_owned()));
    }

    #[test]
    fn changes_are_detected_for_every_way_of_writing() {
        let directory = tempfile::tempdir().expect("a directory");
        let folder = directory.path().join("created/later");
        let path = folder.join("weight");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (updates, mut received) = mpsc::channel(16);
            let file = TrackedFile { name: "manual".to_owned(), path: path.clone() };
            let task = tokio::spawn(watch(ObjectId(1), Arc::new(file), updates));
            let mut next = async |expected: i32| {
                loop {
                    let update = received.recv().await.expect("an update");
                    if update.reading == Reading::Value(expected)
                        && (expected == 0 || update.detail.is_none())
                    {
                        return;
                    }
                }
            };
            next(0).await;
            fs::create_dir_all(&folder).expect("created");
            fs::write(&path, "1").expect("written");
            next(1).await;
            fs::write(&path, "2").expect("written in place");
            next(2).await;
            let other = folder.join("other");
            fs::write(&other, "3").expect("written");
            fs::rename(&other, &path).expect("renamed");
            next(3).await;
            let target = directory.path().join("target");
            fs::write(&target, "4").expect("written");
            std::os::unix::fs::symlink(&target, &other).expect("linked");
            fs::rename(&other, &path).expect("renamed");
            next(4).await;
            fs::write(&target, "5").expect("the target of the link is written");
            next(5).await;
            fs::remove_file(&path).expect("removed");
            next(0).await;
            task.abort();
        });
    }

    #[test]
    fn failed_watch_is_reported_unless_the_file_is_missing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("weight");
        let inotify = inotify::init(CreateFlags::CLOEXEC).expect("an inotify instance");
        let absent = renew(&inotify, &path, &BTreeSet::new());
        assert_eq!((absent.watches.len(), absent.error, absent.is_partial), (1, None, false));
        fs::write(&path, "1").expect("written");
        let present = renew(&inotify, &path, &absent.watches);
        assert_eq!((present.watches.len(), present.error, present.is_partial), (2, None, false));
        let other = OwnedFd::from(File::open(&path).expect("opened"));
        let failed = renew(&other, &path, &BTreeSet::new());
        assert_eq!((failed.watches.len(), failed.error, failed.is_partial), (0, Some(Errno::INVAL), true));
    }

    #[test]
    fn file_that_changes_without_an_event_is_read_periodically() {
        let directory = tempfile::tempdir().expect("a directory");
        let elsewhere = tempfile::tempdir().expect("a directory");
        let (path, target) = (directory.path().join("weight"), elsewhere.path().join("target"));
        std::os::unix::fs::symlink(&target, &path).expect("linked");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (updates, mut received) = mpsc::channel(16);
            let file = TrackedFile { name: "manual".to_owned(), path };
            let task = tokio::spawn(watch(ObjectId(1), Arc::new(file), updates));
            let update = received.recv().await.expect("an update");
            assert_eq!(update.reading, Reading::Value(0));
            fs::write(&target, "5").expect("written");
            let update = timeout(4 * INTERVAL, received.recv()).await.expect("in time").expect("an update");
            assert_eq!(update.reading, Reading::Value(5));
            task.abort();
        });
    }
}
