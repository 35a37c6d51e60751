//! Measures the cost of the XDP program per frame: `cargo bench -p vipd --bench xdp`, as root.
//!
//! `BPF_PROG_TEST_RUN` runs a program many times on one frame and reports the mean time. An
//! unrelated frame is also timed with a program that only returns `XDP_PASS`; the difference is the
//! overhead that vipd adds to every packet the host receives. Each line of output is the key of a
//! metric in `tests/bench/src/metric.rs`, a tab, and the time in nanoseconds. `cargo xtask bench
//! xdp` shows the results as a table.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use vipd::xdp::{Entry, Kernel, Loaded, MAX_PENDING, OBJECT, Row, Sizes, Verbosity};
use vipd_common::Timestamp;
use vipd_common::address::ipv4;
use vipd_common::parse::{ChecksumForm, address_digest, fingerprint};
use vipd_common::records::{AddressKey, BURST, RouterKey, RouterSlot};
use vipd_tests::protocol::Version;
use vipd_tests::station::Station;
use vipd_witness::{Advert, Checksum, GROUP_IPV4};

/// The loopback interface has this index in every network namespace.
const LOOPBACK: u32 = 1;
const VRID: u8 = 51;
const ROW: u32 = 1;
/// Number of runs per measurement.
const REPEAT: u32 = 1_000_000;
/// Number of measurements. Their median is printed.
const MEASUREMENTS: usize = 9;
const XDP_PASS: u32 = 2;
const TCX_NEXT: u32 = u32::MAX;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_PROG_TYPE_XDP: u32 = 6;

fn main() -> Result<()> {
    // Cargo passes `--bench`, which is ignored.
    let empty = Empty::load(BPF_PROG_TYPE_XDP, XDP_PASS).context(
        "cannot load an empty XDP program; run as root, or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN",
    )?;
    let mut loaded = load(BURST)?;

    let valid = Station::Client.advert(Version::V3, VRID, 200);
    let foreign = Advert { protocol: 6, ..valid.clone() }.frame();
    let kernel = &loaded.kernel;
    let ours = |frame: &[u8]| Ok(kernel.test_run(Entry::Xdp, frame, LOOPBACK, REPEAT)?.1);
    let floor = median(|| empty.test_run(&foreign, REPEAT))?;
    let passed = median(|| ours(&foreign))?;
    print("xdp-empty", floor);
    print("xdp-foreign", passed);
    println!("xdp-added\t{}", i64::try_from(passed)? - i64::try_from(floor)?);
    print("xdp-bad-ttl", median(|| ours(&Advert { ttl: 64, ..valid.clone() }.frame()))?);
    let wrong = Advert { checksum: Checksum::Bad, ..valid.clone() }.frame();
    print("xdp-bad-checksum", median(|| ours(&wrong))?);

    // Every changed advert leaves a record in the ring, so each measurement fills half the ring and
    // then drains it. There is no rate limit here, but the token bucket is charged as usual.
    let batch = u32::try_from(MAX_PENDING / 2)?;
    let mut unlimited = load(u32::MAX)?;
    let frame = valid.frame();
    let new_content = || -> Result<u64> {
        let (_, nanos) = unlimited.kernel.test_run(Entry::Xdp, &frame, LOOPBACK, batch)?;
        let left = std::iter::from_fn(|| unlimited.feed.pop()).count();
        ensure!(left == MAX_PENDING / 2, "{left} records in the ring after {batch} adverts");
        Ok(nanos)
    };
    print("xdp-new", median(new_content)?);
    print("xdp-limited", median(|| ours(&valid.frame()))?);
    while loaded.feed.pop().is_some() {}
    let addresses = address_digest(valid.addresses.iter().copied());
    let source = ipv4(Station::Client.ipv4().octets());
    let unchanged = fingerprint(&source, valid.priority, valid.interval, addresses, ChecksumForm::Rfc5798);
    loaded.steady.publish(Row::new(ROW).expect("not 0"), Some(unchanged), Timestamp::ZERO);
    print("xdp-unchanged", median(|| ours(&valid.frame()))?);
    ensure!(loaded.feed.pop().is_none(), "the unchanged advert left a record");
    fence(&mut loaded, &foreign)
}

/// Measures the cost of the fence for unrelated packets: while nothing is fenced, and while a VIP
/// is fenced.
fn fence(loaded: &mut Loaded, foreign: &[u8]) -> Result<()> {
    loaded.kernel.prepare(Entry::FenceEgress)?;
    let row = Row::new(ROW).expect("not 0");
    let key = AddressKey::new(LOOPBACK, 4, ipv4([192, 0, 2, 80]));
    loaded.addresses.insert(key, row)?;
    let run = |loaded: &Loaded, entry| Ok(loaded.kernel.test_run(entry, foreign, LOOPBACK, REPEAT)?.1);
    let empty = Empty::load(BPF_PROG_TYPE_SCHED_CLS, TCX_NEXT).context("cannot load an empty TC program")?;
    let floor = median(|| empty.test_run(foreign, REPEAT))?;
    let passed = median(|| run(loaded, Entry::FenceEgress))?;
    print("fence-sent", passed);
    println!("fence-added\t{}", i64::try_from(passed)? - i64::try_from(floor)?);
    loaded.leases.fence(row);
    print("fence-active-received", median(|| run(loaded, Entry::Xdp))?);
    print("fence-active-sent", median(|| run(loaded, Entry::FenceEgress))?);
    Ok(())
}

/// Loads vipd's program with one virtual router and the given burst per sender.
fn load(burst: u32) -> Result<Loaded> {
    let sizes = Sizes { routers: 1, peers: 0, addresses: 1, senders: 4096, burst };
    let mut loaded = Kernel::load(OBJECT, sizes, Verbosity::Quiet)?;
    loaded.kernel.prepare(Entry::Xdp)?;
    let slot = RouterSlot {
        row: ROW,
        version: 3,
        authentication: 0,
        empty: 0,
        unicast: 0,
        trailer: 0,
        reserved: [0; 3],
        destination: ipv4(GROUP_IPV4.octets()),
        password: [0; 2],
    };
    loaded.kernel.insert_router(RouterKey::new(LOOPBACK, VRID, 4), slot)?;
    Ok(loaded)
}

fn print(metric: &str, nanos: u64) {
    println!("{metric}\t{nanos}");
}

fn median(mut measure: impl FnMut() -> Result<u64>) -> Result<u64> {
    let mut all = (0..MEASUREMENTS).map(|_| measure()).collect::<Result<Vec<_>>>()?;
    all.sort_unstable();
    Ok(all[MEASUREMENTS / 2])
}

/// A BPF program that only returns `code`.
struct Empty {
    program: OwnedFd,
    code: u32,
}

impl Empty {
    /// Loads the program with `BPF_PROG_LOAD` of bpf(2).
    fn load(kind: u32, code: u32) -> Result<Self> {
        // mov r0, CODE; exit (RFC 9669): opcode, registers, offset, immediate.
        let program: [u64; 2] = [0xb7 | u64::from(code) << 32, 0x95];
        let license = c"GPL";
        let mut load = Load {
            kind,
            instructions: 2,
            program: program.as_ptr() as u64,
            license: license.as_ptr() as u64,
            ..Load::default()
        };
        let descriptor = bpf(5, &mut load)?;
        // SAFETY: the kernel has just returned this descriptor, and nothing else owns it.
        let program = unsafe { OwnedFd::from_raw_fd(i32::try_from(descriptor)?) };
        Ok(Self { program, code })
    }

    /// Runs the program with `BPF_PROG_TEST_RUN` of bpf(2) and returns the mean time in
    /// nanoseconds.
    fn test_run(&self, frame: &[u8], repeat: u32) -> Result<u64> {
        let mut test = Test {
            program: u32::try_from(self.program.as_raw_fd())?,
            size_in: u32::try_from(frame.len())?,
            data_in: frame.as_ptr() as u64,
            repeat,
            ..Test::default()
        };
        bpf(10, &mut test)?;
        ensure!(test.result == self.code, "the empty program returned {}", test.result);
        Ok(test.nanos.into())
    }
}

/// First members of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    instructions: u32,
    program: u64,
    license: u64,
    rest: [u64; 12],
}

/// First members of `union bpf_attr` for `BPF_PROG_TEST_RUN`.
#[repr(C)]
#[derive(Default)]
struct Test {
    program: u32,
    result: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    nanos: u32,
    rest: [u64; 6],
}

fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<i64> {
    // SAFETY: the kernel accesses at most the given size, and all pointers in the attributes
    // outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
