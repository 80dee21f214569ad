//! Columns of the log that INFORMATION_SCHEMA.COLUMNS leaves out (MariaDB knowledge base: "System-Versioned Tables", "Unique
//! Constraints with Blobs"; MySQL manual: "Generated Invisible Primary Keys").

use binlog::schema::ColumnDefinition;
use mysql_wire::Flavor;
use pipeline::io::Failure;

use crate::sql::Sql;

/// Asks MySQL to list its generated primary keys as well; a server that does not know the wish has none.
pub(crate) fn show_generated_keys(sql: &mut Sql) {
    if sql.flavor() == Flavor::MySql {
        sql.value("SET SESSION show_gipk_in_create_table_and_information_schema = ON");
    }
}

/// Those of MariaDB behind the listed ones, in the order of the log: when a row of a versioned table counts, then a hash per
/// UNIQUE whose values are too long for an index. `of_table` is the condition that finds the table.
pub(crate) fn behind(sql: &mut Sql, of_table: &str) -> Result<Vec<ColumnDefinition>, Failure> {
    let mut columns = Vec::new();
    if sql.flavor() != Flavor::MariaDb {
        return Ok(columns);
    }
    let kinds = sql.query(&format!("SELECT TABLE_TYPE, ENGINE FROM information_schema.TABLES WHERE {of_table}"))?;
    if kinds.text(0, 0).as_deref() == Some("SYSTEM VERSIONED") {
        let listed = sql.query(&format!(
            "SELECT COUNT(*) FROM information_schema.COLUMNS WHERE {of_table} AND GENERATION_EXPRESSION = 'ROW START'"
        ))?;
        if listed.text(0, 0).as_deref() == Some("0") {
            columns.extend(["row_start", "row_end"].map(|name| column(name, "timestamp(6)", false)));
        }
    }
    // There it is an index like any other.
    if kinds.text(0, 1).as_deref() != Some("MEMORY") {
        let hashes = sql.query(&format!(
            "SELECT COUNT(*) FROM information_schema.STATISTICS \
             WHERE {of_table} AND INDEX_TYPE = 'HASH' AND NON_UNIQUE = 0 AND SEQ_IN_INDEX = 1"
        ))?;
        let count: usize = hashes.text(0, 0).and_then(|n| n.parse().ok()).unwrap_or(0);
        columns.extend((1..=count).map(|n| column(&format!("DB_ROW_HASH_{n}"), "bigint(20) unsigned", true)));
    }
    Ok(columns)
}

fn column(name: &str, column_type: &str, nullable: bool) -> ColumnDefinition {
    ColumnDefinition {
        name: name.to_string(),
        column_type: column_type.to_string(),
        nullable,
        charset: None,
        key_part: None,
        extra: "INVISIBLE".to_string(),
    }
}
