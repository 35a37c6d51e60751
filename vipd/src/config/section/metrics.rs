//! `[metrics]`: metrics over HTTP.

use std::net::SocketAddr;

use crate::config::operate::Metrics;
use crate::config::problem::Collector;
use crate::config::schema;
use crate::config::table::{Rejection, Table, Value};

/// Reads `[metrics]`. Without `listen`, there is no server.
pub(in crate::config) fn read(table: &Table<'_>, problems: &mut Collector<'_>) -> Metrics {
    let found = table.optional(&schema::METRICS, problems, |value| value.table("in `metrics`"));
    let Some(found) = found.flatten() else { return Metrics::default() };
    found.reject_unknown(schema::Section::Metrics, problems);
    let listen = found.optional(&schema::LISTEN, problems, address);
    let names = found.given(&schema::KEEPALIVED_NAMES, problems, Value::boolean).flatten();
    if let (Some(None), Some(names)) = (listen, &names)
        && names.value
    {
        problems.warn(
            names.at,
            format!(
                "{} has no effect without {}; add `{}`",
                schema::KEEPALIVED_NAMES,
                schema::LISTEN,
                schema::LISTEN.example()
            ),
        );
    }
    Metrics { listen: listen.flatten(), keepalived_names: names.is_some_and(|names| names.value) }
}

/// Reads an address with a port. Rejects port 0, for which the kernel would choose a different port
/// at each start.
fn address(value: &Value<'_>) -> Result<SocketAddr, Rejection> {
    let text = value.string()?;
    let address = text.parse().ok().filter(|address: &SocketAddr| address.port() != 0);
    let remedy = "write 127.0.0.1:9650 or [::1]:9650 for local clients, 0.0.0.0:9650 or [::]:9650 for all";
    address.ok_or_else(|| value.rejected(format!("{text:?}"), remedy))
}
