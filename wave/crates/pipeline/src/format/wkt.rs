//! Geometry values as Well-Known Text, spelled as the JTS library of Java spells it: `POINT (1 2)`, all digits, no
//! exponent, coordinates in the order of the log (longitude first for geographic systems).

use binlog::{Error, Result};

use super::java_number::write_double_plain;

/// Collections in collections, at most.
const MAX_DEPTH: u32 = 32;

/// Appends the WKT of a MySQL geometry value: 4 bytes SRID (not written), then WKB.
///
/// # Errors
/// Bytes that end early or are no WKB of two dimensions, collections nested deeper than 32.
pub(super) fn write(value: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let mut reader = Reader { bytes: value, big_endian: false };
    reader.take::<4>()?;
    reader.geometry(None, MAX_DEPTH, out)
}

struct Reader<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (front, rest) = self.bytes.split_first_chunk::<N>().ok_or(Error::Truncated {
            what: "geometry",
            need: N,
            have: self.bytes.len(),
        })?;
        self.bytes = rest;
        Ok(*front)
    }

    fn u32(&mut self) -> Result<u32> {
        let bytes = self.take()?;
        Ok(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn coordinate(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let bytes = self.take()?;
        let value = if self.big_endian { f64::from_be_bytes(bytes) } else { f64::from_le_bytes(bytes) };
        if !value.is_finite() {
            return Err(malformed(format!("coordinate {value}")));
        }
        write_double_plain(value, out);
        Ok(())
    }

    fn point(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.coordinate(out)?;
        out.push(b' ');
        self.coordinate(out)
    }

    /// `(…, …)`, or `EMPTY` for a count of zero.
    fn list(&mut self, out: &mut Vec<u8>, mut item: impl FnMut(&mut Self, &mut Vec<u8>) -> Result<()>) -> Result<()> {
        let count = self.u32()?;
        if count == 0 {
            out.extend_from_slice(b"EMPTY");
            return Ok(());
        }
        out.push(b'(');
        // Every item takes bytes, so a false count ends in an error as soon as they are used up.
        for i in 0..count {
            if i > 0 {
                out.extend_from_slice(b", ");
            }
            item(self, out)?;
        }
        out.push(b')');
        Ok(())
    }

    fn points(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.list(out, Self::point)
    }

    /// One geometry with its byte order and type; `wanted` is the type that members of a MULTI… must have, whose name
    /// is not written.
    fn geometry(&mut self, wanted: Option<u32>, depth: u32, out: &mut Vec<u8>) -> Result<()> {
        let [order] = self.take()?;
        self.big_endian = order == 0;
        let kind = self.u32()?;
        if depth == 0 || wanted.is_some_and(|w| w != kind) {
            return Err(malformed(format!("type {kind} is not allowed here")));
        }
        let name = match kind {
            1 => "POINT ",
            2 => "LINESTRING ",
            3 => "POLYGON ",
            4 => "MULTIPOINT ",
            5 => "MULTILINESTRING ",
            6 => "MULTIPOLYGON ",
            7 => "GEOMETRYCOLLECTION ",
            _ => return Err(Error::Unsupported { what: "geometry type", code: u64::from(kind) }),
        };
        if wanted.is_none() {
            out.extend_from_slice(name.as_bytes());
        }
        match kind {
            1 => {
                out.push(b'(');
                self.point(out)?;
                out.push(b')');
                Ok(())
            }
            2 => self.points(out),
            3 => self.list(out, Self::points),
            4..=6 => self.list(out, |r, out| r.geometry(Some(kind - 3), depth - 1, out)),
            _ => self.list(out, |r, out| r.geometry(None, depth - 1, out)),
        }
    }
}

fn malformed(detail: String) -> Error {
    Error::Malformed { what: "geometry", detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wkt(bytes: &[u8]) -> Result<String> {
        let mut out = Vec::new();
        write(bytes, &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    fn header(kind: u32) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 0, 1];
        bytes.extend_from_slice(&kind.to_le_bytes());
        bytes
    }

    #[test]
    fn empty_collection() {
        let mut bytes = header(7);
        bytes.extend_from_slice(&[0; 4]);
        assert_eq!(wkt(&bytes).unwrap(), "GEOMETRYCOLLECTION EMPTY");
    }

    #[test]
    fn big_endian_point() {
        let mut bytes = vec![0, 0, 0, 0, 0, 0, 0, 0, 1];
        bytes.extend_from_slice(&1.5f64.to_be_bytes());
        bytes.extend_from_slice(&(-2.0f64).to_be_bytes());
        assert_eq!(wkt(&bytes).unwrap(), "POINT (1.5 -2)");
    }

    #[test]
    fn broken_bytes_are_errors() {
        assert!(wkt(&[]).is_err());
        assert!(wkt(&header(1)).is_err());
        assert!(wkt(&header(99)).is_err());
        let mut huge_count = header(2);
        huge_count.extend_from_slice(&u32::MAX.to_le_bytes());
        assert!(wkt(&huge_count).is_err());
        let mut deep = vec![0; 4];
        for _ in 0..1000 {
            deep.extend_from_slice(&header(7)[4..]);
            deep.extend_from_slice(&1u32.to_le_bytes());
        }
        assert!(wkt(&deep).is_err());
    }
}
