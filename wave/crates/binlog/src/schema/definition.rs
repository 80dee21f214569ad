//! Reads COLUMN_TYPE of INFORMATION_SCHEMA (manual: "The INFORMATION_SCHEMA COLUMNS Table") and checks it against the log.

use super::sql_type::GEOMETRIES;
use super::{ColumnDefinition, ColumnType};
use crate::charset::Charset;

/// A COLUMN_TYPE in its parts: `decimal(10,2) unsigned` is `decimal`, `10,2`, `unsigned`.
pub(super) struct SqlType<'a> {
    pub(super) base: String,
    pub(super) args: &'a str,
    pub(super) attributes: &'a str,
}

impl<'a> SqlType<'a> {
    pub(super) fn parse(text: &'a str) -> Self {
        let text = text.trim();
        let end = text.find(['(', ' ']).unwrap_or(text.len());
        let (base, rest) = text.split_at(end);
        let (args, attributes) = match rest.strip_prefix('(') {
            // A label may hold a parenthesis, attributes do not, but for a comment with a version.
            Some(rest) => rest.find("/*").map_or(rest, |at| rest.split_at(at).0).rsplit_once(')').unwrap_or((rest, "")),
            None => ("", rest),
        };
        Self { base: base.to_ascii_lowercase(), args, attributes }
    }

    pub(super) fn unsigned(&self) -> bool {
        self.attributes.split_ascii_whitespace().any(|a| a.eq_ignore_ascii_case("unsigned") || a == "zerofill")
    }

    /// The quoted labels of an ENUM or SET. The server doubles the quotes in them and writes backslash, NUL, LF and CR
    /// with a backslash.
    pub(super) fn labels(&self) -> Vec<String> {
        let (mut out, mut chars) = (Vec::new(), self.args.chars().peekable());
        while chars.next() == Some('\'') {
            let mut label = String::new();
            while let Some(c) = chars.next() {
                if c == '\'' && chars.next_if_eq(&'\'').is_none() {
                    break;
                }
                label.push(if c == '\\' { unescaped(&mut chars) } else { c });
            }
            out.push(label);
            chars.next();
        }
        out
    }

    fn number(&self) -> Option<u64> {
        self.args.trim().parse().ok()
    }

    fn is(&self, names: &[&str]) -> bool {
        names.contains(&self.base.as_str())
    }
}

/// The character whose escape goes on in `chars`; a backslash that begins none is itself.
fn unescaped(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> char {
    let escaped = match chars.peek() {
        Some('0') => '\0',
        Some('n') => '\n',
        Some('r') => '\r',
        Some(other @ ('\\' | '\'')) => *other,
        _ => return '\\',
    };
    chars.next();
    escaped
}

/// Character set of a column by its definition.
pub(super) fn charset(definition: &ColumnDefinition) -> Charset {
    definition.charset.as_deref().map_or(Charset::Binary, Charset::from_name)
}

/// MariaDB's types that come as BINARY of their length.
pub(super) fn fixed_binary(sql: &SqlType<'_>) -> Option<ColumnType> {
    match sql.base.as_str() {
        "uuid" => Some(ColumnType::Uuid),
        "inet6" => Some(ColumnType::Inet6),
        "inet4" => Some(ColumnType::Inet4),
        _ => None,
    }
}

/// What the definition tells of a column that the log writes as `ty`: these, and MariaDB's VECTOR, which comes as VARBINARY.
pub(super) fn told(ty: ColumnType, sql: &SqlType<'_>) -> Option<ColumnType> {
    match ty {
        ColumnType::VarChar { max_bytes } if sql.base == "vector" => {
            Some(ColumnType::Vector { length_bytes: if max_bytes > 255 { 2 } else { 1 } })
        }
        _ => fixed_binary(sql),
    }
}

/// Whether values that the log writes as `ty` may be of a column defined so.
pub(super) fn fits(ty: ColumnType, sql: &SqlType<'_>, charset: Charset) -> bool {
    use ColumnType as C;
    let fsp = |names: &[&str], fsp: u8| sql.is(names) && sql.number().unwrap_or(0) == u64::from(fsp);
    let bytes = |max_bytes: u16| {
        let factor = charset.max_bytes_per_char() as u64;
        charset == Charset::Unknown || sql.number().unwrap_or(1) * factor == u64::from(max_bytes)
    };
    let blob = |length_bytes: u8| {
        let names: &[&str] = match length_bytes {
            1 => &["tinytext", "tinyblob"],
            2 => &["text", "blob"],
            3 => &["mediumtext", "mediumblob"],
            _ => &["longtext", "longblob", "json"],
        };
        sql.is(names)
    };
    match ty {
        C::Tiny => sql.is(&["tinyint", "bool", "boolean"]),
        C::Short => sql.is(&["smallint"]),
        C::Int24 => sql.is(&["mediumint"]),
        C::Long => sql.is(&["int", "integer"]),
        C::LongLong => sql.is(&["bigint"]),
        C::Float => sql.is(&["float"]),
        C::Double => sql.is(&["double", "real", "float"]),
        C::Decimal { precision, scale } => {
            let (p, s) = sql.args.split_once(',').unwrap_or((if sql.args.is_empty() { "10" } else { sql.args }, "0"));
            let number = |text: &str| text.trim().parse::<u8>().ok();
            sql.is(&["decimal", "numeric"]) && number(p) == Some(precision) && number(s) == Some(scale)
        }
        C::Bit { bits } => sql.is(&["bit"]) && sql.number().unwrap_or(1) == u64::from(bits),
        C::Year => sql.is(&["year"]),
        C::Date => sql.is(&["date"]),
        C::TimeOld => fsp(&["time"], 0),
        C::DateTimeOld => fsp(&["datetime"], 0),
        C::TimestampOld => fsp(&["timestamp"], 0),
        C::Time { fsp: digits } => fsp(&["time"], digits),
        C::DateTime { fsp: digits } => fsp(&["datetime"], digits),
        C::Timestamp { fsp: digits } => fsp(&["timestamp"], digits),
        C::Char { max_bytes } => match sql.base.as_str() {
            "char" | "binary" => bytes(max_bytes),
            _ => fixed_binary(sql).and_then(ColumnType::fixed_binary_len) == Some(usize::from(max_bytes)),
        },
        C::VarChar { max_bytes } => match sql.base.as_str() {
            "varchar" | "varbinary" => bytes(max_bytes),
            "vector" => true, // MariaDB's is a VARBINARY
            _ => false,
        },
        C::VarCharCompressed { .. } => sql.is(&["varchar", "varbinary"]),
        C::Blob { length_bytes } | C::BlobCompressed { length_bytes } => blob(length_bytes),
        C::Enum { bytes } => sql.is(&["enum"]) && bytes == if sql.labels().len() < 256 { 1 } else { 2 },
        C::Set { bytes } => {
            let need = match sql.labels().len().div_ceil(8) {
                n @ 0..=4 => n.max(1),
                _ => 8,
            };
            sql.is(&["set"]) && usize::from(bytes) == need
        }
        C::Json { .. } => sql.is(&["json"]),
        C::Geometry { .. } => sql.is(&GEOMETRIES) || sql.is(&["geometrycollection"]),
        C::Vector { .. } => sql.is(&["vector"]),
        C::Uuid | C::Inet6 | C::Inet4 => fixed_binary(sql) == Some(ty),
        C::Unsupported { .. } => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_labels() {
        let t = SqlType::parse("decimal(10,2) unsigned zerofill");
        assert_eq!((t.base.as_str(), t.args, t.unsigned()), ("decimal", "10,2", true));
        let t = SqlType::parse("enum('a)','it''s','','b,c') ");
        assert_eq!(t.labels(), ["a)", "it's", "", "b,c"]);
        let t = SqlType::parse("varchar(20) /*M!100301 COMPRESSED*/");
        assert_eq!((t.base.as_str(), t.number()), ("varchar", Some(20)));
        let t = SqlType::parse(r"enum('\\','a\nb\r\0','\x')");
        assert_eq!(t.labels(), ["\\", "a\nb\r\0", "\\x"]);
        assert!(SqlType::parse("enum(").labels().is_empty());
        assert!(!SqlType::parse("int(11)").unsigned());
    }

    #[test]
    fn fitting_types() {
        let fits = |ty, text: &str| fits(ty, &SqlType::parse(text), Charset::Utf8mb4);
        assert!(fits(ColumnType::Char { max_bytes: 480 }, "char(120)"));
        assert!(!fits(ColumnType::Char { max_bytes: 480 }, "char(121)"));
        assert!(fits(ColumnType::Set { bytes: 2 }, "set('1','2','3','4','5','6','7','8','9')"));
        assert!(fits(ColumnType::DateTime { fsp: 6 }, "datetime(6)"));
        assert!(!fits(ColumnType::DateTime { fsp: 6 }, "datetime"));
        assert!(fits(ColumnType::Decimal { precision: 10, scale: 0 }, "decimal"));
        assert!(!fits(ColumnType::Long, "bigint"));
        assert!(fits(ColumnType::Char { max_bytes: 16 }, "uuid") && fits(ColumnType::Char { max_bytes: 4 }, "inet4"));
        assert!(!fits(ColumnType::Char { max_bytes: 4 }, "inet6"));
    }
}
