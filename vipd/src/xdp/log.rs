//! Log lines of the XDP program (aya-log).

use std::io;
use std::thread;
use std::time::Duration;

use ::log::Log;
use aya::Ebpf;
use aya_log::EbpfLogger;

/// Maximum delay of a log line.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);

/// The XDP program's log lines: one for each discarded advert, at debug level.
///
/// Below debug level the verifier removes the statements, so that packets cannot flood the log.
pub struct KernelLog(EbpfLogger<&'static dyn Log>);

impl KernelLog {
    pub(super) fn new(ebpf: &mut Ebpf) -> Option<Self> {
        // An object without log statements has no such map.
        EbpfLogger::init(ebpf).ok().map(Self)
    }

    /// Starts a thread that passes the lines to the `log` crate: under a flood they never end.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn forward(mut self) -> io::Result<()> {
        let lines = move || loop {
            self.0.flush();
            thread::sleep(FLUSH_INTERVAL);
        };
        thread::Builder::new().name("kernel-log".to_owned()).spawn(lines).map(drop)
    }
}
