//! CRC32 trailers of events (manual: `binlog_checksum`; WL#2540).

use crate::error::{Error, Result};

/// Length of the trailer.
pub const TRAILER_LEN: usize = 4;

/// Offset of the flags in the event header and the flag "file was not closed", which the server sets in the
/// FORMAT_DESCRIPTION of an open file after having computed its checksum without it.
const FLAGS_AT: usize = 17;
const IN_USE: u8 = 0x01;

/// `binlog_checksum` of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChecksumAlg {
    #[default]
    None,
    Crc32,
}

impl ChecksumAlg {
    /// From the byte in FORMAT_DESCRIPTION; 255 (undefined) comes from servers without checksums.
    ///
    /// # Errors
    /// An algorithm that is not known.
    pub(crate) fn from_code(code: u8) -> Result<Self> {
        match code {
            0 | 255 => Ok(Self::None),
            1 => Ok(Self::Crc32),
            other => Err(Error::Unsupported { what: "checksum algorithm", code: other.into() }),
        }
    }
}

fn split(raw: &[u8]) -> Result<(&[u8], u32)> {
    raw.split_last_chunk::<TRAILER_LEN>()
        .map(|(body, trailer)| (body, u32::from_le_bytes(*trailer)))
        .ok_or(Error::Truncated { what: "checksum", need: TRAILER_LEN, have: raw.len() })
}

/// Cuts the trailer off without verifying it: somebody did before.
///
/// # Errors
/// [`Error::Truncated`] when the event is shorter than a trailer.
pub(crate) fn strip(raw: &[u8], alg: ChecksumAlg) -> Result<&[u8]> {
    match alg {
        ChecksumAlg::None => Ok(raw),
        ChecksumAlg::Crc32 => split(raw).map(|(body, _)| body),
    }
}

/// Verifies the trailer of a whole event (header included) and gives the event without it.
///
/// # Errors
/// [`Error::Checksum`] when it differs.
pub fn verify(raw: &[u8], alg: ChecksumAlg) -> Result<&[u8]> {
    if alg == ChecksumAlg::None {
        return Ok(raw);
    }
    let (body, expected) = split(raw)?;
    match crc32fast::hash(body) {
        found if found == expected => Ok(body),
        found => Err(Error::Checksum { expected, found }),
    }
}

/// Like [`verify`] for FORMAT_DESCRIPTION, of which the flag "in use" is not covered.
///
/// # Errors
/// [`Error::Checksum`] when it differs.
pub(crate) fn verify_format_description(raw: &[u8]) -> Result<&[u8]> {
    let (body, expected) = split(raw)?;
    let mut hasher = crc32fast::Hasher::new();
    match body.split_at_checked(FLAGS_AT) {
        Some((head, [flags, tail @ ..])) => {
            hasher.update(head);
            hasher.update(&[flags & !IN_USE]);
            hasher.update(tail);
        }
        _ => hasher.update(body),
    }
    match hasher.finalize() {
        found if found == expected => Ok(body),
        found => Err(Error::Checksum { expected, found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailer_is_checked_and_removed() {
        let mut raw = b"123456789".to_vec();
        raw.extend(0xcbf4_3926_u32.to_le_bytes());
        assert_eq!(verify(&raw, ChecksumAlg::Crc32), Ok(&b"123456789"[..]));
        assert_eq!(verify(&raw, ChecksumAlg::None), Ok(&raw[..]));
        raw[0] ^= 1;
        assert!(matches!(verify(&raw, ChecksumAlg::Crc32), Err(Error::Checksum { expected: 0xcbf4_3926, .. })));
        assert!(verify(&raw[..3], ChecksumAlg::Crc32).is_err());
    }

    #[test]
    fn the_in_use_flag_is_not_covered() {
        let mut raw = vec![7; 30];
        raw[FLAGS_AT] = 0;
        raw.extend(crc32fast::hash(&raw).to_le_bytes());
        assert!(verify_format_description(&raw).is_ok());
        raw[FLAGS_AT] = IN_USE;
        assert!(verify_format_description(&raw).is_ok());
        raw[FLAGS_AT] = 2;
        assert!(verify_format_description(&raw).is_err());
    }
}
