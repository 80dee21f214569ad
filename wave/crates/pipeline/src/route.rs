//! Routing: which feeds want rows of a table, compiled once per TABLE_MAP.
//!
//! Feeds with equal format and equal columns share a [`Group`]: their rows are encoded once.

use binlog::schema::Table;

use crate::feed::{FeedSpec, Format};
use crate::format::{maxwell_json, row_batch};
use crate::rule::{EventKinds, RuleError};

/// The prepared encoder of a group.
#[derive(Debug)]
pub(crate) enum Plan {
    None,
    Text(crate::format::text::Style),
    MaxwellJson(Box<maxwell_json::Plan>),
    Binlake(Box<row_batch::Plan>),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub feed: usize,
    pub events: EventKinds,
    /// An update of the key is split into delete and insert.
    pub split_key: bool,
}

#[derive(Debug)]
pub(crate) struct Group {
    pub columns: Option<Vec<u16>>,
    pub plan: Plan,
    pub members: Vec<Member>,
}

/// A table with the feeds that want its rows.
#[derive(Debug)]
pub(crate) struct Route {
    pub table: Table,
    /// The TABLE_MAP event's body after the table id, to recognise the same map when it comes again.
    pub map: Vec<u8>,
    pub groups: Vec<Group>,
}

impl Route {
    /// Compiles the routing of `table` for the feeds that are `live`.
    ///
    /// # Errors
    /// The rule of this feed names a column that the table does not have.
    pub(crate) fn new(
        table: Table,
        map: &[u8],
        feeds: &[FeedSpec],
        live: impl Fn(usize) -> bool,
    ) -> Result<Route, (usize, RuleError)> {
        let mut groups: Vec<Group> = Vec::new();
        for (index, feed) in feeds.iter().enumerate() {
            if !live(index) || !feed.rule.tables.matches(&table.database, &table.name) {
                continue;
            }
            let columns = feed.rule.columns.select(&table).map_err(|e| (index, e))?;
            let member = Member {
                feed: index,
                events: feed.rule.events,
                split_key: feed.order == crate::feed::Order::RowKey && !table.primary_key.is_empty(),
            };
            let same = |g: &Group| g.columns == columns && same_plan(&g.plan, &feed.format);
            if let Some(group) = groups.iter_mut().find(|g| same(g)) {
                group.members.push(member);
                continue;
            }
            let plan = match &feed.format {
                Format::None => Plan::None,
                Format::Text(style) => Plan::Text(style.clone()),
                Format::MaxwellJson(options) => {
                    Plan::MaxwellJson(Box::new(maxwell_json::Plan::new(&table, columns.as_deref(), options)))
                }
                Format::Binlake => Plan::Binlake(Box::new(row_batch::Plan::new(&table, columns.as_deref()))),
            };
            groups.push(Group { columns, plan, members: vec![member] });
        }
        Ok(Route { table, map: map.to_vec(), groups })
    }

    #[must_use]
    pub(crate) fn wanted(&self) -> bool {
        !self.groups.is_empty()
    }
}

fn same_plan(plan: &Plan, format: &Format) -> bool {
    match (plan, format) {
        (Plan::None, Format::None) | (Plan::Binlake(_), Format::Binlake) => true,
        (Plan::Text(a), Format::Text(b)) => a == b,
        (Plan::MaxwellJson(plan), Format::MaxwellJson(options)) => plan.options() == options,
        _ => false,
    }
}
