//! The one table of metric names. All begin with `binlake_`; units are base units.

use crate::registry::{Counter, Def, Gauge, Histogram, Registry};

/// A metric as its reader sees it.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Without the prefix.
    pub name: &'static str,
    /// Counter, Gauge or Histogram.
    pub kind: &'static str,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

/// Declares the definitions and, from the same lines, the list of them all.
macro_rules! table {
    ($($(#[$doc:meta])* $id:ident: $kind:ty, $name:literal, [$($label:literal),*], $scale:literal, $help:literal;)*) => {
        $($(#[$doc])*
        #[doc = $help]
        pub static $id: Def<$kind, { [$($label),*].len() }> = Def::new($name, [$($label),*], $scale, $help);)*
        /// Every line of the table.
        pub const ALL: &[Line] = &[$(Line { name: $name, kind: stringify!($kind), labels: &[$($label),*], help: $help }),*];
    };
}

table! {
    SOURCE_LAG_SECONDS: Gauge, "source_lag_seconds", ["source"], 1.0,
        "Seconds since the commit of the oldest transaction that is read and not acknowledged; of the last one read while more is waiting to be read; since the last moment at the end of the log while not connected; else 0.";
    SOURCE_LAG_BYTES: Gauge, "source_lag_bytes", ["source"], 1.0,
        "Bytes of the source's log that are not read yet, asked of the server every 10 s; NaN while unknown.";
    SOURCE_CONNECTED: Gauge, "source_connected", ["source"], 1.0,
        "1 while the dump of the source is connected.";
    INSTANCE_STATE: Gauge, "instance_state", ["source", "state"], 1.0,
        "1 for the state the instance is in, 0 for all others.";
    INSTANCE_EPOCH: Gauge, "instance_epoch", ["source"], 1.0,
        "Epoch of the present ownership of the source.";
    INSTANCE_TIME: Counter, "instance_seconds_total", ["source", "state"], 1e-9,
        "Time of the source's thread: busy, blocked (the target takes or acknowledges no more) or idle (nothing to read).";
    READ_BYTES: Counter, "read_bytes_total", ["source"], 1.0,
        "Bytes of log events read from the source.";
    EVENTS: Counter, "events_total", ["source"], 1.0,
        "Log events read; a compressed transaction is one.";
    SKIPPED_EVENTS: Counter, "skipped_events_total", ["source"], 1.0,
        "Rows events of tables that no feed wants, passed over undecoded.";
    UNKNOWN_EVENTS: Counter, "unknown_events_total", ["source"], 1.0,
        "Events of a type that is neither known nor marked ignorable.";
    TRANSACTIONS: Counter, "transactions_total", ["source"], 1.0,
        "Transactions read to their commit.";
    ROWS: Counter, "rows_total", ["source", "op"], 1.0,
        "Rows decoded, by operation (insert, update, delete); rows read again after a failure count again.";
    PRODUCED_MESSAGES: Counter, "produced_messages_total", ["source", "topic"], 1.0,
        "Messages acknowledged by the target, by topic.";
    PRODUCED_BYTES: Counter, "produced_bytes_total", ["source", "topic"], 1.0,
        "Bytes of keys, values and headers acknowledged by the target, by topic.";
    PRODUCE_ERRORS: Counter, "produce_errors_total", ["source", "reason"], 1.0,
        "Messages not acknowledged, by reason: topic (it refuses), too_large, unknown (no answer).";
    DELIVERY_LATENCY: Histogram, "delivery_latency_seconds", ["source"], 1e-6,
        "Time from commit on the source to acknowledgement by the target, per message.";
    QUEUE_BYTES: Gauge, "queue_bytes", ["source", "queue"], 1.0,
        "Bytes waiting in a bounded queue: received (read from the socket, not taken yet), in_flight (sent, not acknowledged).";
    RECONNECTS: Counter, "reconnects_total", ["source"], 1.0,
        "Connections to the source that ended and were made again.";
    INCIDENTS: Counter, "incidents_total", ["source", "code"], 1.0,
        "Incidents, by their code; the text of the last ones is in /healthz and on the status page.";
    PARKED_FEEDS: Gauge, "parked_feeds", ["source"], 1.0,
        "Feeds that are stopped, each with its position, while the others go on.";
    QUARANTINED_TABLES: Gauge, "quarantined_tables", ["source"], 1.0,
        "Tables whose rows are held back until an operator decides.";
    CHECKPOINT_WRITES: Counter, "checkpoint_writes_total", ["source"], 1.0,
        "Checkpoints stored.";
}

/// The handles of one source, made when it starts so that its series exist from the first scrape.
#[derive(Clone, Debug)]
pub struct SourceMetrics {
    pub lag_seconds: Gauge,
    pub lag_bytes: Gauge,
    pub connected: Gauge,
    /// One per state, in the order of the names given.
    pub states: Vec<(&'static str, Gauge)>,
    pub epoch: Gauge,
    /// Takes nanoseconds, as the next two.
    pub busy: Counter,
    pub blocked: Counter,
    pub idle: Counter,
    pub read_bytes: Counter,
    pub events: Counter,
    pub skipped_events: Counter,
    pub unknown_events: Counter,
    pub transactions: Counter,
    pub rows_inserted: Counter,
    pub rows_updated: Counter,
    pub rows_deleted: Counter,
    /// By feed: messages and bytes.
    pub produced: Vec<(Counter, Counter)>,
    pub refused_by_topic: Counter,
    pub refused_too_large: Counter,
    pub unconfirmed: Counter,
    /// Takes microseconds.
    pub delivery_latency: Histogram,
    pub queue_received: Gauge,
    pub queue_in_flight: Gauge,
    pub reconnects: Counter,
    pub parked_feeds: Gauge,
    pub quarantined_tables: Gauge,
    pub checkpoint_writes: Counter,
    registry: Registry,
    source: String,
}

impl SourceMetrics {
    /// `states` are all names that `instance_state` may have, `topics` the topics of the feeds, in their order.
    #[must_use]
    pub fn new(registry: &Registry, source: &str, states: &[&'static str], topics: &[&str]) -> Self {
        let counter = |def| registry.get::<Counter, 1>(def, [source]);
        let gauge = |def| registry.get::<Gauge, 1>(def, [source]);
        let lag_bytes = gauge(&SOURCE_LAG_BYTES);
        lag_bytes.set(f64::NAN);
        Self {
            lag_seconds: gauge(&SOURCE_LAG_SECONDS),
            lag_bytes,
            connected: gauge(&SOURCE_CONNECTED),
            states: states.iter().map(|s| (*s, registry.get(&INSTANCE_STATE, [source, s]))).collect(),
            epoch: gauge(&INSTANCE_EPOCH),
            busy: registry.get(&INSTANCE_TIME, [source, "busy"]),
            blocked: registry.get(&INSTANCE_TIME, [source, "blocked"]),
            idle: registry.get(&INSTANCE_TIME, [source, "idle"]),
            read_bytes: counter(&READ_BYTES),
            events: counter(&EVENTS),
            skipped_events: counter(&SKIPPED_EVENTS),
            unknown_events: counter(&UNKNOWN_EVENTS),
            transactions: counter(&TRANSACTIONS),
            rows_inserted: registry.get(&ROWS, [source, "insert"]),
            rows_updated: registry.get(&ROWS, [source, "update"]),
            rows_deleted: registry.get(&ROWS, [source, "delete"]),
            produced: topics
                .iter()
                .map(|t| (registry.get(&PRODUCED_MESSAGES, [source, t]), registry.get(&PRODUCED_BYTES, [source, t])))
                .collect(),
            refused_by_topic: registry.get(&PRODUCE_ERRORS, [source, "topic"]),
            refused_too_large: registry.get(&PRODUCE_ERRORS, [source, "too_large"]),
            unconfirmed: registry.get(&PRODUCE_ERRORS, [source, "unknown"]),
            delivery_latency: registry.get(&DELIVERY_LATENCY, [source]),
            queue_received: registry.get(&QUEUE_BYTES, [source, "received"]),
            queue_in_flight: registry.get(&QUEUE_BYTES, [source, "in_flight"]),
            reconnects: counter(&RECONNECTS),
            parked_feeds: gauge(&PARKED_FEEDS),
            quarantined_tables: gauge(&QUARANTINED_TABLES),
            checkpoint_writes: counter(&CHECKPOINT_WRITES),
            registry: registry.clone(),
            source: source.to_owned(),
        }
    }

    /// Counts an incident; its code's series exists from the first one on.
    pub fn incident(&self, code: &str) {
        self.registry.get(&INCIDENTS, [&self.source, code]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules() {
        let mut sorted: Vec<_> = ALL.iter().map(|l| l.name).collect();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), ALL.len(), "a name stands twice");
        for Line { name, .. } in ALL {
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
        }
    }

    /// `BLESS=1 cargo test -p binlake-telemetry` writes the page anew.
    #[test]
    fn the_page_of_metrics_is_this_table() {
        let mut page = String::from(
            "# Metrics\n\nWhat `/metrics` of `binlake up` serves (Prometheus text format 0.0.4). The unit is in the name: seconds, bytes, else \
             a count;\nwhat ends in `_total` only grows, from 0 at each start of the process. Made from the table in \
             [`names.rs`](src/names.rs).\n\n| name | kind | labels | meaning |\n|---|---|---|---|\n",
        );
        for Line { name, kind, labels, help } in ALL {
            let labels: Vec<String> = labels.iter().map(|l| format!("`{l}`")).collect();
            page += &format!("| `binlake_{name}` | {} | {} | {help} |\n", kind.to_lowercase(), labels.join(", "));
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/METRICS.md");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), page, "BLESS=1 writes METRICS.md anew");
    }

    #[test]
    fn text_for_prometheus() {
        let registry = Registry::new();
        registry.get(&ROWS, ["s\"1\\\n", "insert"]).add(3);
        registry.get(&ROWS, ["s\"1\\\n", "insert"]).inc();
        registry.get(&SOURCE_LAG_BYTES, ["b"]).set(0.25);
        registry.get(&INSTANCE_TIME, ["b", "busy"]).add(1_500_000_000);
        let expected = "\
# HELP binlake_instance_seconds_total Time of the source's thread: busy, blocked (the target takes or acknowledges no more) or idle (nothing to read).
# TYPE binlake_instance_seconds_total counter
binlake_instance_seconds_total{source=\"b\",state=\"busy\"} 1.5
# HELP binlake_rows_total Rows decoded, by operation (insert, update, delete); rows read again after a failure count again.
# TYPE binlake_rows_total counter
binlake_rows_total{source=\"s\\\"1\\\\\\n\",op=\"insert\"} 4
# HELP binlake_source_lag_bytes Bytes of the source's log that are not read yet, asked of the server every 10 s; NaN while unknown.
# TYPE binlake_source_lag_bytes gauge
binlake_source_lag_bytes{source=\"b\"} 0.25
";
        assert_eq!(registry.render_prometheus(), expected);
        registry.remove("source", "b");
        assert_eq!(registry.render_prometheus().lines().count(), 3);
    }

    #[test]
    fn histogram_text_is_cumulative_and_in_seconds() {
        let registry = Registry::new();
        let metrics = SourceMetrics::new(&registry, "a", &["idle"], &["t"]);
        for micros in [63, 64, 1500, 1_000_000_000] {
            metrics.delivery_latency.record(micros);
        }
        let text = registry.render_prometheus();
        let line = |start: &str| text.lines().find(|l| l.starts_with(start)).unwrap_or(start).to_owned();
        let bucket = |le: &str| line(&format!("binlake_delivery_latency_seconds_bucket{{source=\"a\",le=\"{le}\"}}"));
        assert!(bucket("0.000064").ends_with(" 1"));
        assert!(bucket("0.000128").ends_with(" 2"));
        assert!(bucket("0.002048").ends_with(" 3"));
        assert!(bucket("134.217728").ends_with(" 3"), "{text}");
        assert!(bucket("+Inf").ends_with(" 4"));
        assert!(line("binlake_delivery_latency_seconds_sum").ends_with(" 1000.001627"));
        assert!(line("binlake_delivery_latency_seconds_count").ends_with(" 4"));
        assert!(
            line("binlake_reconnects_total").ends_with("{source=\"a\"} 0"),
            "series exist before their first event"
        );
    }
}
