//! TABLE_MAP and definition → [`Table`] (metadata: WL#4618; what a definition says: manual, "The INFORMATION_SCHEMA COLUMNS
//! Table").

use super::definition::{self, SqlType};
use super::sql_type::geometry_code;
use super::{Column, ColumnDefinition, ColumnType, SchemaSource, Table, TableDefinition, has_charset, sql_type};
use crate::charset::Charset;
use crate::error::{Error, Result};
use crate::table_map::{Collations, OptionalMetadata, TableMap, msb_bit};

impl Table {
    /// The table that the rows after `map` belong to. Names come from the log when it has them
    /// (`binlog_row_metadata=FULL`), else from `definition`, else they are `@1`, `@2`, ….
    ///
    /// The first servers with that setting (MySQL 8.0.12 is one) log labels of ENUM and SET without their character set. Such
    /// a table needs the definition as well: without it its source is [`SchemaSource::Unnamed`] and the labels are unknown. So
    /// does a table of MariaDB with times in the form of before 10.1.2 (`mysql56_temporal_format=OFF`), whose fractional
    /// digits are in its definition only; with such digits it is refused.
    ///
    /// # Errors
    /// Malformed metadata; [`Error::DefinitionMismatch`] when number, types, names, signs or character sets of the
    /// definition are not those of the log. A definition is not looked at when the log has all.
    pub fn compile(map: &TableMap<'_>, definition: Option<&TableDefinition>) -> Result<Self> {
        let types = map.column_types()?;
        let optional = map.optional()?;
        let mut columns = from_log(map, &types, &optional)?;
        let has_labels = optional.enum_labels.is_some() || optional.set_labels.is_some();
        let labels_are_known = optional.label_collations.is_some() || !has_labels;
        let source = if optional.names.is_some() && labels_are_known && !may_have_fractions(map, &types) {
            SchemaSource::Log
        } else if let Some(definition) = definition {
            let known = Known { unsigned: optional.unsigned.is_some(), names: optional.names.is_some() };
            apply(&mut columns, definition, &known)
                .map_err(|detail| Error::DefinitionMismatch { table: table_name(map), detail })?;
            SchemaSource::Definition
        } else {
            SchemaSource::Unnamed
        };
        if map.is_mariadb() {
            hide_row_hashes(&mut columns);
        }
        for column in &mut columns {
            if column.sql_type.is_empty() {
                column.sql_type = sql_type::describe(column);
            }
        }
        Ok(Self::new(lossy(map.database), lossy(map.table), columns, source))
    }
}

/// A user may give a column such a name, but then it hardly stands last as a BIGINT UNSIGNED that may be NULL.
fn hide_row_hashes(columns: &mut [Column]) {
    let number = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
    let is_hash = |column: &&mut Column| {
        let named = column.name.strip_prefix("DB_ROW_HASH_").is_some_and(number);
        named && column.ty == ColumnType::LongLong && column.unsigned && column.nullable
    };
    columns.iter_mut().rev().take_while(is_hash).for_each(|column| column.hidden = true);
}

/// MariaDB 5.3 gave the old types longer values with fractions of seconds, which the log does not tell.
fn may_have_fractions(map: &TableMap<'_>, types: &[ColumnType]) -> bool {
    use ColumnType as C;
    map.is_mariadb() && types.iter().any(|ty| matches!(ty, C::TimeOld | C::DateTimeOld | C::TimestampOld))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn table_name(map: &TableMap<'_>) -> String {
    format!("{}.{}", lossy(map.database), lossy(map.table))
}

/// Which attributes the log told, where the column alone does not show it.
struct Known {
    unsigned: bool,
    names: bool,
}

/// The kinds of columns over which the lists of the optional metadata go, counted so far.
#[derive(Default)]
struct Ordinals {
    numeric: usize,
    character: usize,
    label: usize,
    enums: usize,
    sets: usize,
    geometry: usize,
    vector: usize,
}

fn next(counter: &mut usize) -> usize {
    *counter += 1;
    *counter - 1
}

fn from_log(map: &TableMap<'_>, types: &[ColumnType], optional: &OptionalMetadata<'_>) -> Result<Vec<Column>> {
    use ColumnType as C;
    let malformed = |detail: String| Error::Malformed { what: "TABLE_MAP optional metadata", detail };
    if let Some(names) = optional.names.as_ref().filter(|names| names.len() != types.len()) {
        return Err(malformed(format!("{} names for {} columns", names.len(), types.len())));
    }
    let extra = extra_characters(map, types, optional)?;
    let mut at = Ordinals::default();
    let mut columns = Vec::with_capacity(types.len());
    for (index, ty) in types.iter().copied().enumerate() {
        let name = optional.names.as_ref().and_then(|names| names.get(index));
        let name = name.map_or_else(|| format!("@{}", index + 1), |n| lossy(n));
        let charset = if has_charset(ty) { Charset::Untold } else { Charset::Binary };
        let mut column = Column {
            nullable: map.nullable(index),
            visible: optional.visible.is_none_or(|bits| msb_bit(bits, index)),
            ..Column::new(name, ty, charset)
        };
        match ty {
            C::Tiny | C::Short | C::Int24 | C::Long | C::LongLong | C::Float | C::Double | C::Decimal { .. } => {
                let ordinal = next(&mut at.numeric);
                column.unsigned = optional.unsigned.is_some_and(|bits| msb_bit(bits, ordinal));
            }
            // It has a bit, which says nothing.
            C::Year => at.numeric += 1,
            C::Char { .. }
            | C::VarChar { .. }
            | C::Blob { .. }
            | C::VarCharCompressed { .. }
            | C::BlobCompressed { .. } => {
                column.set_collation(optional.collations.as_ref(), next(&mut at.character));
            }
            C::Enum { .. } | C::Set { .. } => {
                column.set_collation(optional.label_collations.as_ref(), next(&mut at.label));
                let labels = if matches!(ty, C::Enum { .. }) {
                    optional.enum_labels.as_ref().and_then(|all| all.get(next(&mut at.enums)))
                } else {
                    optional.set_labels.as_ref().and_then(|all| all.get(next(&mut at.sets)))
                };
                if let Some(labels) = labels.filter(|_| optional.label_collations.is_some()) {
                    if let Some(reason) = column.unreadable_text() {
                        return Err(malformed(reason));
                    }
                    column.labels =
                        labels.iter().map(|l| column.charset.decode_to_string(l).map(Some)).collect::<Result<_>>()?;
                }
            }
            C::Geometry { .. } => {
                let ordinal = next(&mut at.geometry);
                column.geometry_type =
                    optional.geometry_types.as_ref().and_then(|all| all.get(ordinal)).copied().unwrap_or(0);
                at.character += usize::from(extra == Extra::Geometry);
            }
            C::Vector { .. } => {
                at.character += usize::from(extra == Extra::Vector);
                let ordinal = next(&mut at.vector);
                if let Some(n) = optional.vector_dimensions.as_ref().and_then(|all| all.get(ordinal)) {
                    column.sql_type = format!("vector({n})");
                }
            }
            _ => {}
        }
        columns.push(column);
    }
    for (part, index) in (0u16..).zip(optional.primary_key.iter().flatten()) {
        let column = columns.get_mut(*index).ok_or_else(|| malformed(format!("key column {index}")))?;
        column.key_part = Some(part);
    }
    Ok(columns)
}

/// What else than character columns the list of collations goes over (seen on MariaDB 10.11 and MySQL 9.7).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extra {
    None,
    Geometry,
    Vector,
}

/// Finds out, and checks that the list is as long as it has to be: a list that is read shifted gives wrong text.
fn extra_characters(map: &TableMap<'_>, types: &[ColumnType], optional: &OptionalMetadata<'_>) -> Result<Extra> {
    use ColumnType as C;
    let usual = if map.is_mariadb() { Extra::Geometry } else { Extra::Vector };
    let Some(Collations::Each(each)) = &optional.collations else { return Ok(usual) };
    let count = |extra: Extra| {
        let counts = |ty: &&ColumnType| match ty {
            C::Geometry { .. } => extra == Extra::Geometry,
            C::Vector { .. } => extra == Extra::Vector,
            C::Enum { .. } | C::Set { .. } => false,
            other => has_charset(**other),
        };
        types.iter().filter(counts).count()
    };
    let unknown = types.iter().any(|ty| matches!(ty, C::Unsupported { .. }));
    match [usual, Extra::None].into_iter().find(|extra| count(*extra) == each.len()) {
        Some(extra) => Ok(extra),
        None if unknown => Ok(usual),
        None => Err(Error::Malformed {
            what: "TABLE_MAP optional metadata",
            detail: format!("{} collations for {} character columns", each.len(), count(Extra::None)),
        }),
    }
}

impl Column {
    fn set_collation(&mut self, collations: Option<&Collations>, ordinal: usize) {
        let collation = collations.and_then(|c| c.get(ordinal));
        self.collation = collation.unwrap_or(0);
        self.charset = collation.map_or(Charset::Untold, Charset::from_collation);
    }
}

/// Puts names and what else the log does not tell into `columns`; the error says what contradicts the log.
fn apply(columns: &mut [Column], definition: &TableDefinition, known: &Known) -> std::result::Result<(), String> {
    if columns.len() != definition.columns.len() {
        return Err(format!("{} columns in the log, {} defined", columns.len(), definition.columns.len()));
    }
    for (column, defined) in columns.iter_mut().zip(&definition.columns) {
        apply_column(column, defined, known)?;
    }
    Ok(())
}

fn apply_column(column: &mut Column, defined: &ColumnDefinition, known: &Known) -> std::result::Result<(), String> {
    let sql = SqlType::parse(&defined.column_type);
    let charset = definition::charset(defined);
    let differs = |what: &str| Err(format!("{what} of column `{}` ({})", defined.name, defined.column_type));
    if known.names && column.name != defined.name {
        return differs("name");
    }
    if !definition::fits(column.ty, &sql, charset) {
        return differs(&format!("type {:?}", column.ty));
    }
    if known.unsigned && is_number(column.ty) && column.unsigned != sql.unsigned() {
        return differs("sign");
    }
    if has_charset(column.ty) {
        if !matches!(column.charset, Charset::Unknown | Charset::Untold) && column.charset != charset {
            return differs(&format!("character set {}", column.charset.name()));
        }
        column.charset = charset;
    }
    if let Some(ty) = definition::told(column.ty, &sql) {
        column.ty = ty;
    }
    if column.nullable != defined.nullable {
        return differs("nullability");
    }
    if matches!(column.ty, ColumnType::Enum { .. } | ColumnType::Set { .. }) {
        // INFORMATION_SCHEMA is in utf8mb3: of a character that has no place there it says `?`, as of `?` itself.
        let may_hide = charset.has_supplementary();
        column.labels = sql.labels().into_iter().map(|l| (!may_hide || !l.contains('?')).then_some(l)).collect();
    }
    if matches!(column.ty, ColumnType::Geometry { .. }) {
        column.geometry_type = geometry_code(&sql.base);
    }
    column.unsigned = is_number(column.ty) && sql.unsigned();
    let extra = defined.extra.to_ascii_uppercase();
    column.generated = ["STORED GENERATED", "VIRTUAL GENERATED", "PERSISTENT"].iter().any(|word| extra.contains(word));
    column.visible = !extra.contains("INVISIBLE");
    column.key_part = defined.key_part;
    column.name.clone_from(&defined.name);
    column.sql_type.clone_from(&defined.column_type);
    Ok(())
}

fn is_number(ty: ColumnType) -> bool {
    use ColumnType as C;
    matches!(ty, C::Tiny | C::Short | C::Int24 | C::Long | C::LongLong | C::Float | C::Double | C::Decimal { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_times_of_mariadb_need_the_definition() {
        let body = [
            1, 0, 0, 0, 0, 0, 1, 0, 1, b'd', 0, 1, b't', 0, 1, 11, 0, 1, // TIME in the old form that may be NULL
            4, 2, 1, b't', // name
        ];
        let definition = |column_type: &str| TableDefinition {
            database: "d".into(),
            name: "t".into(),
            columns: vec![ColumnDefinition {
                name: "t".into(),
                column_type: column_type.into(),
                nullable: true,
                charset: None,
                key_part: None,
                extra: String::new(),
            }],
        };
        let mysql = TableMap::parse(&body, 6, false).unwrap();
        assert_eq!(Table::compile(&mysql, None).unwrap().source, SchemaSource::Log);
        let mariadb = TableMap::parse(&body, 6, true).unwrap();
        assert_eq!(Table::compile(&mariadb, None).unwrap().source, SchemaSource::Unnamed);
        assert_eq!(Table::compile(&mariadb, Some(&definition("time"))).unwrap().source, SchemaSource::Definition);
        assert!(Table::compile(&mariadb, Some(&definition("time(3)"))).is_err());
    }

    #[test]
    fn types_of_fixed_length_are_known_by_the_definition() {
        let body = [
            1, 0, 0, 0, 0, 0, 1, 0, 1, b'd', 0, 1, b't', 0, 1, 254, 2, 254, 16, 0, // BINARY(16) NOT NULL
            2, 1, 63, // its collation
        ];
        let map = TableMap::parse(&body, 6, true).unwrap();
        let types = ["uuid", "inet6", "binary(16)", "inet4"].map(|column_type| {
            let column = ColumnDefinition {
                name: "a".into(),
                column_type: column_type.into(),
                nullable: false,
                charset: None,
                key_part: None,
                extra: String::new(),
            };
            let definition = TableDefinition { database: "d".into(), name: "t".into(), columns: vec![column] };
            Table::compile(&map, Some(&definition)).ok().map(|t| (t.columns[0].ty, t.columns[0].sql_type.clone()))
        });
        let named = |ty, sql_type: &str| Some((ty, sql_type.to_owned()));
        assert_eq!(types[0], named(ColumnType::Uuid, "uuid"));
        assert_eq!(types[1], named(ColumnType::Inet6, "inet6"));
        assert_eq!(types[2], named(ColumnType::Char { max_bytes: 16 }, "binary(16)"));
        assert_eq!(types[3], None, "it has four bytes");
        assert_eq!(Table::compile(&map, None).unwrap().columns[0].ty, ColumnType::Char { max_bytes: 16 });
    }

    #[test]
    fn vectors_of_mariadb_are_known_by_the_definition() {
        let types = [8u16, 400].map(|bytes| {
            let mut body = vec![1, 0, 0, 0, 0, 0, 1, 0, 1, b'd', 0, 1, b't', 0, 1, 15, 2]; // VARBINARY
            body.extend_from_slice(&bytes.to_le_bytes());
            body.push(1);
            let column = ColumnDefinition {
                name: "v".into(),
                column_type: format!("vector({})", bytes / 4),
                nullable: true,
                charset: None,
                key_part: None,
                extra: String::new(),
            };
            let definition = TableDefinition { database: "d".into(), name: "t".into(), columns: vec![column] };
            let map = TableMap::parse(&body, 6, true).unwrap();
            Table::compile(&map, Some(&definition)).unwrap().columns[0].ty
        });
        assert_eq!(types, [1, 2].map(|length_bytes| ColumnType::Vector { length_bytes }));
    }

    #[test]
    fn labels_without_character_set_need_the_definition() {
        let body = [
            1, 0, 0, 0, 0, 0, 1, 0, 1, b'd', 0, 1, b't', 0, 1, 254, 2, 247, 1, 1, // ENUM that may be NULL
            4, 2, 1, b'e', 6, 4, 1, 2, 0xd6, 0xd0, // name, and a label in gbk
        ];
        let map = TableMap::parse(&body, 6, false).unwrap();
        let unlabeled = Table::compile(&map, None).unwrap();
        assert_eq!((unlabeled.source, unlabeled.columns[0].labels.len()), (SchemaSource::Unnamed, 0));
        assert_eq!(unlabeled.columns[0].name, "e");
        let definition = |name: &str| TableDefinition {
            database: "d".into(),
            name: "t".into(),
            columns: vec![ColumnDefinition {
                name: name.into(),
                column_type: "enum('中')".into(),
                nullable: true,
                charset: Some("gbk".into()),
                key_part: None,
                extra: String::new(),
            }],
        };
        let table = Table::compile(&map, Some(&definition("e"))).unwrap();
        assert_eq!((table.source, &*table.columns[0].labels), (SchemaSource::Definition, &[Some("中".to_owned())][..]));
        assert!(matches!(Table::compile(&map, Some(&definition("x"))), Err(Error::DefinitionMismatch { .. })));
    }

    #[test]
    fn labels_that_the_definition_cannot_say_are_unknown() {
        let body = [1, 0, 0, 0, 0, 0, 1, 0, 1, b'd', 0, 1, b't', 0, 1, 254, 2, 247, 1, 1];
        let map = TableMap::parse(&body, 6, false).unwrap();
        let labels = |charset: &str| {
            let column = ColumnDefinition {
                name: "e".into(),
                column_type: "enum('a','?')".into(),
                nullable: true,
                charset: Some(charset.into()),
                key_part: None,
                extra: String::new(),
            };
            let definition = TableDefinition { database: "d".into(), name: "t".into(), columns: vec![column] };
            Table::compile(&map, Some(&definition)).unwrap().columns[0].labels.clone()
        };
        let known = |label: &str| Some(label.to_owned());
        assert_eq!(*labels("utf8mb4"), [known("a"), None]);
        assert_eq!(*labels("gb18030"), [known("a"), None]);
        assert_eq!(*labels("utf8mb3"), [known("a"), known("?")]);
        assert_eq!(*labels("latin1"), [known("a"), known("?")]);
    }
}
