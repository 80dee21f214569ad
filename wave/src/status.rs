//! What an operator can see of an instance: a snapshot for the status line and page, and the metrics.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use pipeline::instance::{Instance, Totals};
use pipeline::io::Incident;
use pipeline::lifecycle::State;
use serde::Serialize;
use telemetry::SourceMetrics;

/// Incidents kept for display.
const INCIDENTS: usize = 50;

/// A snapshot of one source, at most 50 ms old.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SourceStatus {
    pub source: String,
    /// Where it comes from, without the password.
    pub origin: String,
    /// Where it goes to.
    pub target: String,
    pub state: &'static str,
    pub epoch: u64,
    pub read: String,
    pub settled: String,
    pub gtid_set: String,
    /// Seconds behind the source; 0 at the end of its log.
    pub lag_seconds: f64,
    pub rows: u64,
    pub transactions: u64,
    pub bytes: u64,
    pub records: u64,
    pub in_flight_bytes: u64,
    pub queued_bytes: u64,
    pub reconnects: u64,
    pub parked: Vec<String>,
    pub quarantined: Vec<String>,
    pub incidents: Vec<IncidentLine>,
}

#[derive(Clone, Debug, Serialize)]
pub struct IncidentLine {
    pub time_ms: u64,
    pub code: &'static str,
    pub subject: String,
    pub message: String,
    pub at: String,
}

/// Shared by the instance's thread, which writes, and everybody who looks.
#[derive(Clone, Debug)]
pub struct StatusCell {
    inner: Arc<Mutex<SourceStatus>>,
    counted: Arc<Mutex<Totals>>,
    metrics: Option<SourceMetrics>,
}

impl StatusCell {
    #[must_use]
    pub fn new(source: &str, origin: &str, target: &str, metrics: Option<SourceMetrics>) -> Self {
        let status = SourceStatus {
            source: source.to_string(),
            origin: origin.to_string(),
            target: target.to_string(),
            state: state_name(State::Idle),
            ..SourceStatus::default()
        };
        StatusCell { inner: Arc::new(Mutex::new(status)), counted: Arc::default(), metrics }
    }

    #[must_use]
    pub fn get(&self) -> SourceStatus {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn settled(&self, latency_us: u64) {
        if let Some(m) = &self.metrics {
            m.delivery_latency.record(latency_us);
        }
    }

    pub(crate) fn incident(&self, incident: &Incident) {
        let mut s = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if s.incidents.len() >= INCIDENTS {
            s.incidents.remove(0);
        }
        s.incidents.push(IncidentLine {
            time_ms: unix_us() / 1000,
            code: incident.code.name(),
            subject: incident.subject.clone(),
            message: incident.message.clone(),
            at: incident.at.to_string(),
        });
    }

    pub(crate) fn update(&self, machine: &Instance, queued: usize) {
        let totals = machine.totals();
        // Behind means: something is read and not settled, or waits to be read. An idle source is at its end.
        let behind = queued > 0 || machine.in_flight_bytes() > 0;
        let lag_us =
            if behind && machine.last_event_us() > 0 { unix_us().saturating_sub(machine.last_event_us()) } else { 0 };
        let lag_seconds = lag_us as f64 / 1e6;
        {
            let mut s = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            s.state = state_name(machine.state());
            s.epoch = machine.epoch();
            s.read = machine.read_position().file_pos.to_string();
            s.settled = machine.frontier().position.file_pos.to_string();
            s.gtid_set = machine.frontier().position.gtids.to_string();
            s.lag_seconds = lag_seconds;
            s.rows = totals.rows();
            s.transactions = totals.transactions;
            s.bytes = totals.bytes;
            s.records = totals.records;
            s.in_flight_bytes = machine.in_flight_bytes();
            s.queued_bytes = queued as u64;
            s.reconnects = totals.reconnects;
            s.parked = machine.parked().map(|(name, stopped)| format!("{name}: {}", stopped.reason)).collect();
            s.quarantined = machine.quarantined_tables().collect();
        }
        if let Some(m) = &self.metrics {
            let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            m.read_bytes.add(totals.bytes - counted.bytes);
            m.rows_inserted.add(totals.inserts - counted.inserts);
            m.rows_updated.add(totals.updates - counted.updates);
            m.rows_deleted.add(totals.deletes - counted.deletes);
            m.reconnects.add(totals.reconnects - counted.reconnects);
            m.unknown_events.add(totals.unknown_events - counted.unknown_events);
            m.checkpoint_writes.add(totals.checkpoints - counted.checkpoints);
            *counted = totals;
            m.quarantined_tables.set(machine.quarantined_tables().count() as f64);
            m.lag_seconds.set(lag_seconds);
            m.connected.set(f64::from(u8::from(machine.state() == State::Streaming)));
            m.epoch.set(machine.epoch() as f64);
        }
    }
}

pub(crate) fn unix_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64)
}

/// The name of a state for people and metrics.
#[must_use]
pub fn state_name(state: State) -> &'static str {
    match state {
        State::Idle => "idle",
        State::Taking => "taking",
        State::Opening => "opening",
        State::Resolving => "resolving",
        State::Connecting => "connecting",
        State::Streaming => "streaming",
        State::BackingOff => "backing_off",
        State::Draining => "draining",
        State::Ended => "ended",
    }
}
