//! The series of a process and their Prometheus text (exposition format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::histogram::LogLinear;

/// A number that only grows. Counts units of its definition's scale (nanoseconds for `…_seconds_total`).
#[derive(Clone, Debug)]
pub struct Counter(Arc<AtomicU64>);

/// A number that goes up and down.
#[derive(Clone, Debug)]
pub struct Gauge(Arc<AtomicU64>);

/// A distribution. Takes units of its definition's scale (microseconds for `…_seconds`).
#[derive(Clone, Debug)]
pub struct Histogram(Arc<LogLinear>);

impl Counter {
    pub fn inc(&self) {
        self.add(1);
    }

    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Gauge {
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}

impl std::ops::Deref for Histogram {
    type Target = LogLinear;

    fn deref(&self) -> &LogLinear {
        &self.0
    }
}

/// A line of the table of names: `H` is the kind of handle, `N` the number of labels.
#[derive(Debug)]
pub struct Def<H, const N: usize> {
    /// Without the prefix `binlake_`.
    pub name: &'static str,
    pub help: &'static str,
    pub labels: [&'static str; N],
    /// What one stored unit is worth in the unit of the name.
    pub scale: f64,
    kind: PhantomData<fn() -> H>,
}

impl<H, const N: usize> Def<H, N> {
    pub(crate) const fn new(name: &'static str, labels: [&'static str; N], scale: f64, help: &'static str) -> Self {
        Self { name, help, labels, scale, kind: PhantomData }
    }
}

#[derive(Debug)]
enum Value {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

/// Kinds of handles; implemented by [`Counter`], [`Gauge`] and [`Histogram`] only.
pub trait Handle: Clone + sealed::Sealed {}

mod sealed {
    use super::{Arc, AtomicU64, Counter, Gauge, Histogram, LogLinear, Value};

    pub trait Sealed: Sized {
        const KIND: &'static str;
        #[allow(private_interfaces)]
        fn create() -> (Self, Value);
        #[allow(private_interfaces)]
        fn of(value: &Value) -> Option<Self>;
    }

    macro_rules! sealed {
        ($type:ident, $kind:literal, $new:expr) => {
            impl Sealed for $type {
                const KIND: &'static str = $kind;
                #[allow(private_interfaces)]
                fn create() -> (Self, Value) {
                    let handle = $type($new);
                    (handle.clone(), Value::$type(handle))
                }
                #[allow(private_interfaces)]
                fn of(value: &Value) -> Option<Self> {
                    if let Value::$type(handle) = value { Some(handle.clone()) } else { None }
                }
            }
            impl super::Handle for $type {}
        };
    }
    sealed!(Counter, "counter", Arc::new(AtomicU64::new(0)));
    sealed!(Gauge, "gauge", Arc::new(AtomicU64::new(0_f64.to_bits())));
    sealed!(Histogram, "histogram", Arc::new(LogLinear::new()));
}

/// All series of one name.
#[derive(Debug)]
struct Family {
    help: &'static str,
    kind: &'static str,
    labels: &'static [&'static str],
    scale: f64,
    series: BTreeMap<Vec<String>, Value>,
}

/// The series of a process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Registry(Arc<Mutex<BTreeMap<&'static str, Family>>>);

/// Bounds of histogram buckets: powers of two of the stored unit (64 µs to 134 s when that is the microsecond). They
/// are bounds of the log-linear buckets too, so the counts are exact.
const BUCKET_BITS: std::ops::RangeInclusive<u32> = 6..=27;

impl Registry {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn families(&self) -> MutexGuard<'_, BTreeMap<&'static str, Family>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The handle of a series; the series exists (as 0) from the first call on. `labels` are values in the order of the
    /// definition.
    #[must_use]
    pub fn get<H: Handle, const N: usize>(&self, def: &'static Def<H, N>, labels: [&str; N]) -> H {
        let mut families = self.families();
        let family = families.entry(def.name).or_insert_with(|| Family {
            help: def.help,
            kind: H::KIND,
            labels: &def.labels,
            scale: def.scale,
            series: BTreeMap::new(),
        });
        let key: Vec<String> = labels.iter().map(|&l| l.to_owned()).collect();
        if let Some(handle) = family.series.get(&key).and_then(H::of) {
            return handle;
        }
        let (handle, value) = H::create();
        family.series.insert(key, value);
        handle
    }

    /// Drops all series whose `label` has this value, for instance those of a source that is gone.
    pub fn remove(&self, label: &str, value: &str) {
        for family in self.families().values_mut() {
            if let Some(at) = family.labels.iter().position(|l| *l == label) {
                family.series.retain(|key, _| key.get(at).is_none_or(|v| v != value));
            }
        }
    }

    /// The text for `/metrics` (`text/plain; version=0.0.4`).
    #[must_use]
    pub fn render_prometheus(&self) -> String {
        let mut out = String::new();
        for (name, family) in self.families().iter().filter(|(_, f)| !f.series.is_empty()) {
            let _ = writeln!(out, "# HELP binlake_{name} {}", family.help);
            let _ = writeln!(out, "# TYPE binlake_{name} {}", family.kind);
            for (key, value) in &family.series {
                let labels: Vec<String> =
                    family.labels.iter().zip(key).map(|(l, v)| format!("{l}=\"{}\"", escape(v))).collect();
                render(&mut out, name, &labels.join(","), value, family.scale);
            }
        }
        out
    }
}

fn render(out: &mut String, name: &str, labels: &str, value: &Value, scale: f64) {
    let braces = |extra: &str| match (labels, extra) {
        ("", "") => String::new(),
        (labels, "") => format!("{{{labels}}}"),
        ("", extra) => format!("{{{extra}}}"),
        (labels, extra) => format!("{{{labels},{extra}}}"),
    };
    match value {
        Value::Counter(c) => {
            let _ = writeln!(out, "binlake_{name}{} {}", braces(""), scaled(c.get(), scale));
        }
        Value::Gauge(g) => {
            let _ = writeln!(out, "binlake_{name}{} {}", braces(""), g.get());
        }
        Value::Histogram(h) => {
            for bits in BUCKET_BITS {
                let le = format!("le=\"{}\"", scaled(1 << bits, scale));
                let _ = writeln!(out, "binlake_{name}_bucket{} {}", braces(&le), h.count_below_power(bits));
            }
            // Counted once: the total and the last bucket must agree even while others record.
            let count = h.count();
            let _ = writeln!(out, "binlake_{name}_bucket{} {count}", braces("le=\"+Inf\""));
            let _ = writeln!(out, "binlake_{name}_sum{} {}", braces(""), scaled(h.sum(), scale));
            let _ = writeln!(out, "binlake_{name}_count{} {count}", braces(""));
        }
    }
}

/// Whole numbers stay exact.
#[allow(clippy::cast_precision_loss, clippy::float_cmp)]
fn scaled(value: u64, scale: f64) -> String {
    if scale == 1.0 { value.to_string() } else { format!("{}", value as f64 * scale) }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
