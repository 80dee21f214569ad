//! Numbers as Java's standard library prints them, which is what Maxwell and Debezium put into JSON.
//!
//! Rules: `java.lang.Double.toString` and `Float.toString` of JDK 19 and later (shortest digits that read back as the same
//! value, at least one digit on each side of the point, `E` below 1e-3 and from 1e7 on) and `BigDecimal.toString` (plain
//! digits, with an exponent only where the scale puts more than six zeros behind the point).

use std::fmt::LowerExp;
use std::str::FromStr;

/// Digits and decimal exponent of a finite number other than zero: value = 0.DIGITS × 10^exponent.
struct Digits {
    bytes: [u8; 24],
    len: usize,
    exponent: i32,
}

impl Digits {
    /// From text such as `1.5e-7`, `1e20`, `123.25` or `0.001`, without sign.
    fn parse(text: &str) -> Digits {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let mut digits = Digits { bytes: [0; 24], len: 0, exponent: exponent.parse().unwrap_or(0) };
        let mut behind_point = false;
        for &b in mantissa.as_bytes() {
            match b {
                b'.' => behind_point = true,
                b'0' if digits.len == 0 => digits.exponent -= i32::from(behind_point),
                b'0'..=b'9' => {
                    digits.exponent += i32::from(!behind_point);
                    if let Some(slot) = digits.bytes.get_mut(digits.len) {
                        *slot = b;
                        digits.len += 1;
                    }
                }
                _ => {}
            }
        }
        while digits.len > 1 && digits.bytes[digits.len - 1] == b'0' {
            digits.len -= 1;
        }
        digits
    }

    fn get(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

/// `Double.toString`.
pub(super) fn write_double(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        write_shortest(value.is_sign_negative(), value.abs(), 1e-300, out);
    } else {
        out.extend_from_slice(b"null");
    }
}

/// `Float.toString`.
pub(super) fn write_float(value: f32, out: &mut Vec<u8>) {
    if value.is_finite() {
        write_shortest(value.is_sign_negative(), value.abs(), 1e-36, out);
    } else {
        out.extend_from_slice(b"null");
    }
}

/// The shortest digits that read back as the finite `value`, which has no sign. Only below `tiny` may one digit do where
/// Java takes the best of two: 4.9E-324, not 5E-324.
fn write_shortest<F>(negative: bool, value: F, tiny: F, out: &mut Vec<u8>)
where
    F: ryu::Float + Default + PartialOrd + LowerExp + FromStr,
{
    if negative {
        out.push(b'-');
    }
    if value == F::default() {
        return out.extend_from_slice(b"0.0");
    }
    let mut buffer = ryu::Buffer::new();
    let mut digits = Digits::parse(buffer.format_finite(value));
    if digits.len == 1 && value < tiny {
        let two = format!("{value:.1e}");
        if two.parse().is_ok_and(|read: F| read == value) {
            digits = Digits::parse(&two);
        }
    }
    write_digits(&digits, out);
}

fn write_digits(digits: &Digits, out: &mut Vec<u8>) {
    let text = digits.get();
    match digits.exponent {
        // 0.001 up to below 10^7: plain.
        exponent @ -2..=7 => write_plain(text, exponent, out),
        exponent => {
            write_plain(text, 1, out);
            out.push(b'E');
            out.extend_from_slice(itoa::Buffer::new().format(exponent - 1).as_bytes());
        }
    }
}

/// Plain digits with at least one on each side of the point.
fn write_plain(digits: &[u8], exponent: i32, out: &mut Vec<u8>) {
    let whole = usize::try_from(exponent).unwrap_or(0);
    let zeros = usize::try_from(-exponent).unwrap_or(0);
    if whole == 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', zeros));
        return out.extend_from_slice(digits);
    }
    let split = whole.min(digits.len());
    let (front, back) = digits.split_at(split);
    out.extend_from_slice(front);
    out.extend(std::iter::repeat_n(b'0', whole - split));
    out.push(b'.');
    out.extend_from_slice(if back.is_empty() { b"0" } else { back });
}

/// All digits of a finite number, never an exponent, no point behind a whole number: as WKT writers do.
pub(super) fn write_double_plain(value: f64, out: &mut Vec<u8>) {
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let value = value.abs();
    if value == 0.0 {
        return out.push(b'0');
    }
    let mut buffer = ryu::Buffer::new();
    let digits = Digits::parse(buffer.format(value));
    write_plain(digits.get(), digits.exponent, out);
    if out.ends_with(b".0") {
        out.truncate(out.len() - 2);
    }
}

/// `BigDecimal.toString` of a number whose plain text stands at the end of `out`, from `start` on.
///
/// The text changes only when the value is below 10^-6: `0.0000001000` becomes `1.000E-7`, and a zero with more than six
/// fractional digits `0E-10`.
pub(super) fn plain_to_big_decimal(out: &mut Vec<u8>, start: usize) {
    let Some(text) = out.get(start..) else { return };
    let sign = usize::from(text.first() == Some(&b'-'));
    let Some(fraction) = text.get(sign..).and_then(|t| t.strip_prefix(b"0.")) else { return };
    let scale = fraction.len();
    let zeros = fraction.iter().take_while(|&&b| b == b'0').count();
    if zeros < 6 || (zeros == scale && scale == 6) {
        return;
    }
    let mut copy = [0u8; 32];
    let digits = fraction.get(zeros..).unwrap_or(&[]);
    let Some(digits) = copy.get_mut(..digits.len()).map(|c| {
        c.copy_from_slice(digits);
        &*c
    }) else {
        return;
    };
    out.truncate(start + sign);
    let exponent = if let Some((first, rest)) = digits.split_first() {
        out.push(*first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
        zeros + 1
    } else {
        out.push(b'0');
        scale
    };
    out.extend_from_slice(b"E-");
    out.extend_from_slice(itoa::Buffer::new().format(exponent).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn double(value: f64) -> String {
        let mut out = Vec::new();
        write_double(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn float(value: f32) -> String {
        let mut out = Vec::new();
        write_float(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_as_jdk_prints_them() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (0.001, "0.001"),
            (0.00099, "9.9E-4"),
            (123_456_789.125, "1.23456789125E8"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (-2.25, "-2.25"),
            (100.0, "100.0"),
            (1e23, "1.0E23"),
            (2e-3, "0.002"),
            (5e-324, "4.9E-324"),
            (f64::MAX, "1.7976931348623157E308"),
            (2.225_073_858_507_201_4e-308, "2.2250738585072014E-308"),
        ] {
            assert_eq!(double(value), text);
        }
    }

    #[test]
    fn floats_as_jdk_prints_them() {
        for (value, text) in [
            (3.4e38, "3.4E38"),
            (1.175_49e-38, "1.17549E-38"),
            (f32::from_bits(1), "1.4E-45"),
            (f32::MAX, "3.4028235E38"),
            (1e7, "1.0E7"),
            (9_999_999.0, "9999999.0"),
            (0.1, "0.1"),
            (16_777_216.0, "1.6777216E7"),
        ] {
            assert_eq!(float(value), text);
        }
    }

    #[test]
    fn plain_doubles() {
        let plain = |value| {
            let mut out = Vec::new();
            write_double_plain(value, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(plain(1.0), "1");
        assert_eq!(plain(-2.25), "-2.25");
        assert_eq!(plain(-0.000_001), "-0.000001");
        assert_eq!(plain(1_234_567_890.5), "1234567890.5");
        assert_eq!(plain(1e20), "100000000000000000000");
        assert_eq!(plain(120.0), "120");
        assert_eq!(plain(0.0), "0");
    }

    #[test]
    fn big_decimals() {
        for (plain, java) in [
            ("0.0000000000", "0E-10"),
            ("0.000000", "0.000000"),
            ("0.0000000", "0E-7"),
            ("0.0000001000", "1.000E-7"),
            ("0.0000010000", "0.0000010000"),
            ("-0.0000000001", "-1E-10"),
            ("12345.0000000000", "12345.0000000000"),
            ("0.000000000000000000000000000001", "1E-30"),
            ("0", "0"),
        ] {
            let mut out = b"x".to_vec();
            out.extend_from_slice(plain.as_bytes());
            plain_to_big_decimal(&mut out, 1);
            assert_eq!(String::from_utf8(out).unwrap(), format!("x{java}"));
        }
    }
}
