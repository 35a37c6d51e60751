//! Log lines of the XDP program (aya-log).

use std::io;
use std::thread;
use std::time::Duration;

use ::log::Log;
use aya::Ebpf;
use aya_log::EbpfLogger;

/// How long a line may wait in the kernel: it is for a person who looks on.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);

/// The XDP program's log lines: one for each discarded advert, at debug level.
///
/// They exist only when the agent was started with debug logging: below it the verifier removes the statements,
/// so that nothing on the wire can flood the log.
pub struct KernelLog(EbpfLogger<&'static dyn Log>);

impl KernelLog {
    pub(super) fn new(ebpf: &mut Ebpf) -> Option<Self> {
        // The object may be built without log statements; then there is no such map, and nothing to read.
        EbpfLogger::init(ebpf).ok().map(Self)
    }

    /// Hands the lines to the `log` crate as they come, from a thread of its own: under a flood they never end.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn forward(mut self) -> io::Result<()> {
        let lines = move || loop {
            self.0.flush();
            thread::sleep(FLUSH_INTERVAL);
        };
        thread::Builder::new().name("kernel-log".to_owned()).spawn(lines).map(drop)
    }
}
