//! The programs in the BPF object.
//!
//! [`Consumers`] and [`Entry::Tc`] are loaded at startup; the latter shows whether the kernel
//! accepts the parser. A successor also loads each [`Entry`] that its predecessor has attached.
//! Every other [`Entry`] is loaded when it is first attached, because the verifier takes 0.1 s per
//! program and no host needs all programs.

use std::os::fd::{AsFd as _, BorrowedFd};

use aya::Ebpf;
use aya::maps::{MapData, ProgramArray};
use aya::programs::{Program, ProgramError, ProgramFd, SchedClassifier, TestRun as _, TestRunOptions, Xdp};
use serde::{Deserialize, Serialize};
use vipd_common::names;

use super::error::LoadError;
use super::label::Label;
use super::mode::{Framing, Mode};

/// A program that is attached to a hook. The programs that drop adverts after a tail call are not
/// included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// XDP, for drivers that support linear buffers only.
    Xdp,
    /// XDP, for drivers that support multi-buffer frames, and for the generic hook.
    XdpFrags,
    /// XDP, for interfaces without a link-layer header.
    XdpBare,
    /// TC ingress.
    Tc,
    /// TC ingress, for interfaces without a link-layer header.
    TcBare,
    /// TC ingress, for interfaces with VIPs but without virtual routers: drops packets to fenced
    /// and closed VIPs.
    FenceIngress,
    /// TC egress: drops packets from fenced VIPs.
    FenceEgress,
}

impl Entry {
    /// All entries.
    pub const ALL: [Self; 7] = [
        Self::Xdp,
        Self::XdpFrags,
        Self::XdpBare,
        Self::Tc,
        Self::TcBare,
        Self::FenceIngress,
        Self::FenceEgress,
    ];

    /// Returns the program's name in the object.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => names::XDP,
            Self::XdpFrags => names::XDP_FRAGS,
            Self::XdpBare => names::XDP_BARE,
            Self::Tc => names::TC,
            Self::TcBare => names::TC_BARE,
            Self::FenceIngress => names::FENCE_INGRESS,
            Self::FenceEgress => names::FENCE_EGRESS,
        }
    }

    /// Returns the framing that the program expects. [`FenceIngress`](Self::FenceIngress) and
    /// [`FenceEgress`](Self::FenceEgress) accept both framings.
    pub const fn framing(self) -> Framing {
        match self {
            Self::Xdp | Self::XdpFrags | Self::Tc | Self::FenceIngress | Self::FenceEgress => {
                Framing::Ethernet
            }
            Self::XdpBare | Self::TcBare => Framing::Bare,
        }
    }

    /// Returns the program for a mode. For frames with an Ethernet header, `frags` selects the
    /// program for multi-buffer frames in native mode. Generic mode always uses the program for
    /// multi-buffer frames, because the kernel would linearize such frames for the other program.
    pub(super) const fn of(mode: Mode, framing: Framing, frags: bool) -> Self {
        match (mode, framing) {
            (Mode::Tc, Framing::Ethernet) => Self::Tc,
            (Mode::Tc, Framing::Bare) => Self::TcBare,
            (Mode::Native | Mode::Generic, Framing::Bare) => Self::XdpBare,
            (Mode::Native, Framing::Ethernet) if !frags => Self::Xdp,
            (Mode::Native | Mode::Generic, Framing::Ethernet) => Self::XdpFrags,
        }
    }

    const fn is_tc(self) -> bool {
        matches!(self, Self::Tc | Self::TcBare | Self::FenceIngress | Self::FenceEgress)
    }
}

/// The verdict of a program on a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `XDP_PASS` or `TCX_NEXT`: the frame continues as if the program were not attached.
    Pass,
    /// `XDP_DROP` or `TCX_DROP`.
    Drop,
}

/// The program arrays through which adverts are dropped, each with the program that it contains.
const CONSUMERS: [(&str, &str); 3] = [
    (names::MAP_AGENT_XDP, names::CONSUME_XDP),
    (names::MAP_AGENT_XDP_FRAGS, names::CONSUME_XDP_FRAGS),
    (names::MAP_AGENT_TC, names::CONSUME_TC),
];

/// The program arrays, which must stay open while vipd processes adverts: when the last descriptor
/// is closed, the kernel empties the arrays, and adverts pass to the network stack. The arrays must
/// therefore never be pinned, or passed to a process other than a successor, directly or through
/// systemd's descriptor store. Each element contains an array, the name of the array, and the name
/// of its program.
pub(super) struct Consumers(Vec<(ProgramArray<MapData>, &'static str, &'static str)>);

impl Consumers {
    /// Loads the programs that drop adverts. The programs have no effect until
    /// [`install`](Self::install) is called.
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        let mut arrays = Vec::new();
        for (array, name) in CONSUMERS {
            let missing = |kind, name| LoadError::Missing { kind, name };
            let map = ebpf.take_map(array).ok_or(missing("array", array))?;
            let map = ProgramArray::try_from(map).map_err(|error| LoadError::map(array, error))?;
            let program = ebpf.program_mut(name).ok_or(missing("program", name))?;
            let loaded = match program {
                Program::Xdp(xdp) => xdp.load(),
                Program::SchedClassifier(tc) => tc.load(),
                _ => return Err(missing("program", name)),
            };
            loaded.map_err(|error| LoadError::program(name, &error))?;
            arrays.push((map, array, name));
        }
        Ok(Self(arrays))
    }

    /// Stores the programs in the arrays, replacing a predecessor's programs.
    pub(super) fn install(&mut self, ebpf: &Ebpf) -> Result<(), LoadError> {
        for (map, array, name) in &mut self.0 {
            let program = ebpf.program(name).ok_or(LoadError::Missing { kind: "program", name })?;
            let fd = program.fd().map_err(|error| LoadError::program(name, &error))?;
            map.set(0, fd, 0).map_err(|error| LoadError::map(array, error))?;
        }
        Ok(())
    }
}

/// The programs, by name.
pub(super) struct Programs<'a> {
    pub(super) ebpf: &'a mut Ebpf,
    /// The label of each program that is loaded from now on.
    pub(super) label: Option<&'a Label>,
}

impl<'a> Programs<'a> {
    pub(super) fn unlabelled(ebpf: &'a mut Ebpf) -> Self {
        Self { ebpf, label: None }
    }

    /// Returns a program for TC.
    pub(super) fn classifier(&mut self, entry: Entry) -> Result<&mut SchedClassifier, ProgramError> {
        self.ebpf.program_mut(entry.name()).ok_or(ProgramError::NotLoaded)?.try_into()
    }

    /// Loads a program unless it is already loaded, and returns its descriptor.
    pub(super) fn load(&mut self, entry: Entry) -> Result<BorrowedFd<'_>, ProgramError> {
        let program = self.ebpf.program_mut(entry.name()).ok_or(ProgramError::NotLoaded)?;
        match program {
            Program::Xdp(xdp) if xdp.fd().is_err() => xdp.load()?,
            Program::SchedClassifier(tc) if tc.fd().is_err() => tc.load()?,
            _ => return program.fd().map(ProgramFd::as_fd),
        }
        let program = program.fd()?.as_fd();
        if let Some(label) = self.label {
            // Without the label, the program can be found only by its pin.
            let _ = label.bind(program);
        }
        Ok(program)
    }
}

/// Runs a loaded program `repeat` times on `frame`, as if received on `ifindex`
/// (`BPF_PROG_TEST_RUN`). Returns its action and the mean duration of a run in nanoseconds.
pub(super) fn test_run(
    ebpf: &Ebpf,
    entry: Entry,
    frame: &[u8],
    ifindex: u32,
    repeat: u32,
) -> Result<(Action, u64), ProgramError> {
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let xdp_md: [u32; 6] = [0, length, 0, ifindex, 0, 0];
    // `struct __sk_buff`; `ifindex` is the eleventh word.
    let mut sk_buff = [0u32; 48];
    sk_buff[10] = ifindex;
    let context = if entry.is_tc() { bytemuck::cast_slice(&sk_buff) } else { bytemuck::cast_slice(&xdp_md) };
    let options =
        TestRunOptions { data_in: Some(frame), ctx_in: Some(context), repeat, ..TestRunOptions::new() };
    let program = ebpf.program(entry.name()).ok_or(ProgramError::NotLoaded)?;
    let result = match program {
        Program::SchedClassifier(tc) => SchedClassifier::test_run(tc, options)?,
        program => <&Xdp>::try_from(program)?.test_run(options)?,
    };
    let action = match (entry.is_tc(), result.return_value.cast_signed()) {
        (false, 2) | (true, -1) => Action::Pass,
        (false, 1) | (true, 2) => Action::Drop,
        (_, code) => unreachable!("{} returned {code}, which is neither pass nor drop", entry.name()),
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the duration of one run in nanoseconds fits in a u64"
    )]
    Ok((action, result.duration.as_nanos() as u64))
}
