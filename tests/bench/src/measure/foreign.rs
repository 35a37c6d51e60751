//! The effect of an agent on traffic other than VRRP: TCP from the client to the node.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use vipd_tests::agent::Instance;
use vipd_tests::compare::Spread;
use vipd_tests::lab::Lab;
use vipd_tests::station::Station;

use crate::figure::Figure;
use crate::metric::Metric;
use crate::subject::Subject;

const NODE: Station = Station::Node(1);
const CLIENT: Station = Station::Client;
/// Number of pairs of measurements. Measurements with and without the agent alternate, so that
/// changing load on the machine affects both.
const PAIRS: usize = 5;
/// Bytes per write.
const CHUNK: usize = 128 * 1024;
/// Duration of a connection's warm-up, long enough for slow start and socket buffer tuning.
const WARM_UP: Duration = Duration::from_millis(200);

/// Measures throughput and round trips, each for `length`, with and without the agent.
///
/// # Errors
/// Returns an error if the lab or a connection fails.
pub(crate) fn traffic(subject: &Subject, length: Duration) -> Result<Vec<Figure>> {
    let lab = Lab::new(1)?;
    let mut agent = subject.agent(&lab, NODE, &[Instance::default()])?;
    let (mut without, mut with) = (Traffic::default(), Traffic::default());
    for _ in 0..PAIRS {
        without.measure(&lab, length)?;
        agent.start()?;
        with.measure(&lab, length)?;
        agent.stop()?;
    }
    let median = |values: Vec<f64>| Spread::of(values).map(|spread| spread.median).context("no measurements");
    let (gbits_without, gbits) = (median(without.gbits)?, median(with.gbits)?);
    let (trips_without, trips) = (median(without.trips)?, median(with.trips)?);
    Ok(vec![
        Figure::new(Metric::ThroughputWithout, gbits_without),
        Figure::new(Metric::ThroughputWith, gbits),
        Figure::new(Metric::ThroughputKept, 100.0 * gbits / gbits_without),
        Figure::new(Metric::RoundTripsWithout, trips_without),
        Figure::new(Metric::RoundTripsWith, trips),
        Figure::new(Metric::RoundTripsKept, 100.0 * trips / trips_without),
    ])
}

/// Repeated measurements, either with or without the agent.
#[derive(Default)]
struct Traffic {
    gbits: Vec<f64>,
    trips: Vec<f64>,
}

impl Traffic {
    fn measure(&mut self, lab: &Lab, length: Duration) -> Result<()> {
        self.gbits.push(throughput(lab, length)?);
        self.trips.push(round_trips(lab, length)?);
        Ok(())
    }
}

/// Measures the throughput of one TCP stream from the client to the node, in Gbit/s at the
/// receiver.
fn throughput(lab: &Lab, length: Duration) -> Result<f64> {
    let (mut receiver, mut sender) = connect(lab)?;
    receiver.set_read_timeout(Some(Duration::from_secs(10)))?;
    let sending = thread::spawn(move || {
        let chunk = vec![0_u8; CHUNK];
        // The loop ends when the receiver closes the connection.
        while sender.write_all(&chunk).is_ok() {}
    });
    let mut buffer = vec![0_u8; CHUNK];
    let mut read_for = |length: Duration| -> Result<f64> {
        let (start, mut bytes) = (Instant::now(), 0_u64);
        while start.elapsed() < length {
            bytes += u64::try_from(receiver.read(&mut buffer)?)?;
        }
        #[expect(clippy::cast_precision_loss, reason = "gigabytes at most")]
        let bits = bytes as f64 * 8.0;
        Ok(bits / start.elapsed().as_secs_f64() / 1e9)
    };
    let result = read_for(WARM_UP).and_then(|_| read_for(length));
    drop(receiver);
    sending.join().map_err(|_| anyhow!("the sender panicked"))?;
    result
}

/// Measures how many one-byte round trips per second a TCP connection achieves.
fn round_trips(lab: &Lab, length: Duration) -> Result<f64> {
    let (mut node, mut client) = connect(lab)?;
    for stream in [&node, &client] {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    }
    let echo = thread::spawn(move || -> Result<()> {
        let mut byte = [0];
        loop {
            match node.read_exact(&mut byte) {
                Ok(()) => node.write_all(&byte)?,
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    });
    let (start, mut trips, mut byte) = (Instant::now(), 0_u32, [7]);
    while start.elapsed() < length {
        client.write_all(&byte)?;
        client.read_exact(&mut byte)?;
        trips += 1;
    }
    let elapsed = start.elapsed();
    drop(client);
    echo.join().map_err(|_| anyhow!("the echo server panicked"))??;
    Ok(f64::from(trips) / elapsed.as_secs_f64())
}

/// Opens a connection from the client to the node, and returns the node's end and the client's end.
fn connect(lab: &Lab) -> Result<(TcpStream, TcpStream)> {
    let address = SocketAddr::from((NODE.ipv4(), 0));
    let listener =
        lab.host(NODE)?.run(move || TcpListener::bind(address)).context("listening on the node")?;
    let address = listener.local_addr()?;
    let client = lab.host(CLIENT)?.run(move || TcpStream::connect_timeout(&address, Duration::from_secs(10)));
    let client = client.with_context(|| format!("connecting to {address}"))?;
    let (node, _) = listener.accept().context("accepting the connection")?;
    Ok((node, client))
}
