//! Character sets of one byte per character.

use super::Charset;

pub(super) fn decode(_charset: Charset, bytes: &[u8], out: &mut String) -> bool {
    super::unicode::utf8(bytes, out)
}
