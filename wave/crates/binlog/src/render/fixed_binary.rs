//! MariaDB's UUID, INET6 and INET4 as its `SELECT` prints them (knowledge base: "UUID Data Type", "INET6", "INET4").

use std::io::Write;

use crate::error::{Error, Result};
use crate::schema::ColumnType;

/// Appends the text of a value of column type `ty`; zeros at the end may be missing, as in the log.
///
/// The log has a UUID in the order of its text, however the server stores it (MariaDB, `plugin/type_uuid/sql_type_uuid.h`,
/// `pack`).
///
/// # Errors
/// More bytes than the type has; nothing is appended then.
pub fn write_fixed_binary(bytes: &[u8], ty: ColumnType, out: &mut Vec<u8>) -> Result<()> {
    let mut padded = [0; 16];
    let target = ty.fixed_binary_len().and_then(|len| padded.get_mut(..len)).and_then(|p| p.get_mut(..bytes.len()));
    let Some(target) = target else {
        return Err(Error::Malformed { what: "fixed binary", detail: format!("{} bytes in a {ty:?}", bytes.len()) });
    };
    target.copy_from_slice(bytes);
    match ty {
        ColumnType::Uuid => write_uuid(padded, out),
        ColumnType::Inet6 => write_inet6(padded, out),
        _ => {
            let [a, b, c, d, ..] = padded;
            write_inet4([a, b, c, d], out);
        }
    }
    Ok(())
}

fn write_uuid(bytes: [u8; 16], out: &mut Vec<u8>) {
    for (index, byte) in bytes.into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        // Writing to a vector cannot fail, here and below.
        let _ = write!(out, "{byte:02x}");
    }
}

fn write_inet4([a, b, c, d]: [u8; 4], out: &mut Vec<u8>) {
    let _ = write!(out, "{a}.{b}.{c}.{d}");
}

/// Not as RFC 5952 has it: a single zero is left out, too, and the addresses that hold one of IPv4 end in it
/// (MariaDB, `sql_type_inet.cc`, `Inet6::to_string`).
fn write_inet6(bytes: [u8; 16], out: &mut Vec<u8>) {
    let words: [u16; 8] = std::array::from_fn(|i| u16::from_be_bytes([bytes[2 * i], bytes[2 * i + 1]]));
    let (gap, len) = longest_zeros(&words);
    let has_inet4 = gap == 0 && (len == 6 || (len == 5 && words[5] == 0xffff));
    let mut i = 0;
    while i < words.len() {
        if i == gap && len > 0 {
            out.extend_from_slice(if i == 0 { b"::" } else { b":" });
            i += len;
            continue;
        }
        if i == 6 && has_inet4 {
            return write_inet4([bytes[12], bytes[13], bytes[14], bytes[15]], out);
        }
        let _ = write!(out, "{:x}", words[i]);
        i += 1;
        if i < words.len() {
            out.push(b':');
        }
    }
}

/// Where the first longest run of zeros begins, and its length.
fn longest_zeros(words: &[u16; 8]) -> (usize, usize) {
    let (mut best, mut run) = ((0, 0), 0);
    for (index, word) in words.iter().enumerate() {
        run = if *word == 0 { run + 1 } else { 0 };
        if run > best.1 {
            best = (index + 1 - run, run);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ty: ColumnType, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        write_fixed_binary(bytes, ty, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn as_mariadb_prints_them() {
        let long: Vec<u8> = (0..16).map(|i| i * 0x11).collect();
        assert_eq!(text(ColumnType::Uuid, &long), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(text(ColumnType::Uuid, &[]), "00000000-0000-0000-0000-000000000000");
        assert_eq!(text(ColumnType::Inet4, &[192, 0, 2]), "192.0.2.0");
        assert_eq!(text(ColumnType::Inet6, &long), "11:2233:4455:6677:8899:aabb:ccdd:eeff");
        for (words, want) in [
            ([0, 0, 0, 0, 0, 0, 0, 0], "::"),
            ([0, 0, 0, 0, 0, 0, 0, 1], "::1"),
            ([0, 0, 0, 0, 0, 0, 0x102, 0x300], "::1.2.3.0"),
            ([0, 0, 0, 0, 0, 0xffff, 0x102, 0x304], "::ffff:1.2.3.4"),
            ([0, 0, 0, 0, 0, 0xfffe, 1, 2], "::fffe:1:2"),
            ([0x2001, 0xdb8, 0, 0, 1, 0, 0, 1], "2001:db8::1:0:0:1"),
            ([1, 2, 0, 4, 5, 6, 7, 8], "1:2::4:5:6:7:8"),
            ([1, 0, 0, 0, 0, 0, 0, 0], "1::"),
            ([1, 2, 3, 4, 5, 6, 7, 0], "1:2:3:4:5:6:7::"),
        ] {
            let bytes: Vec<u8> = words.iter().flat_map(|w: &u16| w.to_be_bytes()).collect();
            assert_eq!(text(ColumnType::Inet6, &bytes), want);
        }
    }

    #[test]
    fn too_many_bytes_are_an_error() {
        for (ty, bytes) in
            [(ColumnType::Inet4, 5), (ColumnType::Uuid, 17), (ColumnType::Inet6, 255), (ColumnType::Long, 1)]
        {
            assert!(write_fixed_binary(&vec![1; bytes], ty, &mut Vec::new()).is_err());
        }
    }
}
