//! A compressed transaction: whatever it claims and unpacks to, memory stays within the bound.
#![no_main]

use binlog::event::{EventHeader, StreamState};
use binlog::payload::{Compression, TransactionPayload};
use binlog_fuzz::memory::{Counting, peak};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static HEAP: Counting = Counting;

const MAX_EVENT: usize = 64 << 10;
/// The largest event and one step of unpacking (64 KiB), twice since a vector grows by doubling, and small change.
const BOUND: usize = 2 * (MAX_EVENT + (64 << 10)) + MAX_EVENT + (64 << 10);
/// Bytes that are looked at: a few bytes can hold millions of small events.
const ENOUGH: usize = 4 << 20;

fuzz_target!(|data: &[u8]| {
    let Some((form, data)) = data.split_first() else { return };
    let compression = if form & 1 == 0 { Compression::Zstd } else { Compression::None };
    let payload = TransactionPayload { compression, uncompressed_size: u64::MAX, data };
    let held = peak(|| {
        let Ok(mut events) = payload.events(MAX_EVENT) else { return };
        let (state, mut seen) = (StreamState::default(), 0);
        while seen < ENOUGH
            && let Ok(Some(raw)) = events.next_event()
        {
            assert!(raw.len() <= MAX_EVENT);
            assert_eq!(EventHeader::parse(raw).map(|header| header.event_size as usize), Ok(raw.len()));
            seen += raw.len();
            let _ = state.parse_inner(raw);
        }
    });
    assert!(held <= BOUND, "{held} bytes held");
});
