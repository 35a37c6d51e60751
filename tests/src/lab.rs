//! A LAN segment: hosts, a switch, and cables that can be cut.

use std::fs;

use anyhow::{Context, Result, bail, ensure};

use crate::capture::Capture;
use crate::links::{self, Cable};
use crate::namespace::Namespace;
use crate::station::{INTERFACE, MAX_NODES, PREFIX, PREFIX6, Station};

/// Name of the switch's bridge.
pub(crate) const BRIDGE: &str = "br0";

/// Nodes and a client connected to a switch. Labs are independent of each other; dropping a lab
/// removes it.
#[derive(Debug)]
pub struct Lab {
    switch: Namespace,
    nodes: Vec<Namespace>,
    client: Namespace,
}

impl Lab {
    /// Creates a lab with the given number of nodes and a client, all plugged in.
    ///
    /// # Errors
    /// Returns an error without root, if `nodes` is 0 or too large, or if a namespace or link
    /// cannot be created.
    pub fn new(nodes: u8) -> Result<Self> {
        ensure!((1..=MAX_NODES).contains(&nodes), "a lab has 1 to {MAX_NODES} nodes, not {nodes}");
        let switch = Namespace::new("switch")?;
        switch.run(|| links::add_bridge(BRIDGE))?;
        let lab = Self {
            switch,
            nodes: (1..=nodes).map(|n| Namespace::new(&format!("node {n}"))).collect::<Result<_>>()?,
            client: Namespace::new("client")?,
        };
        for station in lab.stations() {
            lab.plug(station)?;
        }
        Ok(lab)
    }

    /// Returns all stations: the nodes in order, then the client.
    pub fn stations(&self) -> impl Iterator<Item = Station> + use<> {
        let nodes = u8::try_from(self.nodes.len()).unwrap_or(MAX_NODES);
        (1..=nodes).map(Station::Node).chain([Station::Client])
    }

    /// Returns the station's namespace.
    ///
    /// # Errors
    /// Returns an error if the lab has no such node.
    pub fn host(&self, station: Station) -> Result<&Namespace> {
        match station {
            Station::Client => Ok(&self.client),
            Station::Node(number) => match number.checked_sub(1).and_then(|i| self.nodes.get(usize::from(i)))
            {
                Some(node) => Ok(node),
                None => bail!("the lab has nodes 1 to {}, not {number}", self.nodes.len()),
            },
        }
    }

    /// Returns the switch's namespace, which contains the bridge and a port for each station.
    pub fn switch(&self) -> &Namespace {
        &self.switch
    }

    /// Starts a capture of every frame that enters the switch.
    ///
    /// # Errors
    /// Returns an error if the capture cannot be started.
    pub fn capture(&self) -> Result<Capture> {
        Capture::start(&self.switch)
    }

    /// Cuts a station's cable by setting its switch port down. The station loses carrier but keeps
    /// its interface and addresses.
    ///
    /// # Errors
    /// Returns an error if the station is not plugged in.
    pub fn cut(&self, station: Station) -> Result<()> {
        let port = station.port_name();
        self.switch.run(move || links::set_down(&port)).with_context(|| format!("cutting {station}'s cable"))
    }

    /// Reconnects a cut cable.
    ///
    /// # Errors
    /// Returns an error if the station is not plugged in.
    pub fn reconnect(&self, station: Station) -> Result<()> {
        let port = station.port_name();
        self.switch
            .run(move || links::set_up(&port))
            .with_context(|| format!("reconnecting {station}'s cable"))
    }

    /// Isolates a station without loss of carrier: the switch no longer forwards frames to or from
    /// it. Frames that it sends are still captured.
    ///
    /// # Errors
    /// Returns an error if the station is not plugged in.
    pub fn isolate(&self, station: Station) -> Result<()> {
        let port = station.port_name();
        self.switch.run(move || links::leave_bridge(&port)).with_context(|| format!("isolating {station}"))
    }

    /// Ends a station's isolation.
    ///
    /// # Errors
    /// Returns an error if the station is not plugged in.
    pub fn rejoin(&self, station: Station) -> Result<()> {
        let port = station.port_name();
        self.switch
            .run(move || links::join_bridge(&port, BRIDGE))
            .with_context(|| format!("rejoining {station}"))
    }

    /// Returns the number of frames dropped by full queues on the path from one station to another:
    /// on receipt by the first switch port, or before transmission by the second.
    ///
    /// # Errors
    /// Returns an error if one of the stations is not plugged in.
    pub fn frames_dropped(&self, from: Station, to: Station) -> Result<u64> {
        Ok(self.port_counter(from, "rx_dropped")? + self.port_counter(to, "tx_dropped")?)
    }

    /// Returns the number of frames that a station has sent, as counted at its switch port.
    ///
    /// # Errors
    /// Returns an error if the station is not plugged in.
    pub fn frames_sent(&self, from: Station) -> Result<u64> {
        self.port_counter(from, "rx_packets")
    }

    fn port_counter(&self, station: Station, counter: &str) -> Result<u64> {
        let path = format!("/sys/class/net/{}/statistics/{counter}", station.port_name());
        let text = self
            .switch
            .run(move || fs::read_to_string(path))
            .context("reading a counter of a switch port")?;
        Ok(text.trim().parse()?)
    }

    /// Removes a station's cable, which also deletes the station's interface and addresses.
    ///
    /// # Errors
    /// Returns an error if the station is not plugged in.
    pub fn unplug(&self, station: Station) -> Result<()> {
        let port = station.port_name();
        self.switch.run(move || links::delete(&port)).with_context(|| format!("unplugging {station}"))
    }

    /// Creates a station's cable and interface, and adds its addresses.
    ///
    /// # Errors
    /// Returns an error if the station is already plugged in.
    pub fn plug(&self, station: Station) -> Result<()> {
        let host = self.host(station)?;
        let namespace = host.net_fd();
        self.switch
            .run(move || {
                links::add_cable(&Cable {
                    bridge: BRIDGE,
                    port: &station.port_name(),
                    port_index: station.port_index(),
                    interface: INTERFACE,
                    mac: station.mac(),
                    namespace,
                })
            })
            .with_context(|| format!("plugging in {station}"))?;
        host.run(move || {
            // Mode 1 (none): the kernel generates no link-local address.
            fs::write(format!("/proc/sys/net/ipv6/conf/{INTERFACE}/addr_gen_mode"), "1")?;
            links::set_up(INTERFACE)?;
            links::add_address(INTERFACE, station.ipv4(), PREFIX)?;
            links::add_address(INTERFACE, station.link_local(), PREFIX6)?;
            links::add_address(INTERFACE, station.ipv6(), PREFIX6)
        })
        .with_context(|| format!("adding the addresses of {station}"))
    }
}
