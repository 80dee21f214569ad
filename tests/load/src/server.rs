//! The server that is written to.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use mysql_wire::url::ServerUrl;
use mysql_wire::{ConnectOptions, QueryResult};
use watch::blocking::{BlockingError, Client, Endpoint};

/// A statement of a thousand rows on a busy machine takes seconds, never this long.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Where to connect.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    endpoint: Endpoint,
    options: Arc<ConnectOptions>,
    shown: String,
}

impl Server {
    /// `BINLAKE_PASSWORD` counts when the address has no password.
    pub(crate) fn new(url: &str) -> anyhow::Result<Self> {
        let mut url = ServerUrl::parse(url).context("--source")?;
        if url.password.is_none() {
            url.password = std::env::var("BINLAKE_PASSWORD").ok().map(Into::into);
        }
        let options = url.options_with(|path| std::fs::read(path).with_context(|| path.display().to_string()))?;
        let endpoint = Endpoint { host: url.host.clone(), port: url.port };
        Ok(Server { endpoint, options: Arc::new(options), shown: url.to_string() })
    }

    pub(crate) fn connect(&self) -> anyhow::Result<Connection> {
        let client = Client::connect(&self.endpoint, self.options.clone(), TIMEOUT)
            .with_context(|| format!("cannot connect to {}", self.shown))?;
        Ok(Connection(client))
    }
}

#[derive(Debug)]
pub(crate) struct Connection(Client);

impl Connection {
    pub(crate) fn run(&mut self, sql: &str) -> anyhow::Result<QueryResult> {
        self.0.query(sql).with_context(|| {
            let head: String = sql.chars().take(80).collect();
            format!("at {head:?}")
        })
    }

    pub(crate) fn run_all(&mut self, statements: &[&str]) -> anyhow::Result<()> {
        statements.iter().try_for_each(|sql| self.run(sql).map(drop))
    }
}

/// The connection is gone, as opposed to a statement that the server refused.
pub(crate) fn is_lost(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| matches!(cause.downcast_ref(), Some(BlockingError::Io { .. })))
}
