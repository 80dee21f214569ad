//! MariaDB's compression of events (`log_bin_compress`; manual: "Compressing Events to Reduce Size of the Binary Log").

use std::io::Read;

use flate2::read::ZlibDecoder;

use crate::error::{Error, Result};
use crate::read::Reader;

/// Uncompresses the SQL of a compressed QUERY or the images of a compressed rows event into `out`, which is cleared
/// first. `limit` bounds the uncompressed bytes.
///
/// The form: a byte (bit 7 set, bits 4 to 6 the algorithm, of which 0, zlib, is the only one, bits 0 to 2 the number of length bytes), the
/// uncompressed length, big-endian, the data.
///
/// # Errors
/// Malformed bytes, another algorithm, a length above `limit` or not that of the data.
pub fn uncompress(bytes: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<()> {
    const WHAT: &str = "compressed event";
    out.clear();
    let mut r = Reader::new(WHAT, bytes);
    let head = r.u8()?;
    if head & 0x80 == 0 {
        return Err(r.malformed(format!("starts with {head:#04x}")));
    }
    if head & 0x70 != 0 {
        return Err(Error::Unsupported { what: "compression algorithm of an event", code: u64::from(head >> 4 & 7) });
    }
    let size = r.be(usize::from(head & 7))?;
    if size > limit as u64 {
        return Err(Error::TooLarge { what: WHAT, size, limit: limit as u64 });
    }
    read_exactly(ZlibDecoder::new(r.rest()), size, &r, out)
}

/// Appends what `decoder` gives to `out`.
///
/// # Errors
/// Data that is damaged, or not `size` bytes, told as malformed bytes of `r`.
pub(crate) fn read_exactly(decoder: impl Read, size: u64, r: &Reader<'_>, out: &mut Vec<u8>) -> Result<()> {
    // One byte more than told would show data that is longer.
    match decoder.take(size + 1).read_to_end(out) {
        Ok(n) if n as u64 == size => Ok(()),
        Ok(n) => Err(r.malformed(format!("{n} bytes or more instead of {size}"))),
        Err(error) => Err(r.malformed(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    fn packed(data: &[u8], size: u16) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(vec![0x82, (size >> 8) as u8, size as u8], Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn lengths_are_checked() {
        let data = [7; 1000];
        let mut out = Vec::new();
        assert_eq!(uncompress(&packed(&data, 1000), 1000, &mut out), Ok(()));
        assert_eq!(out, data);
        assert!(matches!(uncompress(&packed(&data, 1000), 999, &mut out), Err(Error::TooLarge { .. })));
        assert!(uncompress(&packed(&data, 999), 1000, &mut out).is_err());
        assert!(uncompress(&packed(&data, 1001), 2000, &mut out).is_err());
        assert!(matches!(uncompress(&[0x91, 1, 0], 10, &mut out), Err(Error::Unsupported { .. })));
        let whole = packed(&data, 1000);
        for cut in 0..whole.len() - 4 {
            assert!(uncompress(&whole[..cut], 1000, &mut out).is_err());
        }
    }
}
