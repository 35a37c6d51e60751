//! The table of keepalived's keywords, from which reports and `docs/migration.md` are derived.
//!
//! To add a keyword, add a row here and, if it is translated, the code that translates it.

mod global;
mod vrrp;

pub(super) use vrrp::MACVLAN_NAME;

#[cfg(test)]
pub(super) mod reference;

/// A block of keepalived's configuration, which determines the keywords allowed in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// Outside of all blocks.
    Top,
    /// `global_defs`.
    Global,
    /// `vrrp_script`.
    Script,
    /// `vrrp_track_process`.
    Process,
    /// `track_file`, also called `vrrp_track_file`.
    File,
    /// `vrrp_sync_group`.
    Group,
    /// `garp_group`.
    GarpGroup,
    /// `vrrp_instance`.
    Instance,
    /// `authentication`.
    Authentication,
    /// `auth_hmac`.
    Hmac,
    /// The options of an address.
    Address,
    /// The options of a unicast peer.
    Peer,
    /// The options of a route.
    Route,
    /// The options of a rule.
    Rule,
    /// The options of a tracked object.
    Track,
}

/// Treatment of a keyword by the import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Translated to these keys of vipd.
    Translated(&'static [&'static str]),
    /// Has no equivalent because vipd does not need it. The text is the reason.
    NotNeeded(&'static str),
    /// Has no equivalent. The text is the remedy.
    Unsupported(&'static str),
    /// Belongs to keepalived's load balancer.
    LoadBalancer,
}

/// The remedy for the parts of keepalived's load balancer.
pub(super) const LOAD_BALANCER: &str = "vipd does not configure LVS; move the load balancer's part to a file of its own, for `keepalived --check`";

/// A keyword of keepalived.
#[derive(Debug)]
pub(super) struct Keyword {
    pub(super) block: Block,
    pub(super) name: &'static str,
    /// Number of arguments of an option within a line, such as 1 for `dev NAME`.
    pub(super) arguments: u8,
    pub(super) kind: Kind,
}

/// Creates the row of a keyword that begins a line.
const fn line(block: Block, name: &'static str, kind: Kind) -> Keyword {
    Keyword { block, name, arguments: 0, kind }
}

/// Creates the row of an option within a line.
const fn option(block: Block, name: &'static str, arguments: u8, kind: Kind) -> Keyword {
    Keyword { block, name, arguments, kind }
}

/// Returns all keywords.
pub(super) fn all() -> impl Iterator<Item = &'static Keyword> {
    global::KEYWORDS.iter().chain(vrrp::KEYWORDS)
}

/// Returns a keyword of a block.
pub(super) fn find(block: Block, name: &str) -> Option<&'static Keyword> {
    all().find(|keyword| keyword.block == block && keyword.name == name)
}

/// Returns the keyword of a block that is closest to a misspelled keyword; `None` if no keyword is
/// close.
pub(super) fn nearest(block: Block, name: &str) -> Option<&'static str> {
    let similar = |keyword: &Keyword| strsim::jaro_winkler(name, keyword.name);
    let (similarity, near) = all()
        .filter(|keyword| keyword.block == block)
        .map(|keyword| (similar(keyword), keyword.name))
        .max_by(|one, other| one.0.total_cmp(&other.0))?;
    (similarity >= 0.9).then_some(near)
}
