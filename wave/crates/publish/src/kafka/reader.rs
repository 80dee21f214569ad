//! A consumer without a group: all partitions of one topic, from where the caller says.

use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::errors::{Class, LastError, class};
use super::{KafkaConfig, config_error};
use crate::{ReadError, Reader, Start, StoredRecord};

const ANSWER: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Errors(LastError);

impl ClientContext for Errors {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        LastError::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.set(&error, reason);
    }
}

impl ConsumerContext for Errors {}

/// Reads one topic; see [`Reader`]. Commits nothing and joins no group.
pub struct KafkaReader {
    consumer: BaseConsumer<Errors>,
    config: KafkaConfig,
    topic: String,
    partitions: i32,
    /// Of each partition, whether its end was told since the last record of it.
    ended: Vec<bool>,
}

impl std::fmt::Debug for KafkaReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaReader").field("config", &self.config).field("topic", &self.topic).finish()
    }
}

impl KafkaReader {
    /// Connects and starts to read. Only connection properties of `config` should be set: properties of producers are
    /// taken but have no effect.
    ///
    /// # Errors
    /// `Config` for bad settings, `NotFound` for a missing topic, `Denied`, `Unavailable` when no broker answers.
    pub fn open(config: &KafkaConfig, topic: &str, start: Start) -> Result<Self, ReadError> {
        let mut client = config.client();
        client
            // The library wants a name; nothing is ever stored under it.
            .set("group.id", "binlake-read")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("allow.auto.create.topics", "false");
        let consumer: BaseConsumer<Errors> =
            client.create_with_context(Errors::default()).map_err(|error| ReadError::Config(config_error(&error)))?;
        let mut reader =
            KafkaReader { consumer, config: config.clone(), topic: topic.to_owned(), partitions: 0, ended: Vec::new() };
        let metadata = reader.describe()?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        match found.and_then(MetadataTopic::error).map(Code::from) {
            None | Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => {}
            Some(code) => return Err(reader.refused(code)),
        }
        let Some(found) = found.filter(|found| !found.partitions().is_empty()) else {
            return Err(ReadError::NotFound(format!("kafka {}: topic {topic} does not exist", config.bootstrap)));
        };
        reader.partitions = i32::try_from(found.partitions().len()).unwrap_or(i32::MAX);
        reader.seek(start)?;
        Ok(reader)
    }

    fn describe(&self) -> Result<Metadata, ReadError> {
        let deadline = Instant::now() + ANSWER;
        loop {
            let error = match self.consumer.fetch_metadata(Some(&self.topic), Duration::from_secs(1)) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => self.failed(&error),
            };
            if matches!(error, ReadError::Denied(_)) || Instant::now() >= deadline {
                return Err(error);
            }
        }
    }

    fn failed(&self, error: &KafkaError) -> ReadError {
        // The reason is among what has happened, behind log lines.
        for _ in 0..20 {
            let _ = self.consumer.poll(Duration::from_millis(1));
        }
        let context = &self.consumer.context().0;
        match context.denied() {
            Some(reason) => ReadError::Denied(self.config.not_let_in(&reason)),
            None => ReadError::Unavailable(context.explain(&format!("kafka {}: {error}", self.config.bootstrap))),
        }
    }

    /// What the broker says of the topic.
    fn refused(&self, code: Code) -> ReadError {
        let topic = format!("kafka {}: topic {}", self.config.bootstrap, self.topic);
        match class(code) {
            Class::Denied => {
                let principal = self.config.principal();
                ReadError::Denied(format!(
                    "{topic}: {principal} may not read it: grant it Read and Describe on the topic ({code})"
                ))
            }
            _ => ReadError::NotFound(format!("{topic}: {code}")),
        }
    }

    fn has(&self, partition: i32, offset: i64) -> Result<(), ReadError> {
        let (earliest, end) =
            self.consumer.fetch_watermarks(&self.topic, partition, ANSWER).map_err(|error| self.failed(&error))?;
        let partition = partition.cast_unsigned();
        if offset < earliest {
            return Err(ReadError::Gone { partition, wanted: offset, earliest });
        }
        if offset > end {
            return Err(ReadError::beyond(&self.topic, partition, offset, end));
        }
        Ok(())
    }

    fn set_ended(&mut self, partition: u32, ended: bool) {
        if let Some(known) = self.ended.get_mut(partition as usize) {
            *known = ended;
        }
    }

    fn list(&self, offset: Offset) -> Result<TopicPartitionList, ReadError> {
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions {
            list.add_partition_offset(&self.topic, partition, offset).map_err(|error| self.failed(&error))?;
        }
        Ok(list)
    }
}

impl Reader for KafkaReader {
    fn seek(&mut self, start: Start) -> Result<(), ReadError> {
        let list = match start {
            Start::Earliest => self.list(Offset::Beginning)?,
            Start::Latest => self.list(Offset::End)?,
            Start::Offset(offset) => {
                (0..self.partitions).try_for_each(|partition| self.has(partition, offset))?;
                self.list(Offset::Offset(offset))?
            }
            Start::Time(time_ms) => {
                let times = self.list(Offset::Offset(time_ms))?;
                self.consumer.offsets_for_times(times, ANSWER).map_err(|error| self.failed(&error))?
            }
        };
        self.ended = vec![false; usize::try_from(self.partitions).unwrap_or_default()];
        self.consumer.assign(&list).map_err(|error| self.failed(&error))
    }

    fn behind(&self) -> Option<u32> {
        self.ended.iter().position(|ended| !ended).and_then(|partition| u32::try_from(partition).ok())
    }

    fn next(&mut self, wait: Duration) -> Result<Option<StoredRecord>, ReadError> {
        let begin = Instant::now();
        loop {
            match self.consumer.poll(wait.saturating_sub(begin.elapsed())) {
                None => return Ok(None),
                Some(Ok(message)) => {
                    let record = stored(&message);
                    drop(message);
                    self.set_ended(record.partition, false);
                    return Ok(Some(record));
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => self.set_ended(partition.cast_unsigned(), true),
                // librdkafka tries on by itself; what a retry cannot mend is told.
                Some(Err(error)) => match error.rdkafka_error_code() {
                    Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                        return Err(ReadError::NotFound(format!("kafka {}: {error}", self.config.bootstrap)));
                    }
                    Some(code @ Code::TopicAuthorizationFailed) => return Err(self.refused(code)),
                    // The library asks for the group, which is never joined.
                    Some(
                        Code::BrokerTransportFailure
                        | Code::AllBrokersDown
                        | Code::Resolve
                        | Code::GroupAuthorizationFailed,
                    ) => {
                        if begin.elapsed() >= wait {
                            return Ok(None);
                        }
                    }
                    _ => return Err(self.failed(&error)),
                },
            }
        }
    }
}

fn stored(message: &BorrowedMessage<'_>) -> StoredRecord {
    let headers = message.headers();
    let header = headers.and_then(|all| all.iter().find(|header| header.key == proto::header::HEADER_NAME));
    StoredRecord {
        partition: message.partition().cast_unsigned(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        header: header.and_then(|header| header.value).unwrap_or_default().to_vec(),
        value: message.payload().unwrap_or_default().to_vec(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
    }
}
