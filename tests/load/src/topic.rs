//! The topic that is read back.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use proto::header::RecordHeader;
use publish::kafka::{KafkaConfig, KafkaReader};
use publish::local::LocalTopicReader;
use publish::{ReadError, Reader, Start};

use crate::args::{Args, Wrong};

/// `kafka://HOST:PORT/TOPIC` or `local:DIR/TOPIC`.
pub(crate) fn open(place: &str, start: Start) -> anyhow::Result<Box<dyn Reader + Send>> {
    let (before, topic) = place.rsplit_once('/').unwrap_or_default();
    let shape = || Wrong(format!("--consume: {place:?} is neither kafka://HOST:PORT/TOPIC nor local:DIR/TOPIC"));
    if topic.is_empty() {
        return Err(shape().into());
    }
    if let Some(bootstrap) = before.strip_prefix("kafka://") {
        let mut config = KafkaConfig::new(bootstrap);
        // The broker answers as soon as there is a byte; what is asked for meanwhile must not wait for the next look.
        for (name, value) in [("fetch.wait.max.ms", "20"), ("fetch.min.bytes", "1"), ("fetch.queue.backoff.ms", "1")] {
            config.properties.insert(name.to_owned(), value.to_owned());
        }
        return Ok(Box::new(KafkaReader::open(&config, topic, start)?));
    }
    if let Some(dir) = before.strip_prefix("local:") {
        let mut reader = LocalTopicReader::open(Path::new(dir), topic)?;
        reader.seek(start)?;
        return Ok(Box::new(reader));
    }
    Err(shape().into())
}

/// [`open`], waiting for a topic that is made at its first record.
pub(crate) fn open_when_there(place: &str, start: Start, within: Duration) -> anyhow::Result<Box<dyn Reader + Send>> {
    let end = Instant::now() + within;
    loop {
        match open(place, start) {
            Err(error) if error.is::<ReadError>() && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(200));
            }
            other => return other,
        }
    }
}

/// Counts records and the rows that their headers tell of; a record without a header counts as a row.
pub(crate) fn count(mut args: Args, stop: &AtomicBool) -> anyhow::Result<()> {
    let place: String = args.needed("consume")?;
    let quiet = Duration::from_secs(args.optional("quiet-seconds")?.unwrap_or(3));
    args.end()?;
    let mut reader = open(&place, Start::Earliest)?;
    let (mut records, mut rows, mut bytes, mut bare) = (0_u64, 0_u64, 0_u64, 0_u64);
    while !stop.load(Relaxed) {
        let Some(record) = reader.next(quiet).context("reading the topic")? else { break };
        records += 1;
        bytes += record.value.len() as u64;
        if record.header.is_empty() {
            bare += 1;
            rows += 1;
        } else {
            rows += u64::from(RecordHeader::decode(&record.header)?.rows);
        }
    }
    if records == 0 {
        bail!("the topic is empty");
    }
    println!("records={records} rows={rows} value_bytes={bytes} without_header={bare}");
    Ok(())
}
