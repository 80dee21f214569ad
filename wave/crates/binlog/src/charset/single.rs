//! Character sets of one byte per character (manual: "Supported Character Sets and Collations"; the tables are the server's).

use std::char::REPLACEMENT_CHARACTER;

use super::{Charset, push};

/// 256 code points per set, in the order of the enum from `Ascii` to `Macroman`.
static TABLES: &[[u8; 2]] = include_bytes!("../../tables/single.bin").as_chunks().0;

pub(super) fn decode(charset: Charset, bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let start = (charset as usize).saturating_sub(Charset::Ascii as usize) * 256;
    let table = TABLES.get(start..start + 256).unwrap_or_default();
    let mut had_errors = false;
    for &byte in bytes {
        let code_point = table.get(usize::from(byte)).map_or(0, |&unit| u16::from_le_bytes(unit));
        let known = code_point != 0 || byte == 0;
        had_errors |= !known;
        let character = if known { char::from_u32(u32::from(code_point)) } else { None };
        push(character.unwrap_or(REPLACEMENT_CHARACTER), out);
    }
    had_errors
}
