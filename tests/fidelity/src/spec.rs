//! What a column is for the comparison: how the server is asked for its value, and how random values are made.
//!
//! The server's word is text: every column is selected by expressions whose text is exact ([`Kind::fields`]), so that
//! no driver stands between the server and the comparison.

use std::rc::Rc;

/// How values of a column are asked for and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Int,
    Year,
    Bit,
    Float,
    Double,
    Decimal,
    /// DATE, TIME, DATETIME, TIMESTAMP.
    Temporal,
    Text,
    Bytes,
    Enum,
    Set,
    Json,
    Geometry,
    Vector,
    /// An array where the definition is known, else bytes.
    MariaVector,
    /// Text in ASCII as the server shows it: MariaDB's JSON.
    Shown,
    /// MariaDB's UUID, INET6, INET4: text as the server shows it where the definition is known, else bytes.
    FixedBinary,
}

impl Kind {
    /// The SELECT expressions that give a value of column `name`.
    pub(crate) fn fields(self, name: &str, server: &Server) -> Vec<String> {
        let c = quote(name);
        match self {
            Kind::Int | Kind::Year | Kind::Double | Kind::Decimal | Kind::Temporal | Kind::Shown => vec![c],
            Kind::Bit => vec![format!("{c}+0")],
            // The exact value; its own text is rounded.
            Kind::Float => vec![format!("{c}*1e0")],
            Kind::Enum | Kind::Set => vec![format!("HEX(CONVERT({c} USING utf8mb4))"), format!("{c}+0")],
            Kind::Text => vec![format!("HEX(CONVERT({c} USING utf8mb4))"), format!("HEX({c})")],
            Kind::Bytes | Kind::Vector | Kind::MariaVector => vec![format!("HEX({c})")],
            Kind::FixedBinary => vec![c.clone(), format!("HEX(CAST({c} AS BINARY))")],
            Kind::Json => vec![format!("HEX(CAST({c} AS CHAR CHARACTER SET utf8mb4))")],
            Kind::Geometry if server.mysql(8, 0, 0) => {
                vec![format!("HEX({c})"), format!("HEX(ST_AsText({c}, 'axis-order=long-lat'))")]
            }
            Kind::Geometry => vec![format!("HEX({c})"), format!("HEX(AsText({c}))")],
        }
    }
}

pub(crate) fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// How random values are made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Gen {
    /// Bits, and whether unsigned.
    Int(u32, bool),
    Decimal(u32, u32),
    Double,
    Date,
    Time(u32),
    DateTime(u32),
    /// Up to so many characters.
    Text(usize),
    Bytes(usize),
    Json,
    /// One of the listed values.
    Listed,
}

/// A column type with its boundary values as SQL.
#[derive(Clone, Debug)]
pub(crate) struct Type {
    pub(crate) sql: String,
    pub(crate) kind: Kind,
    pub(crate) values: Vec<String>,
    pub(crate) random: Gen,
}

#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) ty: Rc<Type>,
}

/// A table at one time. The row's identity is the column `id`, which is in `columns` as well.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) database: String,
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
    /// Without a key the before-image is always whole.
    pub(crate) keyed: bool,
    /// Rows change without rows events: cascades of servers that leave them to the engine.
    pub(crate) silent: bool,
}

impl Table {
    pub(crate) fn new(database: &str, name: &str, columns: Vec<Column>) -> Table {
        let mut all = vec![Column { name: "id".into(), ty: id_type() }];
        all.extend(columns);
        Table { database: database.into(), name: name.into(), columns: all, keyed: true, silent: false }
    }

    pub(crate) fn path(&self) -> String {
        format!("{}.{}", quote(&self.database), quote(&self.name))
    }

    /// `CREATE TABLE`, with what stands behind the columns.
    pub(crate) fn create(&self, options: &str) -> String {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|c| {
                let key = if c.name == "id" && self.keyed { " PRIMARY KEY" } else { "" };
                format!("{} {}{key}", quote(&c.name), c.ty.sql)
            })
            .collect();
        format!("CREATE TABLE {} ({}) {options};\n", self.path(), columns.join(", "))
    }

    /// `INSERT` of one row with the values in the order of the columns behind `id`.
    pub(crate) fn insert(&self, id: i64, values: &[String]) -> String {
        format!("INSERT INTO {} VALUES ({id}, {});\n", self.path(), values.join(", "))
    }

    /// `id`, then the fields of each column.
    pub(crate) fn select(&self, server: &Server) -> String {
        let fields: Vec<String> = self.columns.iter().flat_map(|c| c.ty.kind.fields(&c.name, server)).collect();
        format!("SELECT id, {} FROM {} ORDER BY id;\n", fields.join(", "), self.path())
    }
}

pub(crate) fn id_type() -> Rc<Type> {
    Rc::new(Type { sql: "INT NOT NULL".into(), kind: Kind::Int, values: vec![], random: Gen::Listed })
}

/// What a server is and so can.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) mariadb: bool,
    pub(crate) version: (u32, u32, u32),
}

impl Server {
    pub(crate) fn new(label: &str, version: &str) -> Server {
        let mut parts = version.split(|c: char| !c.is_ascii_digit()).map(|p| p.parse().unwrap_or(0));
        let mut next = || parts.next().unwrap_or(0);
        Server { mariadb: label.starts_with("mariadb"), version: (next(), next(), next()) }
    }

    pub(crate) fn mysql(&self, major: u32, minor: u32, patch: u32) -> bool {
        !self.mariadb && self.version >= (major, minor, patch)
    }

    pub(crate) fn maria(&self, major: u32, minor: u32, patch: u32) -> bool {
        self.mariadb && self.version >= (major, minor, patch)
    }

    /// Names, signs and labels are in the log.
    pub(crate) fn has_full_metadata(&self) -> bool {
        self.mysql(8, 0, 1) || self.maria(10, 5, 0)
    }
}

/// xorshift64*: every run is its seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() >> 11) as usize % n.max(1)
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
