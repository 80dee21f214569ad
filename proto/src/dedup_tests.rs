use super::*;
use proptest::prelude::*;

const INCARNATION: u64 = 1_764_096_069_000;

fn row(seq: u64) -> RowId {
    RowId { seq, ..RowId::default() }
}

fn header(epoch: u64, n: u64, first: u64, end: u64) -> RecordHeader {
    RecordHeader {
        source: 9,
        incarnation: INCARNATION,
        epoch,
        n,
        first: row(first),
        end: row(end),
        rows: u32::try_from(end - first).unwrap() + 1,
        ..RecordHeader::default()
    }
}

/// Seqs of the rows of one record that are accepted.
fn feed(dedup: &mut Deduplicator, header: RecordHeader) -> Vec<u64> {
    let mut rows = dedup.record(0, &header);
    (header.first.seq..=header.end.seq).filter(|&seq| rows.accept(row(seq))).collect()
}

/// (epoch, n, first seq, last seq) of each record in the order of offsets.
fn run(gaps: Gaps, records: &[(u64, u64, u64, u64)]) -> (Vec<u64>, u64) {
    let mut dedup = Deduplicator::new(gaps);
    let rows = records.iter().flat_map(|&(epoch, n, first, end)| feed(&mut dedup, header(epoch, n, first, end)));
    let rows = rows.collect();
    (rows, dedup.after_gap())
}

#[test]
fn a_replayed_suffix_is_dropped() {
    let records = [(1, 0, 1, 1), (1, 1, 2, 2), (1, 2, 3, 3), (2, 0, 2, 2), (2, 1, 3, 3), (2, 2, 4, 4)];
    assert_eq!(run(Gaps::Loss, &records), (vec![1, 2, 3, 4], 0));
}

#[test]
fn the_rule_goes_by_row_not_by_record() {
    // The replay is cut elsewhere: its first record starts with known rows and ends with a new one.
    let records = [(1, 0, 1, 2), (1, 1, 3, 4), (2, 0, 2, 5), (2, 1, 6, 6)];
    assert_eq!(run(Gaps::Loss, &records), (vec![1, 2, 3, 4, 5, 6], 0));
}

#[test]
fn a_stopped_owner_that_wakes_up_is_dropped() {
    let records = [(1, 0, 1, 1), (2, 0, 2, 2), (1, 1, 2, 2), (1, 2, 3, 3), (2, 1, 3, 3)];
    assert_eq!(run(Gaps::Loss, &records), (vec![1, 2, 3], 0));
}

#[test]
fn what_was_lost_is_taken_from_the_replay() {
    // n = 1 (row 2) never arrived; the next epoch repeats it.
    let records = [(1, 0, 1, 1), (1, 2, 3, 3), (2, 0, 2, 2), (2, 1, 3, 3), (2, 2, 4, 4)];
    assert_eq!(run(Gaps::Loss, &records), (vec![1, 3, 2, 3, 4], 1));
    // In a compacted topic the hole is meant, and row 3 must not come twice.
    assert_eq!(run(Gaps::Expected, &records), (vec![1, 3, 4], 0));
}

#[test]
fn an_epoch_whose_first_record_is_missing_does_not_advance() {
    let records = [(1, 0, 1, 1), (2, 1, 3, 3), (3, 0, 2, 2), (3, 1, 3, 3)];
    assert_eq!(run(Gaps::Loss, &records), (vec![1, 3, 2, 3], 1));
}

#[test]
fn reading_may_start_anywhere() {
    assert_eq!(run(Gaps::Loss, &[(5, 70, 100, 101), (5, 71, 102, 102)]), (vec![100, 101, 102], 0));
}

#[test]
fn a_new_incarnation_starts_anew_and_ends_the_old_one() {
    let mut dedup = Deduplicator::new(Gaps::Loss);
    assert_eq!(feed(&mut dedup, header(50, 0, 10, 11)), [10, 11]);
    let newer = RecordHeader { incarnation: INCARNATION + 1, ..header(3, 0, 1, 2) };
    assert_eq!(feed(&mut dedup, newer), [1, 2], "lower epoch and seq count for nothing");
    assert_eq!(feed(&mut dedup, header(51, 0, 12, 12)), [0; 0], "a higher epoch of an older incarnation is dropped");
}

#[test]
fn sources_and_partitions_are_apart() {
    let mut dedup = Deduplicator::new(Gaps::Loss);
    let one = header(1, 0, 5, 5);
    assert!(dedup.accept(0, &one));
    assert!(!dedup.accept(0, &one));
    assert!(dedup.accept(1, &one));
    assert!(dedup.accept(0, &RecordHeader { source: 10, ..one }));
}

#[test]
fn parts_of_one_row_are_apart() {
    let mut dedup = Deduplicator::new(Gaps::Loss);
    let delete = header(1, 0, 5, 5);
    let insert = RecordHeader { n: 1, first: RowId { part: 1, ..delete.first }, ..delete };
    assert!(dedup.accept(0, &delete));
    assert!(dedup.accept(0, &insert));
    assert!(!dedup.accept(0, &insert));
}

/// A history: each owner starts at a place that is settled, cuts rows into records as it likes and stops anywhere; what
/// it had still in flight may land later, after a record of a later epoch. Gives the log and its highest row.
fn history() -> impl Strategy<Value = (Vec<RecordHeader>, u64)> {
    let owner = (0u64..6, prop::collection::vec(1u64..5, 1..8), 0usize..4, 1usize..9);
    prop::collection::vec(owner, 1..6).prop_map(|owners| {
        let (mut log, mut stored) = (Vec::new(), 0);
        let mut in_flight: Vec<(usize, Vec<RecordHeader>)> = Vec::new();
        for (epoch, (back, sizes, late, delay)) in (1..).zip(owners) {
            let mut next = (stored + 1u64).saturating_sub(back).max(1);
            let mut records = Vec::new();
            for (n, size) in (0..).zip(sizes) {
                records.push(header(epoch, n, next, next + size - 1));
                next += size;
            }
            let rest = records.split_off(records.len().saturating_sub(late));
            for record in records {
                stored = record.end.seq.max(stored);
                log.push(record);
                in_flight.iter_mut().for_each(|(delay, _)| *delay = delay.saturating_sub(1));
                let (due, later) = std::mem::take(&mut in_flight).into_iter().partition(|(delay, _)| *delay == 0);
                in_flight = later;
                log.extend(Vec::<(usize, _)>::into_iter(due).flat_map(|(_, records): (_, Vec<_>)| records));
            }
            in_flight.push((delay, rest));
        }
        (log, stored)
    })
}

proptest! {
    #[test]
    fn every_history_gives_each_row_once_and_in_order((log, stored) in history()) {
        let mut dedup = Deduplicator::new(Gaps::Loss);
        let rows: Vec<u64> = log.iter().flat_map(|&record| feed(&mut dedup, record)).collect();
        prop_assert_eq!(rows, (1..=stored).collect::<Vec<_>>());
        prop_assert_eq!(dedup.after_gap(), 0);
    }

    /// One record is lost, the next one of its epoch is not, and the next owner repeats everything: no row may be missing.
    #[test]
    fn a_lost_record_costs_duplicates_never_rows((log, _) in history(), lost: prop::sample::Index) {
        prop_assume!(!log.is_empty());
        let lost = lost.index(log.len());
        prop_assume!(log.get(lost + 1).is_some_and(|next| next.epoch == log[lost].epoch));
        let epoch = log[lost].epoch;
        let mut log = log;
        let lost = log.remove(lost);
        log.retain(|record| record.epoch <= epoch);
        let stored = log.iter().map(|record| record.end.seq).fold(lost.end.seq, u64::max);
        log.push(header(epoch + 1, 0, 1, stored));
        let mut dedup = Deduplicator::new(Gaps::Loss);
        let mut rows: Vec<u64> = log.iter().flat_map(|&record| feed(&mut dedup, record)).collect();
        rows.sort_unstable();
        rows.dedup();
        let first = rows.first().copied().unwrap_or_default();
        prop_assert_eq!(rows, (first..=stored).collect::<Vec<_>>());
    }
}
