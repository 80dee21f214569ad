//! The one table of metric names. All begin with `binlake_`; units are base units.

use crate::registry::{Counter, Def, Gauge, Histogram, Registry};

/// Declares the definitions and, from the same lines, the list of all names.
macro_rules! table {
    ($($(#[$doc:meta])* $id:ident: $kind:ty, $name:literal, [$($label:literal),*], $scale:literal, $help:literal;)*) => {
        $($(#[$doc])*
        #[doc = $help]
        pub static $id: Def<$kind, { [$($label),*].len() }> = Def::new($name, [$($label),*], $scale, $help);)*
        /// Every name in the table, without the prefix.
        pub const ALL: &[&str] = &[$($name),*];
    };
}

table! {
    SOURCE_LAG_SECONDS: Gauge, "source_lag_seconds", ["source"], 1.0,
        "Seconds between now and the commit time of the last transaction read; 0 at the end of the source's log.";
    SOURCE_LAG_BYTES: Gauge, "source_lag_bytes", ["source"], 1.0,
        "Bytes of the source's log that are not read yet.";
    SOURCE_CONNECTED: Gauge, "source_connected", ["source"], 1.0,
        "1 while the dump of the source is connected.";
    INSTANCE_STATE: Gauge, "instance_state", ["source", "state"], 1.0,
        "1 for the state the instance is in, 0 for all others.";
    INSTANCE_EPOCH: Gauge, "instance_epoch", ["source"], 1.0,
        "Epoch of the present ownership of the source.";
    READ_BYTES: Counter, "read_bytes_total", ["source"], 1.0,
        "Bytes of log events read from the source.";
    EVENTS: Counter, "events_total", ["source", "type"], 1.0,
        "Log events read, by type.";
    ROWS: Counter, "rows_total", ["source", "op"], 1.0,
        "Rows decoded, by operation (insert, update, delete).";
    ROWS_FILTERED: Counter, "rows_filtered_total", ["source", "reason"], 1.0,
        "Rows that no feed wanted, by reason.";
    PRODUCED_MESSAGES: Counter, "produced_messages_total", ["source", "topic"], 1.0,
        "Messages acknowledged by the target, by topic.";
    PRODUCED_BYTES: Counter, "produced_bytes_total", ["source", "topic"], 1.0,
        "Bytes of keys, values and headers acknowledged by the target, by topic.";
    PRODUCE_ERRORS: Counter, "produce_errors_total", ["source", "reason"], 1.0,
        "Messages the target refused or did not confirm, by reason.";
    DELIVERY_LATENCY: Histogram, "delivery_latency_seconds", ["source"], 1e-6,
        "Time from commit on the source to acknowledgement by the target.";
    STAGE_TIME: Counter, "stage_seconds_total", ["source", "stage", "state"], 1e-9,
        "Time that a stage of the source spent busy, blocked or idle.";
    QUEUE_BYTES: Gauge, "queue_bytes", ["source", "queue"], 1.0,
        "Bytes waiting in a bounded queue.";
    RECONNECTS: Counter, "reconnects_total", ["source"], 1.0,
        "Connections to the source that ended and were made again.";
    UNKNOWN_EVENTS: Counter, "unknown_events_total", ["source"], 1.0,
        "Events of a type that is neither known nor marked ignorable.";
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
    pub epoch: Gauge,
    pub read_bytes: Counter,
    pub rows_inserted: Counter,
    pub rows_updated: Counter,
    pub rows_deleted: Counter,
    /// Takes microseconds.
    pub delivery_latency: Histogram,
    pub reconnects: Counter,
    pub unknown_events: Counter,
    pub quarantined_tables: Gauge,
    pub checkpoint_writes: Counter,
}

impl SourceMetrics {
    #[must_use]
    pub fn new(registry: &Registry, source: &str) -> Self {
        Self {
            lag_seconds: registry.get(&SOURCE_LAG_SECONDS, [source]),
            lag_bytes: registry.get(&SOURCE_LAG_BYTES, [source]),
            connected: registry.get(&SOURCE_CONNECTED, [source]),
            epoch: registry.get(&INSTANCE_EPOCH, [source]),
            read_bytes: registry.get(&READ_BYTES, [source]),
            rows_inserted: registry.get(&ROWS, [source, "insert"]),
            rows_updated: registry.get(&ROWS, [source, "update"]),
            rows_deleted: registry.get(&ROWS, [source, "delete"]),
            delivery_latency: registry.get(&DELIVERY_LATENCY, [source]),
            reconnects: registry.get(&RECONNECTS, [source]),
            unknown_events: registry.get(&UNKNOWN_EVENTS, [source]),
            quarantined_tables: registry.get(&QUARANTINED_TABLES, [source]),
            checkpoint_writes: registry.get(&CHECKPOINT_WRITES, [source]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules() {
        let mut sorted = ALL.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), ALL.len(), "a name stands twice");
        for name in ALL {
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
        }
    }

    #[test]
    fn text_for_prometheus() {
        let registry = Registry::new();
        registry.get(&ROWS, ["s\"1\\\n", "insert"]).add(3);
        registry.get(&ROWS, ["s\"1\\\n", "insert"]).inc();
        registry.get(&SOURCE_LAG_SECONDS, ["b"]).set(0.25);
        registry.get(&STAGE_TIME, ["b", "decode", "busy"]).add(1_500_000_000);
        let expected = "\
# HELP binlake_rows_total Rows decoded, by operation (insert, update, delete).
# TYPE binlake_rows_total counter
binlake_rows_total{source=\"s\\\"1\\\\\\n\",op=\"insert\"} 4
# HELP binlake_source_lag_seconds Seconds between now and the commit time of the last transaction read; 0 at the end of the source's log.
# TYPE binlake_source_lag_seconds gauge
binlake_source_lag_seconds{source=\"b\"} 0.25
# HELP binlake_stage_seconds_total Time that a stage of the source spent busy, blocked or idle.
# TYPE binlake_stage_seconds_total counter
binlake_stage_seconds_total{source=\"b\",stage=\"decode\",state=\"busy\"} 1.5
";
        assert_eq!(registry.render_prometheus(), expected);
        registry.remove("source", "b");
        assert_eq!(registry.render_prometheus().lines().count(), 3);
    }

    #[test]
    fn histogram_text_is_cumulative_and_in_seconds() {
        let registry = Registry::new();
        let metrics = SourceMetrics::new(&registry, "a");
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
