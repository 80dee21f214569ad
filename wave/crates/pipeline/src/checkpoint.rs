//! The stored form of a checkpoint: where an instance goes on, and what must be remembered with it.
//!
//! JSON with a format number; compressed by zstd where an executed set of many gaps makes it large. A checkpoint is always
//! a transaction boundary: every transaction up to it is settled in every feed that is not parked. Open XA transactions
//! (prepared, not yet decided) stay listed until their decision is settled; their rows are read again by the next owner.

use std::io::Read;

use binlog::gtid::GtidSet;
use binlog::position::{FilePos, Position};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const FORMAT: u32 = 1;
/// Larger ones are compressed.
const PLAIN: usize = 16 << 10;
/// Of what is unpacked: a set of as many intervals as are read at all takes less.
const UNPACKED: u64 = 64 << 20;
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// A prepared XA transaction whose COMMIT or ROLLBACK has not been seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenXa {
    /// The xid as the log writes it: `X'…',X'…',n`.
    pub xid: String,
    /// GTID of the PREPARE; left out of the executed set so that the server sends it again.
    pub gtid: Option<String>,
    pub file: String,
    /// Offset where the PREPARE transaction starts.
    pub pos: u64,
    /// On MariaDB the GTID position before the PREPARE. There a position names one transaction per domain, so that none
    /// before it can be left out: reading begins here, on any server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

impl OpenXa {
    /// Where the PREPARE transaction starts.
    #[must_use]
    pub fn place(&self) -> FilePos {
        FilePos { file: self.file.clone(), pos: self.pos }
    }
}

/// A durable position of an instance. In memory also how far everything is settled now, see `progress`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    pub position: Position,
    /// Ordinal of the last settled transaction in this incarnation.
    pub seq: u64,
    /// The server that the file and offset belong to.
    pub server_uuid: String,
    /// Commit time of the last settled transaction, microseconds since the Unix epoch; 0 when none.
    pub commit_us: u64,
    pub open_xa: Vec<OpenXa>,
    /// When the server began the file of `position`, seconds since the Unix epoch; 0 while unknown. It tells the file
    /// from another of this name, begun after the logs were reset.
    pub file_begun: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    file: String,
    pos: u64,
    gtid_set: String,
    seq: u64,
    server_uuid: String,
    commit_us: u64,
    open_xa: Vec<OpenXa>,
    #[serde(default, skip_serializing_if = "unknown")]
    file_begun: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
fn unknown(begun: &u32) -> bool {
    *begun == 0
}

/// The bytes are not a checkpoint that this version reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("checkpoint cannot be read: {0}; it was left as it is, nothing was skipped")]
pub struct CheckpointError(String);

impl Checkpoint {
    /// The stored form, format 1.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let stored = Stored {
            format: FORMAT,
            file: self.position.file_pos.file.clone(),
            pos: self.position.file_pos.pos,
            gtid_set: self.position.gtids.to_string(),
            seq: self.seq,
            server_uuid: self.server_uuid.clone(),
            commit_us: self.commit_us,
            open_xa: self.open_xa.clone(),
            file_begun: self.file_begun,
        };
        pack(&stored)
    }

    /// # Errors
    /// Bytes that are not JSON of format 1, or hold a GTID set that cannot be read.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let stored: Stored = unpack(bytes)?;
        if stored.format != FORMAT {
            return Err(CheckpointError(format!("format {} is newer than this version's {FORMAT}", stored.format)));
        }
        let gtids = stored.gtid_set.parse().map_err(|e| CheckpointError(format!("GTID set: {e}")))?;
        Ok(Checkpoint {
            position: Position { file_pos: FilePos { file: stored.file, pos: stored.pos }, gtids },
            seq: stored.seq,
            server_uuid: stored.server_uuid,
            commit_us: stored.commit_us,
            open_xa: stored.open_xa,
            file_begun: stored.file_begun,
        })
    }
}

fn pack(stored: &impl Serialize) -> Vec<u8> {
    let plain = serde_json::to_vec(stored).unwrap_or_default();
    let packed = (plain.len() > PLAIN).then(|| zstd::bulk::compress(&plain, 3).ok()).flatten();
    packed.unwrap_or(plain)
}

fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CheckpointError> {
    let failed = |e: &dyn std::fmt::Display| CheckpointError(e.to_string());
    if !bytes.starts_with(ZSTD_MAGIC) {
        return serde_json::from_slice(bytes).map_err(|e| failed(&e));
    }
    let (packed, mut plain) = (zstd::stream::Decoder::new(bytes).map_err(|e| failed(&e))?, Vec::new());
    packed.take(UNPACKED).read_to_end(&mut plain).map_err(|e| failed(&e))?;
    serde_json::from_slice(&plain).map_err(|e| failed(&e))
}

/// Why and where a feed was parked or a table quarantined; stored beside the checkpoint that first passed it.
///
/// Of a parked feed this is its own checkpoint, which its catch-up moves on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stopped {
    pub file: String,
    pub pos: u64,
    pub gtid_set: String,
    /// Last transaction that the feed or table has completely.
    pub seq: u64,
    pub reason: String,
    /// The incarnation that `seq` counts in.
    #[serde(default)]
    pub incarnation: u64,
    #[serde(default)]
    pub server_uuid: String,
    #[serde(default)]
    pub commit_us: u64,
    #[serde(default)]
    pub open_xa: Vec<OpenXa>,
    #[serde(default, skip_serializing_if = "unknown")]
    pub file_begun: u32,
}

impl Stopped {
    /// Stopped at a checkpoint of this incarnation.
    #[must_use]
    pub fn at(checkpoint: Checkpoint, incarnation: u64, reason: &str) -> Self {
        Stopped {
            file: checkpoint.position.file_pos.file,
            pos: checkpoint.position.file_pos.pos,
            gtid_set: checkpoint.position.gtids.to_string(),
            seq: checkpoint.seq,
            reason: reason.to_string(),
            incarnation,
            server_uuid: checkpoint.server_uuid,
            commit_us: checkpoint.commit_us,
            open_xa: checkpoint.open_xa,
            file_begun: checkpoint.file_begun,
        }
    }

    /// The stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        pack(self)
    }

    /// # Errors
    /// Bytes that are not what [`Stopped::to_bytes`] gives.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CheckpointError> {
        unpack(bytes)
    }

    /// Where a catch-up goes on; None where no position was known when it stopped.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        let gtids: GtidSet = self.gtid_set.parse().ok()?;
        let file_pos = FilePos { file: self.file.clone(), pos: self.pos };
        (!file_pos.file.is_empty() || !gtids.is_empty()).then(|| Checkpoint {
            position: Position { file_pos, gtids },
            seq: self.seq,
            server_uuid: self.server_uuid.clone(),
            commit_us: self.commit_us,
            open_xa: self.open_xa.clone(),
            file_begun: self.file_begun,
        })
    }

    /// Whether everything that `checkpoint` has is complete here, too. File positions are compared on one server only.
    #[must_use]
    pub fn covers(&self, checkpoint: &Checkpoint) -> bool {
        let Some(mine) = self.checkpoint() else { return false };
        let (mine, theirs) = (mine.position, &checkpoint.position);
        let by_file = self.server_uuid == checkpoint.server_uuid && !mine.file_pos.file.is_empty();
        let reached = mine.file_pos >= theirs.file_pos;
        if mine.gtids.is_empty() || theirs.gtids.is_empty() {
            return by_file && reached;
        }
        mine.gtids.contains_set(&theirs.gtids) && (!by_file || reached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_xa(xid: &str, after: Option<&str>) -> OpenXa {
        let after = after.map(str::to_string);
        OpenXa { xid: xid.into(), gtid: None, file: "binlog.000006".into(), pos: 4, after }
    }

    fn sample() -> Checkpoint {
        Checkpoint {
            position: Position {
                file_pos: FilePos { file: "binlog.000007".into(), pos: 4711 },
                gtids: "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5".parse().unwrap(),
            },
            seq: 42,
            server_uuid: "3e11fa47-71ca-11e1-9e33-c80aa9429562".into(),
            commit_us: 1_700_000_000_000_000,
            open_xa: vec![open_xa("X'31',X'',1", None), open_xa("X'32',X'',1", Some("0-1-7"))],
            file_begun: 1_700_000_000,
        }
    }

    #[test]
    fn golden() {
        let golden = r#"{"format":1,"file":"binlog.000007","pos":4711,"gtid_set":"3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5","seq":42,"server_uuid":"3e11fa47-71ca-11e1-9e33-c80aa9429562","commit_us":1700000000000000,"open_xa":[{"xid":"X'31',X'',1","gtid":null,"file":"binlog.000006","pos":4},{"xid":"X'32',X'',1","gtid":null,"file":"binlog.000006","pos":4,"after":"0-1-7"}],"file_begun":1700000000}"#;
        assert_eq!(String::from_utf8(sample().to_bytes()).unwrap(), golden);
        assert_eq!(Checkpoint::from_bytes(golden.as_bytes()).unwrap(), sample());
        let before = golden.replace(",\"file_begun\":1700000000", "");
        assert_eq!(Checkpoint::from_bytes(before.as_bytes()).unwrap(), Checkpoint { file_begun: 0, ..sample() });
    }

    #[test]
    fn a_set_of_many_gaps_is_compressed() {
        let mut large = sample();
        let gaps: String = (0..40_000).map(|n| format!(":{}", 100_001 + 2 * n)).collect();
        large.position.gtids = format!("3e11fa47-71ca-11e1-9e33-c80aa9429562{gaps}").parse().unwrap();
        let stopped = Stopped::at(large.clone(), 1, "r");
        let (bytes, stop) = (large.to_bytes(), stopped.to_bytes());
        assert!(bytes.len() < 100_000 && stop.len() < 100_000, "{} and {}", bytes.len(), stop.len());
        assert_eq!((Checkpoint::from_bytes(&bytes), Stopped::from_bytes(&stop)), (Ok(large), Ok(stopped)));
        assert!(Checkpoint::from_bytes(&bytes[..bytes.len() / 2]).is_err());
        let bomb = zstd::bulk::compress(&vec![b' '; 65 << 20], 1).unwrap();
        assert!(Checkpoint::from_bytes(&bomb).is_err());
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let newer = String::from_utf8(sample().to_bytes()).unwrap().replace("\"format\":1", "\"format\":2");
        assert!(Checkpoint::from_bytes(newer.as_bytes()).unwrap_err().to_string().contains("newer"));
        assert!(Checkpoint::from_bytes(b"{}").is_err());
        assert!(Checkpoint::from_bytes(b"").is_err());
    }
}
