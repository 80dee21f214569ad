//! The state of one source: the rules of take, write and release, and its stored form. No I/O: every backend applies
//! the same rules here.
//!
//! Stored form, little-endian: magic `BLCO`, version u32, CRC32 u32 of the body, body length u64, body. Body: source
//! id, epoch u64, incarnation u64, owner (flag u8, text), checkpoint (flag u8, bytes), number of entries u32, then name
//! and bytes of each. Texts and bytes stand behind a u32 length.

use std::collections::BTreeMap;

use crate::codec::{Fields, put_bytes};
use crate::{
    CoordError, Fence, MAX_BATCH_BYTES, MAX_BATCH_ENTRIES, MAX_CHECKPOINT_BYTES, MAX_ENTRIES, MAX_NAME_BYTES, Snapshot,
    SourceId, Taken, Write,
};

const MAGIC: &[u8; 4] = b"BLCO";
const VERSION: u32 = 1;
const HEADER: usize = 20;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) epoch: u64,
    pub(crate) incarnation: u64,
    pub(crate) owner: Option<String>,
    pub(crate) checkpoint: Option<Vec<u8>>,
    pub(crate) entries: BTreeMap<String, Vec<u8>>,
}

impl State {
    /// The state after a take; `old` is None for a source seen for the first time.
    pub(crate) fn taken(old: Option<&Self>, owner: &str, now_unix_ms: u64) -> Self {
        let mut state = old.cloned().unwrap_or_default();
        state.epoch = state.epoch.saturating_add(1).max(now_unix_ms / 1000);
        if old.is_none() {
            state.incarnation = now_unix_ms;
        }
        state.owner = Some(owner.to_owned());
        state
    }

    pub(crate) fn check(&self, fence: &Fence) -> Result<(), CoordError> {
        if self.epoch == fence.epoch {
            return Ok(());
        }
        Err(CoordError::Fenced { source_id: fence.source.clone(), mine: fence.epoch, current: self.epoch })
    }

    /// The state after `batch`, or why it is refused.
    pub(crate) fn written(&self, fence: &Fence, batch: &[Write]) -> Result<Self, CoordError> {
        self.check(fence)?;
        check_batch(batch)?;
        let mut state = self.clone();
        for write in batch {
            match write {
                Write::Checkpoint(bytes) => state.checkpoint = Some(bytes.clone()),
                Write::Put { name, bytes } => {
                    state.entries.insert(name.clone(), bytes.clone());
                }
                Write::Delete { name } => {
                    state.entries.remove(name);
                }
                Write::Incarnation(new) if *new < state.incarnation => {
                    return Err(CoordError::Invalid(format!(
                        "incarnation {new} is below the present {}",
                        state.incarnation
                    )));
                }
                Write::Incarnation(new) => state.incarnation = *new,
            }
        }
        within("entries of a source", state.entries.len(), MAX_ENTRIES)?;
        Ok(state)
    }

    pub(crate) fn released(&self, fence: &Fence) -> Result<Self, CoordError> {
        self.check(fence)?;
        Ok(Self { owner: None, ..self.clone() })
    }

    pub(crate) fn to_taken(&self) -> Taken {
        Taken {
            epoch: self.epoch,
            incarnation: self.incarnation,
            checkpoint: self.checkpoint.clone(),
            entries: self.entries.clone(),
        }
    }

    pub(crate) fn to_snapshot(&self) -> Snapshot {
        Snapshot {
            epoch: self.epoch,
            incarnation: self.incarnation,
            owner: self.owner.clone(),
            checkpoint: self.checkpoint.clone(),
            entries: self.entries.clone(),
        }
    }

    pub(crate) fn encode(&self, source: &SourceId) -> Vec<u8> {
        let mut body = Vec::with_capacity(256);
        put_bytes(&mut body, source.as_str().as_bytes());
        body.extend_from_slice(&self.epoch.to_le_bytes());
        body.extend_from_slice(&self.incarnation.to_le_bytes());
        for field in [self.owner.as_deref().map(str::as_bytes), self.checkpoint.as_deref()] {
            body.push(u8::from(field.is_some()));
            put_bytes(&mut body, field.unwrap_or_default());
        }
        let count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        body.extend_from_slice(&count.to_le_bytes());
        for (name, bytes) in &self.entries {
            put_bytes(&mut body, name.as_bytes());
            put_bytes(&mut body, bytes);
        }
        let mut out = Vec::with_capacity(HEADER + body.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        out.extend_from_slice(&(body.len() as u64).to_le_bytes());
        out.extend_from_slice(&body);
        out
    }

    /// Gives what is wrong as text; the caller knows the path and the remedy.
    pub(crate) fn decode(bytes: &[u8], source: &SourceId) -> Result<Self, String> {
        let mut header = Fields(bytes);
        let magic = header.take(4).ok_or("the file is empty or cut off")?;
        if magic != MAGIC {
            return Err("this is not a state file of BinLake (wrong magic)".into());
        }
        let version = header.u32().ok_or("the header is cut off")?;
        if version != VERSION {
            return Err(format!(
                "format version {version} is unknown, this program reads version {VERSION} (written by a newer BinLake?)"
            ));
        }
        let crc = header.u32().ok_or("the header is cut off")?;
        let len = header.u64().ok_or("the header is cut off")?;
        let body = header.0;
        if body.len() as u64 != len {
            return Err(format!("{} bytes of content found, the header says {len}", body.len()));
        }
        if crc32fast::hash(body) != crc {
            return Err("the checksum does not match the content".into());
        }
        let (id, state) = decode_body(body).ok_or("the content is malformed")?;
        if id != source.as_str() {
            return Err(format!("it holds the state of source {id}, not of {source}"));
        }
        Ok(state)
    }
}

fn decode_body(body: &[u8]) -> Option<(String, State)> {
    let mut fields = Fields(body);
    let id = fields.text()?;
    let epoch = fields.u64()?;
    let incarnation = fields.u64()?;
    let has_owner = fields.u8()? == 1;
    let owner = fields.text()?;
    let has_checkpoint = fields.u8()? == 1;
    let checkpoint = fields.bytes()?.to_vec();
    let mut entries = BTreeMap::new();
    for _ in 0..fields.u32()? {
        entries.insert(fields.text()?, fields.bytes()?.to_vec());
    }
    let state = State {
        epoch,
        incarnation,
        owner: has_owner.then_some(owner),
        checkpoint: has_checkpoint.then_some(checkpoint),
        entries,
    };
    fields.0.is_empty().then_some((id, state))
}

fn within(what: &'static str, size: usize, limit: usize) -> Result<(), CoordError> {
    if size > limit {
        return Err(CoordError::TooLarge { what, size, limit });
    }
    Ok(())
}

fn check_batch(batch: &[Write]) -> Result<(), CoordError> {
    within("entries in a batch", batch.len(), MAX_BATCH_ENTRIES)?;
    let mut total = 0;
    for write in batch {
        match write {
            Write::Checkpoint(bytes) => {
                within(
                    "bytes of the checkpoint, whose executed GTID set has very many gaps",
                    bytes.len(),
                    MAX_CHECKPOINT_BYTES,
                )?;
                total += bytes.len();
            }
            Write::Put { name, bytes } => {
                check_name(name)?;
                total += name.len() + bytes.len();
            }
            Write::Delete { name } => check_name(name)?,
            Write::Incarnation(_) => {}
        }
    }
    within("bytes in a batch", total, MAX_BATCH_BYTES)
}

fn check_name(name: &str) -> Result<(), CoordError> {
    within("bytes in the name of an entry", name.len(), MAX_NAME_BYTES)?;
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(CoordError::Invalid(format!("entry name {name:?} is empty or has control characters")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> (SourceId, State) {
        let state = State {
            epoch: 1_700_000_000,
            incarnation: 1_700_000_000_123,
            owner: Some("wave-1".into()),
            checkpoint: Some(b"binlog.000042:1234".to_vec()),
            entries: BTreeMap::from([("parked/orders".to_owned(), vec![1, 2, 3])]),
        };
        (SourceId::new("shop").unwrap(), state)
    }

    /// The stored form of version 1, byte for byte: a change here breaks every existing data folder.
    #[test]
    fn stored_form_is_pinned() {
        let (id, state) = example();
        let hex: String = state.encode(&id).iter().map(|b| format!("{b:02x}")).collect();
        let body = concat!(
            "04000000",
            "73686f70",
            "00f1536500000000",
            "7b68e5cf8b010000",
            "01",
            "06000000",
            "776176652d31",
            "01",
            "12000000",
            "62696e6c6f672e3030303034323a31323334",
            "01000000",
            "0d000000",
            "7061726b65642f6f7264657273",
            "03000000",
            "010203",
        );
        assert_eq!(hex[..16], *"424c434f01000000");
        assert_eq!(hex[40..], *body);
        assert_eq!(State::decode(&state.encode(&id), &id).unwrap(), state);
    }

    #[test]
    fn every_flipped_or_missing_byte_is_noticed() {
        let (id, state) = example();
        let good = state.encode(&id);
        for i in 0..good.len() {
            assert!(State::decode(&good[..i], &id).is_err(), "cut at {i}");
            let mut bad = good.clone();
            bad[i] ^= 0x40;
            assert!(State::decode(&bad, &id).is_err(), "flipped at {i}");
        }
        let mut long = good;
        long.push(0);
        assert!(State::decode(&long, &id).is_err());
    }

    #[test]
    fn state_of_another_source_is_refused() {
        let (id, state) = example();
        let error = State::decode(&state.encode(&id), &SourceId::new("other").unwrap()).unwrap_err();
        assert_eq!(error, "it holds the state of source shop, not of other");
    }

    #[test]
    fn ids_that_are_no_file_names_are_refused() {
        for bad in ["", ".", "..", "a/b", "a b", "a\0", "ü", &"x".repeat(129)] {
            assert!(SourceId::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(SourceId::new("db-1.shop:3306").unwrap().as_str(), "db-1.shop:3306");
    }
}
