//! FLOAT and DOUBLE (manual: "Floating-Point Types (Approximate Value)"; IEEE 754 in the log) as text: the shortest
//! digits that give the same number back, in the layout of the servers.
//!
//! Layout (seen on MySQL 9.7 and MariaDB 10.11): positional while the decimal point stands between 14 zeros before the
//! first digit and 15 digits behind it, or still inside the digits; else `1.5e16`, `1e-16`.

use std::ops::RangeInclusive;

/// Places of the decimal point, counted from the first digit, for which the servers print positionally.
const POSITIONAL: RangeInclusive<i32> = -14..=15;

/// Writes a DOUBLE as the server prints it: `1`, `0.1`, `1e20`, `-0`.
pub fn write_f64(value: f64, out: &mut Vec<u8>) {
    write(ryu::Buffer::new().format(value).as_bytes(), out);
}

/// Writes a FLOAT by its own precision: 1.1, not 1.100000023841858.
///
/// The server's `SELECT` rounds to six significant digits (16777216 comes out as 16777200); this does not.
pub fn write_f32(value: f32, out: &mut Vec<u8>) {
    write(ryu::Buffer::new().format(value).as_bytes(), out);
}

/// Lays out shortest digits given as `-1.5e16`, `123.0` or `0.0001`.
fn write(shortest: &[u8], out: &mut Vec<u8>) {
    let unsigned = shortest.strip_prefix(b"-").unwrap_or(shortest);
    if unsigned.len() < shortest.len() {
        out.push(b'-');
    }
    // Below 16 bytes and without an exponent the layouts differ only in a trailing ".0".
    if unsigned.len() < 16 && !unsigned.contains(&b'e') {
        out.extend_from_slice(unsigned.strip_suffix(b".0").unwrap_or(unsigned));
        return;
    }
    let mut digits = [0u8; 32];
    let mut length = 0usize;
    let mut point = 0i32;
    let mut seen_point = false;
    let mut bytes = unsigned.iter();
    for &byte in bytes.by_ref() {
        match byte {
            b'.' => seen_point = true,
            b'0'..=b'9' => {
                if length > 0 || byte != b'0' {
                    if let Some(slot) = digits.get_mut(length) {
                        *slot = byte;
                        length += 1;
                    }
                    point += i32::from(!seen_point);
                } else {
                    point -= i32::from(seen_point);
                }
            }
            _ => break,
        }
    }
    let exponent = std::str::from_utf8(bytes.as_slice()).ok().and_then(|e| e.parse::<i32>().ok()).unwrap_or(0);
    let point = point + exponent;
    let digits = digits.get(..length).unwrap_or_default().trim_ascii_end();
    let significant = digits.iter().rposition(|d| *d != b'0').map_or(0, |last| last + 1);
    let (digits, _) = digits.split_at(significant);
    lay_out(digits, point, out);
}

/// `digits` without leading or trailing zeros; the value is 0.`digits` × 10^`point`.
fn lay_out(digits: &[u8], point: i32, out: &mut Vec<u8>) {
    let inside = usize::try_from(point).is_ok_and(|p| digits.len() > p);
    if !POSITIONAL.contains(&point) && !inside {
        let (first, rest) = digits.split_at(1.min(digits.len()));
        out.extend_from_slice(first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
        out.push(b'e');
        out.extend_from_slice(itoa::Buffer::new().format(point - 1).as_bytes());
        return;
    }
    let (integer, fraction) = digits.split_at(usize::try_from(point).unwrap_or(0).min(digits.len()));
    out.extend_from_slice(if point > 0 { integer } else { b"0" });
    let missing = usize::try_from(point).unwrap_or(0).saturating_sub(digits.len());
    out.extend(std::iter::repeat_n(b'0', missing));
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend(std::iter::repeat_n(b'0', usize::try_from(-point).unwrap_or(0)));
        out.extend_from_slice(fraction);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: f64) -> String {
        let mut out = Vec::new();
        write_f64(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// Left: the literal sent to MySQL 9.7.4; right: what it and MariaDB 10.11.18 printed.
    #[test]
    fn prints_doubles_as_the_servers_do() {
        for (value, printed) in [
            (0e0, "0"),
            (-0e0, "-0"),
            (1e14, "100000000000000"),
            (1_234_567_890_123_456.0, "1.234567890123456e15"),
            (1_234_567_890_123_456.7, "1234567890123456.8"),
            (1_000_000_000_000_000.1, "1000000000000000.1"),
            (2_251_799_813_685_248.5, "2251799813685248.5"),
            (9_999_999_999_999_998.0, "9.999999999999998e15"),
            (1e15, "1e15"),
            (1.5e15, "1.5e15"),
            (1.234_567_890_123_456_8e17, "1.2345678901234568e17"),
            (1e-7, "0.0000001"),
            (1e-15, "0.000000000000001"),
            (1e-16, "1e-16"),
            (1.5e-15, "0.0000000000000015"),
            (1.5e-16, "1.5e-16"),
            (-1.234_567_890_123_456_7e-14, "-0.000000000000012345678901234567"),
            (-1.797_693_134_862_315_7e308, "-1.7976931348623157e308"),
            (5e-324, "5e-324"),
            (-123_456_789_012_345.67, "-123456789012345.67"),
        ] {
            assert_eq!(text(value), printed);
            assert_eq!(printed.parse::<f64>().unwrap().to_bits(), value.to_bits());
        }
    }

    #[test]
    fn floats_keep_their_own_digits() {
        for (value, printed) in [
            (1.1f32, "1.1"),
            (16_777_216.0, "16777216"),
            (1e20, "1e20"),
            (-0.1, "-0.1"),
            (f32::MAX, "3.4028235e38"),
            (1e-45, "1e-45"),
            (1e15, "1e15"),
        ] {
            let mut out = Vec::new();
            write_f32(value, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), printed);
        }
    }

    proptest::proptest! {
        #[test]
        fn every_double_comes_back(bits: u64) {
            let value = f64::from_bits(bits);
            if value.is_finite() {
                proptest::prop_assert_eq!(text(value).parse::<f64>().unwrap().to_bits(), bits);
            }
        }
    }
}
