//! A cursor over borrowed bytes of which every read is checked.
//!
//! Numbers are little-endian, lengths and counts mostly length-encoded (manual of the server's source: "Integer Types",
//! `page_protocol_basic_dt_integers`). A failed read leaves the cursor where it was and names the thing that was being read.

use crate::error::{Error, Result};

/// Cursor; `what` names the structure in errors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    #[must_use]
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { bytes, what }
    }

    /// Bytes not read yet.
    #[must_use]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// An error about the structure being read.
    pub(crate) fn malformed(&self, detail: impl Into<String>) -> Error {
        Error::Malformed { what: self.what, detail: detail.into() }
    }

    #[inline]
    pub(crate) fn bytes(&mut self, n: usize) -> Result<&'a [u8]> {
        match self.bytes.split_at_checked(n) {
            Some((head, tail)) => {
                self.bytes = tail;
                Ok(head)
            }
            None => Err(Error::Truncated { what: self.what, need: n, have: self.bytes.len() }),
        }
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.bytes.split_first_chunk::<N>() {
            Some((head, tail)) => {
                self.bytes = tail;
                Ok(*head)
            }
            None => Err(Error::Truncated { what: self.what, need: N, have: self.bytes.len() }),
        }
    }

    pub(crate) fn skip(&mut self, n: usize) -> Result<()> {
        self.bytes(n).map(|_| ())
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[b]| b)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Little-endian integer of `n` bytes, `n` in 1..=8.
    pub(crate) fn le(&mut self, n: usize) -> Result<u64> {
        self.int(n).map(|bytes| bytes.iter().rev().fold(0, |value, b| value << 8 | u64::from(*b)))
    }

    /// Big-endian integer of `n` bytes, `n` in 1..=8.
    pub(crate) fn be(&mut self, n: usize) -> Result<u64> {
        self.int(n).map(|bytes| bytes.iter().fold(0, |value, b| value << 8 | u64::from(*b)))
    }

    fn int(&mut self, n: usize) -> Result<&'a [u8]> {
        if n == 0 || n > 8 {
            return Err(self.malformed(format!("an integer of {n} bytes")));
        }
        self.bytes(n)
    }

    /// Length-encoded integer of the client protocol (manual: "Protocol::LengthEncodedInteger").
    #[inline]
    pub(crate) fn lenenc(&mut self) -> Result<u64> {
        let start = *self;
        let value = match self.u8()? {
            first @ 0..=250 => Ok(u64::from(first)),
            252 => self.le(2),
            253 => self.le(3),
            254 => self.le(8),
            other => Err(self.malformed(format!("{other:#04x} starts no length"))),
        };
        if value.is_err() {
            *self = start;
        }
        value
    }

    /// A length-encoded integer that has to fit in memory's address range.
    pub(crate) fn lenenc_len(&mut self) -> Result<usize> {
        let value = self.lenenc()?;
        usize::try_from(value).map_err(|_| Error::TooLarge { what: self.what, size: value, limit: usize::MAX as u64 })
    }

    /// Length-encoded integer and that many bytes.
    pub(crate) fn lenenc_bytes(&mut self) -> Result<&'a [u8]> {
        let n = self.lenenc_len()?;
        self.bytes(n)
    }

    /// Unsigned variable-length integer of MySQL's `mysql::serialization` library: the number of trailing one bits of
    /// the first byte is the number of bytes that follow; the value stands above them, little-endian.
    pub(crate) fn varlen(&mut self) -> Result<u64> {
        let Some(first) = self.bytes.first() else {
            return Err(Error::Truncated { what: self.what, need: 1, have: 0 });
        };
        let n = first.trailing_ones() as usize + 1;
        if n > 8 {
            let bytes = self.array::<9>()?;
            let [_, value @ ..] = bytes;
            return Ok(u64::from_le_bytes(value));
        }
        Ok(self.le(n)? >> n)
    }

    /// Signed form of [`Reader::varlen`]: the sign is the lowest bit, negative values are complemented.
    pub(crate) fn varlen_signed(&mut self) -> Result<i64> {
        let raw = self.varlen()?;
        let magnitude = (raw >> 1) as i64;
        Ok(if raw & 1 == 1 { !magnitude } else { magnitude })
    }

    /// Bytes before the next NUL, which is consumed.
    pub(crate) fn until_nul(&mut self) -> Result<&'a [u8]> {
        let at = memchr::memchr(0, self.bytes).ok_or_else(|| self.malformed("text without its end"))?;
        let text = self.bytes(at)?;
        self.skip(1)?;
        Ok(text)
    }

    /// Everything that is left.
    pub(crate) fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        let mut r = Reader::new("test", &[1, 2, 3, 4, 5, 6]);
        assert_eq!(r.le(3).unwrap(), 0x03_02_01);
        assert_eq!(r.be(3).unwrap(), 0x04_05_06);
        assert_eq!(r.u8(), Err(Error::Truncated { what: "test", need: 1, have: 0 }));
        assert!(Reader::new("test", &[0; 9]).le(9).is_err());
    }

    #[test]
    fn length_encoded_integers() {
        let value = |bytes: &[u8]| Reader::new("test", bytes).lenenc();
        assert_eq!(value(&[250]), Ok(250));
        assert_eq!(value(&[252, 251, 0]), Ok(251));
        assert_eq!(value(&[253, 0, 0, 1]), Ok(65536));
        assert_eq!(value(&[254, 0, 0, 0, 1, 0, 0, 0, 0]), Ok(1 << 24));
        assert!(value(&[251]).is_err());
        let mut r = Reader::new("test", &[252, 1]);
        assert!(r.lenenc().is_err());
        assert_eq!(r.len(), 2, "a failed read leaves the cursor");
    }

    #[test]
    fn serialization_library_integers() {
        let value = |bytes: &[u8]| Reader::new("test", bytes).varlen();
        assert_eq!(value(&[0b1111_1110]), Ok(127));
        assert_eq!(value(&[0b0000_0001, 0b10]), Ok(128));
        assert_eq!(value(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Ok(u64::MAX));
        assert_eq!(Reader::new("test", &[0b0000_0010]).varlen_signed(), Ok(-1));
        assert_eq!(Reader::new("test", &[0b0000_0100]).varlen_signed(), Ok(1));
    }

    #[test]
    fn text_up_to_nul() {
        let mut r = Reader::new("test", b"ab\0c");
        assert_eq!(r.until_nul(), Ok(&b"ab"[..]));
        assert!(r.until_nul().is_err());
        assert_eq!(r.take_rest(), b"c");
    }
}
