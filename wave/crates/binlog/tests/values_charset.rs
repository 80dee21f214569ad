//! Character sets beyond the recorded values: numbers of collations, borrowing, and bytes that are no characters.
#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

use std::borrow::Cow;

use binlake_binlog::charset::Charset;

const COLLATIONS: &str = include_str!("data/collations.tsv");

/// All collations of MySQL 9.7.4, MariaDB 10.11.18 and 11.8.9 with their character sets, from INFORMATION_SCHEMA.
#[test]
fn every_collation_has_its_character_set() {
    let mut count = 0;
    for line in COLLATIONS.lines() {
        let (id, name) = line.split_once('\t').unwrap();
        assert_eq!(Charset::from_collation(id.parse().unwrap()).name(), name, "collation {id}");
        count += 1;
    }
    assert_eq!(count, 1311);
    for unknown in [0, 17, 100, 126, 191, 399, 575, 1024, 3328, 65535] {
        assert_eq!(Charset::from_collation(unknown), Charset::Unknown, "{unknown}");
    }
}

#[test]
fn names_are_found_in_any_case() {
    assert_eq!(Charset::from_name("UTF8MB4"), Charset::Utf8mb4);
    assert_eq!(Charset::from_name("utf8"), Charset::Utf8mb3);
    assert_eq!(Charset::from_name("klingon"), Charset::Unknown);
    assert!(Charset::from_name("binary").is_binary());
    assert_eq!(
        [Charset::Utf8mb4, Charset::Ujis, Charset::Gbk, Charset::Latin1].map(Charset::max_bytes_per_char),
        [4, 3, 2, 1]
    );
}

#[test]
fn an_unknown_character_set_is_an_error_even_for_ascii() {
    let mut out = b"before".to_vec();
    assert_eq!(
        Charset::Unknown.decode_into(b"a", &mut out).unwrap_err().to_string(),
        "character set 0 is not supported"
    );
    assert_eq!(out, b"before");
}

#[test]
fn text_that_is_utf8_already_is_borrowed() {
    for charset in [Charset::Utf8mb4, Charset::Latin1, Charset::Gbk, Charset::Sjis, Charset::Ascii] {
        assert!(matches!(charset.decode(b"plain text").unwrap().text, Cow::Borrowed("plain text")));
    }
    assert!(matches!(Charset::Utf8mb4.decode("é€😀".as_bytes()).unwrap().text, Cow::Borrowed(_)));
    // Not a subset of ASCII: 5B is a letter.
    assert_eq!(Charset::Swe7.decode_to_string(b"a[").unwrap(), "aÄ");
}

#[test]
fn broken_bytes_become_replacement_characters() {
    for (charset, bytes, text) in [
        (Charset::Utf8mb4, &b"a\xe2\x82b\xff"[..], "a\u{fffd}b\u{fffd}"),
        (Charset::Ascii, b"a\x80", "a\u{fffd}"),
        (Charset::Cp1251, b"\x98\xcf", "\u{fffd}П"),
        (Charset::Gbk, b"\xd6\xd0\xd6", "中\u{fffd}"),
        (Charset::Gbk, b"\xff\xffa", "\u{fffd}a"),
        (Charset::Gbk, b"\xd6\x20", "\u{fffd} "),
        (Charset::Gb18030, b"\x81\x30\x81", "\u{fffd}0\u{fffd}"),
        (Charset::Gb18030, b"\xe3\x32\x9a\x36", "\u{fffd}2\u{fffd}6"),
        (Charset::Ujis, b"\x8f\xb0", "\u{fffd}"),
        (Charset::Ujis, b"\x8e\xe0\x8e", "\u{fffd}\u{fffd}"),
        (Charset::Utf16, b"\xd8\x3d\x00a\x00", "\u{fffd}a\u{fffd}"),
        (Charset::Utf32, b"\x00\x11\x00\x00\x00\x00\x00a\x00", "\u{fffd}a\u{fffd}"),
    ] {
        let decoded = charset.decode(bytes).unwrap();
        assert_eq!(decoded.text, text, "{} {bytes:02x?}", charset.name());
        assert!(decoded.had_errors);
    }
    assert!(!Charset::Latin1.decode(b"\x81\xff").unwrap().had_errors, "latin1 has no holes on the server");
}

#[test]
fn gb18030_codes_of_four_bytes() {
    // Both ends of both ranges, and the pair that the standard exchanged and the server keeps.
    for (bytes, character) in [
        (b"\x81\x30\x81\x30", '\u{80}'),
        (b"\x84\x31\xa4\x39", '\u{ffff}'),
        (b"\x90\x30\x81\x30", '\u{10000}'),
        (b"\xe3\x32\x9a\x35", '\u{10ffff}'),
        (b"\x81\x35\xf4\x37", '\u{e7c7}'),
    ] {
        assert_eq!(Charset::Gb18030.decode_to_string(bytes).unwrap(), character.to_string());
    }
}

proptest::proptest! {
    /// Any bytes of any set give text, and not fewer characters than the longest codes allow. (utf8mb3 and ucs2 are read as what they are part of.)
    #[test]
    fn no_bytes_are_dropped(bytes in proptest::collection::vec(0u8.., 0..60), id in 0u16..400) {
        let charset = Charset::from_collation(id);
        if charset != Charset::Unknown && !matches!(charset, Charset::Utf8mb3 | Charset::Ucs2 | Charset::Binary) {
            let decoded = charset.decode(&bytes).unwrap();
            let least = bytes.len().div_ceil(charset.max_bytes_per_char());
            proptest::prop_assert!(decoded.text.chars().count() >= least);
        }
    }
}
