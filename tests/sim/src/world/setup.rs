//! What a seed decides before anything happens: log, feeds, limits, and which faults are how likely.

use super::*;

struct Feed {
    name: &'static str,
    tables: &'static [&'static str],
    wants: &'static [usize],
    form: Form,
    ddl: bool,
    order: Order,
    partitions: u32,
}

const FEEDS: [Feed; 4] = [
    Feed {
        name: "json",
        tables: &["shop.*", "crm.*"],
        wants: &[0, 1, 2],
        form: Form::Maxwell,
        ddl: false,
        order: Order::RowKey,
        partitions: 3,
    },
    Feed {
        name: "batch",
        tables: &["shop.*", "crm.*"],
        wants: &[0, 1, 2],
        form: Form::RowBatch,
        ddl: true,
        order: Order::RowKey,
        partitions: 2,
    },
    Feed {
        name: "filtered",
        tables: &["shop.*", "!shop.t0"],
        wants: &[1],
        form: Form::RowBatch,
        ddl: false,
        order: Order::Source,
        partitions: 1,
    },
    Feed {
        name: "crm",
        tables: &["crm.*"],
        wants: &[2],
        form: Form::Maxwell,
        ddl: false,
        order: Order::Source,
        partitions: 1,
    },
];

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>, traced: bool) -> Self {
        let mut rng = Rng::new(seed);
        let gtids = rng.chance(6000);
        let big = rng.chance(40) && bug.is_none();
        let count = rng.range(30, 120) as usize;
        let history = Rc::new(History::generate(&mut rng, count, gtids, big));
        let servers = vec![
            Server::new(&history, 0, "binlog", 999_998, &mut rng),
            Server::new(&history, 1, "mysql-bin", 41, &mut rng),
        ];
        let chosen = &FEEDS[..rng.range(3, 4) as usize];
        let feeds = chosen.iter().map(|f| spec(f, &mut rng)).collect();
        let ends: Vec<FilePos> = (0..history.txns.len()).map(|i| servers[0].end_of(Some(i))).collect();
        let checked = chosen
            .iter()
            .map(|f| {
                let wants = Wants { tables: f.wants, ddl: f.ddl, split_key: f.order == Order::RowKey };
                (f.name.to_string(), f.form, wants, f.partitions)
            })
            .collect();
        let mut checker = Checker::new(Rc::clone(&history), ends, checked);
        let middle = rng.index(count / 2);
        let start = match rng.below(10) {
            0..=5 => StartKind::Beginning,
            6..=7 => StartKind::Latest,
            8 => StartKind::SkipPosition(middle),
            _ => StartKind::SkipTime(middle),
        };
        match start {
            StartKind::Beginning => checker.start = Some((0, 0)),
            StartKind::SkipPosition(k) | StartKind::SkipTime(k) => checker.start = Some((k, 0)),
            StartKind::Latest => {}
        }
        checker.durable_start = matches!(start, StartKind::Beginning | StartKind::Latest);
        checker.dedup_by_record = bug == Some(Bug::DedupByRecord);
        let quiet = rng.chance(800);
        let mut rate = |max: u64| if quiet { 0 } else { rng.below(max + 1) as u32 };
        let rates = Rates {
            crash: rate(25),
            stop: rate(15) + 5,
            takeover: rate(12),
            disconnect: rate(500),
            unknown: rate(40),
            lost_report: rate(3),
            refuse: rate(6),
            full: rate(1500),
            open: rate(1000),
        };
        let coordination_rates = FaultRates {
            refused: rate(40) as u16,
            request_lost: rate(40) as u16,
            reply_lost: rate(60) as u16,
            late: rate(60) as u16,
            session_lost: rate(20) as u16,
        };
        let limits = Limits {
            in_flight_bytes: *rng.pick(&[3_000, 20_000, 64 << 20]).unwrap_or(&20_000),
            prompt_bytes: *rng.pick(&[1_000, 10_000, 64 << 20]).unwrap_or(&10_000),
            prompt: Duration::from_millis(*rng.pick(&[0, 5, 100]).unwrap_or(&100)),
            output_bytes: *rng.pick(&[300, 5_000, 1 << 20]).unwrap_or(&5_000),
            ledger: *rng.pick(&[3, 20, 1 << 20]).unwrap_or(&20),
            checkpoint_interval: Duration::from_millis(rng.range(20, 600)),
            park_after: Duration::from_millis(1_500),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_millis(800),
            catch_up_min: Duration::from_millis(rng.range(50, 600)),
            catch_up_max: Duration::from_secs(2),
        };
        let broken = (!quiet && rng.chance(1500)).then(|| rng.index(chosen.len()));
        let world = SimWorld::default();
        let mut w = World {
            bug,
            now: 0,
            serial: 0,
            queue: BinaryHeap::new(),
            servers,
            active: 0,
            start,
            faults: vec![None; chosen.len()],
            partitions: chosen.iter().map(|f| f.partitions).collect(),
            feeds,
            limits,
            rates,
            coordination_rates,
            fencing: rng.chance(5000),
            broken,
            healed: false,
            heal_at: rng.range(2_000_000, 9_000_000),
            reader: world.client(),
            world,
            source: SourceId::new(SOURCE).unwrap_or_else(|e| unreachable!("a fixed name: {e}")),
            processes: Vec::new(),
            next_id: 1,
            broker_epoch: 0,
            ending: false,
            spills: Spills { fail: Arc::default(), count: Arc::default() },
            checker,
            stats: Stats { xa_commits: history.xa_commits, ..Stats::default() },
            trace: traced.then(VecDeque::new),
            history,
            rng,
        };
        w.plan_faults(quiet);
        w.schedule(0, Event::NewInstance);
        w.schedule(w.heal_at, Event::Heal);
        w
    }

    /// Faults of feeds and servers have their times from the start; the others come by chance.
    pub(super) fn plan_faults(&mut self, quiet: bool) {
        if quiet {
            return;
        }
        if let Some(feed) = self.broken {
            let at = if self.rng.chance(5000) { 0 } else { self.rng.below(self.heal_at) };
            let fault = self.feed_fault();
            self.schedule(at, Event::FeedFault(feed, Some(fault)));
        } else if self.rng.chance(3000) {
            let (feed, at, fault) = (self.rng.index(self.feeds.len()), self.rng.below(self.heal_at), self.feed_fault());
            self.schedule(at, Event::FeedFault(feed, Some(fault)));
            let until = at + self.rng.range(1_000, 3_000_000);
            self.schedule(until, Event::FeedFault(feed, None));
        }
        if self.history.gtids {
            for _ in 0..self.rng.below(3) {
                let at = self.rng.below(self.heal_at);
                self.schedule(at, Event::Failover);
            }
        }
    }

    pub(super) fn feed_fault(&mut self) -> FeedFault {
        match self.rng.below(4) {
            0 => FeedFault::Refuses,
            1 => FeedFault::Hangs,
            2 => FeedFault::TooLarge(self.rng.range(150, 400) as usize),
            _ => FeedFault::Missing,
        }
    }
}

fn spec(feed: &Feed, rng: &mut Rng) -> FeedSpec {
    let tables = TablePatterns::new(feed.tables).unwrap_or_else(|e| unreachable!("fixed patterns: {e}"));
    let events = EventKinds { ddl: feed.ddl, ..EventKinds::default() };
    FeedSpec {
        name: feed.name.into(),
        rule: Rule { tables, events, ..Rule::default() },
        format: match feed.form {
            Form::Maxwell => Format::MaxwellJson(maxwell_json::Options::default()),
            Form::RowBatch => Format::Binlake,
        },
        order: feed.order,
        max_record_bytes: *rng.pick(&[400, 900, 900_000]).unwrap_or(&900),
    }
}
