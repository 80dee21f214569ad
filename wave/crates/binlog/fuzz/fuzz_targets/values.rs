//! Values of single columns: text of every character set, DECIMAL, dates and times, and how text is escaped.
#![no_main]

use binlog::charset::Charset;
use binlog::decimal::Decimal;
use binlog::render::{write_base64, write_f32, write_f64, write_json_string};
use binlog::temporal::{Date, DateTime, Time, Timestamp};
use libfuzzer_sys::fuzz_target;

fn text(id: u16, bytes: &[u8]) {
    let charset = Charset::from_collation(id);
    assert!(charset == Charset::Unknown || Charset::from_name(charset.name()) == charset);
    let Ok(decoded) = charset.decode(bytes) else {
        assert_eq!(charset, Charset::Unknown);
        return;
    };
    let mut out = Vec::new();
    assert_eq!(charset.decode_into(bytes, &mut out), Ok(decoded.had_errors));
    assert_eq!(out, decoded.text.as_bytes());
    // a byte becomes at most one character, or three bytes of U+FFFD; Unicode sequences at most three letters
    assert!(out.len() <= 12 * bytes.len().max(1));
    out.clear();
    write_json_string(decoded.text.as_bytes(), &mut out);
    assert!(std::str::from_utf8(&out).is_ok());
}

fn decimal(precision: u8, scale: u8, bytes: &[u8]) {
    let _ = Decimal::encoded_len(precision, scale);
    let Ok(value) = Decimal::read(bytes, precision, scale) else { return };
    let mut out = Vec::new();
    value.write(&mut out);
    let number = out.strip_prefix(b"-").unwrap_or(&out);
    let point = number.iter().position(|byte| *byte == b'.');
    assert_eq!(point.map_or(0, |at| number.len() - at - 1), usize::from(scale));
    let whole = point.unwrap_or(number.len());
    assert!((1..=usize::from(precision - scale).max(1)).contains(&whole));
    assert!(number.iter().enumerate().all(|(at, byte)| Some(at) == point || byte.is_ascii_digit()));
}

fn time(fsp: u8, bytes: &[u8]) {
    let mut out = Vec::new();
    let printed = [
        Date::read(bytes).map(|value| value.write(&mut out)),
        Time::read(bytes, fsp).map(|value| value.write(&mut out, fsp)),
        Time::read_old(bytes).map(|value| value.write(&mut out, fsp)),
        DateTime::read(bytes, fsp).map(|value| value.write(&mut out, fsp)),
        DateTime::read_old(bytes).map(|value| value.write(&mut out, fsp)),
        Timestamp::read(bytes, fsp).map(|value| value.write(&mut out, fsp)),
        Timestamp::read_old(bytes).map(|value| value.write(&mut out, fsp)),
    ];
    assert!(out.is_ascii() && printed.len() == 7);
    if let Ok(value) = Timestamp::read(bytes, fsp) {
        let utc = value.utc();
        assert!(value.is_zero() || ((1..=12).contains(&utc.month) && (1..=31).contains(&utc.day)));
    }
}

fn float(bytes: &[u8]) {
    let mut out = Vec::new();
    if let Some(bytes) = bytes.first_chunk::<4>() {
        write_f32(f32::from_le_bytes(*bytes), &mut out);
    }
    if let Some(bytes) = bytes.first_chunk::<8>() {
        write_f64(f64::from_le_bytes(*bytes), &mut out);
    }
    assert!(out.is_ascii());
}

fuzz_target!(|data: &[u8]| {
    let Some(([kind, a, b], bytes)) = data.split_first_chunk::<3>() else { return };
    match kind % 5 {
        0 => text(u16::from_le_bytes([*a, *b]), bytes),
        1 => decimal(*a, *b, bytes),
        2 => time(*a, bytes),
        3 => float(bytes),
        _ => {
            let mut out = Vec::new();
            write_base64(bytes, &mut out);
            assert_eq!(out.len(), bytes.len().div_ceil(3) * 4);
            out.clear();
            write_json_string(bytes, &mut out);
        }
    }
});
