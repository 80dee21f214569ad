//! UTF-8, UTF-16 and UTF-32 (manual: "Unicode Support"; utf8mb3 stops at U+FFFF, ucs2 has no surrogates).

use std::char::REPLACEMENT_CHARACTER;

use super::push;

/// For bytes that are not valid as a whole: the valid runs, and U+FFFD for each broken one.
pub(super) fn utf8(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let mut had_errors = false;
    for chunk in bytes.utf8_chunks() {
        out.extend_from_slice(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            push(REPLACEMENT_CHARACTER, out);
            had_errors = true;
        }
    }
    had_errors
}

/// UTF-16 and UCS-2, in which the server stores no surrogates; `unit` knows the byte order.
pub(super) fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16, out: &mut Vec<u8>) -> bool {
    let (units, rest) = bytes.as_chunks();
    let mut had_errors = !rest.is_empty();
    for decoded in char::decode_utf16(units.iter().map(|&u| unit(u))) {
        had_errors |= decoded.is_err();
        push(decoded.unwrap_or(REPLACEMENT_CHARACTER), out);
    }
    if !rest.is_empty() {
        push(REPLACEMENT_CHARACTER, out);
    }
    had_errors
}

pub(super) fn utf32(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let (units, rest) = bytes.as_chunks();
    let mut had_errors = !rest.is_empty();
    for &unit in units {
        let decoded = char::from_u32(u32::from_be_bytes(unit));
        had_errors |= decoded.is_none();
        push(decoded.unwrap_or(REPLACEMENT_CHARACTER), out);
    }
    if !rest.is_empty() {
        push(REPLACEMENT_CHARACTER, out);
    }
    had_errors
}
