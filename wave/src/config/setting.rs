//! Typed values of settings: what a person writes, and what it means.

use std::path::PathBuf;
use std::time::Duration;

/// A value as written: in the file with its TOML type, in the environment as text.
#[derive(Clone, Debug)]
pub(super) enum Raw<'a> {
    Text(&'a str),
    Integer(i64),
    List(Vec<String>),
    /// Another TOML type, by its name.
    Other(&'static str),
}

impl Raw<'_> {
    fn wrong<T>(&self, wanted: &str) -> Result<T, String> {
        let found = match self {
            Raw::Text(text) => format!("\"{text}\""),
            Raw::Integer(number) => number.to_string(),
            Raw::List(_) => "a list".to_string(),
            Raw::Other(name) => format!("a value of type {name}"),
        };
        Err(format!("takes {wanted}, not {found}"))
    }
}

/// A type that a setting can have.
pub(super) trait Setting: Sized {
    /// # Errors
    /// What was found and what the type takes.
    fn read(raw: &Raw<'_>) -> Result<Self, String>;
    /// As it stands in a file.
    fn show(&self) -> String;
    /// Whether there is a value for a range to hold.
    fn is_set(&self) -> bool {
        true
    }
}

/// Number of bytes: `64MiB`, `512KiB`, `2GiB`, `100B`, or a number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// `n` MiB.
    #[must_use]
    pub const fn mib(n: u64) -> Size {
        Size(n << 20)
    }
}

const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const TIMES: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("ms", 1), ("s", 1000), ("m", 60_000)];

/// A whole number with one of the units.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    units.iter().find_map(|(unit, factor)| {
        let number = text.strip_suffix(unit)?.trim_end();
        number.bytes().all(|b| b.is_ascii_digit()).then(|| number.parse::<u64>().ok()?.checked_mul(*factor))?
    })
}

/// In the largest unit that divides it.
fn in_unit(value: u64, units: &[(&str, u64)]) -> String {
    let (unit, factor) = units
        .iter()
        .filter(|(_, factor)| value >= *factor && value.is_multiple_of(*factor))
        .max_by_key(|(_, factor)| *factor)
        .or(units.iter().min_by_key(|(_, factor)| *factor))
        .copied()
        .unwrap_or(("", 1));
    format!("\"{}{unit}\"", value / factor)
}

impl Setting for Size {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let read = match raw {
            Raw::Text(text) => with_unit(text, &SIZES).or_else(|| text.parse().ok()),
            Raw::Integer(bytes) => u64::try_from(*bytes).ok(),
            _ => None,
        };
        read.map(Size).map_or_else(|| raw.wrong("a size such as \"64MiB\" (B, KiB, MiB, GiB)"), Ok)
    }

    fn show(&self) -> String {
        in_unit(self.0, &SIZES)
    }
}

impl Setting for Duration {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let read = if let Raw::Text(text) = raw { with_unit(text, &TIMES) } else { None };
        read.map(Duration::from_millis).map_or_else(|| raw.wrong("a time such as \"5s\" (ms, s, m, h, d)"), Ok)
    }

    fn show(&self) -> String {
        in_unit(u64::try_from(self.as_millis()).unwrap_or(u64::MAX), &TIMES)
    }
}

impl Setting for u32 {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let read = match raw {
            Raw::Text(text) => text.parse().ok(),
            Raw::Integer(number) => u32::try_from(*number).ok(),
            _ => None,
        };
        read.map_or_else(|| raw.wrong("a whole number"), Ok)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Text as a TOML string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl Setting for String {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        if let Raw::Text(text) = raw { Ok((*text).to_string()) } else { raw.wrong("text in quotes") }
    }

    fn show(&self) -> String {
        quoted(self)
    }
}

impl Setting for PathBuf {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        String::read(raw).map(PathBuf::from)
    }

    fn show(&self) -> String {
        quoted(&self.to_string_lossy())
    }
}

impl Setting for Vec<String> {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        match raw {
            Raw::List(list) => Ok(list.clone()),
            // Environment variables have no lists.
            Raw::Text(text) => Ok(text.split_whitespace().map(str::to_string).collect()),
            _ => raw.wrong("a list of texts"),
        }
    }

    fn show(&self) -> String {
        format!("[{}]", self.iter().map(|t| quoted(t)).collect::<Vec<_>>().join(", "))
    }
}

/// `"none"` stands for no value: no limit, or what the text of the setting says.
impl<T: Setting> Setting for Option<T> {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        if matches!(raw, Raw::Text("none")) { Ok(None) } else { T::read(raw).map(Some) }
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| quoted("none"), T::show)
    }

    fn is_set(&self) -> bool {
        self.is_some()
    }
}

/// Where a password is to be had; never the password itself, so that a file can be shown and kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    File(PathBuf),
    Variable(String),
}

impl Reference {
    /// Of `file:PATH` or `env:NAME`.
    pub(crate) fn of(text: &str) -> Option<Reference> {
        match text.split_once(':')? {
            ("file", path) if !path.is_empty() => Some(Reference::File(path.into())),
            ("env", name) if !name.is_empty() => Some(Reference::Variable(name.into())),
            _ => None,
        }
    }
}

impl Setting for Reference {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        // What was written may be a password, so it is not repeated.
        let wrong = || "takes a reference, \"file:PATH\" or \"env:NAME\", never the secret itself".to_string();
        let Raw::Text(text) = raw else { return Err(wrong()) };
        Reference::of(text).ok_or_else(wrong)
    }

    fn show(&self) -> String {
        match self {
            Reference::File(path) => quoted(&format!("file:{}", path.display())),
            Reference::Variable(name) => quoted(&format!("env:{name}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_typed() {
        let size = |text| Size::read(&Raw::Text(text));
        assert_eq!(size("64MiB"), Ok(Size::mib(64)));
        assert_eq!(size("64 MiB"), Ok(Size::mib(64)));
        assert_eq!(size("1000"), Ok(Size(1000)));
        for wrong in ["64MB", "MiB", "-1B", "1.5GiB", "99999999999999999999GiB", "18446744073709551615GiB", ""] {
            assert!(size(wrong).unwrap_err().contains("KiB"), "{wrong}");
        }
        let time = |text| Duration::read(&Raw::Text(text));
        assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(time("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(time("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(time("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for wrong in ["5", "5 parsecs", "s", ""] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
        assert!(Duration::read(&Raw::Integer(5)).is_err(), "a number without a unit says nothing");
    }

    #[test]
    fn what_is_shown_reads_as_the_same() {
        for size in [Size(0), Size(1), Size(1024), Size(1500), Size::mib(64), Size(3 << 30)] {
            assert_eq!(Size::read(&Raw::Text(size.show().trim_matches('"'))), Ok(size));
        }
        for ms in [0, 1, 999, 1000, 1500, 60_000, 5_400_000, 86_400_000] {
            let time = Duration::from_millis(ms);
            assert_eq!(Duration::read(&Raw::Text(time.show().trim_matches('"'))), Ok(time));
        }
        assert_eq!(Option::<u32>::read(&Raw::Text("none")), Ok(None));
    }

    #[test]
    fn a_password_in_place_of_a_reference_is_not_repeated() {
        let error = Reference::read(&Raw::Text("hunter2")).unwrap_err();
        assert!(!error.contains("hunter2") && error.contains("env:"), "{error}");
        assert_eq!(Reference::read(&Raw::Text("env:PW")), Ok(Reference::Variable("PW".into())));
        assert_eq!(Reference::read(&Raw::Text("file:/a:b")), Ok(Reference::File("/a:b".into())));
    }
}
