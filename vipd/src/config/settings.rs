//! Settings of an instance that are not parameters of the protocol.

use std::fmt;
use std::net::IpAddr;

/// Mode in which the BPF program is attached to an interface (`xdp`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// Native if the driver's native mode is known not to affect other traffic. If it is not, if
    /// native mode is refused, or if frames have no Ethernet header, TC ingress, or generic if TC
    /// ingress is refused, too.
    #[default]
    Auto,
    /// Native mode, or TC ingress if native mode is refused or frames have no Ethernet header, or
    /// generic mode if TC ingress is refused, too.
    Native,
    /// Generic only.
    Generic,
}

/// Checksum form of VRRPv3 adverts sent over IPv4. Received adverts may use either form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// The checksum also covers the pseudo-header (RFC 5798 section 5.2.8 as usually implemented).
    /// By default, keepalived and FRR reject adverts with [the other form](Self::Rfc9568).
    #[default]
    Rfc5798,
    /// The checksum covers only the message (RFC 9568 section 5.2.8).
    Rfc9568,
}

/// Destination of adverts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Adverts are sent to the multicast group, 224.0.0.18 or ff02::12.
    #[default]
    Multicast,
    /// Adverts are sent to each peer and accepted from peers only (`unicast_peers`).
    Unicast(Vec<Peer>),
}

/// A unicast peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Address of the peer, in the virtual router's address family.
    pub address: IpAddr,
    /// Minimum TTL or Hop Limit of the peer's adverts: 255, or less for a peer behind routers.
    pub min_ttl: u8,
}

/// VRRPv2 authentication data: a password of 1 to 8 bytes, padded with zeros. `Debug` does not show
/// the password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Password(pub [u8; 8]);

impl Password {
    /// Returns the authentication data as words in network byte order, as in
    /// [`Expected`](vipd_common::parse::Expected).
    pub fn words(&self) -> [u32; 2] {
        let (words, _) = self.0.as_chunks::<4>();
        [u32::from_ne_bytes(words[0]), u32::from_ne_bytes(words[1])]
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// `virtual_mac = true`: the VIPs of the instance's family, except those on another interface, are
/// on a macvlan with the virtual router MAC (RFC 9568 section 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualMac {
    /// Whether adverts are sent from the interface's own MAC (`virtual_mac_transmit_on_base`).
    pub transmit_on_base: bool,
}

/// Placement of a VIP on an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Name of the interface; `None` for the instance's own interface or, with `virtual_mac` and
    /// for a VIP of the instance's family, for the macvlan of that interface.
    pub interface: Option<String>,
    /// Label (`IFA_LABEL`, IPv4 only), up to 15 bytes.
    pub label: Option<String>,
    /// Address scope; always [`Scope::Global`] in IPv6.
    pub scope: Scope,
    /// Broadcast address (`IFA_BROADCAST`, IPv4 only).
    pub broadcast: Option<std::net::Ipv4Addr>,
    /// Whether to set the preferred lifetime to 0, so that the kernel prefers other addresses as
    /// the source of new connections (IPv6 only, `preferred = false`). True by default for an IPv6
    /// /128.
    pub deprecated: bool,
}

/// Scope of an address (`include/uapi/linux/rtnetlink.h`, `RT_SCOPE_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Valid everywhere. The only value for IPv6, where the kernel derives the scope from the
    /// address.
    #[default]
    Global,
    /// Valid on this link only.
    Link,
    /// Valid on this host only.
    Host,
}
