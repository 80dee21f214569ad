//! Schema history on the local disk: one append-only file per source, `schemas/{source}.log`, below a locked
//! [`DataDir`].
//!
//! File, little-endian: magic `BLSH`, version u32, then records {length u32, CRC32 u32 of the length, CRC32 u32 of the
//! content, content}. Content: table, file number u64, offset u64, gtids, payload; texts and bytes behind a u32 length.
//!
//! An append is synced before it returns, so only the last record can be half written, and nobody was told that it is
//! stored: it is cut off at the next opening, with a warning. Damage anywhere else is [`CoordError::Corrupt`]. The
//! length has its own checksum, so that a damaged length in the middle cannot pass for a torn tail.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use durable::sync_dir;

use super::{HistoryEntry, MAX_ENTRY_BYTES, SchemaHistory};
use crate::codec::{Fields, put_bytes};
use crate::dir::{DataDir, io_error};
use crate::{CoordError, SourceId};

const MAGIC: &[u8; 4] = b"BLSH";
const VERSION: u32 = 1;
const HEADER: usize = 8;
const RECORD_HEADER: usize = 12;
const HINT: &str = "restore this file from a backup, or move it away: tables without full row metadata in the log are \
                    then quarantined until their definition is confirmed";

/// The embedded backend.
#[derive(Debug)]
pub struct FileHistory {
    _dir: DataDir,
    folder: PathBuf,
    logs: HashMap<SourceId, Log>,
}

#[derive(Debug)]
struct Log {
    file: File,
    /// Where the next record goes: the end of the last durable one, whatever a failed append left behind it.
    len: u64,
    /// An append has failed there.
    torn: bool,
}

impl FileHistory {
    /// Opens `schemas/` in the data folder.
    ///
    /// # Errors
    /// [`CoordError::Unavailable`] when the folder cannot be made.
    pub fn open(dir: &DataDir) -> Result<Self, CoordError> {
        let folder = dir.subfolder("schemas")?;
        Ok(Self { _dir: dir.clone(), folder, logs: HashMap::new() })
    }

    fn path(&self, source: &SourceId) -> PathBuf {
        self.folder.join(format!("{source}.log"))
    }

    /// Reads the whole log, cuts a torn tail off and remembers the end.
    fn open_log(&mut self, source: &SourceId) -> Result<Vec<HistoryEntry>, CoordError> {
        let path = self.path(source);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| io_error(&path, "open", &e))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|e| io_error(&path, "read", &e))?;
        let (entries, len) = parse(&bytes, source).map_err(|what| CoordError::Corrupt {
            path: path.clone(),
            what,
            hint: HINT.into(),
        })?;
        if len < HEADER {
            let mut header = MAGIC.to_vec();
            header.extend_from_slice(&VERSION.to_le_bytes());
            file.set_len(0)
                .and_then(|()| file.write_all_at(&header, 0))
                .and_then(|()| file.sync_all())
                .and_then(|()| sync_dir(&self.folder))
                .map_err(|e| io_error(&path, "create", &e))?;
        } else if len < bytes.len() {
            tracing::warn!(path = %path.display(), bytes = bytes.len() - len, "schema history: half written last entry removed");
            file.set_len(len as u64).and_then(|()| file.sync_all()).map_err(|e| io_error(&path, "shorten", &e))?;
        }
        self.logs.insert(source.clone(), Log { file, len: len.max(HEADER) as u64, torn: false });
        Ok(entries)
    }
}

impl SchemaHistory for FileHistory {
    fn append(&mut self, entry: &HistoryEntry) -> Result<(), CoordError> {
        let record = encode(entry)?;
        if !self.logs.contains_key(&entry.source) {
            self.open_log(&entry.source)?;
        }
        let path = self.path(&entry.source);
        let Some(log) = self.logs.get_mut(&entry.source) else {
            return Err(CoordError::Unavailable(format!("{} is not open", path.display())));
        };
        append_durably(log, &record).map_err(|error| io_error(&path, "append to", &error))
    }

    fn load(&mut self, source: &SourceId) -> Result<Vec<HistoryEntry>, CoordError> {
        self.open_log(source)
    }
}

fn append_durably(log: &mut Log, record: &[u8]) -> std::io::Result<()> {
    // What a failed write or sync left there may be seen now and be gone after a power loss: nothing is written behind it.
    if log.torn {
        log.file.set_len(log.len)?;
    }
    log.torn = true;
    log.file.write_all_at(record, log.len)?;
    log.file.sync_data()?;
    log.torn = false;
    log.len += record.len() as u64;
    Ok(())
}

pub(super) fn encode(entry: &HistoryEntry) -> Result<Vec<u8>, CoordError> {
    let size = entry.table.len() + entry.gtids.len() + entry.payload.len() + 28;
    if size > MAX_ENTRY_BYTES {
        return Err(CoordError::TooLarge {
            what: "bytes in an entry of the schema history",
            size,
            limit: MAX_ENTRY_BYTES,
        });
    }
    let mut content = Vec::with_capacity(size);
    put_bytes(&mut content, entry.table.as_bytes());
    content.extend_from_slice(&entry.file_number.to_le_bytes());
    content.extend_from_slice(&entry.offset.to_le_bytes());
    put_bytes(&mut content, entry.gtids.as_bytes());
    put_bytes(&mut content, &entry.payload);
    let len = u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut record = Vec::with_capacity(RECORD_HEADER + content.len());
    record.extend_from_slice(&len);
    record.extend_from_slice(&crc32fast::hash(&len).to_le_bytes());
    record.extend_from_slice(&crc32fast::hash(&content).to_le_bytes());
    record.extend_from_slice(&content);
    Ok(record)
}

/// Entries and the length of the readable part; Err says what is damaged before the tail.
fn parse(bytes: &[u8], source: &SourceId) -> Result<(Vec<HistoryEntry>, usize), String> {
    let mut rest = Fields(bytes);
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&VERSION.to_le_bytes());
    match rest.take(HEADER) {
        None if header.starts_with(bytes) || bytes.iter().all(|b| *b == 0) => return Ok((Vec::new(), 0)),
        Some(head) if head == header => {}
        Some(head) if head.starts_with(MAGIC) => {
            return Err(format!(
                "its format version is unknown, this program reads version {VERSION} (written by a newer BinLake?)"
            ));
        }
        None | Some(_) => return Err("this is not a schema history of BinLake (wrong magic)".into()),
    }
    let mut entries = Vec::new();
    loop {
        let at = bytes.len() - rest.0.len();
        if rest.0.iter().all(|b| *b == 0) {
            // The end, or blocks that a crash left unwritten.
            return Ok((entries, at));
        }
        let (Some(len), Some(len_crc), Some(crc)) = (rest.u32(), rest.u32(), rest.u32()) else {
            return Ok((entries, at));
        };
        if crc32fast::hash(&len.to_le_bytes()) != len_crc || len as usize > MAX_ENTRY_BYTES {
            return Err(format!("the entry at byte {at} has a damaged header"));
        }
        let Some(content) = rest.take(len as usize) else {
            return Ok((entries, at));
        };
        if crc32fast::hash(content) != crc {
            if rest.0.is_empty() {
                return Ok((entries, at));
            }
            return Err(format!("the checksum of the entry at byte {at} does not match"));
        }
        entries.push(decode(content, source).ok_or_else(|| format!("the entry at byte {at} is malformed"))?);
    }
}

fn decode(content: &[u8], source: &SourceId) -> Option<HistoryEntry> {
    let mut fields = Fields(content);
    let entry = HistoryEntry {
        source: source.clone(),
        table: fields.text()?,
        file_number: fields.u64()?,
        offset: fields.u64()?,
        gtids: fields.text()?,
        payload: fields.bytes()?.to_vec(),
    };
    fields.0.is_empty().then_some(entry)
}
