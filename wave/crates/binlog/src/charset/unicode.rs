//! UTF-8, UTF-16 and UTF-32.

use std::char::REPLACEMENT_CHARACTER;

/// For bytes that are not valid as a whole: the valid runs, and U+FFFD for each broken one.
pub(super) fn utf8(bytes: &[u8], out: &mut String) -> bool {
    let mut had_errors = false;
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            out.push(REPLACEMENT_CHARACTER);
            had_errors = true;
        }
    }
    had_errors
}

/// UTF-16 and UCS-2, in which the server stores no surrogates; `unit` knows the byte order.
pub(super) fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16, out: &mut String) -> bool {
    let (units, rest) = bytes.as_chunks();
    let mut had_errors = !rest.is_empty();
    for decoded in char::decode_utf16(units.iter().map(|&u| unit(u))) {
        had_errors |= decoded.is_err();
        out.push(decoded.unwrap_or(REPLACEMENT_CHARACTER));
    }
    if !rest.is_empty() {
        out.push(REPLACEMENT_CHARACTER);
    }
    had_errors
}

pub(super) fn utf32(bytes: &[u8], out: &mut String) -> bool {
    let (units, rest) = bytes.as_chunks();
    let mut had_errors = !rest.is_empty();
    for &unit in units {
        let decoded = char::from_u32(u32::from_be_bytes(unit));
        had_errors |= decoded.is_none();
        out.push(decoded.unwrap_or(REPLACEMENT_CHARACTER));
    }
    if !rest.is_empty() {
        out.push(REPLACEMENT_CHARACTER);
    }
    had_errors
}
