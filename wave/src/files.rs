//! Binary log files as a source of events: `tail --file`.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use binlog::checksum::{self, ChecksumAlg};
use binlog::event::{EventHeader, EventType, FileSplitter, FormatDescription, HEADER_LEN};
use pipeline::io::{Batch, Cause, Failure, FailureKind, Server, Start};

use crate::exit::{CommandResult, unreadable};
use crate::runner::{EventSource, SourceEvent};

/// Bytes read and batched at a time.
const CHUNK: usize = 1 << 20;
/// The largest event of any server: `max_allowed_packet` is at most 1 GiB.
const MAX_EVENT: usize = (1 << 30) + 4096;

/// Reads files one after the other, in the order given.
#[derive(Debug)]
pub struct Files {
    waiting: VecDeque<PathBuf>,
    follows: bool,
    current: Option<Open>,
    connected: bool,
    spare: Vec<Batch>,
    /// Damage found behind the events of the last batch: told once they are taken.
    failed: Option<Failure>,
    /// Of the file before, which tells the machine what stands at the end of events.
    checksum: ChecksumAlg,
}

#[derive(Debug)]
struct Open {
    path: PathBuf,
    file: File,
    /// Named to the machine before its first event.
    name: Option<Vec<u8>>,
    /// Another was read before.
    follows: bool,
    splitter: FileSplitter,
    /// As the file's FORMAT_DESCRIPTION says; None before it.
    checksum: Option<ChecksumAlg>,
    chunk: Vec<u8>,
    done: bool,
}

impl Files {
    /// # Errors
    /// A file that cannot be opened: found before anything is printed.
    pub fn new(paths: &[PathBuf]) -> CommandResult<Files> {
        for path in paths {
            File::open(path).map_err(|e| {
                unreadable("the binary log", path, &e)
                    .hint("name files of the server's data folder, such as /var/lib/mysql/binlog.000001")
            })?;
        }
        Ok(Files {
            waiting: paths.iter().cloned().collect(),
            follows: false,
            current: None,
            connected: false,
            spare: Vec::new(),
            failed: None,
            checksum: ChecksumAlg::None,
        })
    }

    fn open_next(&mut self) -> Result<bool, Failure> {
        let Some(path) = self.waiting.pop_front() else { return Ok(false) };
        let file = File::open(&path).map_err(|e| broken(&path, 0, None, &e.to_string(), Cause::NotFound))?;
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        self.current = Some(Open {
            name: Some(file_begins(name, self.checksum)),
            follows: self.follows,
            path,
            file,
            splitter: FileSplitter::new(MAX_EVENT),
            checksum: None,
            chunk: vec![0; CHUNK],
            done: false,
        });
        self.follows = true;
        Ok(true)
    }

    fn next_batch(&mut self) -> Result<Option<Batch>, Failure> {
        if let Some(failure) = self.failed.take() {
            return Err(failure);
        }
        loop {
            if self.current.is_none() && !self.open_next()? {
                return Ok(None);
            }
            let Some(open) = self.current.as_mut() else { return Ok(None) };
            let mut batch = self.spare.pop().unwrap_or_default();
            batch.buf.clear();
            batch.events.clear();
            let filled = open.fill(&mut batch);
            let finished = open.done;
            self.checksum = open.checksum.unwrap_or(self.checksum);
            if let Err(failure) = filled {
                if batch.events.is_empty() {
                    return Err(failure);
                }
                self.failed = Some(failure);
                return Ok(Some(batch));
            }
            if finished {
                self.current = None;
            }
            if !batch.events.is_empty() {
                return Ok(Some(batch));
            }
        }
    }
}

impl Open {
    fn fill(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        while batch.buf.len() < CHUNK && !self.done {
            let n = self
                .file
                .read(&mut self.chunk)
                .map_err(|e| broken(&self.path, self.splitter.offset(), None, &e.to_string(), Cause::Data))?;
            if n == 0 {
                self.done = true;
                if self.splitter.pending() > 0 {
                    let what =
                        format!("the file ends within an event, {} bytes after its start", self.splitter.pending());
                    let (at, kind) = (self.splitter.offset(), self.splitter.pending_type());
                    return Err(broken(&self.path, at, kind, &what, Cause::Data));
                }
                if self.checksum.is_none() {
                    let what = "the file holds no event: it is empty, or only its beginning was copied";
                    return Err(broken(&self.path, self.splitter.offset(), None, what, Cause::Data));
                }
                break;
            }
            self.splitter.push(self.chunk.get(..n).unwrap_or_default());
            loop {
                match self.splitter.next_event() {
                    Ok(Some(event)) => {
                        // Positions in a relay log are those of its source, which may go on from the file before.
                        let relay = EventHeader::parse(event).is_ok_and(|header| header.relay());
                        if let Some(name) = self.name.take().filter(|_| !(relay && self.follows)) {
                            let start = batch.buf.len();
                            batch.buf.extend_from_slice(&name);
                            batch.events.push(start..batch.buf.len());
                        }
                        let start = batch.buf.len();
                        batch.buf.extend_from_slice(event);
                        let event = batch.buf.get(start..).unwrap_or_default();
                        verify(event, &mut self.checksum).map_err(|e| {
                            let at = self.splitter.offset() - event.len() as u64;
                            broken(&self.path, at, event.get(4).copied().map(EventType), &e.to_string(), Cause::Data)
                        })?;
                        batch.events.push(start..batch.buf.len());
                    }
                    Ok(None) => break,
                    Err(e) => {
                        let (at, kind) = (self.splitter.offset(), self.splitter.pending_type());
                        return Err(broken(&self.path, at, kind, &e.to_string(), Cause::Data));
                    }
                }
            }
        }
        Ok(())
    }
}

/// What is wrong with the order of these files, by their numbers.
pub(crate) fn gaps(paths: &[PathBuf]) -> impl Iterator<Item = String> {
    paths.array_windows::<2>().filter(|[before, next]| !may_follow(before, next)).map(|[before, next]| {
        let (before, next) = (before.display(), next.display());
        format!(
            "{next} is read right behind {before}, which it does not follow: files are missing, or in the wrong order"
        )
    })
}

/// False for files of one server, by their names, of which the second is not the next.
fn may_follow(before: &Path, next: &Path) -> bool {
    let parts = |path: &Path| {
        let name = path.file_name()?.to_str()?.to_owned();
        let (base, number) = name.rsplit_once('.')?;
        Some((path.with_file_name(base), number.parse::<u64>().ok()?))
    };
    match (parts(before), parts(next)) {
        (Some((base, number)), Some((next_base, next))) => base != next_base || next == number + 1,
        _ => true,
    }
}

/// An artificial ROTATE to the start of a file, as a server sends it before a file's events: the file before may lack
/// its own (the server was killed), the first has none before it, and positions are nothing without a name.
fn file_begins(name: &[u8], alg: ChecksumAlg) -> Vec<u8> {
    const ROTATE: u8 = 4;
    const ARTIFICIAL: u16 = 0x20;
    const FIRST_EVENT: u64 = 4;
    let trailer = if alg == ChecksumAlg::Crc32 { checksum::TRAILER_LEN } else { 0 };
    let size = HEADER_LEN + 8 + name.len() + trailer;
    let mut event = vec![0; HEADER_LEN];
    event[4] = ROTATE;
    event[9..13].copy_from_slice(&(size as u32).to_le_bytes());
    event[17..19].copy_from_slice(&ARTIFICIAL.to_le_bytes());
    event.extend_from_slice(&FIRST_EVENT.to_le_bytes());
    event.extend_from_slice(name);
    // Whoever takes the events cuts the trailer off unseen: they are verified here.
    event.resize(size, 0);
    event
}

/// Checks an event's trailer; the FORMAT_DESCRIPTION, with which a file begins, says whether there are any.
fn verify(event: &[u8], alg: &mut Option<ChecksumAlg>) -> Result<(), binlog::Error> {
    let kind = EventHeader::parse(event)?.event_type;
    if kind == EventType::FORMAT_DESCRIPTION {
        *alg = Some(FormatDescription::parse(event)?.checksum);
        return Ok(());
    }
    if kind == EventType::MARIA_START_ENCRYPTION {
        // MariaDB: all that follows in the file is encrypted.
        return Err(binlog::Error::Encrypted);
    }
    let alg = alg.ok_or_else(|| binlog::Error::Malformed {
        what: "file",
        detail: format!("begins with {kind} instead of FORMAT_DESCRIPTION: damaged, or of a server before 5.0"),
    })?;
    checksum::verify(event, alg).map(|_| ())
}

fn broken(path: &Path, offset: u64, event: Option<EventType>, what: &str, cause: Cause) -> Failure {
    let event = event.map(|e| format!(" ({e})")).unwrap_or_default();
    let message = format!("{} at offset {offset}{event}: {what}", path.display());
    Failure::new(FailureKind::Permanent, cause, message)
}

impl EventSource for Files {
    /// What was read is gone by: a second epoch ends as it begins.
    fn connect(&mut self, _from: &Start, _after: Duration) {
        if self.connected {
            let message = "reading of the files broke off, as is said above; start again to read them from their begin";
            self.failed = Some(Failure::new(FailureKind::Permanent, Cause::Unavailable, message));
        }
    }

    fn disconnect(&mut self) {
        self.current = None;
        self.waiting.clear();
    }

    fn receive(&mut self, _wait: Duration) -> Option<SourceEvent> {
        if !self.connected {
            self.connected = true;
            return Some(SourceEvent::Connected(Server { version: "files".into(), ..Server::default() }));
        }
        Some(match self.next_batch() {
            Ok(Some(batch)) => SourceEvent::Batch(batch),
            Ok(None) => SourceEvent::End,
            Err(failure) => SourceEvent::Disconnected(failure),
        })
    }

    fn recycle(&mut self, batch: Batch) {
        if self.spare.len() < 2 {
            self.spare.push(batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGS: [&[u8]; 5] = [
        include_bytes!("../crates/binlog/tests/data/logs/my97_compressed.binlog"),
        include_bytes!("../crates/binlog/tests/data/logs/my97_partial.binlog"),
        include_bytes!("../crates/binlog/tests/data/logs/my5729_full.binlog"),
        include_bytes!("../crates/binlog/tests/data/logs/ma1011_compressed.binlog"),
        include_bytes!("../crates/binlog/tests/data/logs/ma1011_full.binlog"),
    ];

    /// Reads a whole file: the number of its events, or what is wrong with it.
    fn read(path: &Path, bytes: &[u8]) -> Result<usize, String> {
        std::fs::write(path, bytes).unwrap();
        read_file(path)
    }

    fn read_file(path: &Path) -> Result<usize, String> {
        let (mut files, mut events) = (Files::new(&[path.to_path_buf()]).unwrap(), 0);
        loop {
            match files.receive(Duration::ZERO) {
                Some(SourceEvent::Batch(batch)) => events += batch.events.len(),
                Some(SourceEvent::Disconnected(failure)) => return Err(failure.message),
                Some(SourceEvent::End) | None => return Ok(events),
                Some(SourceEvent::Connected(_)) => {}
            }
        }
    }

    /// Offsets at which events begin, and the end.
    fn boundaries(log: &[u8]) -> Vec<usize> {
        let (mut splitter, mut found) = (FileSplitter::new(MAX_EVENT), vec![0, 4]);
        splitter.push(log);
        while splitter.next_event().unwrap().is_some() {
            found.push(splitter.offset() as usize);
        }
        found
    }

    #[test]
    fn a_file_cut_anywhere_ends_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("binlog.000007");
        for log in LOGS {
            let boundaries = boundaries(log);
            std::fs::write(&path, log).unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            for cut in (1..=log.len()).rev() {
                file.set_len(cut as u64).unwrap();
                let result = read_file(&path);
                if cut > 4 && boundaries.contains(&cut) {
                    assert!(result.is_ok(), "{cut}: {result:?}");
                    continue;
                }
                let begin = boundaries.iter().rev().find(|b| **b < cut || cut == 4 && **b == 4).unwrap();
                let message = result.unwrap_err();
                assert!(message.contains(&format!("binlog.000007 at offset {begin}")), "{cut}: {message}");
                assert!(cut < begin + 5 || *begin < 4 || message.contains(" ("), "{cut}: no event type in {message}");
            }
        }
    }

    #[test]
    fn files_of_one_server_follow_each_other_by_number() {
        for (before, next, may) in [
            ("d/binlog.000009", "d/binlog.000010", true),
            ("d/binlog.999999", "d/binlog.1000000", true),
            ("d/binlog.000001", "d/binlog.000003", false),
            ("d/binlog.000002", "d/binlog.000001", false),
            ("binlog.000002", "binlog.000002", false),
            ("d/binlog.000001", "e/binlog.000003", true),
            ("a.000001", "b.000003", true),
            ("old.log", "new.log", true),
        ] {
            assert_eq!(may_follow(Path::new(before), Path::new(next)), may, "{before} {next}");
        }
    }

    #[test]
    fn files_without_events_and_encrypted_ones_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("binlog.000007");
        for bytes in [&b""[..], b"\xfebin"] {
            assert!(read(&path, bytes).unwrap_err().contains("holds no event"));
        }
        let mut mariadb = LOGS[3][..boundaries(LOGS[3])[2]].to_vec();
        let mut event = vec![0; 40];
        event[4] = EventType::MARIA_START_ENCRYPTION.0;
        event[9] = 40;
        mariadb.extend(event);
        for bytes in [&mariadb[..], b"\xfdbin and more"] {
            let message = read(&path, bytes).unwrap_err();
            assert!(message.contains("encrypted") && message.contains("binlog.000007"), "{message}");
        }
    }

    #[test]
    fn changed_bytes_are_found_with_file_offset_and_event_type() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("binlog.000007");
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        for n in 0..10_000 {
            let mut broken = LOGS[n % LOGS.len()].to_vec();
            let at = random(broken.len());
            broken[at] ^= 1 + random(255) as u8;
            let Err(message) = read(&path, &broken) else { panic!("flip {n} at {at} was not found") };
            assert!(message.contains("binlog.000007 at offset "), "{message}");
            assert!(at < 4 || message.contains(" ("), "{at}: no event type in {message}");
        }
    }
}
