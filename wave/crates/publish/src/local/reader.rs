//! Reading while another process writes.
//!
//! A reader stops at the durable mark, so it never sees torn or unacknowledged records, and an offset that it has given
//! out never changes its record.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::log::{bases, index_name};
use super::segment::{self, INDEX_ENTRY, IndexEntry, MAGIC, MARK_LEN, Parsed, parse};
use super::store::{check_name, partition_dir, read_meta};
use crate::{ReadError, Reader, Start, StoredRecord};

const READ_BYTES: usize = 256 * 1024;
/// How often a waiting reader looks for new records.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Names and partition counts of the topics under `root`, by name.
///
/// # Errors
/// `NotFound` when the folder cannot be read, `Damaged` when a topic's description cannot.
pub fn topics(root: &Path) -> Result<Vec<(String, u32)>, ReadError> {
    let wrong = |error: io::Error| ReadError::NotFound(format!("{}: {error}", root.display()));
    let mut topics = Vec::new();
    for entry in fs::read_dir(root).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if check_name(&name).is_ok()
            && let Some(meta) = read_meta_if_dir(&entry.path())?
        {
            topics.push((name, meta));
        }
    }
    topics.sort_unstable();
    Ok(topics)
}

fn read_meta_if_dir(path: &Path) -> Result<Option<u32>, ReadError> {
    if !path.is_dir() {
        return Ok(None);
    }
    let wrong = |error: io::Error| {
        let text = format!("{}: {error}", path.display());
        match error.kind() {
            io::ErrorKind::InvalidData => ReadError::Damaged(text),
            _ => ReadError::Unavailable(text),
        }
    };
    Ok(read_meta(path).map_err(wrong)?.map(|meta| meta.partitions))
}

/// Reads one partition.
#[derive(Debug)]
pub struct LocalReader {
    dir: PathBuf,
    partition: u32,
    mark: File,
    segment: Option<Segment>,
    /// Offset of the next record to give.
    next: u64,
    /// The durable mark as last read.
    end: u64,
}

/// A segment that is being read; stays readable when retention removes its name.
#[derive(Debug)]
struct Segment {
    base: u64,
    file: File,
    /// Where the bytes after `buffer` start in the file.
    position: u64,
    buffer: Vec<u8>,
    used: usize,
}

impl LocalReader {
    /// Opens a partition at its oldest record.
    ///
    /// # Errors
    /// `Config` for what is no topic's name, `NotFound` when there is no such topic or partition, `Damaged` when the topic's
    /// description cannot be read, `Unavailable` for I/O.
    pub fn open(root: &Path, topic: &str, partition: u32) -> Result<Self, ReadError> {
        check_name(topic).map_err(ReadError::Config)?;
        let known = read_meta_if_dir(&root.join(topic))?;
        match known {
            Some(count) if partition < count => {}
            Some(count) => {
                return Err(ReadError::NotFound(format!("topic {topic} has {count} partitions, no {partition}")));
            }
            None => return Err(ReadError::NotFound(format!("topic {topic} does not exist in {}", root.display()))),
        }
        let dir = partition_dir(&root.join(topic), partition);
        let mark = File::open(dir.join("durable"))
            .map_err(|error| ReadError::Unavailable(format!("{}: {error}", dir.display())))?;
        let mut reader = LocalReader { dir, partition, mark, segment: None, next: 0, end: 0 };
        reader.seek(Start::Earliest)?;
        Ok(reader)
    }

    /// Starts again elsewhere.
    ///
    /// # Errors
    /// `Gone` for an offset that retention has removed, `NotFound` for one beyond the end; other [`ReadError`]s for I/O.
    pub fn seek(&mut self, start: Start) -> Result<(), ReadError> {
        self.segment = None;
        self.refresh()?;
        let bases = bases(&self.dir).map_err(|error| self.failed(&error))?;
        let earliest = bases.first().copied().unwrap_or_default();
        self.next = match start {
            Start::Earliest => earliest,
            Start::Latest => self.end,
            Start::Offset(offset) => u64::try_from(offset).unwrap_or_default(),
            Start::Time(time_ms) => self.first_at(&bases, time_ms)?,
        };
        if self.next < earliest {
            return Err(self.gone(earliest));
        }
        if self.next > self.end {
            let topic = self.dir.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
            let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            return Err(ReadError::beyond(&topic, self.partition, signed(self.next), signed(self.end)));
        }
        Ok(())
    }

    /// The next record, or None when there is none yet.
    ///
    /// # Errors
    /// `Gone` when retention was faster, `Damaged` when stored bytes are wrong, `Unavailable` for I/O.
    pub fn next_record(&mut self) -> Result<Option<StoredRecord>, ReadError> {
        if self.next >= self.end {
            self.refresh()?;
            if self.next >= self.end {
                return Ok(None);
            }
        }
        loop {
            let Some(segment) = &mut self.segment else {
                self.segment = Some(self.open_segment()?);
                continue;
            };
            match parse(segment.buffer.get(segment.used..).unwrap_or_default()) {
                Parsed::Whole(frame) => {
                    let (record, offset) = (frame.to_record(self.partition), frame.offset);
                    segment.used += frame.len;
                    if offset < self.next {
                        continue;
                    }
                    if offset > self.next {
                        return Err(self.damaged());
                    }
                    self.next += 1;
                    return Ok(Some(record));
                }
                Parsed::Damaged => return Err(self.damaged()),
                Parsed::Short(need) => {
                    let filled = segment.fill(need);
                    let base = segment.base;
                    if !filled.map_err(|error| self.failed(&error))? {
                        self.leave_segment(base)?;
                    }
                }
            }
        }
    }

    /// The segment is at its end, and the mark says that there is more: it must be in the next one.
    fn leave_segment(&mut self, base: u64) -> Result<(), ReadError> {
        let bases = bases(&self.dir).map_err(|error| self.failed(&error))?;
        match bases.first() {
            Some(&earliest) if earliest > self.next => return Err(self.gone(earliest)),
            _ if base == self.next || !bases.contains(&self.next) => return Err(self.damaged()),
            _ => {}
        }
        self.segment = None;
        Ok(())
    }

    fn refresh(&mut self) -> Result<(), ReadError> {
        let mut bytes = [0; MARK_LEN];
        // The writer may be in the middle of its 12 bytes: then the older mark stays good.
        match self.mark.read_exact_at(&mut bytes, 0) {
            Ok(()) => self.end = segment::decode_mark(&bytes).unwrap_or(self.end),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(self.failed(&error)),
        }
        Ok(())
    }

    /// Opens the segment that holds `next`, at or before its record.
    fn open_segment(&self) -> Result<Segment, ReadError> {
        let bases = bases(&self.dir).map_err(|error| self.failed(&error))?;
        let Some(&base) = bases.iter().rev().find(|&&base| base <= self.next) else {
            return Err(self.gone(bases.first().copied().unwrap_or(self.end)));
        };
        let file = match File::open(self.dir.join(segment::file_name(base))) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(self.gone(self.next + 1)),
            Err(error) => return Err(self.failed(&error)),
        };
        let mut magic = [0; MAGIC.len()];
        file.read_exact_at(&mut magic, 0).map_err(|error| self.failed(&error))?;
        if magic != MAGIC {
            return Err(self.damaged());
        }
        let index = read_index(&self.dir, base);
        let hint = index.iter().rev().find(|entry| entry.offset <= self.next);
        let position =
            hint.filter(|entry| points_to_its_frame(&file, entry)).map_or(MAGIC.len() as u64, |e| e.position);
        Ok(Segment { base, file, position, buffer: Vec::new(), used: 0 })
    }

    /// Offset of the first record at or after a time; the end when all are older.
    fn first_at(&mut self, bases: &[u64], time_ms: i64) -> Result<u64, ReadError> {
        self.next = bases.first().copied().unwrap_or_default();
        // Timestamps are commit times and need not ascend: skip only what the index proves to be older.
        for &base in bases {
            if base >= self.end {
                break;
            }
            let index = read_index(&self.dir, base);
            let older = index.iter().take_while(|entry| entry.max_before_ms < time_ms).last();
            if let Some(entry) = older.filter(|entry| entry.offset < self.end) {
                self.next = self.next.max(entry.offset);
            }
            if index.last().is_some_and(|entry| entry.max_before_ms >= time_ms) {
                break;
            }
        }
        while let Some(record) = self.next_record()? {
            if record.timestamp_ms >= time_ms {
                self.segment = None;
                return Ok(record.offset.cast_unsigned());
            }
        }
        Ok(self.end)
    }

    fn failed(&self, error: &io::Error) -> ReadError {
        ReadError::Unavailable(format!("{}: {error}", self.dir.display()))
    }

    fn damaged(&self) -> ReadError {
        let place = self.segment.as_ref().map_or(0, |s| s.position - (s.buffer.len() - s.used) as u64);
        let base = self.segment.as_ref().map_or(0, |s| s.base);
        let file = self.dir.join(segment::file_name(base));
        ReadError::Damaged(format!("{}: offset {} cannot be read at byte {place}", file.display(), self.next))
    }

    fn gone(&self, earliest: u64) -> ReadError {
        let (wanted, earliest) = (self.next.cast_signed(), earliest.cast_signed());
        ReadError::Gone { partition: self.partition, wanted, earliest }
    }
}

impl Segment {
    /// Reads on, until at least `need` unused bytes are there; false when the file has not got them.
    fn fill(&mut self, need: usize) -> io::Result<bool> {
        self.buffer.drain(..self.used);
        self.used = 0;
        let have = self.buffer.len();
        let left = self.file.metadata()?.len().saturating_sub(self.position);
        if left < need.saturating_sub(have) as u64 {
            return Ok(false);
        }
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(READ_BYTES.max(need - have));
        self.buffer.resize(have + want, 0);
        if let Err(error) = self.file.read_exact_at(&mut self.buffer[have..], self.position) {
            self.buffer.truncate(have);
            // Cut by the writer since its length was asked for.
            return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(false) } else { Err(error) };
        }
        self.position += want as u64;
        Ok(true)
    }
}

/// The index is a hint: what cannot be read is as good as empty.
fn read_index(dir: &Path, base: u64) -> Vec<IndexEntry> {
    IndexEntry::decode_all(&fs::read(dir.join(index_name(base))).unwrap_or_default())
}

fn points_to_its_frame(file: &File, entry: &IndexEntry) -> bool {
    let mut head = [0; INDEX_ENTRY];
    let read = file.read_exact_at(&mut head, entry.position).is_ok();
    read && head.get(segment::PREFIX..).and_then(|b| b.first_chunk()) == Some(&entry.offset.to_le_bytes())
}

/// Reads all partitions of a topic in turn.
#[derive(Debug)]
pub struct LocalTopicReader {
    partitions: Vec<LocalReader>,
    turn: usize,
}

impl LocalTopicReader {
    /// Opens a topic at its oldest records.
    ///
    /// # Errors
    /// As [`LocalReader::open`].
    pub fn open(root: &Path, topic: &str) -> Result<Self, ReadError> {
        let first = LocalReader::open(root, topic, 0)?;
        let count = read_meta_if_dir(&root.join(topic))?.unwrap_or(1);
        let rest = (1..count).map(|partition| LocalReader::open(root, topic, partition));
        let partitions = std::iter::once(Ok(first)).chain(rest).collect::<Result<_, _>>()?;
        Ok(LocalTopicReader { partitions, turn: 0 })
    }
}

impl Reader for LocalTopicReader {
    fn seek(&mut self, start: Start) -> Result<(), ReadError> {
        self.partitions.iter_mut().try_for_each(|partition| partition.seek(start))
    }

    fn next(&mut self, wait: Duration) -> Result<Option<StoredRecord>, ReadError> {
        let begin = Instant::now();
        loop {
            for _ in 0..self.partitions.len() {
                self.turn = (self.turn + 1) % self.partitions.len();
                if let Some(record) = self.partitions[self.turn].next_record()? {
                    return Ok(Some(record));
                }
            }
            let left = wait.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            std::thread::sleep(LOOK_EVERY.min(left));
        }
    }
}
