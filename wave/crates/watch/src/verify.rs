//! Checks the CRC32 of every event of a stream, and knows where in the log the stream is, for the error.
//!
//! The algorithm is in each FORMAT_DESCRIPTION and holds until the next one. Before the first, and for the ROTATE that a
//! server makes up for the stream (it may be written with the algorithm of the file before or after it), there is
//! nothing to check against; such a ROTATE only names the file.

use binlog::checksum::{self, ChecksumAlg, TRAILER_LEN};
use binlog::event::{EventHeader, EventType, FormatDescription};
use binlog::position::FilePos;

use crate::events::WatchError;

/// Length of header and position in a ROTATE; the file name follows.
const ROTATE_HEAD: usize = 19 + 8;

/// State of one stream.
#[derive(Debug, Default)]
pub(crate) struct Verifier {
    alg: ChecksumAlg,
    at: FilePos,
}

impl Verifier {
    /// Checks the next event, header and checksum included.
    pub(crate) fn check(&mut self, raw: &[u8]) -> Result<(), WatchError> {
        self.check_event(raw).map_err(|error| WatchError::Damaged { at: self.at.clone(), error })
    }

    fn check_event(&mut self, raw: &[u8]) -> binlog::Result<()> {
        let header = EventHeader::parse(raw)?;
        match header.event_type {
            EventType::FORMAT_DESCRIPTION => self.alg = FormatDescription::parse(raw)?.checksum,
            EventType::ROTATE if header.artificial() => self.rotated(raw),
            EventType::ROTATE => {
                checksum::verify(raw, self.alg)?;
                self.rotated(raw);
                return Ok(());
            }
            _ => {
                checksum::verify(raw, self.alg)?;
            }
        }
        // The position of a made-up event (0, or that of another event) is not ours.
        if header.log_pos != 0 && !header.artificial() {
            self.at.pos = header.end_pos(self.at.pos);
        }
        Ok(())
    }

    fn rotated(&mut self, raw: &[u8]) {
        let with_trailer = raw.len() >= ROTATE_HEAD + TRAILER_LEN && checksum::verify(raw, ChecksumAlg::Crc32).is_ok();
        let end = raw.len() - if with_trailer { TRAILER_LEN } else { 0 };
        let name = raw.get(ROTATE_HEAD..end).unwrap_or_default();
        let pos = raw.get(19..ROTATE_HEAD).and_then(|b| b.try_into().ok()).map_or(4, u64::from_le_bytes);
        self.at = FilePos { file: String::from_utf8_lossy(name).into_owned(), pos };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u8, flags: u16, log_pos: u32, body: &[u8], crc: bool) -> Vec<u8> {
        let size = 19 + body.len() + if crc { 4 } else { 0 };
        let mut raw = vec![0; 4];
        raw.push(kind);
        raw.extend_from_slice(&1_u32.to_le_bytes());
        raw.extend_from_slice(&u32::try_from(size).unwrap().to_le_bytes());
        raw.extend_from_slice(&log_pos.to_le_bytes());
        raw.extend_from_slice(&flags.to_le_bytes());
        raw.extend_from_slice(body);
        if crc {
            raw.extend_from_slice(&crc32fast::hash(&raw).to_le_bytes());
        }
        raw
    }

    fn rotate(flags: u16, file: &str, crc: bool) -> Vec<u8> {
        event(4, flags, 0, &[&4_u64.to_le_bytes()[..], file.as_bytes()].concat(), crc)
    }

    fn format_description(alg: u8) -> Vec<u8> {
        let mut body = vec![4, 0];
        let mut version = b"9.7.0".to_vec();
        version.resize(50, 0);
        body.extend_from_slice(&version);
        body.extend_from_slice(&[0, 0, 0, 0, 19]);
        body.extend_from_slice(&[56; 42]);
        body.push(alg);
        event(15, 0, 126, &body, true)
    }

    #[test]
    fn damage_is_found_and_its_place_named() {
        let mut v = Verifier::default();
        v.check(&rotate(0x20, "binlog.000007", true)).unwrap();
        v.check(&format_description(1)).unwrap();
        v.check(&event(2, 0, 200, b"BEGIN", true)).unwrap();
        let mut bad = event(2, 0, 300, b"COMMIT", true);
        bad[20] ^= 1;
        let error = v.check(&bad).unwrap_err();
        assert!(error.to_string().starts_with("the event at binlog.000007:200 is damaged: checksum"), "{error}");
        assert!(v.check(&event(2, 0, 300, b"COMMIT", false)).is_err(), "no checksum where one is due");
        let mut bad = format_description(1);
        bad[30] ^= 1;
        assert!(v.check(&bad).is_err());
    }

    #[test]
    fn algorithm_may_change_with_the_file() {
        let mut v = Verifier::default();
        v.check(&rotate(0x20, "binlog.000001", false)).unwrap();
        v.check(&format_description(1)).unwrap();
        v.check(&rotate(0, "binlog.000002", true)).unwrap();
        v.check(&rotate(0x20, "binlog.000002", false)).unwrap();
        v.check(&format_description(0)).unwrap();
        v.check(&event(2, 0, 200, b"BEGIN", false)).unwrap();
        assert_eq!((v.at.file.as_str(), v.at.pos), ("binlog.000002", 200));
    }
}
