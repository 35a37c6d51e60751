//! Log lines from the BPF program (aya-log).

use std::io;
use std::thread;
use std::time::Duration;

use ::log::Log;
use aya::Ebpf;
use aya_log::EbpfLogger;

/// Interval at which the BPF program's log lines are read.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);

/// The BPF program's log: one line for each invalid advert, at debug level. Replays and
/// rate-limited adverts are discarded without a line.
///
/// If debug logging is off, the verifier removes the log statements from the program, so that
/// packets cannot flood the log.
pub struct KernelLog(EbpfLogger<&'static dyn Log>);

impl KernelLog {
    pub(super) fn new(ebpf: &mut Ebpf) -> Option<Self> {
        // Fails if the object has no log map. It then has no log statements.
        EbpfLogger::init(ebpf).ok().map(Self)
    }

    /// Starts a thread that calls `prepare` and then passes the lines to the `log` crate. The
    /// thread has no other task, because reading the lines may never finish during a flood.
    ///
    /// # Errors
    /// Returns an error if the thread cannot be started.
    pub fn forward(mut self, prepare: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let lines = move || {
            prepare();
            loop {
                self.0.flush();
                thread::sleep(FLUSH_INTERVAL);
            }
        };
        thread::Builder::new().name("kernel-log".to_owned()).spawn(lines).map(drop)
    }
}
