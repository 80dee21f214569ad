//! Character sets of MySQL and MariaDB: from the collation number in the log to UTF-8 text (manual: "Supported Character Sets
//! and Collations"; MariaDB knowledge base: "Supported Character Sets and Collations").
//!
//! The tables are the servers' own (made by `tables/generate.py`, which asks them for every code), so text comes out
//! exactly as `CONVERT(column USING utf8mb4)` gives it. Bytes that are no character of the set never lose the row: each
//! becomes U+FFFD and the caller is told. A collation that is not known is an error, not a guess.

mod multibyte;
pub mod names;
mod single;
mod unicode;

use std::borrow::Cow;

use crate::error::{Error, Result};

/// A character set of either server family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Charset {
    /// Of a collation that this version does not know: decoding is an error.
    Unknown,
    /// Neither the log nor a definition says it: perhaps these are no characters but bytes. What is UTF-8 decodes as that,
    /// all else is an error.
    Untold,
    /// No characters but bytes.
    Binary,
    Utf8mb4,
    Utf8mb3,
    Ascii,
    Latin1,
    Latin2,
    Latin5,
    Latin7,
    Greek,
    Hebrew,
    Tis620,
    Cp850,
    Cp852,
    Cp866,
    Cp1250,
    Cp1251,
    Cp1256,
    Cp1257,
    Koi8r,
    Koi8u,
    Dec8,
    Hp8,
    Swe7,
    Armscii8,
    Geostd8,
    Keybcs2,
    Macce,
    Macroman,
    Ucs2,
    Utf16,
    Utf16le,
    Utf32,
    Big5,
    Gb2312,
    Gbk,
    Gb18030,
    Euckr,
    Sjis,
    Cp932,
    Ujis,
    Eucjpms,
}

use Charset as C;

/// Every character set with its name and the most bytes of one character, in the order of the enum.
const ALL: [(Charset, &str, u8); 43] = [
    (C::Unknown, "unknown", 1),
    (C::Untold, "unknown", 1),
    (C::Binary, "binary", 1),
    (C::Utf8mb4, "utf8mb4", 4),
    (C::Utf8mb3, "utf8mb3", 3),
    (C::Ascii, "ascii", 1),
    (C::Latin1, "latin1", 1),
    (C::Latin2, "latin2", 1),
    (C::Latin5, "latin5", 1),
    (C::Latin7, "latin7", 1),
    (C::Greek, "greek", 1),
    (C::Hebrew, "hebrew", 1),
    (C::Tis620, "tis620", 1),
    (C::Cp850, "cp850", 1),
    (C::Cp852, "cp852", 1),
    (C::Cp866, "cp866", 1),
    (C::Cp1250, "cp1250", 1),
    (C::Cp1251, "cp1251", 1),
    (C::Cp1256, "cp1256", 1),
    (C::Cp1257, "cp1257", 1),
    (C::Koi8r, "koi8r", 1),
    (C::Koi8u, "koi8u", 1),
    (C::Dec8, "dec8", 1),
    (C::Hp8, "hp8", 1),
    (C::Swe7, "swe7", 1),
    (C::Armscii8, "armscii8", 1),
    (C::Geostd8, "geostd8", 1),
    (C::Keybcs2, "keybcs2", 1),
    (C::Macce, "macce", 1),
    (C::Macroman, "macroman", 1),
    (C::Ucs2, "ucs2", 2),
    (C::Utf16, "utf16", 4),
    (C::Utf16le, "utf16le", 4),
    (C::Utf32, "utf32", 4),
    (C::Big5, "big5", 2),
    (C::Gb2312, "gb2312", 2),
    (C::Gbk, "gbk", 2),
    (C::Gb18030, "gb18030", 4),
    (C::Euckr, "euckr", 2),
    (C::Sjis, "sjis", 2),
    (C::Cp932, "cp932", 2),
    (C::Ujis, "ujis", 3),
    (C::Eucjpms, "eucjpms", 3),
];

/// Text in UTF-8, borrowed where the bytes already are that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded<'a> {
    pub text: Cow<'a, str>,
    /// Some bytes were no characters of the set and stand as U+FFFD.
    pub had_errors: bool,
}

impl Charset {
    /// The character set of a collation number as it stands in TABLE_MAP and QUERY events.
    ///
    /// 1024..=2047 are MariaDB's NO PAD collations (the number of the padding one and 1024). MySQL leaves these numbers
    /// to collations that a site defines itself; the log does not tell the two apart.
    #[must_use]
    pub fn from_collation(id: u16) -> Self {
        match id {
            1024..=2047 => Self::from_padding_collation(id - 1024),
            // MariaDB's UCA 14.0.0 family: 256 numbers per character set.
            2048..=2303 => Self::Utf8mb3,
            2304..=2559 => Self::Utf8mb4,
            2560..=2815 => Self::Ucs2,
            2816..=3071 => Self::Utf16,
            3072..=3327 => Self::Utf32,
            _ => Self::from_padding_collation(id),
        }
    }

    fn from_padding_collation(id: u16) -> Self {
        match id {
            45 | 46 | 224..=247 | 255..=323 | 608..=611 => Self::Utf8mb4,
            33 | 76 | 83 | 192..=215 | 223 | 576..=579 => Self::Utf8mb3,
            63 => Self::Binary,
            11 | 65 => Self::Ascii,
            5 | 8 | 15 | 31 | 47..=49 | 94 => Self::Latin1,
            2 | 9 | 21 | 27 | 77 => Self::Latin2,
            30 | 78 => Self::Latin5,
            20 | 41 | 42 | 79 => Self::Latin7,
            25 | 70 => Self::Greek,
            16 | 71 => Self::Hebrew,
            18 | 89 => Self::Tis620,
            4 | 80 => Self::Cp850,
            40 | 81 => Self::Cp852,
            36 | 68 => Self::Cp866,
            26 | 34 | 44 | 66 | 99 => Self::Cp1250,
            14 | 23 | 50..=52 => Self::Cp1251,
            57 | 67 => Self::Cp1256,
            29 | 58 | 59 => Self::Cp1257,
            7 | 74 => Self::Koi8r,
            22 | 75 => Self::Koi8u,
            3 | 69 => Self::Dec8,
            6 | 72 => Self::Hp8,
            10 | 82 => Self::Swe7,
            32 | 64 => Self::Armscii8,
            92 | 93 => Self::Geostd8,
            37 | 73 => Self::Keybcs2,
            38 | 43 => Self::Macce,
            39 | 53 => Self::Macroman,
            35 | 90 | 128..=151 | 159 | 640..=642 => Self::Ucs2,
            54 | 55 | 101..=124 | 672..=674 => Self::Utf16,
            56 | 62 => Self::Utf16le,
            60 | 61 | 160..=183 | 736..=738 => Self::Utf32,
            1 | 84 => Self::Big5,
            24 | 86 => Self::Gb2312,
            28 | 87 => Self::Gbk,
            248..=250 => Self::Gb18030,
            19 | 85 => Self::Euckr,
            13 | 88 => Self::Sjis,
            95 | 96 => Self::Cp932,
            12 | 91 => Self::Ujis,
            97 | 98 => Self::Eucjpms,
            _ => Self::Unknown,
        }
    }

    /// Whether it has characters above U+FFFF, which utf8mb3 lacks.
    #[must_use]
    pub(crate) const fn has_supplementary(self) -> bool {
        matches!(self, Self::Utf8mb4 | Self::Utf16 | Self::Utf16le | Self::Utf32 | Self::Gb18030 | Self::Unknown)
    }

    /// By the name that the server uses in SQL, in any case; `utf8` is utf8mb3. `Unknown` for other names.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        if name.eq_ignore_ascii_case("utf8") {
            return Self::Utf8mb3;
        }
        ALL.iter()
            .find(|(_, known, _)| known.eq_ignore_ascii_case(name))
            .map_or(Self::Unknown, |(charset, ..)| *charset)
    }

    /// The name that the server uses in SQL.
    #[must_use]
    pub fn name(self) -> &'static str {
        ALL.get(self as usize).map_or("unknown", |(_, name, _)| name)
    }

    /// Whether values are bytes and no text.
    #[must_use]
    pub fn is_binary(self) -> bool {
        self == Self::Binary
    }

    /// Bytes of the longest character: a CHAR(n) takes up to n times this.
    #[must_use]
    pub fn max_bytes_per_char(self) -> usize {
        ALL.get(self as usize).map_or(1, |(.., max)| usize::from(*max))
    }

    /// `bytes` as UTF-8, borrowed when they already are that. `Binary` is read as UTF-8.
    ///
    /// # Errors
    /// Only for `Unknown` and `Untold`.
    pub fn decode(self, bytes: &[u8]) -> Result<Decoded<'_>> {
        if let Some(text) = self.borrow(bytes) {
            return Ok(Decoded { text: Cow::Borrowed(text), had_errors: false });
        }
        let mut text = Vec::new();
        let had_errors = self.convert(bytes, &mut text)?;
        let text =
            String::from_utf8(text).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        Ok(Decoded { text: Cow::Owned(text), had_errors })
    }

    /// Like [`Charset::decode`], for text that is kept.
    ///
    /// # Errors
    /// Only for `Unknown` and `Untold`.
    pub fn decode_to_string(self, bytes: &[u8]) -> Result<String> {
        Ok(self.decode(bytes)?.text.into_owned())
    }

    /// Appends `bytes` as UTF-8 to `out` and tells whether some were no characters of the set.
    ///
    /// # Errors
    /// Only for `Unknown` and `Untold`; `out` is unchanged then.
    pub fn decode_into(self, bytes: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        match self.borrow(bytes) {
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                Ok(false)
            }
            None => self.convert(bytes, out),
        }
    }

    /// The bytes themselves, if they are the same text in UTF-8.
    fn borrow(self, bytes: &[u8]) -> Option<&str> {
        match self {
            Self::Utf8mb4 | Self::Utf8mb3 | Self::Binary | Self::Untold => std::str::from_utf8(bytes).ok(),
            Self::Unknown | Self::Ucs2 | Self::Utf16 | Self::Utf16le | Self::Utf32 | Self::Swe7 => None,
            _ if bytes.is_ascii() => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    fn convert(self, bytes: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        if matches!(self, Self::Unknown | Self::Untold) {
            return Err(Error::Unsupported { what: "character set", code: 0 });
        }
        out.reserve(bytes.len().saturating_mul(3) / 2);
        Ok(match self {
            Self::Utf8mb4 | Self::Utf8mb3 | Self::Binary => unicode::utf8(bytes, out),
            Self::Ucs2 | Self::Utf16 => unicode::utf16(bytes, u16::from_be_bytes, out),
            Self::Utf16le => unicode::utf16(bytes, u16::from_le_bytes, out),
            Self::Utf32 => unicode::utf32(bytes, out),
            Self::Big5
            | Self::Gb2312
            | Self::Gbk
            | Self::Gb18030
            | Self::Euckr
            | Self::Sjis
            | Self::Cp932
            | Self::Ujis
            | Self::Eucjpms => multibyte::decode(self, bytes, out),
            _ => single::decode(self, bytes, out),
        })
    }
}

/// Appends one character in UTF-8, by arrays of fixed length: this is the inner loop of every conversion.
fn push(character: char, out: &mut Vec<u8>) {
    let code = u32::from(character);
    let tail = |shift: u32| 0x80 | (code >> shift & 0x3f) as u8;
    match code {
        0..0x80 => out.push(code as u8),
        0x80..0x800 => out.extend_from_slice(&[0xc0 | (code >> 6) as u8, tail(0)]),
        0x800..0x1_0000 => out.extend_from_slice(&[0xe0 | (code >> 12) as u8, tail(6), tail(0)]),
        _ => out.extend_from_slice(&[0xf0 | (code >> 18) as u8, tail(12), tail(6), tail(0)]),
    }
}
