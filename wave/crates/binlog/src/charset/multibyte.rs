//! The Chinese, Japanese and Korean sets (manual: "Asian Character Sets", "The gb18030 Character Set"): one byte below
//! 0x80, otherwise two bytes; three after 8F in the EUC sets of Japanese; four in gb18030, where the second is a digit.

use std::char::REPLACEMENT_CHARACTER;

use super::{Charset, push};

/// Code points of two-byte codes, see `tables/generate.py`; 0 is no character.
struct Table {
    lead: u8,
    trail: u8,
    last_trail: u8,
    code_points: &'static [[u8; 2]],
}

macro_rules! table {
    ($lead:literal, $trail:literal ..= $last_trail:literal, $file:literal) => {
        Table {
            lead: $lead,
            trail: $trail,
            last_trail: $last_trail,
            code_points: include_bytes!(concat!("../../tables/", $file, ".bin")).as_chunks().0,
        }
    };
}

static BIG5: Table = table!(0xa1, 0x40..=0xfe, "big5");
static GB2312: Table = table!(0xa1, 0xa1..=0xfe, "gb2312");
static GBK: Table = table!(0x81, 0x40..=0xfe, "gbk");
static GB18030: Table = table!(0x81, 0x40..=0xfe, "gb18030");
static EUCKR: Table = table!(0x81, 0x41..=0xfe, "euckr");
static SJIS: Table = table!(0x81, 0x40..=0xfc, "sjis");
static CP932: Table = table!(0x81, 0x40..=0xfc, "cp932");
static UJIS: Table = table!(0xa1, 0xa1..=0xfe, "ujis");
static UJIS3: Table = table!(0xa1, 0xa1..=0xfe, "ujis3");
static EUCJPMS: Table = table!(0xa1, 0xa1..=0xfe, "eucjpms");
static EUCJPMS3: Table = table!(0xa1, 0xa1..=0xfe, "eucjpms3");

/// Runs of gb18030's four-byte codes below U+10000: first linear code, its code point.
static GB18030_RUNS: &[[u8; 4]] = include_bytes!("../../tables/gb18030r.bin").as_chunks().0;
/// Linear codes: the first that is not below U+10000's end, and where U+10000 starts.
const GB18030_BMP_END: u32 = 39_420;
const GB18030_SUPPLEMENTARY: u32 = 189_000;

/// Half-width katakana, U+FF61 and on, of the Japanese sets.
fn half_width(byte: u8) -> Option<char> {
    if matches!(byte, 0xa1..=0xdf) { char::from_u32(0xff61 + u32::from(byte - 0xa1)) } else { None }
}

impl Table {
    fn get(&self, lead: u8, trail: u8) -> Option<char> {
        if trail < self.trail || trail > self.last_trail {
            return None;
        }
        let row = usize::from(lead.checked_sub(self.lead)?) * (usize::from(self.last_trail - self.trail) + 1);
        let code_point = u16::from_le_bytes(*self.code_points.get(row + usize::from(trail - self.trail))?);
        if code_point == 0 { None } else { char::from_u32(u32::from(code_point)) }
    }

    /// The character at the front of `bytes` and its length.
    fn double(&self, bytes: &[u8]) -> Option<(char, usize)> {
        let [lead, trail] = *bytes.first_chunk()?;
        Some((self.get(lead, trail)?, 2))
    }
}

pub(super) fn decode(charset: Charset, mut bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let mut had_errors = false;
    while let Some(&lead) = bytes.first() {
        if lead < 0x80 {
            let run = bytes.iter().position(|b| *b >= 0x80).unwrap_or(bytes.len());
            let (ascii, rest) = bytes.split_at(run);
            out.extend_from_slice(ascii);
            bytes = rest;
            continue;
        }
        let found = match charset {
            Charset::Big5 => BIG5.double(bytes),
            Charset::Gb2312 => GB2312.double(bytes),
            Charset::Gbk => GBK.double(bytes),
            Charset::Gb18030 => GB18030.double(bytes).or_else(|| gb18030_four(bytes)),
            Charset::Euckr => EUCKR.double(bytes),
            Charset::Sjis => half_width(lead).map(|c| (c, 1)).or_else(|| SJIS.double(bytes)),
            Charset::Cp932 => half_width(lead).map(|c| (c, 1)).or_else(|| CP932.double(bytes)),
            Charset::Ujis => euc_japanese(bytes, &UJIS, &UJIS3),
            Charset::Eucjpms => euc_japanese(bytes, &EUCJPMS, &EUCJPMS3),
            _ => None,
        };
        had_errors |= found.is_none();
        let (character, length) = found.unwrap_or_else(|| (REPLACEMENT_CHARACTER, length_of_unknown(bytes)));
        push(character, out);
        bytes = bytes.get(length..).unwrap_or_default();
    }
    had_errors
}

fn euc_japanese(bytes: &[u8], two: &Table, three: &Table) -> Option<(char, usize)> {
    match *bytes {
        [0x8e, kana, ..] => Some((half_width(kana)?, 2)),
        [0x8f, lead, trail, ..] => Some((three.get(lead, trail)?, 3)),
        _ => two.double(bytes),
    }
}

fn gb18030_four(bytes: &[u8]) -> Option<(char, usize)> {
    let &[a @ 0x81..=0xfe, b @ 0x30..=0x39, c @ 0x81..=0xfe, d @ 0x30..=0x39] = bytes.first_chunk()? else {
        return None;
    };
    let high = u32::from(a - 0x81) * 10 + u32::from(b - 0x30);
    let linear = (high * 126 + u32::from(c - 0x81)) * 10 + u32::from(d - 0x30);
    let code_point = if linear < GB18030_BMP_END {
        let start = |run: &[u8; 4]| u32::from(u16::from_le_bytes([run[0], run[1]]));
        let run = GB18030_RUNS.get(GB18030_RUNS.partition_point(|run| start(run) <= linear).checked_sub(1)?)?;
        u32::from(u16::from_le_bytes([run[2], run[3]])) + linear - start(run)
    } else {
        linear.checked_sub(GB18030_SUPPLEMENTARY)? + 0x1_0000
    };
    Some((char::from_u32(code_point)?, 4))
}

/// A two-byte code without a character is one error; an ASCII byte after a stray lead byte is kept.
fn length_of_unknown(bytes: &[u8]) -> usize {
    match bytes {
        [_, second, ..] if *second >= 0x80 => 2,
        _ => 1,
    }
}
