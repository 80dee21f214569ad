//! A log file in pieces: their size makes no difference, and every byte is an event's or pending.
#![no_main]

use binlog::event::FileSplitter;
use libfuzzer_sys::fuzz_target;

const MAX_EVENT: usize = 2048;

#[derive(Debug, PartialEq)]
struct Seen {
    events: Vec<Vec<u8>>,
    offset: u64,
    error: Option<binlog::Error>,
}

fn split(file: &[u8], piece: usize) -> Seen {
    let mut splitter = FileSplitter::new(MAX_EVENT);
    let mut seen = Seen { events: Vec::new(), offset: 0, error: None };
    let mut pushed = 0;
    'file: for bytes in file.chunks(piece) {
        splitter.push(bytes);
        pushed += bytes.len();
        loop {
            match splitter.next_event() {
                Ok(Some(event)) => {
                    assert!((19..=MAX_EVENT).contains(&event.len()));
                    seen.events.push(event.to_vec());
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(splitter.next_event(), Err(error.clone()), "an error repeats");
                    seen.error = Some(error);
                    break 'file;
                }
            }
        }
        assert!(splitter.pending() < MAX_EVENT.max(19));
    }
    seen.offset = splitter.offset();
    assert_eq!(splitter.offset() + splitter.pending() as u64, pushed as u64);
    let magic = if seen.offset == 0 { 0 } else { 4 };
    assert_eq!(seen.events.iter().map(|event| event.len() as u64).sum::<u64>() + magic, seen.offset);
    seen
}

fuzz_target!(|data: &[u8]| {
    let Some((piece, file)) = data.split_first() else { return };
    assert_eq!(split(file, usize::from(*piece) + 1), split(file, file.len().max(1)));
});
