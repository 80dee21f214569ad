//! SQL text of a column's type, made from what the log says (manual: COLUMN_TYPE in "The INFORMATION_SCHEMA COLUMNS Table").

use std::fmt::Write;

use super::{Column, ColumnType};

/// As INFORMATION_SCHEMA writes COLUMN_TYPE today (no display widths).
pub(super) fn describe(column: &Column) -> String {
    use ColumnType as C;
    let binary = column.charset.is_binary();
    let chars = |bytes: u16| usize::from(bytes) / column.charset.max_bytes_per_char().max(1);
    let digits = |name: &str, fsp: u8| if fsp == 0 { name.to_owned() } else { format!("{name}({fsp})") };
    let sign = |name: &str| if column.unsigned { format!("{name} unsigned") } else { name.to_owned() };
    match column.ty {
        C::Tiny => sign("tinyint"),
        C::Short => sign("smallint"),
        C::Int24 => sign("mediumint"),
        C::Long => sign("int"),
        C::LongLong => sign("bigint"),
        C::Float => sign("float"),
        C::Double => sign("double"),
        C::Decimal { precision, scale } => sign(&format!("decimal({precision},{scale})")),
        C::Bit { bits } => format!("bit({bits})"),
        C::Year => "year".into(),
        C::Date => "date".into(),
        C::TimeOld => "time".into(),
        C::DateTimeOld => "datetime".into(),
        C::TimestampOld => "timestamp".into(),
        C::Time { fsp } => digits("time", fsp),
        C::DateTime { fsp } => digits("datetime", fsp),
        C::Timestamp { fsp } => digits("timestamp", fsp),
        C::Char { max_bytes } if binary => format!("binary({max_bytes})"),
        C::Char { max_bytes } => format!("char({})", chars(max_bytes)),
        C::VarChar { max_bytes } | C::VarCharCompressed { max_bytes } if binary => format!("varbinary({max_bytes})"),
        C::VarChar { max_bytes } | C::VarCharCompressed { max_bytes } => format!("varchar({})", chars(max_bytes)),
        C::Blob { length_bytes } | C::BlobCompressed { length_bytes } => {
            let size = match length_bytes {
                1 => "tiny",
                2 => "",
                3 => "medium",
                _ => "long",
            };
            format!("{size}{}", if binary { "blob" } else { "text" })
        }
        C::Enum { .. } => labels("enum", &column.labels),
        C::Set { .. } => labels("set", &column.labels),
        C::Json { .. } => "json".into(),
        C::Geometry { .. } => geometry(column.geometry_type).into(),
        C::Vector { .. } => "vector".into(),
        C::Uuid => "uuid".into(),
        C::Inet6 => "inet6".into(),
        C::Inet4 => "inet4".into(),
        C::Unsupported { code } => format!("type {code}"),
    }
}

fn labels(name: &str, labels: &[Option<String>]) -> String {
    let mut out = format!("{name}(");
    for (i, label) in labels.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(out, "{comma}'{}'", label.as_deref().unwrap_or("?").replace('\'', "''"));
    }
    out.push(')');
    out
}

/// Numbers of the OGC types, as WKB has them.
pub(super) const GEOMETRIES: [&str; 8] =
    ["geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geomcollection"];

fn geometry(code: u8) -> &'static str {
    GEOMETRIES.get(usize::from(code)).copied().unwrap_or("geometry")
}

/// The number of a geometry type's name, 0 for the general one.
pub(super) fn geometry_code(name: &str) -> u8 {
    let name = if name == "geometrycollection" { "geomcollection" } else { name };
    (0u8..).zip(GEOMETRIES).find(|(_, known)| *known == name).map_or(0, |(code, _)| code)
}
