//! Writer of one partition.
//!
//! Three places are kept apart: what is *written* (in the segment, perhaps only in the page cache), what is *durable*
//! (synced as the policy wants, and marked), and what is recovered. Any failure of a write or a sync cuts the segment
//! back to what is durable: nothing unacknowledged stays, and nothing acknowledged is touched. Recovery keeps every whole
//! frame, cuts a torn tail, and refuses to go on when a frame below the durable mark is missing or damaged.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use durable::{make_dir, sync_dir};

use super::segment::{self, IndexEntry, MAGIC, MARK_LEN, MIN_FRAME, Parsed, parse};
use super::{Flush, LocalConfig};

/// Bytes of log between two index entries.
const INDEX_EVERY: u64 = 32 * 1024;

#[derive(Debug)]
pub(super) struct PartitionLog {
    dir: PathBuf,
    segment: File,
    index: File,
    mark: File,
    /// Base offset of the segment that is written.
    base: u64,
    written: Place,
    durable: Place,
    /// Grows with every cut: what was written under an older generation and is not durable is gone.
    generation: u64,
    /// A cut that failed; nothing is written before it is done.
    uncut: bool,
    entries: Vec<IndexEntry>,
    indexed_to: u64,
    max_ms: i64,
}

/// An offset and where it is in the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    next_offset: u64,
    position: u64,
}

impl PartitionLog {
    /// Opens or creates the partition in `dir` and recovers it.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        make_dir(dir)?;
        let base = match bases(dir)?.pop() {
            Some(base) => base,
            None => create_segment(dir, 0)?,
        };
        let open =
            |name: &str| OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join(name));
        let segment = open(&segment::file_name(base))?;
        let mark = open("durable")?;
        let mut marked = [0; MARK_LEN];
        let marked = mark.read_exact_at(&mut marked, 0).ok().and_then(|()| segment::decode_mark(&marked));

        let mut scan = Scan::new(base);
        scan.run(&segment)?;
        if marked.is_some_and(|marked| scan.end.next_offset < marked) {
            let text = format!(
                "{}: acknowledged records are damaged: offsets {} to {} cannot be read at byte {}. Restore the file from a \
                 copy, or remove {} to give these records up",
                dir.join(segment::file_name(base)).display(),
                scan.end.next_offset,
                marked.unwrap_or_default().saturating_sub(1),
                scan.end.position,
                dir.join("durable").display(),
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let size = segment.metadata()?.len();
        if size < scan.end.position {
            segment.set_len(0)?;
            segment.write_all_at(&MAGIC, 0)?;
        } else if size > scan.end.position {
            let torn = size - scan.end.position;
            tracing::warn!(partition = %dir.display(), base, torn, "cut a torn tail that was never acknowledged");
            segment.set_len(scan.end.position)?;
        }
        segment.sync_all()?;
        let mut index = File::create(dir.join(index_name(base)))?;
        let bytes: Vec<u8> = scan.entries.iter().flat_map(|entry| entry.encode()).collect();
        index.write_all(&bytes)?;
        mark.write_all_at(&segment::encode_mark(scan.end.next_offset), 0)?;
        mark.sync_all()?;
        sync_dir(dir)?;
        Ok(PartitionLog {
            dir: dir.to_path_buf(),
            segment,
            index,
            mark,
            base,
            written: scan.end,
            durable: scan.end,
            generation: 0,
            uncut: false,
            entries: Vec::new(),
            indexed_to: scan.indexed_to,
            max_ms: scan.max_ms,
        })
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Writes frames made by [`segment::push_frame`], one per length; gives the offset of the first. On an error nothing of
    /// them is in the log.
    pub(super) fn append(
        &mut self,
        frames: &mut [u8],
        lens: impl Iterator<Item = usize>,
        config: &LocalConfig,
    ) -> io::Result<u64> {
        if self.uncut {
            self.cut()?;
        }
        if self.written.position >= config.segment_bytes {
            self.roll(config)?;
        }
        let first = self.written.next_offset;
        let mut end = self.written;
        let mut rest = &mut *frames;
        for len in lens {
            let Some((frame, tail)) = rest.split_at_mut_checked(len) else { break };
            let timestamp_ms = segment::seal(frame, end.next_offset);
            if end.position >= self.indexed_to + INDEX_EVERY {
                self.indexed_to = end.position;
                let (offset, position) = (end.next_offset, end.position);
                self.entries.push(IndexEntry { offset, position, max_before_ms: self.max_ms });
            }
            self.max_ms = self.max_ms.max(timestamp_ms);
            end = Place { next_offset: end.next_offset + 1, position: end.position + len as u64 };
            rest = tail;
        }
        if let Err(error) = self.segment.write_all_at(frames, self.written.position) {
            self.give_up();
            return Err(error);
        }
        self.written = end;
        if config.flush == Flush::Os {
            self.sync(config.flush)?;
        }
        Ok(first)
    }

    /// Makes all that is written durable and shows it to readers. On an error all that was not durable is gone.
    pub(super) fn sync(&mut self, flush: Flush) -> io::Result<()> {
        if self.uncut {
            self.cut()?;
        }
        if self.durable == self.written {
            return Ok(());
        }
        if let Err(error) = self.sync_and_mark(flush) {
            self.give_up();
            return Err(error);
        }
        self.durable = self.written;
        Ok(())
    }

    fn sync_and_mark(&mut self, flush: Flush) -> io::Result<()> {
        if flush == Flush::Fsync {
            self.segment.sync_data()?;
        }
        if !self.entries.is_empty() {
            let bytes: Vec<u8> = self.entries.drain(..).flat_map(IndexEntry::encode).collect();
            // The index is a hint: readers do without what is missing.
            if let Err(error) = self.index.write_all(&bytes) {
                tracing::warn!(partition = %self.dir.display(), %error, "cannot write the index");
            }
        }
        // Not synced: after a power loss an older mark only lets recovery be more careful about less.
        self.mark.write_all_at(&segment::encode_mark(self.written.next_offset), 0)
    }

    /// After a failed write: forgets what is not durable, in memory at once, on disk now or before the next write.
    fn give_up(&mut self) {
        self.generation += 1;
        self.written = self.durable;
        self.entries.clear();
        self.uncut = true;
        if let Err(error) = self.cut() {
            tracing::warn!(partition = %self.dir.display(), %error, "cannot cut the segment yet");
        }
    }

    fn cut(&mut self) -> io::Result<()> {
        self.segment.set_len(self.durable.position)?;
        self.mark.write_all_at(&segment::encode_mark(self.durable.next_offset), 0)?;
        self.uncut = false;
        Ok(())
    }

    fn roll(&mut self, config: &LocalConfig) -> io::Result<()> {
        self.sync(config.flush)?;
        let base = create_segment(&self.dir, self.written.next_offset)?;
        self.segment = OpenOptions::new().read(true).write(true).open(self.dir.join(segment::file_name(base)))?;
        self.index = File::create(self.dir.join(index_name(base)))?;
        self.base = base;
        self.written = Place { next_offset: base, position: MAGIC.len() as u64 };
        self.durable = self.written;
        (self.indexed_to, self.max_ms) = (0, i64::MIN);
        self.retain(config)
    }

    /// Removes the oldest segments beyond the limits of size and age; never the one that is written.
    pub(super) fn retain(&self, config: &LocalConfig) -> io::Result<()> {
        let mut segments = Vec::new();
        for base in bases(&self.dir)? {
            let path = self.dir.join(segment::file_name(base));
            let meta = fs::metadata(&path)?;
            segments.push((base, path, meta.len(), meta.modified()?));
        }
        let mut total: u64 = segments.iter().map(|(_, _, len, _)| len).sum();
        let now = SystemTime::now();
        for (base, path, len, modified) in segments {
            let age = now.duration_since(modified).unwrap_or(Duration::ZERO);
            let too_much = config.retention_bytes.is_some_and(|limit| total > limit);
            let too_old = config.retention_age.is_some_and(|limit| age > limit);
            if base == self.base || !(too_much || too_old) {
                break;
            }
            fs::remove_file(&path)?;
            fs::remove_file(self.dir.join(index_name(base))).or_else(absent_is_fine)?;
            total -= len;
        }
        Ok(())
    }
}

fn absent_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

pub(super) fn index_name(base: u64) -> String {
    format!("{base:020}.idx")
}

/// Base offsets of the segments in `dir`, ascending.
pub(super) fn bases(dir: &Path) -> io::Result<Vec<u64>> {
    let mut bases = Vec::new();
    for entry in fs::read_dir(dir)? {
        bases.extend(entry?.file_name().to_str().and_then(segment::base_of));
    }
    bases.sort_unstable();
    Ok(bases)
}

fn create_segment(dir: &Path, base: u64) -> io::Result<u64> {
    let mut file = File::create(dir.join(segment::file_name(base)))?;
    file.write_all(&MAGIC)?;
    file.sync_all()?;
    sync_dir(dir)?;
    Ok(base)
}

/// A walk over the whole frames of a segment.
struct Scan {
    end: Place,
    entries: Vec<IndexEntry>,
    indexed_to: u64,
    max_ms: i64,
}

impl Scan {
    fn new(base: u64) -> Self {
        let end = Place { next_offset: base, position: MAGIC.len() as u64 };
        Scan { end, entries: Vec::new(), indexed_to: 0, max_ms: i64::MIN }
    }

    /// Stops at the first frame that is not whole or not the next one. Memory: 1 MiB or the largest frame.
    fn run(&mut self, mut file: &File) -> io::Result<()> {
        let size = file.metadata()?.len();
        let mut magic = [0; MAGIC.len()];
        if size < magic.len() as u64 {
            return Ok(());
        }
        file.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a BinLake segment of version 1"));
        }
        let mut buffer = vec![0; 1 << 20];
        let (mut filled, mut used) = (0, 0);
        loop {
            let need = match parse(&buffer[used..filled]) {
                Parsed::Whole(frame) if frame.offset == self.end.next_offset => {
                    self.take(frame.offset, frame.timestamp_ms, frame.len);
                    used += frame.len;
                    continue;
                }
                Parsed::Whole(_) | Parsed::Damaged => return Ok(()),
                Parsed::Short(need) => need,
            };
            if need.max(MIN_FRAME) as u64 > size.saturating_sub(self.end.position) {
                return Ok(());
            }
            buffer.copy_within(used..filled, 0);
            (filled, used) = (filled - used, 0);
            if buffer.len() < need {
                buffer.resize(need, 0);
            }
            let read = file.read(&mut buffer[filled..])?;
            if read == 0 {
                return Ok(());
            }
            filled += read;
        }
    }

    fn take(&mut self, offset: u64, timestamp_ms: i64, len: usize) {
        let position = self.end.position;
        if position >= self.indexed_to + INDEX_EVERY {
            self.indexed_to = position;
            self.entries.push(IndexEntry { offset, position, max_before_ms: self.max_ms });
        }
        self.max_ms = self.max_ms.max(timestamp_ms);
        self.end = Place { next_offset: offset + 1, position: position + len as u64 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::store::locked;
    use crate::local::{LocalPublisher, LocalReader, LocalStore};
    use crate::{Publisher, Record, Report, TopicSpec};

    fn send_and_flush(publisher: &mut LocalPublisher, value: &[u8]) -> Vec<Report> {
        let topic = crate::TopicId(0);
        let record = Record { topic, partition: 0, key: None, value, header: b"", timestamp_ms: 0, token: 0 };
        publisher.send(record).unwrap();
        let mut reports = Vec::new();
        publisher.flush(Duration::ZERO, &mut reports).unwrap();
        reports
    }

    /// The disk fails for a while, for writes and for the cut that should follow; two sources write the partition.
    #[test]
    fn a_failed_write_tells_every_source_whose_records_it_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(LocalConfig::new(dir.path())).unwrap();
        let spec = TopicSpec { name: "t".to_owned(), create_partitions: Some(1) };
        let mut writers = ["a", "b"].map(|source| LocalPublisher::new(store.clone(), source));
        for writer in &mut writers {
            writer.init(1).unwrap();
            writer.open(&spec).unwrap();
        }
        let [a, b] = &mut writers;
        assert!(send_and_flush(a, b"kept")[0].result.is_ok());
        // Large enough to be written without a sync.
        let large = vec![b'x'; 2 << 20];
        let topic = crate::TopicId(0);
        let record = Record { topic, partition: 0, key: None, value: &large, header: b"", timestamp_ms: 0, token: 1 };
        a.send(record).unwrap();

        let log = store.topic(&spec).unwrap();
        let path = dir.path().join("t/0").join(segment::file_name(0));
        assert!(fs::metadata(&path).unwrap().len() > 2 << 20);
        locked(&log.partitions[0]).segment = File::open(&path).unwrap();
        assert!(send_and_flush(b, b"refused")[0].result.is_err());
        let mut reports = Vec::new();
        a.flush(Duration::ZERO, &mut reports).unwrap();
        assert!(matches!(reports[..], [Report { token: 1, result: Err(_) }]), "{reports:?}");

        locked(&log.partitions[0]).segment = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        for (offset, writer) in (1..).zip([a, b]) {
            writer.init(2).unwrap();
            assert_eq!(send_and_flush(writer, b"after")[0].result.as_ref().ok(), Some(&offset));
        }
        let mut reader = LocalReader::open(dir.path(), "t", 0).unwrap();
        let values: Vec<_> = std::iter::from_fn(|| reader.next_record().unwrap()).map(|record| record.value).collect();
        assert_eq!(values, [&b"kept"[..], b"after", b"after"]);
        assert!(fs::metadata(&path).unwrap().len() < 1000);
    }
}
