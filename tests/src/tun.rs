//! A point-to-point link without MAC addresses between two hosts, like WireGuard or GRE.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, ensure};

use crate::links;
use crate::namespace::Namespace;

/// `TUNSETIFF`, `IFF_TUN` and `IFF_NO_PI` (`include/uapi/linux/if_tun.h`).
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const IFF_TUN: u16 = 0x0001;
const IFF_NO_PI: u16 = 0x1000;
/// Poll timeout in milliseconds, after which a forwarding thread checks whether to stop.
const POLL_INTERVAL: i32 = 20;

/// `struct ifreq`, of which `TUNSETIFF` reads the name and the flags.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// A tun link. Dropping it deletes its interfaces.
#[derive(Debug)]
pub struct Tun {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Tun {
    /// Adds an interface with this name to both hosts and sets it up, without addresses.
    ///
    /// # Errors
    /// Returns an error if the kernel does not support tun or cannot create the interface.
    pub fn connect(name: &'static str, one: &Namespace, other: &Namespace) -> Result<Self> {
        let (one, other) = (one.run(move || open(name))?, other.run(move || open(name))?);
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for (mut from, mut to) in [(one.try_clone()?, other.try_clone()?), (other, one)] {
            let stopped = Arc::clone(&stop);
            threads.push(thread::spawn(move || {
                let mut packet = vec![0; 1 << 16];
                while !stopped.load(Ordering::Relaxed) {
                    if !is_readable(&from) {
                        continue;
                    }
                    if let Ok(length) = from.read(&mut packet) {
                        // If the write fails, the packet is lost, as can happen on any link.
                        let _ = to.write(&packet[..length]);
                    }
                }
            }));
        }
        Ok(Self { stop, threads })
    }
}

impl Drop for Tun {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // The thread does not panic.
            let _ = thread.join();
        }
    }
}

fn open(name: &str) -> Result<File> {
    let file =
        OpenOptions::new().read(true).write(true).open("/dev/net/tun").context("opening /dev/net/tun")?;
    let mut request = Request { name: [0; 16], flags: IFF_TUN | IFF_NO_PI, rest: [0; 22] };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq` (40 bytes), and `request` has that
    // layout.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, &raw mut request) };
    ensure!(result == 0, "adding tun interface {name}: {}", std::io::Error::last_os_error());
    links::set_up(name)?;
    Ok(file)
}

fn is_readable(file: &File) -> bool {
    let mut poll = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: passes one `struct pollfd`, which outlives the call.
    unsafe { libc::poll(&raw mut poll, 1, POLL_INTERVAL) == 1 }
}
