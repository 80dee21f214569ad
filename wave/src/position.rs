//! Positions as people write them: `now`, `earliest`, `gtid:SET`, `FILE:POS`, `time:RFC3339`.

use binlog::gtid::GtidSet;
use binlog::position::FilePos;

use crate::exit::Exit;

/// Where to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// What is committed from now on.
    Now,
    /// The oldest log that the server still has.
    Earliest,
    /// After this executed set.
    Gtid(GtidSet),
    File(FilePos),
    /// Microseconds since the Unix epoch.
    Time(u64),
}

/// Where to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Until {
    /// The end of the log as it is at the start.
    Now,
    Gtid(GtidSet),
    File(FilePos),
    Time(u64),
}

impl std::str::FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "now" => Ok(From::Now),
            "earliest" => Ok(From::Earliest),
            _ => place(text).map(|p| match p {
                Place::Gtid(set) => From::Gtid(set),
                Place::File(pos) => From::File(pos),
                Place::Time(us) => From::Time(us),
            }),
        }
    }
}

impl std::str::FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "now" => Ok(Until::Now),
            _ => place(text).map(|p| match p {
                Place::Gtid(set) => Until::Gtid(set),
                Place::File(pos) => Until::File(pos),
                Place::Time(us) => Until::Time(us),
            }),
        }
    }
}

enum Place {
    Gtid(GtidSet),
    File(FilePos),
    Time(u64),
}

fn place(text: &str) -> Result<Place, String> {
    if let Some(set) = text.strip_prefix("gtid:") {
        return set.parse().map(Place::Gtid).map_err(|e| format!("not a GTID set: {e}"));
    }
    if let Some(time) = text.strip_prefix("time:") {
        return parse_time(time).map(Place::Time);
    }
    let wanted = "write now, earliest, gtid:SET, FILE:POS (binlog.000007:4) or time:2026-01-31T12:00:00Z";
    let (file, pos) = text.rsplit_once(':').ok_or(wanted)?;
    let pos = pos.parse().map_err(|_| format!("`{pos}` is not an offset; {wanted}"))?;
    if file.is_empty() {
        return Err(wanted.to_string());
    }
    Ok(Place::File(FilePos { file: file.to_string(), pos }))
}

/// RFC 3339 to microseconds since the Unix epoch.
///
/// # Errors
/// Text that is not a time with a zone, or before 1970.
pub fn parse_time(text: &str) -> Result<u64, String> {
    let time: jiff::Timestamp =
        text.parse().map_err(|e| format!("`{text}` is not a time like 2026-01-31T12:00:00Z: {e}"))?;
    u64::try_from(time.as_microsecond()).map_err(|_| format!("`{text}` is before 1970"))
}

impl From {
    /// # Errors
    /// With the option's name, as a usage error.
    pub fn parse(option: &str, text: &str) -> Result<From, Exit> {
        text.parse().map_err(|e| Exit::usage(format!("{option} {text}: {e}")))
    }
}

impl Until {
    /// # Errors
    /// With the option's name, as a usage error.
    pub fn parse(option: &str, text: &str) -> Result<Until, Exit> {
        text.parse().map_err(|e| Exit::usage(format!("{option} {text}: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!("now".parse(), Ok(From::Now));
        let pos = FilePos { file: "binlog.000007".into(), pos: 4 };
        assert_eq!("binlog.000007:4".parse(), Ok(From::File(pos.clone())));
        assert_eq!("binlog.000007:4".parse(), Ok(Until::File(pos)));
        assert_eq!("time:1970-01-01T01:00:01+01:00".parse(), Ok(From::Time(1_000_000)));
        assert!(matches!("gtid:0-1-5".parse(), Ok(From::Gtid(GtidSet::MariaDb(_)))));
        assert!("yesterday".parse::<From>().unwrap_err().contains("earliest"));
        assert!("time:yesterday".parse::<From>().is_err());
        assert!("gtid:x".parse::<From>().is_err());
        assert!("earliest".parse::<Until>().is_err());
    }
}
