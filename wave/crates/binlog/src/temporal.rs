//! DATE, TIME, DATETIME and TIMESTAMP in every form in which they stand in rows.
//!
//! Nothing is normalised: zero dates, dates with a zero day or month, 31 February and year 3 are values that the server
//! stores and returns, so they pass unchanged. Forms with fractional digits are big-endian (WL#946; server source:
//! `my_time.cc`); the older ones are little-endian (manual: "Data Type Storage Requirements"). Time zones: a TIMESTAMP is UTC in the log and is printed in UTC.

use crate::error::{Error, Result};

/// A DATE as stored: servers have years 0 to 9999, months 0 to 12, days 0 to 31; bytes of others give up to 32767, 15, 31.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Date {
    pub year: u16,
    pub month: u8,
    pub day: u8,
}

/// A TIME: a span from -838:59:59.999999 to 838:59:59.999999. `micros` is below a second here and in the types below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Time {
    pub negative: bool,
    pub hour: u16,
    pub minute: u8,
    pub second: u8,
    pub micros: u32,
}

/// A DATETIME, without a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DateTime {
    pub year: u16,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub micros: u32,
}

/// A TIMESTAMP: seconds since 1970-01-01 00:00:00 UTC; `seconds` 0 is the zero date, not 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Timestamp {
    pub seconds: u32,
    pub micros: u32,
}

/// Bytes of a TIME(`fsp`).
#[must_use]
pub fn time2_len(fsp: u8) -> usize {
    3 + fraction_len(fsp)
}

/// Bytes of a DATETIME(`fsp`).
#[must_use]
pub fn datetime2_len(fsp: u8) -> usize {
    5 + fraction_len(fsp)
}

/// Bytes of a TIMESTAMP(`fsp`).
#[must_use]
pub fn timestamp2_len(fsp: u8) -> usize {
    4 + fraction_len(fsp)
}

fn fraction_len(fsp: u8) -> usize {
    usize::from(fsp.min(6)).div_ceil(2)
}

/// The first `N` bytes.
fn take<'a, const N: usize>(what: &'static str, bytes: &'a [u8]) -> Result<&'a [u8; N]> {
    bytes.first_chunk().ok_or(Error::Truncated { what, need: N, have: bytes.len() })
}

/// The fraction of a second behind `skip` bytes, big-endian, as the upper bytes of 24 bits.
#[inline(always)]
fn fraction(bytes: &[u8], skip: usize, fsp: u8) -> Option<u32> {
    Some(match *bytes.get(skip..skip + fraction_len(fsp))? {
        [] => 0,
        [a] => u32::from_be_bytes([0, a, 0, 0]),
        [a, b] => u32::from_be_bytes([0, a, b, 0]),
        [a, b, c] => u32::from_be_bytes([0, a, b, c]),
        _ => return None,
    })
}

/// Microseconds of a [`fraction`], which is in hundredths, ten-thousandths or millionths of a second.
#[inline(always)]
fn micros(fraction: u32, fsp: u8) -> Option<u32> {
    let micros = match fraction_len(fsp) {
        0 => 0,
        1 => (fraction >> 16) * 10_000,
        2 => (fraction >> 8) * 100,
        _ => fraction,
    };
    (micros <= 999_999 && fsp <= 6).then_some(micros)
}

/// Why no value with a fraction behind `skip` bytes could be made of `bytes`.
#[cold]
fn broken(what: &'static str, bytes: &[u8], skip: usize, fsp: u8) -> Error {
    let (need, have) = (skip + fraction_len(fsp), bytes.len());
    if fsp > 6 {
        return Error::Malformed { what, detail: format!("{fsp} fractional digits") };
    }
    if have < need {
        return Error::Truncated { what, need, have };
    }
    Error::Malformed { what, detail: "a fraction of a second or more, or a date before zero".into() }
}

impl Date {
    /// From the 3 bytes of a DATE column at the front of `bytes`.
    ///
    /// # Errors
    /// Too few bytes.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        take("DATE", bytes).map(|bytes| Self::unpack(*bytes))
    }

    #[inline(always)]
    pub(crate) fn unpack([a, b, c]: [u8; 3]) -> Self {
        let packed = u32::from_le_bytes([a, b, c, 0]);
        Self { year: (packed >> 9) as u16, month: (packed >> 5 & 15) as u8, day: (packed & 31) as u8 }
    }

    /// `YYYY-MM-DD`.
    pub fn write(self, out: &mut Vec<u8>) {
        write_date_parts(self.year, self.month, self.day, out);
    }
}

impl Time {
    /// From the 3 bytes of a TIME column made before MySQL 5.6.
    ///
    /// # Errors
    /// Too few bytes.
    pub fn read_old(bytes: &[u8]) -> Result<Self> {
        let [a, b, c] = *take("TIME", bytes)?;
        let packed = i32::from_le_bytes([0, a, b, c]) >> 8;
        let digits = packed.unsigned_abs();
        Ok(Self {
            negative: packed < 0,
            hour: (digits / 10_000) as u16,
            minute: (digits / 100 % 100) as u8,
            second: (digits % 100) as u8,
            micros: 0,
        })
    }

    /// From the [`time2_len`] bytes of a TIME(`fsp`) column.
    ///
    /// # Errors
    /// Too few bytes, or a fraction of a second or more.
    pub fn read(bytes: &[u8], fsp: u8) -> Result<Self> {
        Self::unpack(bytes, fsp).ok_or_else(|| broken("TIME", bytes, 3, fsp))
    }

    #[inline(always)]
    pub(crate) fn unpack(bytes: &[u8], fsp: u8) -> Option<Self> {
        let [a, b, c] = *bytes.first_chunk()?;
        // Seconds and fraction are one number around a zero point, so a negative one borrows from the seconds.
        let raw = i64::from(u32::from_be_bytes([0, a, b, c])) << 24 | i64::from(fraction(bytes, 3, fsp)?);
        let signed = raw - (0x80_0000 << 24);
        let packed = signed.unsigned_abs();
        let seconds = packed >> 24;
        Some(Self {
            negative: signed < 0,
            hour: (seconds >> 12 & 0x3ff) as u16,
            minute: (seconds >> 6 & 0x3f) as u8,
            second: (seconds & 0x3f) as u8,
            micros: micros((packed & 0xff_ffff) as u32, fsp)?,
        })
    }

    /// `[-]HH:MM:SS[.ffffff]`, hours with two or three digits, `fsp` digits of the fraction.
    pub fn write(self, out: &mut Vec<u8>, fsp: u8) {
        if self.negative {
            out.push(b'-');
        }
        if self.hour >= 100 {
            out.extend_from_slice(itoa::Buffer::new().format(self.hour / 100).as_bytes());
        }
        write_clock((self.hour % 100) as u8, self.minute, self.second, out);
        write_fraction(self.micros, fsp, out);
    }
}

impl DateTime {
    /// From the 8 bytes of a DATETIME column made before MySQL 5.6.
    ///
    /// # Errors
    /// Too few bytes, or a number with more than 14 digits.
    pub fn read_old(bytes: &[u8]) -> Result<Self> {
        let packed = u64::from_le_bytes(*take("DATETIME", bytes)?);
        if packed > 99_991_231_235_959 {
            return Err(Error::Malformed { what: "DATETIME", detail: format!("{packed} is beyond the year 9999") });
        }
        let (date, time) = (packed / 1_000_000, packed % 1_000_000);
        Ok(Self {
            year: (date / 10_000) as u16,
            month: (date / 100 % 100) as u8,
            day: (date % 100) as u8,
            hour: (time / 10_000) as u8,
            minute: (time / 100 % 100) as u8,
            second: (time % 100) as u8,
            micros: 0,
        })
    }

    /// From the [`datetime2_len`] bytes of a DATETIME(`fsp`) column.
    ///
    /// # Errors
    /// Too few bytes, or a value before the zero date.
    pub fn read(bytes: &[u8], fsp: u8) -> Result<Self> {
        Self::unpack(bytes, fsp).ok_or_else(|| broken("DATETIME", bytes, 5, fsp))
    }

    #[inline(always)]
    pub(crate) fn unpack(bytes: &[u8], fsp: u8) -> Option<Self> {
        let [a, b, c, d, e] = *bytes.first_chunk()?;
        let packed = u64::from_be_bytes([0, 0, 0, a, b, c, d, e]).checked_sub(0x80_0000_0000)?;
        Some(Self { micros: micros(fraction(bytes, 5, fsp)?, fsp)?, ..Self::from_packed_seconds(packed) })
    }

    /// From the whole seconds of a packed DATETIME (without its zero point): year and month in base 13, then 5 bits of
    /// day, 5 of hour, 6 of minute, 6 of second.
    #[inline(always)]
    pub(crate) fn from_packed_seconds(packed: u64) -> Self {
        let year_month = packed >> 22;
        Self {
            year: (year_month / 13) as u16,
            month: (year_month % 13) as u8,
            day: (packed >> 17 & 31) as u8,
            hour: (packed >> 12 & 31) as u8,
            minute: (packed >> 6 & 63) as u8,
            second: (packed & 63) as u8,
            micros: 0,
        }
    }

    /// Without the time of day.
    #[must_use]
    pub fn date(self) -> Date {
        Date { year: self.year, month: self.month, day: self.day }
    }

    /// `YYYY-MM-DD HH:MM:SS[.ffffff]` with `fsp` digits of the fraction.
    pub fn write(self, out: &mut Vec<u8>, fsp: u8) {
        write_date_parts(self.year, self.month, self.day, out);
        out.push(b' ');
        write_clock(self.hour, self.minute, self.second, out);
        write_fraction(self.micros, fsp, out);
    }
}

impl Timestamp {
    /// From the 4 bytes of a TIMESTAMP column made before MySQL 5.6.
    ///
    /// # Errors
    /// Too few bytes.
    pub fn read_old(bytes: &[u8]) -> Result<Self> {
        Ok(Self { seconds: u32::from_le_bytes(*take("TIMESTAMP", bytes)?), micros: 0 })
    }

    /// From the [`timestamp2_len`] bytes of a TIMESTAMP(`fsp`) column.
    ///
    /// # Errors
    /// Too few bytes, or a fraction of a second or more.
    pub fn read(bytes: &[u8], fsp: u8) -> Result<Self> {
        Self::unpack(bytes, fsp).ok_or_else(|| broken("TIMESTAMP", bytes, 4, fsp))
    }

    #[inline(always)]
    pub(crate) fn unpack(bytes: &[u8], fsp: u8) -> Option<Self> {
        Some(Self {
            seconds: u32::from_be_bytes(*bytes.first_chunk()?),
            micros: micros(fraction(bytes, 4, fsp)?, fsp)?,
        })
    }

    /// The zero date, which is no instant. MariaDB keeps fractions of the second 0, which are.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.seconds == 0 && self.micros == 0
    }

    /// The date and time in UTC.
    #[must_use]
    pub fn utc(self) -> DateTime {
        if self.is_zero() {
            return DateTime::default();
        }
        let (days, second_of_day) = (self.seconds / 86_400, self.seconds % 86_400);
        // Days counted from 0000-03-01 in eras of 400 years: leap days then fall at the end of years and eras.
        let days = days + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        DateTime {
            year: (era * 400 + year_of_era + u32::from(month <= 2)) as u16,
            month: month as u8,
            day: (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u8,
            hour: (second_of_day / 3_600) as u8,
            minute: (second_of_day / 60 % 60) as u8,
            second: (second_of_day % 60) as u8,
            micros: self.micros,
        }
    }

    /// In UTC, `YYYY-MM-DD HH:MM:SS[.ffffff]` with `fsp` digits of the fraction; the zero date as all zeros.
    pub fn write(self, out: &mut Vec<u8>, fsp: u8) {
        self.utc().write(out, fsp);
    }
}

fn write_date_parts(year: u16, month: u8, day: u8, out: &mut Vec<u8>) {
    if year >= 10_000 {
        out.push(b'0' + (year / 10_000) as u8);
    }
    let [[a, b], [c, d]] = [two((year / 100 % 100) as u8), two((year % 100) as u8)];
    let [[e, f], [g, h]] = [two(month), two(day)];
    out.extend_from_slice(&[a, b, c, d, b'-', e, f, b'-', g, h]);
}

fn write_clock(hour: u8, minute: u8, second: u8, out: &mut Vec<u8>) {
    let [[a, b], [c, d], [e, f]] = [two(hour), two(minute), two(second)];
    out.extend_from_slice(&[a, b, b':', c, d, b':', e, f]);
}

fn write_fraction(micros: u32, fsp: u8, out: &mut Vec<u8>) {
    if fsp == 0 {
        return;
    }
    let [[a, b], [c, d], [e, f]] = [micros / 10_000, micros / 100 % 100, micros % 100].map(|pair| two(pair as u8));
    let text = [b'.', a, b, c, d, e, f];
    out.extend_from_slice(text.get(..=usize::from(fsp)).unwrap_or(&text));
}

/// The last two decimal digits. No server stores a part of more than two, but for the hours of a TIME.
fn two(value: u8) -> [u8; 2] {
    [b'0' + value / 10 % 10, b'0' + value % 10]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_bytes_are_errors() {
        assert!(Time::read(&[0x80, 0, 0, 100], 2).is_err(), "100 hundredths");
        assert!(DateTime::read(&[0x80, 0, 0, 0, 0, 0x0f, 0x42, 0x40], 6).is_err(), "1000000 microseconds");
        assert!(DateTime::read(&[0x7f; 5], 0).is_err(), "before the zero date");
        assert!(Timestamp::read(&[0; 8], 7).is_err(), "7 digits");
        assert!(DateTime::read_old(&[0xff; 8]).is_err(), "more than 14 digits");
    }

    #[test]
    fn ends_of_the_timestamp_range() {
        // The second is the last one of MariaDB 11.5 and later.
        for (seconds, text) in
            [(1, "1970-01-01 00:00:01"), (u32::MAX, "2106-02-07 06:28:15"), (0, "0000-00-00 00:00:00")]
        {
            let mut out = Vec::new();
            Timestamp { seconds, micros: 0 }.write(&mut out, 0);
            assert_eq!(out, text.as_bytes());
        }
        let mut out = Vec::new();
        Timestamp { seconds: 0, micros: 440_000 }.write(&mut out, 2);
        assert_eq!(out, b"1970-01-01 00:00:00.44");
    }

    proptest::proptest! {
        /// Any bytes of any declared length: a value or an error, and text of it.
        #[test]
        fn any_bytes_are_harmless(bytes in proptest::collection::vec(0u8.., 0..10), fsp in 0u8..9) {
            let mut out = Vec::new();
            if let Ok(value) = Date::read(&bytes) { value.write(&mut out); }
            for value in [Time::read_old(&bytes), Time::read(&bytes, fsp)].into_iter().flatten() { value.write(&mut out, fsp); }
            for value in [DateTime::read_old(&bytes), DateTime::read(&bytes, fsp)].into_iter().flatten() { value.write(&mut out, fsp); }
            for value in [Timestamp::read_old(&bytes), Timestamp::read(&bytes, fsp)].into_iter().flatten() { value.write(&mut out, fsp); }
            proptest::prop_assert!(out.is_ascii());
        }
    }
}
