//! FORMAT_DESCRIPTION: how the events after it are written (manual: `Format_description_event`; the checksum byte:
//! WL#2540).

use super::header::{EventType, HEADER_LEN};
use crate::charset::names::NameCollation;
use crate::checksum::{self, ChecksumAlg};
use crate::error::{Error, Result};
use crate::read::Reader;

/// Contents of a FORMAT_DESCRIPTION event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatDescription {
    /// Always 4.
    pub binlog_version: u16,
    /// As the server prints it, e.g. `9.7.4-2` or `10.11.18-MariaDB-log`.
    pub server_version: String,
    /// Seconds since 1970 when the server started; 0 unless this is the first file after a start.
    pub created: u32,
    /// Per event type (index: type − 1) the length of its post-header.
    pub post_header_lengths: Vec<u8>,
    /// Trailer of the events that follow.
    pub checksum: ChecksumAlg,
    pub mariadb: bool,
}

/// More event types than any server had that knows no checksums (MySQL 5.5: 27): its version is damaged, and everything
/// after it would be read unchecked.
const MOST_TYPES_WITHOUT: usize = 32;

impl FormatDescription {
    /// Reads the whole event with its header.
    ///
    /// # Errors
    /// Malformed bytes, a wrong checksum, a binlog version other than 4.
    pub fn parse(raw: &[u8]) -> Result<Self> {
        let mut r = Reader::new("FORMAT_DESCRIPTION", raw);
        r.skip(HEADER_LEN)?;
        let binlog_version = r.u16()?;
        if binlog_version != 4 {
            return Err(Error::Unsupported { what: "binlog version", code: binlog_version.into() });
        }
        let version = r.array::<50>()?;
        let version = version.split(|b| *b == 0).next().unwrap_or_default();
        let server_version = String::from_utf8_lossy(version).into_owned();
        let created = r.u32()?;
        let header_length = r.u8()?;
        if usize::from(header_length) != HEADER_LEN {
            return Err(Error::Unsupported { what: "event header length", code: header_length.into() });
        }
        let mariadb = server_version.to_ascii_lowercase().contains("mariadb");
        let mut lengths = r.take_rest();
        let mut checksum = ChecksumAlg::None;
        // A server that knows checksums ends this event with the algorithm and room for the trailer, even with none.
        if knows_checksums(&server_version, mariadb) {
            let (head, [alg, ..]) = lengths
                .split_last_chunk::<{ 1 + checksum::TRAILER_LEN }>()
                .ok_or(Error::Truncated { what: "FORMAT_DESCRIPTION", need: 5, have: lengths.len() })?;
            lengths = head;
            checksum = ChecksumAlg::from_code(*alg)?;
            if checksum != ChecksumAlg::None {
                checksum::verify_format_description(raw)?;
            }
        } else if lengths.len() > MOST_TYPES_WITHOUT {
            return Err(r.malformed(format!("version {server_version:?} with {} event types", lengths.len())));
        }
        Ok(Self { binlog_version, server_version, created, post_header_lengths: lengths.to_vec(), checksum, mariadb })
    }

    /// Length of the post-header of `event_type`, if the server said it.
    pub(crate) fn post_header_len(&self, event_type: EventType) -> Option<u8> {
        let at = usize::from(event_type.0).checked_sub(1)?;
        self.post_header_lengths.get(at).copied()
    }

    /// By which the server tells names of savepoints apart.
    #[must_use]
    pub fn name_collation(&self) -> NameCollation {
        let newer = self.mariadb && version_numbers(&self.server_version) >= (11, 5, 0);
        if newer { NameCollation::General1400 } else { NameCollation::General }
    }
}

/// MySQL since 5.6.1, MariaDB since 5.3.
fn knows_checksums(version: &str, mariadb: bool) -> bool {
    version_numbers(version) >= if mariadb { (5, 3, 0) } else { (5, 6, 1) }
}

fn version_numbers(version: &str) -> (u32, u32, u32) {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_with_checksums() {
        for (version, mariadb, want) in [
            ("5.5.34-log", false, false),
            ("5.6.0", false, false),
            ("5.6.24-log", false, true),
            ("9.7.4-2", false, true),
            ("5.5.68-MariaDB", true, true),
            ("10.11.18-MariaDB-0+deb12u1-log", true, true),
            ("", false, false),
        ] {
            assert_eq!(knows_checksums(version, mariadb), want, "{version}");
        }
    }
}
