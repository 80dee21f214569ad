//! The machine with one feed of every table, which encodes nothing, and the log that it is given.

use binlake_pipeline::feed::{FeedSpec, Format, Order};
use binlake_pipeline::instance::{Instance, InstanceConfig, Limits};
use binlake_pipeline::io::Batch;
use binlake_pipeline::rule::{Columns, EventKinds, Rule, TablePatterns};
use binlake_pipeline::spill::MemorySpills;

/// `definitions`: whether it may ask for those that the log does not tell.
pub(crate) fn machine(definitions: bool) -> Instance {
    let rule = Rule {
        tables: TablePatterns::parse("*.*").unwrap(),
        events: EventKinds::default(),
        columns: Columns::new::<&str>(&[]).unwrap(),
    };
    let feed =
        FeedSpec { name: "f".into(), rule, format: Format::None, order: Order::Source, max_record_bytes: 900_000 };
    let config = InstanceConfig {
        source: "s".into(),
        feeds: vec![feed],
        limits: Limits::default(),
        headers: false,
        until: None,
        limit: None,
        definitions,
        catch_up: false,
    };
    Instance::new(config, Box::new(MemorySpills))
}

pub(crate) fn batch<'a>(log: impl IntoIterator<Item = &'a Vec<u8>>) -> Batch {
    let mut batch = Batch::default();
    for event in log {
        let start = batch.buf.len();
        batch.buf.extend_from_slice(event);
        batch.events.push(start..batch.buf.len());
    }
    batch
}
