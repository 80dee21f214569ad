//! A source of a test: a reader of one of the kit's servers, from the beginning of its log.

use std::sync::Arc;
use std::time::Duration;

use binlake_watch::{Endpoint, SourceSpec};
use mysql_wire::{ReplicaRequest, SslMode, StartPosition, url::ServerUrl};

/// Types of events that begin a transaction.
pub(crate) const GTID: [u8; 2] = [33, 34];
/// For waits that should end much earlier.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) fn spec(url: &str, id: usize, tls: bool) -> SourceSpec {
    let url = ServerUrl::parse(url).unwrap();
    let mut options = url.options();
    options.tls.mode = if tls { SslMode::Required } else { SslMode::Disabled };
    SourceSpec {
        name: format!("s{id}"),
        endpoint: Endpoint { host: url.host.clone(), port: url.port },
        options: Arc::new(options),
        request: ReplicaRequest {
            server_id: 10_000 + u32::try_from(id).unwrap(),
            uuid: format!("aaaaaaaa-0000-0000-0000-{id:012}"),
            heartbeat: Duration::from_secs(1),
            from: StartPosition::File { file: String::new(), pos: 4 },
            stop_at_end: false,
        },
        signal: None,
    }
}
