//! What was delivered, read back from each form: `maxwell-json`, `RowBatch`, and what `mysqlbinlog -vv` prints.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use prost::Message;
use proto::v1;
use proto::v1::value::Kind as Cell;

use crate::json::Json;

/// One value as it was delivered.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Json(Json),
    Cell(Cell),
    /// The operations of a partial update whose document is not known, from the member `partial`.
    Partial(Json),
    /// As `mysqlbinlog` prints it.
    Printed(Vec<u8>),
}

/// The values of a row image by column; the log tool names columns `@1`, `@2`, ….
pub(crate) type Image = HashMap<String, Value>;

/// One change of a row.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) database: String,
    pub(crate) table: String,
    pub(crate) before: Option<Image>,
    pub(crate) after: Option<Image>,
}

impl Change {
    /// The number in the column `id` of an image.
    pub(crate) fn id(image: &Image) -> Option<i64> {
        match image.get("id").or_else(|| image.get("@1"))? {
            Value::Json(Json::Number(n)) => n.parse().ok(),
            Value::Cell(Cell::Int(n)) => Some(*n),
            Value::Printed(text) => std::str::from_utf8(text).ok()?.split(' ').next()?.parse().ok(),
            _ => None,
        }
    }
}

fn members(json: Option<&Json>) -> Image {
    match json {
        Some(Json::Object(members)) => members.iter().map(|(n, v)| (n.clone(), Value::Json(v.clone()))).collect(),
        _ => Image::new(),
    }
}

/// Lines of `maxwell-json`. The before-image of an update has what `old` has, and the key.
pub(crate) fn maxwell(output: &[u8]) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    for line in std::str::from_utf8(output).context("maxwell-json is not UTF-8")?.lines() {
        let json = Json::parse(line).with_context(|| format!("{line:.300}"))?;
        let text = |name: &str| json.get(name).and_then(Json::text).unwrap_or_default().to_owned();
        let mut data = members(json.get("data"));
        if let Some(Json::Object(partial)) = json.get("partial") {
            data.extend(partial.iter().map(|(n, v)| (n.clone(), Value::Partial(v.clone()))));
        }
        let (before, after) = match text("type").as_str() {
            "insert" => (None, Some(data)),
            "delete" => (Some(data), None),
            "update" => {
                let mut old = members(json.get("old"));
                if let Some(id) = data.get("id") {
                    old.entry("id".into()).or_insert_with(|| id.clone());
                }
                (Some(old), Some(data))
            }
            _ => continue,
        };
        changes.push(Change { database: text("database"), table: text("table"), before, after });
    }
    Ok(changes)
}

/// Length-delimited `RowBatch` messages.
pub(crate) fn batches(mut output: &[u8]) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    while !output.is_empty() {
        let batch = v1::RowBatch::decode_length_delimited(&mut output)?;
        for block in batch.blocks.iter().filter(|b| b.ddl.is_none()) {
            let schema = batch.schemas.get(block.schema as usize).context("a block without a schema")?;
            let image = |values: &[v1::Value]| -> Result<Image> {
                if values.len() != schema.columns.len() {
                    bail!("{} values for {} columns", values.len(), schema.columns.len());
                }
                let present = schema
                    .columns
                    .iter()
                    .zip(values)
                    .filter_map(|(column, value)| Some((column.name.clone(), Value::Cell(value.kind.clone()?))));
                Ok(present.collect())
            };
            for row in &block.rows {
                let op = row.op();
                changes.push(Change {
                    database: schema.database.clone(),
                    table: schema.table.clone(),
                    before: (op != v1::Op::Insert).then(|| image(&row.before)).transpose()?,
                    after: (op != v1::Op::Delete).then(|| image(&row.after)).transpose()?,
                });
            }
        }
    }
    Ok(changes)
}

/// The pseudo-SQL of `mysqlbinlog -vv --base64-output=decode-rows`.
pub(crate) fn printed(output: &[u8]) -> Result<Vec<Change>> {
    let mut changes: Vec<Change> = Vec::new();
    let mut in_before = false;
    for line in output.split(|b| *b == b'\n') {
        let Some(line) = line.strip_prefix(b"### ") else { continue };
        if let Some(value) = line.strip_prefix(b"  @") {
            let change = changes.last_mut().context("a value before any row")?;
            let at = value.iter().position(|b| *b == b'=').context("no =")?;
            let name = format!("@{}", String::from_utf8_lossy(&value[..at]));
            let rest = &value[at + 1..];
            let end = rest.windows(4).rposition(|w| w == b" /* ").unwrap_or(rest.len());
            let image = if in_before { &mut change.before } else { &mut change.after };
            image.get_or_insert_default().insert(name, Value::Printed(rest[..end].to_vec()));
            continue;
        }
        match line {
            b"WHERE" => in_before = true,
            b"SET" => in_before = false,
            _ => {
                let text = String::from_utf8_lossy(line);
                let Some(path) = ["INSERT INTO ", "UPDATE ", "DELETE FROM "].iter().find_map(|p| text.strip_prefix(p))
                else {
                    continue;
                };
                let (database, table) = path.trim_matches('`').split_once("`.`").context("no table")?;
                changes.push(Change { database: database.into(), table: table.into(), before: None, after: None });
            }
        }
    }
    Ok(changes)
}
