//! MariaDB's COMPRESSED columns (manual: "Storage-Engine Independent Column Compression"): values come as they are stored.
//!
//! A cell borrows its event, so compressed values are put in plain form into a copy of the event's images first, each as
//! the stored form of a value that was not worth compressing. The copy has a bound.

use flate2::read::{DeflateDecoder, ZlibDecoder};

use super::image::{Head, explain, skip};
use super::plan::{Op, Plan};
use super::{Bitmap, RowsEvent, RowsKind};
use crate::error::{Error, Result};
use crate::mariadb::read_exactly;
use crate::read::Reader;

const WHAT: &str = "compressed column";

/// Appends all images of `event` to `out`, which shall not grow beyond `limit` bytes.
pub(super) fn images(event: &RowsEvent<'_>, plan: &Plan, limit: usize, out: &mut Vec<u8>) -> Result<()> {
    let mut rest = event.body;
    while !rest.is_empty() {
        let before = rest.len();
        if event.kind != RowsKind::Insert {
            image(plan, event.columns, limit, &mut rest, out)?;
        }
        if event.kind != RowsKind::Delete {
            image(plan, event.columns_after, limit, &mut rest, out)?;
        }
        if rest.len() == before {
            return Err(Error::Malformed { what: "rows event", detail: "rows without any column".into() });
        }
    }
    Ok(())
}

fn image<'a>(plan: &Plan, present: Bitmap<'a>, limit: usize, rest: &mut &'a [u8], out: &mut Vec<u8>) -> Result<()> {
    let start = *rest;
    let head = Head::read(plan, present, false, rest)?;
    append(consumed(start, rest), limit, out)?;
    let columns = plan.ops.iter().enumerate().filter(|(index, _)| present.get(*index));
    for (ordinal, (index, op)) in columns.enumerate() {
        if head.nulls.get(ordinal) {
            continue;
        }
        let start = *rest;
        skip(*op, rest).ok_or_else(|| explain(*op, start, index))?;
        let stored = consumed(start, rest);
        match op {
            Op::Compressed { prefix, .. } => value(stored, (*prefix).into(), limit, out)?,
            _ => append(stored, limit, out)?,
        }
    }
    Ok(())
}

/// What of `start` is not in `rest`, its end.
fn consumed<'a>(start: &'a [u8], rest: &[u8]) -> &'a [u8] {
    start.get(..start.len() - rest.len()).unwrap_or_default()
}

fn append(bytes: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<()> {
    if bytes.len() > limit.saturating_sub(out.len()) {
        let size = (out.len() + bytes.len()) as u64;
        return Err(Error::TooLarge { what: WHAT, size, limit: limit as u64 });
    }
    out.extend_from_slice(bytes);
    Ok(())
}

/// `stored`: `prefix` length bytes, and nothing; or 0 and the value; or a byte (bits 4 to 7 the method, of which 8, zlib, is
/// the only one, bit 3 without zlib's header, bits 0 to 2 the number of length bytes), the length, big-endian, the data.
fn value(stored: &[u8], prefix: usize, limit: usize, out: &mut Vec<u8>) -> Result<()> {
    let mut r = Reader::new(WHAT, stored);
    r.skip(prefix)?;
    if matches!(r.rest(), [] | [0, ..]) {
        return append(stored, limit, out);
    }
    let head = r.u8()?;
    if head >> 4 != 8 {
        return Err(Error::Unsupported { what: "compression method of a column", code: u64::from(head >> 4) });
    }
    let size = r.be(usize::from(head & 7))?;
    // The stored form has one byte more than the value.
    let room = limit.saturating_sub(out.len()).saturating_sub(prefix + 1) as u64;
    if size > room {
        return Err(Error::TooLarge { what: WHAT, size, limit: limit as u64 });
    }
    let length = (size + 1).to_le_bytes();
    let (low, high) = length.split_at_checked(prefix).ok_or_else(|| r.malformed("its prefix is too long"))?;
    if high.iter().any(|b| *b != 0) {
        return Err(r.malformed(format!("{size} bytes in a column whose length has {prefix}")));
    }
    out.extend_from_slice(low);
    out.push(0);
    if head & 8 == 0 {
        read_exactly(ZlibDecoder::new(r.rest()), size, &r, out)
    } else {
        read_exactly(DeflateDecoder::new(r.rest()), size, &r, out)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, ZlibEncoder};

    use super::*;

    fn stored(plain: &[u8], raw: bool, size: u16) -> Vec<u8> {
        let mut data = vec![0x82 | u8::from(raw) << 3, (size >> 8) as u8, size as u8];
        if raw {
            let mut encoder = DeflateEncoder::new(&mut data, Compression::default());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap();
        } else {
            let mut encoder = ZlibEncoder::new(&mut data, Compression::default());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap();
        }
        [&(data.len() as u16).to_le_bytes(), data.as_slice()].concat()
    }

    #[test]
    fn values_become_plain() {
        let plain = [7; 1000];
        let wanted = [&1001u16.to_le_bytes()[..], &[0], &plain].concat();
        for raw in [false, true] {
            let mut out = Vec::new();
            value(&stored(&plain, raw, 1000), 2, 2000, &mut out).unwrap();
            assert_eq!(out, wanted);
        }
        for kept in [&[0, 0][..], &[3, 0, 0, b'a', b'b']] {
            let mut out = Vec::new();
            value(kept, 2, 100, &mut out).unwrap();
            assert_eq!(out, kept);
        }
    }

    #[test]
    fn lengths_are_checked() {
        let plain = [7; 1000];
        let check = |stored: &[u8], prefix, limit| value(stored, prefix, limit, &mut Vec::new());
        let good = stored(&plain, true, 1000);
        assert!(matches!(check(&good, 2, 1002), Err(Error::TooLarge { .. })));
        assert!(check(&good, 2, 1003).is_ok());
        assert!(check(&stored(&plain, true, 999), 2, 5000).is_err());
        assert!(check(&stored(&plain, false, 1001), 2, 5000).is_err());
        assert!(check(&[&[20][..], &good[2..]].concat(), 1, 5000).is_err(), "longer than a length of one byte can say");
        assert!(matches!(check(&[2, 0, 0x91, 1], 2, 100), Err(Error::Unsupported { code: 9, .. })));
        for cut in 3..good.len() - 4 {
            assert!(check(&good[..cut], 2, 5000).is_err(), "{cut}");
        }
    }
}
