//! The producer of librdkafka, called directly where it is called per record.
//!
//! The producers of the crate `rdkafka` look the topic up by name for each record, and their reports come on a thread of
//! its own: memory taken on one thread is then given back on another, which costs more than all else that is done with a
//! report. Here a topic is looked up once, and reports are taken by the thread that sends, in one pass over each batch.
//! Settings, clients and errors stay those of the crate.
#![allow(unsafe_code, reason = "the crate has no safe form of these calls; each has its reason beside it")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{NonNull, null_mut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use proto::header::HEADER_NAME;
use rdkafka::bindings as rd;
use rdkafka::client::Client;
use rdkafka::error::{IsError, KafkaError, RDKafkaErrorCode as Code};
use rdkafka::types::{RDKafka, RDKafkaMessage, RDKafkaRespErr, RDKafkaTopic, RDKafkaType};
use rdkafka::{ClientConfig, ClientContext};

use super::errors::LastError;
use crate::Record;

/// How long the end of a producer waits for the outcome of what it gives up.
const END: Duration = Duration::from_millis(500);

/// What a delivery report says: the number given to [`Native::send`], and the offset or why there is none.
pub(super) type Arrival = (usize, Result<i64, Code>);

/// What the callbacks write to.
#[derive(Debug, Default)]
pub(super) struct Context {
    /// Filled and emptied on the same thread; the lock is there because a client's context is shared.
    arrivals: Mutex<Vec<Arrival>>,
    last_error: Arc<LastError>,
}

impl ClientContext for Context {}

impl Context {
    fn arrivals(&self) -> MutexGuard<'_, Vec<Arrival>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A producer and the topics it writes.
pub(super) struct Native {
    topics: Vec<Topic>,
    client: Client<Context>,
}

/// A topic of librdkafka's, which counts who holds it.
struct Topic(NonNull<RDKafkaTopic>);

// SAFETY: librdkafka's objects may be used from any thread; this one is only ever used together with its client.
unsafe impl Send for Topic {}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: the pointer came from rd_kafka_topic_new and is given back once. `Native::drop` sees to it that the
        // client is still there.
        unsafe { rd::rd_kafka_topic_destroy(self.0.as_ptr()) }
    }
}

impl Native {
    /// Starts a producer; it connects by itself.
    ///
    /// # Errors
    /// A setting that librdkafka does not take.
    pub(super) fn start(config: &ClientConfig, last_error: Arc<LastError>) -> Result<Self, KafkaError> {
        let native = config.create_native_config()?;
        // SAFETY: the configuration is valid and not yet used. The callbacks get what `Client::new` sets as its opaque:
        // the context, which the client keeps until it is destroyed.
        unsafe {
            rd::rd_kafka_conf_set_dr_msg_cb(native.ptr(), Some(delivered));
            rd::rd_kafka_conf_set_error_cb(native.ptr(), Some(failed));
            rd::rd_kafka_conf_set_log_cb(native.ptr(), Some(logged));
        }
        let context = Context { last_error, ..Context::default() };
        let client = Client::new(config, native, RDKafkaType::RD_KAFKA_PRODUCER, context)?;
        Ok(Native { topics: Vec::new(), client })
    }

    /// For questions about the cluster.
    pub(super) fn client(&self) -> &Client<Context> {
        &self.client
    }

    /// Adds a topic; they are numbered as they come.
    ///
    /// # Errors
    /// A name that cannot be one.
    pub(super) fn add_topic(&mut self, name: &str) -> Result<(), Code> {
        let name = CString::new(name).map_err(|_| Code::InvalidTopic)?;
        // SAFETY: client and name are valid; no settings means the client's own.
        let topic = unsafe { rd::rd_kafka_topic_new(self.client.native_ptr(), name.as_ptr(), null_mut()) };
        self.topics.push(Topic(NonNull::new(topic).ok_or(Code::InvalidTopic)?));
        Ok(())
    }

    /// Copies a record into the producer's queue; `number` comes back in its report.
    ///
    /// # Errors
    /// `QueueFull`, or why the record cannot be taken. It is not reported then.
    pub(super) fn send(&self, topic: usize, record: &Record<'_>, number: usize) -> Result<(), Code> {
        let topic = self.topics.get(topic).ok_or(Code::UnknownTopic)?;
        let headers = if record.header.is_empty() { null_mut() } else { headers(record.header)? };
        let key = record.key.unwrap_or_default();
        // SAFETY: each tag is followed by what librdkafka reads for it (rd_kafka_vtype_t in rdkafka.h), the list ends
        // with END, and key and value are copied before the call returns (MSG_F_COPY; keys always). `number` is only
        // carried along.
        let error = unsafe {
            rd::rd_kafka_producev(
                self.client.native_ptr(),
                rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_RKT,
                topic.0.as_ptr(),
                rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_PARTITION,
                record.partition.cast_signed(),
                rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_MSGFLAGS,
                rd::RD_KAFKA_MSG_F_COPY,
                rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE,
                record.value.as_ptr(),
                record.value.len(),
                rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_KEY,
                record.key.map_or(std::ptr::null(), <[u8]>::as_ptr),
                key.len(),
                rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_OPAQUE,
                number as *mut c_void,
                rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_TIMESTAMP,
                record.timestamp_ms,
                rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADERS,
                headers,
                rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_END,
            )
        };
        if !error.is_error() {
            return Ok(());
        }
        if !headers.is_null() {
            // SAFETY: headers stay the caller's when the record is not taken.
            unsafe { rd::rd_kafka_headers_destroy(headers) };
        }
        Err(error.into())
    }

    /// The error after which librdkafka takes and sends nothing more, with its text.
    pub(super) fn fatal(&self) -> Option<(Code, String)> {
        self.client.fatal_error()
    }

    /// Waits at most `wait` for something to happen, and takes note of all that has: reports, errors, log lines.
    pub(super) fn serve(&self, wait: Duration) {
        let millis = c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the client is valid; the callbacks run within this call.
        unsafe { rd::rd_kafka_poll(self.client.native_ptr(), millis) };
    }

    /// Moves the reports that have come to `into`.
    pub(super) fn take(&self, into: &mut Vec<Arrival>) {
        into.append(&mut self.client.context().arrivals());
    }

    /// Gives up what is queued or on its way; each record is then reported.
    pub(super) fn purge(&self) {
        let what = rd::RD_KAFKA_PURGE_F_QUEUE | rd::RD_KAFKA_PURGE_F_INFLIGHT;
        // SAFETY: the client is valid. It fails only for other flags and for consumers.
        unsafe { rd::rd_kafka_purge(self.client.native_ptr(), what) };
    }

    /// Ends the producer and gives the reports that came late to `into`; what has none stays unknown.
    pub(super) fn end(self, into: &mut Vec<Arrival>) {
        self.purge();
        let deadline = Instant::now() + END;
        // SAFETY: the client is valid.
        while unsafe { rd::rd_kafka_outq_len(self.client.native_ptr()) } > 0 && Instant::now() < deadline {
            self.serve(Duration::from_millis(20));
        }
        self.take(into);
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        self.topics.clear(); // before the client
    }
}

/// A header list for one record; the record takes it over.
fn headers(value: &[u8]) -> Result<*mut rd::rd_kafka_headers_t, Code> {
    let len = isize::try_from(value.len()).map_err(|_| Code::InvalidMessageSize)?;
    // SAFETY: name and value are copied; the list is given back here when it is not handed on.
    unsafe {
        let list = rd::rd_kafka_headers_new(1);
        let name = (HEADER_NAME.as_ptr().cast(), HEADER_NAME.len().cast_signed());
        let error = rd::rd_kafka_header_add(list, name.0, name.1, value.as_ptr().cast(), len);
        if error.is_error() {
            rd::rd_kafka_headers_destroy(list);
            return Err(error.into());
        }
        Ok(list)
    }
}

fn code(error: i32) -> Code {
    RDKafkaRespErr::try_from(error).map_or(Code::Unknown, Code::from)
}

/// Called by librdkafka for each record that has its outcome.
unsafe extern "C" fn delivered(_: *mut RDKafka, message: *const RDKafkaMessage, opaque: *mut c_void) {
    // SAFETY: librdkafka gives the message it reports, and the opaque of the configuration: see `Native::start`. The
    // error is read as the number it is: a broker may send one that the enumeration does not have.
    let (error, offset, number, context) = unsafe {
        let error = (&raw const (*message).err).cast::<i32>().read();
        (error, (*message).offset, (*message)._private as usize, &*opaque.cast::<Context>())
    };
    context.arrivals().push((number, if error == 0 { Ok(offset) } else { Err(code(error)) }));
}

/// Called by librdkafka for what happens to the client as a whole.
unsafe extern "C" fn failed(_: *mut RDKafka, error: c_int, reason: *const c_char, opaque: *mut c_void) {
    // SAFETY: as in `delivered`; the text ends with NUL.
    let (reason, context) = unsafe { (CStr::from_ptr(reason).to_string_lossy(), &*opaque.cast::<Context>()) };
    context.last_error.set(&KafkaError::Global(code(error)), reason.trim());
}

/// Called by librdkafka for its log lines.
unsafe extern "C" fn logged(_: *const RDKafka, level: c_int, facility: *const c_char, message: *const c_char) {
    // SAFETY: both texts end with NUL.
    let (facility, message) = unsafe { (CStr::from_ptr(facility).to_string_lossy(), CStr::from_ptr(message)) };
    LastError::log(level, facility.trim(), message.to_string_lossy().trim());
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;

    use super::*;
    use crate::TopicId;

    const SOON: Duration = Duration::from_secs(10);

    fn producer(bootstrap: &str, settings: &[(&str, &str)]) -> Native {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap).set("enable.idempotence", "true");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        Native::start(&config, Arc::default()).unwrap()
    }

    fn record(value: &[u8]) -> Record<'_> {
        Record { topic: TopicId(0), partition: 0, key: None, value, header: b"h", timestamp_ms: 1, token: 0 }
    }

    fn arrivals(producer: &Native, count: usize) -> Vec<Arrival> {
        let (mut came, begin) = (Vec::new(), Instant::now());
        while came.len() < count && begin.elapsed() < SOON {
            producer.serve(Duration::from_millis(20));
            producer.take(&mut came);
        }
        came
    }

    #[test]
    fn reports_carry_the_number_and_the_offset() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 1, 1).unwrap();
        let mut producer = producer(&cluster.bootstrap_servers(), &[]);
        producer.add_topic("t").unwrap();
        let numbers = [0, usize::MAX, 7];
        for number in numbers {
            producer.send(0, &record(b"v"), number).unwrap();
        }
        let came = arrivals(&producer, 3);
        assert!(came.iter().copied().eq(numbers.into_iter().zip([Ok(0), Ok(1), Ok(2)])), "{came:?}");
        assert_eq!(producer.fatal(), None);
    }

    #[test]
    fn what_cannot_be_sent_is_not_taken() {
        let settings = [("queue.buffering.max.messages", "1"), ("message.max.bytes", "1000")];
        let mut producer = producer("127.0.0.1:1", &settings);
        assert_eq!(producer.add_topic("nul\0byte"), Err(Code::InvalidTopic));
        producer.add_topic("t").unwrap();
        assert_eq!(producer.send(1, &record(b"v"), 0), Err(Code::UnknownTopic), "no such topic was added");
        assert_eq!(producer.send(0, &record(&[0; 2000]), 0), Err(Code::MessageSizeTooLarge));
        producer.send(0, &record(b"v"), 1).unwrap();
        assert_eq!(producer.send(0, &record(b"v"), 2), Err(Code::QueueFull));
        producer.purge();
        assert_eq!(arrivals(&producer, 1), [(1, Err(Code::PurgeQueue))]);
    }

    #[test]
    fn the_end_reports_what_is_given_up() {
        let mut producer = producer("127.0.0.1:1", &[]);
        producer.add_topic("t").unwrap();
        for number in 0..100 {
            producer.send(0, &record(b"v"), number).unwrap();
        }
        let mut came = Vec::new();
        producer.end(&mut came);
        assert!(came.iter().copied().eq((0..100).map(|number| (number, Err(Code::PurgeQueue)))), "{came:?}");
    }

    #[test]
    fn a_fatal_error_is_told_with_its_text_and_nothing_is_taken_after_it() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 1, 1).unwrap();
        let mut producer = producer(&cluster.bootstrap_servers(), &[]);
        producer.add_topic("t").unwrap();
        // SAFETY: the client is valid; the text is copied.
        unsafe {
            let fenced = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
            rd::rd_kafka_test_fatal_error(producer.client.native_ptr(), fenced, c"made up".as_ptr());
        }
        let (code, text) = producer.fatal().unwrap();
        assert!(code == Code::OutOfOrderSequenceNumber && text.contains("made up"), "{code:?} {text}");
        assert_eq!(producer.send(0, &record(b"v"), 0), Err(Code::Fatal));
        producer.serve(Duration::from_millis(100));
        let told = producer.client().context().last_error.explain("why");
        assert!(told.contains("made up"), "{told}");
    }

    #[test]
    fn an_error_that_the_library_does_not_know_is_unknown() {
        assert_eq!(
            code(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED as i32),
            Code::TopicAuthorizationFailed
        );
        assert_eq!(code(31_999), Code::Unknown);
    }
}
