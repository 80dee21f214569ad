//! The changes of a workload against its snapshots.
//!
//! Per step and row, the first change must start from what the server said before the step, and the last one must end in
//! what it says after it. Absent cells are allowed only where the row image leaves them out.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use crate::change::{Change, Image, Value};
use crate::compare::{came_as_number, came_as_text, hidden_labels, same};
use crate::json::Json;
use crate::script::{Fields, Snapshot, Step};
use crate::settings::{Image as RowImage, Settings};
use crate::spec::{Column, Kind, Table};

/// The form that is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Maxwell,
    RowBatch,
    /// What `mysqlbinlog` prints: the oracle checked against the oracle, to find wrong expectations.
    Tool,
}

#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) cells: u64,
    pub(crate) wrong: Vec<String>,
}

pub(crate) struct Check<'a> {
    pub(crate) form: Form,
    pub(crate) settings: Settings,
    pub(crate) verdict: &'a mut Verdict,
}

/// The images of one change of one row.
#[derive(Clone, Copy)]
struct Link<'c> {
    before: Option<&'c Image>,
    after: Option<&'c Image>,
    /// Half of an update of the key.
    half: bool,
}

type Tables<'s> = HashMap<(&'s str, &'s str), &'s Snapshot>;

/// One end of a row's changes in a step, with what the server said before and after it.
struct End<'c> {
    image: &'c Image,
    wanted: &'c Fields,
    other: Option<&'c Fields>,
    after: bool,
    update: bool,
    single: bool,
}

impl Check<'_> {
    /// `database` is that of the marks.
    pub(crate) fn run(&mut self, steps: &[Step], snapshots: &[Vec<Snapshot>], changes: &[Change], database: &str) {
        let mut parts: Vec<Vec<&Change>> = vec![Vec::new()];
        for change in changes {
            if change.table == "mark" && change.database == database {
                parts.push(Vec::new());
            } else if let Some(part) = parts.last_mut() {
                part.push(change);
            }
        }
        if parts.len() != steps.len() + 1 {
            self.wrong(&format!("{} steps came, {} were made", parts.len() - 1, steps.len()));
        }
        let mut tables = Tables::new();
        for ((step, after), part) in steps.iter().zip(snapshots).zip(&parts) {
            self.step(&tables, after, part, !step.gone.is_empty());
            for (database, name) in &step.gone {
                tables.remove(&(database.as_str(), name.as_str()));
            }
            for snapshot in after {
                tables.insert((&snapshot.table.database, &snapshot.table.name), snapshot);
            }
        }
    }

    fn wrong(&mut self, what: &str) {
        self.verdict.wrong.push(format!("{:?}: {what}", self.form));
    }

    /// `renamed`: a table's rows may stand under a new name.
    fn step(&mut self, tables: &Tables<'_>, after: &[Snapshot], changes: &[&Change], renamed: bool) {
        let mut chains: BTreeMap<(&str, &str, i64), Vec<Link<'_>>> = BTreeMap::new();
        for change in changes {
            let (before, now) = (change.before.as_ref(), change.after.as_ref());
            let id = |image: Option<&Image>| image.map(|i| Change::id(i).unwrap_or(i64::MIN));
            let mut push = |id: i64, before, after, half| {
                let chain = chains.entry((&change.database, &change.table, id)).or_default();
                chain.push(Link { before, after, half });
            };
            match (id(before), id(now)) {
                // The image after an update has its key only when that changed.
                (Some(old), Some(new)) if new != i64::MIN && old != new => {
                    push(old, before, None, true);
                    push(new, None, now, true);
                }
                (Some(old), _) => push(old, before, now, false),
                (None, Some(new)) => push(new, None, now, false),
                (None, None) => self.wrong(&format!("{}.{}: a change without images", change.database, change.table)),
            }
        }
        for snapshot in after {
            let table = &snapshot.table;
            if self.form == Form::Tool && table.columns.iter().any(|c| c.ty.kind == Kind::Geometry) {
                // It gives up at such a column.
                chains.retain(|(_, name, _), _| *name != table.name);
                continue;
            }
            let known = tables.get(&(table.database.as_str(), table.name.as_str())).copied();
            let same_table = known.is_some_and(|k| Rc::ptr_eq(&k.table, table));
            let none = HashMap::new();
            let old = known.map_or(&none, |k| &k.rows);
            let ids: std::collections::BTreeSet<i64> = old.keys().chain(snapshot.rows.keys()).copied().collect();
            for id in ids {
                let chain = chains.remove(&(table.database.as_str(), table.name.as_str(), id)).unwrap_or_default();
                let (before, now) = (old.get(&id), snapshot.rows.get(&id));
                if chain.is_empty() {
                    if (same_table || (known.is_none() && !renamed)) && before != now && !table.silent {
                        let differs = |i: &usize| before.zip(now).is_some_and(|(a, b)| a[*i] != b[*i]);
                        let column = (0..table.columns.len()).find(differs).map(|i| {
                            let values = [before, now].map(|row| row.map(|row| &row[i]));
                            format!(", `{}` {:.40}: {values:.150?}", table.columns[i].name, table.columns[i].ty.sql)
                        });
                        let column = column.unwrap_or_default();
                        self.wrong(&format!("{} row {id}: a change is missing{column}", table.path()));
                    }
                    continue;
                }
                self.chain(table, id, &chain, before.filter(|_| same_table), now);
            }
        }
        for ((database, table, id), chain) in chains {
            // Rows that came and went within the step.
            let gone =
                chain.first().is_some_and(|c| c.before.is_none()) && chain.last().is_some_and(|c| c.after.is_none());
            if !gone {
                self.wrong(&format!("{database}.{table} row {id}: a change that nobody made"));
            }
        }
    }

    fn chain(&mut self, table: &Table, id: i64, chain: &[Link<'_>], before: Option<&Fields>, now: Option<&Fields>) {
        let (Some(first), Some(last)) = (chain.first(), chain.last()) else { return };
        if first.before.is_some() != before.is_some() || last.after.is_some() != now.is_some() {
            self.wrong(&format!(
                "{} row {id}: {} changes from {} to {}, but the server has {} and {}",
                table.path(),
                chain.len(),
                first.before.is_some(),
                last.after.is_some(),
                before.is_some(),
                now.is_some()
            ));
            return;
        }
        if chain.windows(2).any(|w| w[0].after.is_some() != w[1].before.is_some()) {
            self.wrong(&format!("{} row {id}: changes that do not follow each other", table.path()));
        }
        let single = chain.len() == 1 && !first.half;
        if let (Some(image), Some(wanted)) = (first.before, before) {
            let update = first.half || first.after.is_some();
            self.image(table, id, &End { image, wanted, other: now, after: false, update, single });
        }
        if let (Some(image), Some(wanted)) = (last.after, now) {
            let update = last.half || last.before.is_some();
            self.image(table, id, &End { image, wanted, other: before, after: true, update, single });
        }
    }

    fn image(&mut self, table: &Table, id: i64, end: &End<'_>) {
        let mut seen = 0;
        for (index, column) in table.columns.iter().enumerate() {
            let name = if self.form == Form::Tool { format!("@{}", index + 1) } else { column.name.clone() };
            let side = if end.after { "after" } else { "before" };
            let changed = end.other.is_some_and(|other| other[index] != end.wanted[index]);
            let Some(value) = end.image.get(&name) else {
                // What a server generates is not always in a row image: MariaDB 11.8 leaves it out of updates even of FULL.
                let inserted = end.after && !end.update;
                let whole = self.settings.image == RowImage::Full && inserted;
                let generated = !whole && column.ty.sql.contains("generated");
                if !generated && !self.may_be_absent(table, column, end, index, changed) {
                    self.wrong(&format!("{} row {id} {side} `{}` is absent", table.path(), column.name));
                }
                continue;
            };
            seen += 1;
            let old_has_more =
                self.form == Form::Maxwell && end.update && !end.after && end.single && column.name != "id";
            // MariaDB prints the negative zero like the other one.
            let zero = matches!(column.ty.kind, Kind::Float | Kind::Double)
                && matches!(end.wanted[index][0].as_deref(), Some("0" | "-0"));
            if old_has_more && !changed && !zero {
                self.wrong(&format!(
                    "{} row {id} `{}` {:.30} is in `old` as {value:.100?} and did not change: {:.100?}",
                    table.path(),
                    column.name,
                    column.ty.sql,
                    end.wanted[index]
                ));
            }
            if matches!(value, Value::Partial(_) | Value::Cell(proto::v1::value::Kind::JsonDiff(_))) {
                let before_is_known = self.settings.image == RowImage::Full;
                if before_is_known || !self.settings.partial_json || !end.after {
                    self.wrong(&format!("{} row {id} {side} `{}` is only partial", table.path(), column.name));
                }
            }
            if column.ty.kind == Kind::FixedBinary && came_as_text(value) == Some(self.settings.full_metadata) {
                let name = &column.name;
                self.wrong(&format!("{} row {id} {side} `{name}`: {value:?} has the wrong form", table.path()));
            }
            let as_text = matches!(value, Value::Json(Json::Text(_)));
            let as_array = matches!(value, Value::Json(Json::Array(_)));
            let wrong_form = if self.settings.full_metadata { as_array } else { as_text };
            if column.ty.kind == Kind::MariaVector && wrong_form {
                let name = &column.name;
                self.wrong(&format!("{} row {id} {side} `{name}`: {value:?} has the wrong form", table.path()));
            }
            let hidden = end.wanted[index][0].as_deref().is_some_and(|labels| hidden_labels(column.ty.kind, labels));
            if self.form != Form::Tool && hidden && came_as_number(value) == self.settings.full_metadata {
                let name = &column.name;
                self.wrong(&format!("{} row {id} {side} `{name}`: {value:?} has the wrong form", table.path()));
            }
            match same(&column.ty, &end.wanted[index], value) {
                Some(true) => self.verdict.cells += 1,
                None => {}
                Some(false) => self.wrong(&format!(
                    "{} row {id} {side} `{}` {:.30}: {:.200} instead of {:.200}",
                    table.path(),
                    column.name,
                    column.ty.sql,
                    format!("{value:?}"),
                    format!("{:?}", end.wanted[index])
                )),
            }
        }
        if seen != end.image.len() {
            self.wrong(&format!(
                "{} row {id}: {} columns that the table does not have",
                table.path(),
                end.image.len() - seen
            ));
        }
    }

    fn may_be_absent(&self, table: &Table, column: &Column, end: &End<'_>, index: usize, changed: bool) -> bool {
        // `old` has what changed, of which several changes of one row tell only their own part.
        if self.form == Form::Maxwell && end.update && !end.after {
            let in_image = self.settings.image == RowImage::Full;
            return !(in_image && changed && end.single);
        }
        let blob = ["text", "blob", "json", "geometry", "point", "vector"].iter().any(|t| column.ty.sql.contains(t));
        match self.settings.image {
            RowImage::Full => false,
            RowImage::NoBlob if !end.after => blob && table.keyed,
            RowImage::NoBlob => {
                blob && if end.update { !changed || !end.single } else { end.wanted[index][0].is_none() }
            }
            RowImage::Minimal if !end.after => table.keyed && column.name != "id",
            RowImage::Minimal if end.update => !changed || !end.single,
            RowImage::Minimal => end.wanted[index][0].is_none(),
        }
    }
}
