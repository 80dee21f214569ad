//! Events that begin, name and end transactions (manual: `Gtid_event`, `Xid_event`, `XA_prepare_event`; commit
//! timestamps: WL#7319; tags: WL#15294; MariaDB knowledge base: "GTID_EVENT", "GTID_LIST_EVENT").

use crate::error::Result;
use crate::gtid::{MariaDbGtidPos, Uuid};
use crate::read::Reader;

/// GTID, ANONYMOUS_GTID or GTID_TAGGED of MySQL: begins a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gtid<'a> {
    /// FLAG_MAY_HAVE_SBR: the transaction may hold statements instead of rows.
    pub may_have_statements: bool,
    pub uuid: Uuid,
    /// Empty for none.
    pub tag: &'a str,
    /// 0 in ANONYMOUS_GTID.
    pub gno: u64,
    /// Logical clock of the log file (WL#7165): every transaction up to this number had committed before this one began to.
    pub last_committed: i64,
    /// Number of this transaction by the same clock; both are 0 before 5.7.
    pub sequence_number: i64,
    /// µs since 1970 of the commit on the server that the log is from; 0 before 8.0.1.
    pub immediate_commit_micros: u64,
    /// µs since 1970 of the commit on the server where the transaction began.
    pub original_commit_micros: u64,
    /// Bytes of the transaction with this event; 0 before 8.0.2.
    pub transaction_length: u64,
    /// As 90704; 0 when not told.
    pub immediate_server_version: u32,
    /// Of the server where the transaction began.
    pub original_server_version: u32,
}

/// In the 7-byte time, the original time follows.
const HAS_ORIGINAL_TIME: u64 = 1 << 55;
/// In the server version, the original version follows.
const HAS_ORIGINAL_VERSION: u32 = 1 << 31;

impl<'a> Gtid<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self> {
        let mut r = Reader::new("GTID", body);
        let mut gtid = Self { may_have_statements: r.u8()? & 1 != 0, uuid: r.array()?, gno: r.u64()?, ..Self::empty() };
        if gtid.gno > i64::MAX as u64 {
            return Err(r.malformed(format!("transaction number {}", gtid.gno)));
        }
        // 5.6 ends here, 5.7 after the logical clock (its type code is 2).
        if r.is_empty() || r.u8()? != 2 {
            return Ok(gtid);
        }
        gtid.last_committed = r.u64()? as i64;
        gtid.sequence_number = r.u64()? as i64;
        if r.len() < 7 {
            return Ok(gtid);
        }
        let time = r.le(7)?;
        gtid.immediate_commit_micros = time & !HAS_ORIGINAL_TIME;
        gtid.original_commit_micros =
            if time & HAS_ORIGINAL_TIME != 0 { r.le(7)? } else { gtid.immediate_commit_micros };
        if !r.is_empty() {
            gtid.transaction_length = r.lenenc()?;
        }
        if r.len() >= 4 {
            let version = r.u32()?;
            gtid.immediate_server_version = version & !HAS_ORIGINAL_VERSION;
            gtid.original_server_version =
                if version & HAS_ORIGINAL_VERSION != 0 { r.u32()? } else { gtid.immediate_server_version };
        }
        Ok(gtid)
    }

    /// GTID_TAGGED (WL#15294), a message of MySQL's serialization library: version, size, the last field that may not
    /// be ignored, then fields by ascending number.
    pub(super) fn parse_tagged(body: &'a [u8]) -> Result<Self> {
        let mut r = Reader::new("GTID_TAGGED", body);
        let version = r.varlen()?;
        if version != 1 {
            return Err(r.malformed(format!("serialization version {version}")));
        }
        let size = r.varlen()?;
        let must_know = r.varlen()?;
        let overhead = (body.len() - r.len()) as u64;
        let fields = r.bytes(usize::try_from(size.saturating_sub(overhead)).unwrap_or(usize::MAX))?;
        let mut r = Reader::new("GTID_TAGGED", fields);
        let mut gtid = Self::empty();
        let (mut original_time, mut original_version) = (None, None);
        while !r.is_empty() {
            let field = r.varlen()?;
            match field {
                0 => gtid.may_have_statements = r.varlen()? & 1 != 0,
                1 => {
                    for byte in &mut gtid.uuid {
                        *byte = r.varlen()? as u8;
                    }
                }
                2 => {
                    let gno = r.varlen_signed()?;
                    gtid.gno = u64::try_from(gno).map_err(|_| r.malformed(format!("transaction number {gno}")))?;
                }
                3 => gtid.tag = crate::gtid::read_tag(&mut r)?,
                4 => gtid.last_committed = r.varlen_signed()?,
                5 => gtid.sequence_number = r.varlen_signed()?,
                6 => gtid.immediate_commit_micros = r.varlen()?,
                7 => original_time = Some(r.varlen()?),
                8 => gtid.transaction_length = r.varlen()?,
                9 => gtid.immediate_server_version = r.varlen()? as u32,
                10 => original_version = Some(r.varlen()? as u32),
                11 => {
                    r.varlen()?; // commit group ticket, of group replication only
                }
                // Its length is not known, and all that is needed stands before it.
                unknown if unknown > must_know => break,
                unknown => return Err(r.malformed(format!("field {unknown} is required and not known"))),
            }
        }
        gtid.original_commit_micros = original_time.unwrap_or(gtid.immediate_commit_micros);
        gtid.original_server_version = original_version.unwrap_or(gtid.immediate_server_version);
        if gtid.gno == 0 {
            return Err(r.malformed("no transaction number"));
        }
        Ok(gtid)
    }

    fn empty() -> Self {
        Self {
            may_have_statements: false,
            uuid: [0; 16],
            tag: "",
            gno: 0,
            last_committed: 0,
            sequence_number: 0,
            immediate_commit_micros: 0,
            original_commit_micros: 0,
            transaction_length: 0,
            immediate_server_version: 0,
            original_server_version: 0,
        }
    }
}

/// MariaDB's GTID event: begins a transaction. The server id stands in the event header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MariaGtid<'a> {
    pub domain: u32,
    pub server: u32,
    pub sequence: u64,
    /// FL_* flags, see the methods.
    pub flags: u8,
    /// Equal for transactions of one group commit, if the server told it.
    pub commit_id: Option<u64>,
    /// Of XA PREPARE and of the COMMIT or ROLLBACK of a prepared transaction.
    pub xid: Option<Xid<'a>>,
    /// Of an ALTER that is logged in two phases (`binlog_alter_two_phase`).
    pub alter: Option<AlterPhase>,
}

/// Where an ALTER in two phases stands. Both events have the statement; the definitions change with [`Self::Commit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlterPhase {
    /// It begins; other transactions may follow before it ends.
    Start,
    /// It is done. The sequence number of its start, in the same domain.
    Commit { start: u64 },
    /// It failed: nothing has changed.
    Rollback { start: u64 },
}

impl AlterPhase {
    /// Whether the statement beside it has taken effect.
    #[must_use]
    pub fn is_done(self) -> bool {
        matches!(self, AlterPhase::Commit { .. })
    }
}

impl<'a> MariaGtid<'a> {
    /// No COMMIT follows: one statement, such as DDL.
    #[must_use]
    pub fn standalone(&self) -> bool {
        self.flags & 0x01 != 0
    }

    /// The event group ends in XA PREPARE.
    fn prepared_xa(&self) -> bool {
        self.flags & 0x40 != 0
    }

    /// The event group is the COMMIT or ROLLBACK of a transaction prepared before.
    fn completed_xa(&self) -> bool {
        self.flags & 0x80 != 0
    }

    pub(super) fn parse(body: &'a [u8], server: u32) -> Result<Self> {
        let mut r = Reader::new("MARIA_GTID", body);
        let (sequence, domain, flags) = (r.u64()?, r.u32()?, r.u8()?);
        let mut gtid = Self { domain, server, sequence, flags, commit_id: None, xid: None, alter: None };
        if flags & 0x02 != 0 {
            gtid.commit_id = Some(r.u64()?);
        }
        if gtid.prepared_xa() || gtid.completed_xa() {
            // Without a commit id 6 bytes are reserved, but only up to the old fixed length of the event.
            let (format, gtrid_len, bqual_len) = (r.u32()?, r.u8()?.into(), r.u8()?.into());
            gtid.xid = Some(Xid::read(&mut r, format, gtrid_len, bqual_len)?);
        }
        if r.is_empty() {
            return Ok(gtid);
        }
        // FL_EXTRA_MULTI_ENGINE_E1, FL_START_ALTER_E1, FL_COMMIT_ALTER_E1, FL_ROLLBACK_ALTER_E1; 0 where bytes are reserved.
        let extra = r.u8()?;
        if extra & 0x01 != 0 {
            r.u8()?;
        }
        gtid.alter = match extra & 0x0e {
            0x02 => Some(AlterPhase::Start),
            0x04 => Some(AlterPhase::Commit { start: r.u64()? }),
            0x08 => Some(AlterPhase::Rollback { start: r.u64()? }),
            _ => None,
        };
        Ok(gtid)
    }
}

/// Name of an XA transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Xid<'a> {
    pub format: u32,
    /// Global transaction id, up to 64 bytes.
    pub gtrid: &'a [u8],
    /// Branch qualifier, up to 64 bytes.
    pub bqual: &'a [u8],
}

impl<'a> Xid<'a> {
    fn read(r: &mut Reader<'a>, format: u32, gtrid_len: usize, bqual_len: usize) -> Result<Self> {
        if gtrid_len > 64 || bqual_len > 64 {
            return Err(r.malformed(format!("XID parts of {gtrid_len} and {bqual_len} bytes")));
        }
        Ok(Self { format, gtrid: r.bytes(gtrid_len)?, bqual: r.bytes(bqual_len)? })
    }

    /// As `XA RECOVER` and QUERY events write it: `X'…',X'…',format`.
    #[must_use]
    pub fn to_sql(&self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        format!("X'{}',X'{}',{}", hex(self.gtrid), hex(self.bqual), self.format)
    }
}

/// XA_PREPARE ends a prepared XA transaction, or commits it in one phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XaPrepare<'a> {
    /// `XA COMMIT … ONE PHASE`: this is the commit.
    pub one_phase: bool,
    pub xid: Xid<'a>,
}

impl<'a> XaPrepare<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self> {
        let mut r = Reader::new("XA_PREPARE", body);
        let one_phase = r.u8()? != 0;
        let (format, gtrid_len, bqual_len) = (r.u32()?, r.u32()? as usize, r.u32()? as usize);
        Ok(Self { one_phase, xid: Xid::read(&mut r, format, gtrid_len, bqual_len)? })
    }
}

/// MariaDB's list of the last GTIDs before a file, one per domain and server.
pub(super) fn parse_maria_gtid_list(body: &[u8]) -> Result<MariaDbGtidPos> {
    let mut r = Reader::new("MARIA_GTID_LIST", body);
    // The four high bits are flags.
    let count = r.u32()? & 0x0fff_ffff;
    let mut pos = MariaDbGtidPos::default();
    for _ in 0..count {
        let (domain, server, sequence) = (r.u32()?, r.u32()?, r.u64()?);
        // Several servers may have written one domain: the last entry is its most recent GTID.
        pos.update(domain, server, sequence);
    }
    Ok(pos)
}
