//! Runs FRR's vrrpd on a node: its daemons, and the macvlans it requires.
//!
//! vrrpd creates neither interfaces nor addresses. Each virtual router needs a macvlan with the
//! virtual MAC and the VIPs. In Backup, vrrpd sets the macvlan protodown. IPv6 adverts use the
//! macvlan's link-local address as their source.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::run;
use crate::configuration::{Family, Instance};
use crate::namespace::Namespace;
use crate::station::{INTERFACE, PREFIX, PREFIX6, Station};

/// Directory of the daemons on Debian.
const DAEMONS: &str = "/usr/lib/frr";

/// Starts zebra, then vrrpd. On SIGTERM, stops vrrpd first, because vrrpd needs zebra for a
/// clean shutdown. `$1` is the runtime directory to create, and `$2` the configuration file.
const SCRIPT: &str = r#"
D=$1; C=$2
rm -rf "$D"; mkdir -p "$D"; chmod 755 "$(dirname "$D")"; chown frr:frr "$D"
/usr/lib/frr/zebra -z "$D/zserv.api" -i "$D/zebra.pid" --vty_socket "$D" -f /dev/null --log stdout & Z=$!
until [ -S "$D/zserv.api" ]; do kill -0 $Z || exit 1; sleep 0.05; done
/usr/lib/frr/vrrpd -z "$D/zserv.api" -i "$D/vrrpd.pid" --vty_socket "$D" -f "$C" --log stdout & V=$!
trap 'kill $V; wait $V; kill $Z; wait $Z; exit 0' TERM
wait $V
"#;

/// Returns whether the daemons are installed.
pub(crate) fn is_installed() -> bool {
    ["zebra", "vrrpd"].iter().all(|daemon| Path::new(DAEMONS).join(daemon).is_file())
}

/// Returns the command that runs both daemons with a configuration file.
pub(crate) fn command(scratch: &Path, configuration: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, "frr"]).arg(scratch.join("frr")).arg(configuration);
    command
}

/// Sets `arp_ignore` on the interface, and creates the macvlans that do not exist yet.
pub(crate) fn prepare(host: &Namespace, station: Station, instances: &[Instance]) -> Result<()> {
    let links = run(host, "ip", &["-o", "link"])?;
    // Without arp_ignore, the interface answers ARP for its macvlans' addresses, even in Backup.
    run(host, "sysctl", &["-qw", &format!("net.ipv4.conf.{INTERFACE}.arp_ignore=1")])?;
    for instance in instances {
        let (digit, block, prefix) = match instance.family() {
            Family::V4 => (4, 1, PREFIX),
            Family::V6 => (6, 2, PREFIX6),
        };
        let name = format!("frr{digit}-{}", instance.vrid);
        if links.contains(&format!(" {name}@")) {
            continue;
        }
        let mac = format!("00:00:5e:00:{block:02x}:{:02x}", instance.vrid);
        let ip = |arguments: &[&str]| run(host, "ip", arguments).with_context(|| format!("creating {name}"));
        ip(&["link", "add", &name, "link", INTERFACE, "address", &mac, "type", "macvlan", "mode", "bridge"])?;
        ip(&["link", "set", &name, "addrgenmode", "none"])?;
        let mut addresses: Vec<String> =
            instance.addresses.iter().map(|address| format!("{address}/{prefix}")).collect();
        if instance.family() == Family::V6 {
            // vrrpd uses the first link-local address that the kernel lists, which is the address
            // added last.
            let own = u16::from_be_bytes([0xff, station.mac().0[5]]);
            addresses.push(format!("fe80::{own:x}/{prefix}"));
        }
        for address in &addresses {
            let nodad: &[&str] = if instance.family() == Family::V6 { &["nodad"] } else { &[] };
            ip(&[&["address", "add", address, "dev", &name], nodad].concat())?;
        }
        ip(&["link", "set", &name, "up"])?;
    }
    Ok(())
}
