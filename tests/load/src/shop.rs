//! A small shop that is always open: customers come, order, pay, get their parcels; prices change; old orders go.
//!
//! It lives in the database `shop`, which it makes; a `shop` that somebody else made is left alone. A lost connection is
//! made again for a minute.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::bail;

use crate::args::{Args, Wrong};
use crate::random::Random;
use crate::server::{Connection, Server, is_lost};

/// Comment of our `orders`, by which a shop is known to be ours.
const MARK: &str = "made by binlake-load";
const RETRY: Duration = Duration::from_secs(60);
const PRODUCTS: u64 = 40;

const TABLES: [&str; 4] = [
    "CREATE TABLE IF NOT EXISTS shop.customers (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, name VARCHAR(80) NOT NULL, \
     email VARCHAR(120) NOT NULL, since DATE NOT NULL, vip TINYINT(1) NOT NULL DEFAULT 0, preferences JSON) \
     DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE IF NOT EXISTS shop.products (id INT UNSIGNED PRIMARY KEY, sku CHAR(12) NOT NULL, title VARCHAR(80) NOT NULL, \
     price DECIMAL(10,2) NOT NULL, weight_kg FLOAT, labels SET('new','sale','bio','fragile') NOT NULL DEFAULT '', \
     stock INT NOT NULL, updated TIMESTAMP(3) NOT NULL) DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE IF NOT EXISTS shop.orders (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, \
     customer_id BIGINT UNSIGNED NOT NULL, state ENUM('new','paid','shipped','cancelled') NOT NULL DEFAULT 'new', \
     total DECIMAL(12,2) NOT NULL DEFAULT 0, placed DATETIME(3) NOT NULL, note TEXT, KEY (state)) \
     DEFAULT CHARSET=utf8mb4 COMMENT='made by binlake-load'",
    "CREATE TABLE IF NOT EXISTS shop.order_items (order_id BIGINT UNSIGNED, line SMALLINT, product_id INT UNSIGNED NOT NULL, \
     quantity SMALLINT NOT NULL, price DECIMAL(10,2) NOT NULL, PRIMARY KEY (order_id, line)) DEFAULT CHARSET=utf8mb4",
];
const FIRST: [&str; 8] = ["Ada", "Bjørn", "Chloé", "Dmitri", "Emi", "Farid", "Grace", "Hedy"];
const LAST: [&str; 8] = ["Lovelace", "Larsen", "Dupont", "Petrov", "Tanaka", "Haddad", "Hopper", "Lamarr"];
const THINGS: [&str; 8] = ["Teapot", "Lamp", "Blanket", "Kettle", "Käse", "Clock", "Chair", "Basket"];
const NOTES: [&str; 4] = ["leave at the door", "gift wrap, please", "ring twice", "bitte klingeln"];

pub(crate) fn run(mut args: Args, stop: &AtomicBool) -> anyhow::Result<()> {
    let server = Server::new(&args.needed::<String>("source")?)?;
    let rate: f64 = args.optional("rate")?.unwrap_or(3.0);
    let seconds: Option<f64> = args.optional("seconds")?;
    args.end()?;
    if !(0.01..=10_000.0).contains(&rate) || seconds.is_some_and(|s| !(0.0..=1e9).contains(&s)) {
        return Err(Wrong("--rate is 0.01 to 10000, --seconds at least 0".to_owned()).into());
    }
    let every = Duration::from_secs_f64(1.0 / rate);
    let end = seconds.map(|s| Instant::now() + Duration::from_secs_f64(s));
    // Another shop every time.
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let mut shop = Shop { connection: open(&server)?, random: Random::new(seed) };
    let mut due = Instant::now();
    while !stop.load(Relaxed) && end.is_none_or(|end| Instant::now() < end) {
        if let Err(error) = shop.step() {
            if !is_lost(&error) {
                return Err(error);
            }
            shop.connection = reconnect(&server, error, stop)?;
            due = Instant::now();
        }
        due += every;
        pause(due, stop);
    }
    Ok(())
}

/// Sleeps until `due`, in slices that a signal can end.
fn pause(due: Instant, stop: &AtomicBool) {
    while let left = due.saturating_duration_since(Instant::now())
        && !left.is_zero()
        && !stop.load(Relaxed)
    {
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
}

fn reconnect(server: &Server, mut error: anyhow::Error, stop: &AtomicBool) -> anyhow::Result<Connection> {
    let end = Instant::now() + RETRY;
    while Instant::now() < end && !stop.load(Relaxed) {
        pause(Instant::now() + Duration::from_secs(1), stop);
        match open(server) {
            Ok(connection) => return Ok(connection),
            Err(again) => error = again,
        }
    }
    Err(error)
}

fn open(server: &Server) -> anyhow::Result<Connection> {
    let mut connection = server.connect()?;
    connection.run("SET NAMES utf8mb4")?;
    let found = connection.run(
        "SELECT SCHEMA_NAME, (SELECT TABLE_COMMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'shop' AND \
         TABLE_NAME = 'orders') AS c FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'shop'",
    )?;
    if !found.rows.is_empty() && found.first("c").as_deref() != Some(MARK) {
        bail!("this server has a database shop that is not ours; it is left alone, and nothing was written");
    }
    if found.rows.is_empty() {
        connection.run("CREATE DATABASE shop")?;
        // First the one that marks the database as ours, so that an interrupted start can be gone on with.
        connection.run(TABLES[2])?;
    }
    connection.run_all(&TABLES)?;
    if connection.run("SELECT 1 FROM shop.products LIMIT 1")?.rows.is_empty() {
        stock(&mut connection)?;
    }
    Ok(connection)
}

fn stock(connection: &mut Connection) -> anyhow::Result<()> {
    let mut random = Random::new(7);
    let mut sql = "INSERT INTO shop.products VALUES ".to_owned();
    for id in 1..=PRODUCTS {
        let _ = write!(
            sql,
            "{}({id},'SKU-{id:08}','{} {id}',{}.{:02},{}.5,'{}',{},NOW(3))",
            if id > 1 { "," } else { "" },
            random.pick(&THINGS),
            random.below(200) + 1,
            random.below(100),
            random.below(9),
            random.pick(&["", "new", "sale", "bio,fragile"]),
            100 + random.below(900),
        );
    }
    connection.run(&sql)?;
    Ok(())
}

struct Shop {
    connection: Connection,
    random: Random,
}

impl Shop {
    /// One transaction.
    fn step(&mut self) -> anyhow::Result<()> {
        match self.random.below(100) {
            0..45 => self.order(),
            45..75 => self.progress(),
            75..83 => self.reprice(),
            83..93 => self.customer(),
            _ => self.forget(),
        }
    }

    fn customer(&mut self) -> anyhow::Result<()> {
        let (first, last) = (self.random.pick(&FIRST), self.random.pick(&LAST));
        let (vip, size) = (u8::from(self.random.below(10) == 0), self.random.pick(&["S", "M", "L"]));
        self.connection.run(&format!(
            "INSERT INTO shop.customers (name, email, since, vip, preferences) VALUES ('{first} {last}', \
             '{}{}@example.com', CURDATE(), {vip}, '{{\"size\":\"{size}\",\"newsletter\":{}}}')",
            last.to_lowercase(),
            self.random.below(10_000),
            vip == 1,
        ))?;
        Ok(())
    }

    /// The id of a customer, made when there is none.
    fn some_customer(&mut self) -> anyhow::Result<String> {
        let sql = "SELECT id FROM shop.customers ORDER BY RAND() LIMIT 1";
        if let Some(id) = self.connection.run(sql)?.first("id") {
            return Ok(id);
        }
        self.customer()?;
        Ok(self.connection.run(sql)?.first("id").unwrap_or_default())
    }

    fn order(&mut self) -> anyhow::Result<()> {
        let customer = self.some_customer()?;
        let note = match self.random.below(4) {
            0 => format!("'{}'", self.random.pick(&NOTES)),
            _ => "NULL".to_owned(),
        };
        self.connection.run("BEGIN")?;
        self.connection
            .run(&format!("INSERT INTO shop.orders (customer_id, placed, note) VALUES ({customer}, NOW(3), {note})"))?;
        self.connection.run("SET @id = LAST_INSERT_ID()")?;
        for line in 1..=self.random.below(3) + 1 {
            let (product, quantity) = (self.random.below(PRODUCTS) + 1, self.random.below(4) + 1);
            self.connection.run(&format!(
                "INSERT INTO shop.order_items SELECT @id, {line}, id, {quantity}, price FROM shop.products WHERE id = {product}"
            ))?;
            self.connection
                .run(&format!("UPDATE shop.products SET stock = stock - {quantity} WHERE id = {product}"))?;
        }
        self.connection.run_all(&[
            "UPDATE shop.orders SET total = (SELECT SUM(quantity * price) FROM shop.order_items WHERE order_id = @id) WHERE id = @id",
            "COMMIT",
        ])
    }

    fn progress(&mut self) -> anyhow::Result<()> {
        let next = match self.random.below(10) {
            0 => "UPDATE shop.orders SET state = 'cancelled', total = 0 WHERE state = 'new' ORDER BY id LIMIT 1",
            1..6 => "UPDATE shop.orders SET state = 'paid' WHERE state = 'new' ORDER BY id LIMIT 1",
            _ => "UPDATE shop.orders SET state = 'shipped' WHERE state = 'paid' ORDER BY id LIMIT 1",
        };
        self.connection.run(next).map(drop)
    }

    fn reprice(&mut self) -> anyhow::Result<()> {
        let (product, cents) = (self.random.below(PRODUCTS) + 1, self.random.below(2000));
        self.connection.run(&format!(
            "UPDATE shop.products SET price = 1 + {cents} / 100, stock = GREATEST(stock, 100), updated = NOW(3) WHERE id = {product}"
        ))?;
        Ok(())
    }

    /// The oldest finished order goes, with its lines, once there are enough.
    fn forget(&mut self) -> anyhow::Result<()> {
        let found = self
            .connection
            .run("SELECT MIN(id) AS id, COUNT(*) AS n FROM shop.orders WHERE state IN ('shipped', 'cancelled')")?;
        let enough = found.first("n").and_then(|n| n.parse::<u64>().ok()).is_some_and(|n| n > 5);
        let Some(id) = found.first("id").filter(|_| enough) else { return Ok(()) };
        self.connection.run("BEGIN")?;
        self.connection.run(&format!("DELETE FROM shop.order_items WHERE order_id = {id}"))?;
        self.connection.run(&format!("DELETE FROM shop.orders WHERE id = {id}"))?;
        self.connection.run("COMMIT").map(drop)
    }
}
