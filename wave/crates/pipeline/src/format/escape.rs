//! JSON strings and base64, appended to a buffer without allocation.

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
    at + rest.iter().take_while(|&&b| b >= 0x20 && b < 0x80 && b != b'"' && b != b'\\').count()
}

/// Appends `text` as the inside of a JSON string, as Maxwell's JSON writer does: short escapes where JSON has them,
/// `\u00XX` for other control characters, surrogate pairs as escapes for characters beyond U+FFFF, the rest as UTF-8.
pub(super) fn push_escaped(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    loop {
        let clean = rest
            .bytes()
            .position(|b| b < 0x20 || b == b'"' || b == b'\\' || b >= 0xf0)
            .unwrap_or(rest.len());
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

/// Appends `bytes` in hexadecimal.
pub(super) fn push_hex(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend(bytes.iter().flat_map(|b| [HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]));
}

/// Appends the base64 text of `bytes` (RFC 4648, section 4, with padding).
pub(super) fn push_base64(bytes: &[u8], out: &mut Vec<u8>) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |word: u32, shift: u32| ALPHABET[(word >> shift & 63) as usize];
    out.reserve(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0, |word, &b| word << 8 | u32::from(b)) << (8 * (3 - chunk.len()));
        let text = [digit(word, 18), digit(word, 12), digit(word, 6), digit(word, 0)];
        match chunk.len() {
            1 => out.extend_from_slice(&[text[0], text[1], b'=', b'=']),
            2 => out.extend_from_slice(&[text[0], text[1], text[2], b'=']),
            _ => out.extend_from_slice(&text),
        }
    }
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

    #[test]
    fn base64_of_rfc_4648() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")]
        {
            let mut out = Vec::new();
            push_base64(bytes.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
