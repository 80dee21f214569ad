//! JSON strings as Java's JSON writers print them, appended to a buffer without allocation.

/// Hexadecimal digits, upper case as Java's JSON writers print them.
const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Length of the front of `bytes` that is printable ASCII and needs no escape in a JSON string.
pub(super) fn clean_prefix(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    // The high bit of each byte that is to be looked at. A borrow can also mark the byte above a real hit, never hide one.
    let special = |word: u64| {
        let below_space = word.wrapping_sub(ONES * 0x20);
        let quote = (word ^ (ONES * 0x22)).wrapping_sub(ONES);
        let backslash = (word ^ (ONES * 0x5c)).wrapping_sub(ONES);
        (word | below_space | quote | backslash) & HIGH
    };
    let mut at = 0;
    let mut chunks = bytes.chunks_exact(16);
    for chunk in &mut chunks {
        let (Some(a), Some(b)) = (chunk.first_chunk::<8>(), chunk.last_chunk::<8>()) else { break };
        if special(u64::from_le_bytes(*a)) | special(u64::from_le_bytes(*b)) != 0 {
            break;
        }
        at += 16;
    }
    let rest = bytes.get(at..).unwrap_or(&[]);
    at + rest.iter().take_while(|b| matches!(b, 0x20..=0x7f) && !matches!(b, b'"' | b'\\')).count()
}

/// Appends `text` as the inside of a JSON string, as Maxwell's JSON writer does: short escapes where JSON has them,
/// `\u00XX` for other control characters, surrogate pairs as escapes for characters beyond U+FFFF, the rest as UTF-8.
pub(super) fn push_escaped(text: &str, out: &mut Vec<u8>) {
    escape(text, 0xf0, out);
}

/// As [`push_escaped`], but characters beyond U+FFFF stay as UTF-8: so are strings inside a JSON column's document.
pub(super) fn push_document_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    escape(text, 0xff, out);
    out.push(b'"');
}

fn escape(text: &str, escaped_from: u8, out: &mut Vec<u8>) {
    let mut rest = text;
    loop {
        let clean =
            rest.bytes().position(|b| b < 0x20 || b == b'"' || b == b'\\' || b >= escaped_from).unwrap_or(rest.len());
        let Some((front, back)) = rest.split_at_checked(clean) else { return };
        out.extend_from_slice(front.as_bytes());
        let mut chars = back.chars();
        let Some(c) = chars.next() else { return };
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    push_unicode_escape(*unit, out);
                }
            }
        }
        rest = chars.as_str();
    }
}

/// Appends `text` as a JSON string with its quotes.
pub(super) fn push_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    push_escaped(text, out);
    out.push(b'"');
}

fn push_unicode_escape(unit: u16, out: &mut Vec<u8>) {
    let digit = |shift: u32| HEX[usize::from(unit >> shift & 15)];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_prefix_stops_at_what_needs_work() {
        let clean = b"abcdefghijklmnopqrstuvwxyz 0123456789!#[]^~";
        for special in [0u8, 1, 0x1f, b'"', b'\\', 0x80, 0xc3, 0xff] {
            for at in 0..clean.len() {
                let mut bytes = clean.to_vec();
                bytes[at] = special;
                assert_eq!(clean_prefix(&bytes), at, "{special:#x} at {at}");
            }
        }
        assert_eq!(clean_prefix(clean), clean.len());
        assert_eq!(clean_prefix(&[0x7f; 40]), 40);
    }

    #[test]
    fn escapes() {
        let mut out = Vec::new();
        push_string("a\"\\/\u{8}\u{c}\n\r\t\0\u{1f}é\u{7f}€😀", &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001Fé\u{7f}€\\uD83D\\uDE00\""
        );
    }
}
