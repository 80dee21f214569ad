//! What a type matrix does not reach: unusual tables, transactions of every kind, statements on several tables.

use std::rc::Rc;

use crate::script::Step;
use crate::settings::{Image, Settings};
use crate::spec::{Column, Gen, Kind, Server, Table, Type, quote};

fn column(name: &str, sql: &str, kind: Kind) -> Column {
    let ty = Type { sql: sql.into(), kind, values: vec![], random: Gen::Listed };
    Column { name: name.into(), ty: Rc::new(ty) }
}

fn int(name: &str) -> Column {
    column(name, "int", Kind::Int)
}

/// All that `server` has, in `database`.
pub(crate) fn steps(server: &Server, database: &str, settings: Settings) -> Vec<Step> {
    let mut steps = transactions(server, database);
    steps.extend(several_tables(server, database));
    steps.extend(unusual_tables(server, database));
    steps.extend(hidden_columns(server, database));
    if settings.image == Image::Full {
        steps.extend(without_key(database));
    }
    if server.mysql(8, 0, 30) {
        steps.extend(generated_key(database, settings.image));
    }
    steps
}

fn table(database: &str, name: &str, columns: Vec<Column>) -> Rc<Table> {
    Rc::new(Table::new(database, name, columns))
}

fn transactions(server: &Server, database: &str) -> Vec<Step> {
    let t = table(database, "transactions", vec![int("v"), column("w", "varchar(20)", Kind::Text)]);
    let p = t.path();
    let myisam = table(database, "myisam", vec![int("v")]);
    let m = myisam.path();
    let xa = |xid: &str, sql: &str, end: &str| {
        format!("XA START '{xid}';\n{sql}XA END '{xid}';\nXA PREPARE '{xid}';\n{end} '{xid}';\n")
    };
    let thousand: Vec<String> = (0..1000).map(|n| format!("({}, {n}, 'many')", 10_000 + n)).collect();
    let mut steps = vec![
        Step::new(t.create("") + &myisam.create("ENGINE=MyISAM"), &[&t, &myisam]),
        Step::new(
            format!(
                "BEGIN;\nINSERT INTO {p} VALUES (1,1,'a');\nSAVEPOINT a;\nINSERT INTO {p} VALUES (2,2,'b');\nSAVEPOINT `b c`;\n\
                 INSERT INTO {p} VALUES (3,3,'c');\nROLLBACK TO a;\nINSERT INTO {p} VALUES (4,4,'d');\nCOMMIT;\n"
            ),
            &[&t],
        ),
        Step::new(format!("BEGIN;\nUPDATE {p} SET v = 9;\nDELETE FROM {p};\nROLLBACK;\n"), &[&t]),
        Step::new(xa("x1", &format!("INSERT INTO {p} VALUES (5,5,'xa');\n"), "XA COMMIT"), &[&t]),
        Step::new(xa("x2", &format!("UPDATE {p} SET v = v + 100;\n"), "XA ROLLBACK"), &[&t]),
        Step::new(
            format!(
                "XA START 'x3';\nUPDATE {p} SET w = 'one' WHERE id = 5;\nXA END 'x3';\nXA COMMIT 'x3' ONE PHASE;\n"
            ),
            &[&t],
        ),
        Step::new(format!("INSERT INTO {m} VALUES (1,1),(2,2);\nUPDATE {m} SET v = v + 1;\n"), &[&myisam]),
        Step::new(
            format!(
                "INSERT INTO {p} VALUES (5,1,'dup'),(16,6,'new') ON DUPLICATE KEY UPDATE v = v + 1, w = VALUES(w);\n\
                 REPLACE INTO {p} VALUES (5,50,'replaced'),(8,8,'new');\nINSERT IGNORE INTO {p} VALUES (5,0,''),(9,9,'');\n"
            ),
            &[&t],
        ),
        Step::new(
            format!(
                "BEGIN;\nINSERT INTO {p} VALUES (20,1,'a');\nSAVEPOINT s;\nUPDATE {p} SET v = 2 WHERE id = 20;\n\
                 RELEASE SAVEPOINT s;\nSAVEPOINT s;\nDELETE FROM {p} WHERE id = 20;\nSAVEPOINT s;\n\
                 INSERT INTO {p} VALUES (21,1,'b');\nROLLBACK TO s;\nINSERT INTO {p} VALUES (20,3,'c');\nCOMMIT;\n"
            ),
            &[&t],
        ),
        Step::new(format!("INSERT INTO {p} VALUES {};\n", thousand.join(",")), &[&t]),
        Step::new(format!("UPDATE {p} SET v = v + 1 WHERE id >= 10000;\nDELETE FROM {p} WHERE id >= 10500;\n"), &[&t]),
        Step::new(
            format!(
                "CREATE TEMPORARY TABLE tmp (id INT PRIMARY KEY, v INT);\nINSERT INTO tmp VALUES (1, 1), (6, 6);\n\
                 INSERT INTO {p} (id, v) SELECT id, v FROM tmp WHERE id > 5;\nDROP TEMPORARY TABLE tmp;\n"
            ),
            &[&t],
        ),
    ];
    // With GTIDs MySQL refuses transactions with tables of several engines.
    if server.mariadb || !server.mysql(5, 6, 0) {
        steps.push(Step::new(
            format!(
                "BEGIN;\nINSERT INTO {m} VALUES (3,3);\nINSERT INTO {p} VALUES (30,1,'gone');\nUPDATE {m} SET v = 4 WHERE id = 3;\n\
                 ROLLBACK;\nBEGIN;\nINSERT INTO {p} VALUES (31,1,'kept');\nSAVEPOINT s;\nINSERT INTO {m} VALUES (5,5);\n\
                 INSERT INTO {p} VALUES (32,1,'gone');\nROLLBACK TO s;\nDELETE FROM {m} WHERE id = 1;\nCOMMIT;\n\
                 INSERT INTO {m} SELECT id + 100, v FROM {p} WHERE id < 10;\n"
            ),
            &[&t, &myisam],
        ));
    }
    // From then on a prepared transaction leaves its connection: others come before it is decided.
    if server.mysql(8, 0, 29) {
        let prepare = |xid: &str, sql: &str| format!("XA START '{xid}';\n{sql}XA END '{xid}';\nXA PREPARE '{xid}';\n");
        let (kept, gone) = (format!("{database} kept"), format!("{database} gone"));
        steps.push(Step::new(prepare(&kept, &format!("INSERT INTO {p} VALUES (40,1,'late');\n")), &[&t]));
        steps.push(Step::new(prepare(&gone, &format!("INSERT INTO {p} VALUES (41,1,'never');\n")), &[&t]));
        steps.push(Step::new(format!("INSERT INTO {p} VALUES (42,1,'between');\n"), &[&t]));
        steps.push(Step::new(format!("XA COMMIT '{kept}';\nXA ROLLBACK '{gone}';\n"), &[&t]));
        // Never decided: at the end of the log it is open.
        steps.push(Step::new(prepare(database, &format!("INSERT INTO {p} VALUES (43,1,'open');\n")), &[&t]));
    }
    // The rows that are gone are not in the log; those of the table from here on are.
    let emptied = Rc::new(Table::clone(&myisam));
    steps.push(Step::new(format!("TRUNCATE TABLE {m};\nINSERT INTO {m} VALUES (1,9);\n"), &[&emptied]));
    if server.mysql(8, 3, 0) {
        let tagged = format!(
            "SET gtid_next = 'AUTOMATIC:tagged';\nINSERT INTO {p} VALUES (7,7,'tag');\nSET gtid_next = AUTOMATIC;\n"
        );
        steps.push(Step::new(tagged, &[&t]));
    }
    steps
}

fn several_tables(server: &Server, database: &str) -> Vec<Step> {
    let a = table(database, "parents", vec![int("v")]);
    let b = table(database, "children", vec![int("parent"), int("v")]);
    // Until 9.6 InnoDB changes the children itself, and the log has nothing of it.
    let silent = !server.mysql(9, 6, 0);
    let mut cascaded = Table::new(database, "cascaded", vec![int("parent")]);
    cascaded.silent = silent;
    let c = Rc::new(cascaded);
    let (pa, pb, pc) = (a.path(), b.path(), c.path());
    let trigger = format!(
        "CREATE TRIGGER {0}.tr AFTER INSERT ON {pa} FOR EACH ROW INSERT INTO {pb} VALUES (NEW.id + 1000, NEW.id, NEW.v);\n",
        quote(database)
    );
    let create = a.create("ENGINE=InnoDB") + &b.create("ENGINE=InnoDB") + &c.create("ENGINE=InnoDB");
    let foreign = format!(
        "ALTER TABLE {pc} ADD FOREIGN KEY (parent) REFERENCES {pa} (id) ON DELETE CASCADE ON UPDATE CASCADE;\n"
    );
    let file = format!("./{database}.csv");
    vec![
        Step::new(create + &foreign + &trigger, &[&a, &b, &c]),
        Step::new(format!("INSERT INTO {pa} VALUES (1,1),(2,2),(3,3),(4,4);\n"), &[&a, &b]),
        Step::new(format!("INSERT INTO {pc} VALUES (1,1),(2,1),(3,2),(4,4);\n"), &[&c]),
        Step::new(
            format!(
                "UPDATE {pa} a JOIN {pb} b ON b.parent = a.id SET a.v = a.v + 10, b.v = b.v + 20 WHERE a.id < 3;\n"
            ),
            &[&a, &b],
        ),
        Step::new(format!("DELETE a, b FROM {pa} a JOIN {pb} b ON b.parent = a.id WHERE a.id = 3;\n"), &[&a, &b]),
        Step::new(format!("UPDATE {pa} SET id = 40 WHERE id = 4;\n"), &[&a, &c]),
        Step::new(format!("DELETE FROM {pa} WHERE id = 1;\n"), &[&a, &c]),
        Step::new(format!("INSERT INTO {pb} (id, parent) SELECT id + 5000, id FROM {pa};\n"), &[&b]),
        Step::new(format!("SELECT * FROM {pb} INTO OUTFILE '{file}';\nDELETE FROM {pb};\n"), &[&b]),
        Step::new(format!("LOAD DATA INFILE '{file}' INTO TABLE {pb};\n"), &[&b]),
        Step::new(format!("LOAD DATA INFILE '{file}' REPLACE INTO TABLE {pb} SET v = 77;\n"), &[&b]),
    ]
}

fn unusual_tables(server: &Server, database: &str) -> Vec<Step> {
    let wide = table(database, "wide", (0..999).map(|n| int(&format!("c{n}"))).collect());
    let names = ["sp ace", "quo`te", "dou\"ble", "Ж и", "日本語", "a.b", "é", "select", "back\\slash", "%s'"];
    let odd: Vec<Column> = names.iter().map(|n| column(n, "varchar(20) character set utf8mb4", Kind::Text)).collect();
    let other = format!("{database} Б`a\"з.é日'");
    let odd = table(&other, "Таблица `x` é日本.$", odd);
    let mut parts = vec![int("v")];
    if server.mysql(5, 7, 6) || server.maria(10, 2, 1) {
        parts.push(column("g", "int generated always as (v + 1) stored", Kind::Int));
        // MariaDB 10.2 logs NULL in place of what it does not store.
        if !server.mariadb || server.maria(10, 5, 0) {
            parts.push(column("h", "varchar(30) generated always as (concat('v', v)) virtual", Kind::Text));
        }
    }
    if server.mysql(8, 0, 23) || server.maria(10, 3, 3) {
        parts.push(column("i", "int invisible", Kind::Int));
    }
    let generated = table(database, "generated", parts.clone());
    let split = table(database, "partitioned", vec![int("v")]);
    let ones = vec!["1"; 999].join(",");
    let texts: Vec<String> = (0..names.len()).map(|n| format!("'värde {n}'")).collect();
    let (w, o, g, s) = (wide.path(), odd.path(), generated.path(), split.path());
    let first = quote(names[0]);
    let third = quote(names[2]);
    let with_i = if parts.iter().any(|c| c.name == "i") {
        format!("UPDATE {g} SET i = 5 WHERE id = 1;\n")
    } else {
        String::new()
    };
    vec![
        Step::new(
            format!("CREATE DATABASE {};\n", quote(&other))
                + &wide.create("")
                + &odd.create("")
                + &generated.create(""),
            &[&wide, &odd, &generated],
        ),
        Step::new(format!("INSERT INTO {w} VALUES (1,{ones}),(2,{ones});\n"), &[&wide]),
        Step::new(format!("UPDATE {w} SET c998 = NULL, c0 = 7;\nDELETE FROM {w} WHERE id = 1;\n"), &[&wide]),
        Step::new(format!("INSERT INTO {o} VALUES (1, {});\n", texts.join(",")), &[&odd]),
        Step::new(format!("UPDATE {o} SET {first} = 'Ω', {third} = NULL;\n"), &[&odd]),
        Step::new(format!("INSERT INTO {g} (id, v) VALUES (1, 1), (2, NULL);\n"), &[&generated]),
        Step::new(format!("UPDATE {g} SET v = 41 WHERE id = 2;\n{with_i}"), &[&generated]),
        Step::new(format!("DELETE FROM {g} WHERE id = 1;\n"), &[&generated]),
        Step::new(split.create("PARTITION BY HASH (id) PARTITIONS 3"), &[&split]),
        Step::new(
            format!("INSERT INTO {s} VALUES (1,1),(2,2),(3,3);\nUPDATE {s} SET id = id + 10 ORDER BY id DESC;\n"),
            &[&split],
        ),
        Step::new(format!("UPDATE {s} SET v = v * 2;\nDELETE FROM {s} WHERE id = 11;\n"), &[&split]),
    ]
}

/// MariaDB's tables of which the log has columns that INFORMATION_SCHEMA leaves out.
fn hidden_columns(server: &Server, database: &str) -> Vec<Step> {
    if !server.maria(10, 4, 3) {
        return Vec::new();
    }
    let unique = table(database, "unique_texts", vec![column("t", "text", Kind::Text), int("v")]);
    let mut versioned = Table::new(database, "versioned", vec![column("t", "text unique", Kind::Text)]);
    let create = versioned.create("WITH SYSTEM VERSIONING");
    versioned.columns.extend(["row_start", "row_end"].map(|name| column(name, "timestamp(6)", Kind::Temporal)));
    let versioned = Rc::new(versioned);
    let u = unique.path();
    let keys = format!("ALTER TABLE {u} ADD UNIQUE (t), ADD UNIQUE (v, t);\n");
    vec![
        Step::new(unique.create("") + &keys + &create, &[&unique, &versioned]),
        Step::new(format!("INSERT INTO {u} VALUES (1, 'a', 1), (2, NULL, 2), (3, 'é', 3);\n"), &[&unique]),
        Step::new(format!("UPDATE {u} SET t = 'b' WHERE id = 1;\nDELETE FROM {u} WHERE id = 2;\n"), &[&unique]),
        Step::new(format!("INSERT INTO {} (id, t) VALUES (1, 'a'), (2, NULL);\n", versioned.path()), &[&versioned]),
    ]
}

fn without_key(database: &str) -> Vec<Step> {
    let mut keyless = Table::new(database, "keyless", vec![int("v"), column("t", "text", Kind::Text)]);
    keyless.keyed = false;
    let keyless = Rc::new(keyless);
    let k = keyless.path();
    vec![
        Step::new(keyless.create(""), &[&keyless]),
        Step::new(format!("INSERT INTO {k} VALUES (1,1,'a'),(2,1,'b'),(3,NULL,NULL);\n"), &[&keyless]),
        Step::new(format!("UPDATE {k} SET v = 2 WHERE t = 'a';\nDELETE FROM {k} WHERE v IS NULL;\n"), &[&keyless]),
    ]
}

/// A table whose key MySQL generates and, as it is set, does not show.
fn generated_key(database: &str, image: Image) -> Vec<Step> {
    let mut table = Table::new(database, "gipk", vec![int("v")]);
    table.keyed = false;
    let create = table.create("");
    table.columns.insert(0, column("my_row_id", "bigint unsigned", Kind::Int));
    let (table, p) = (Rc::new(table.clone()), table.path());
    let create = format!(
        "SET GLOBAL show_gipk_in_create_table_and_information_schema = OFF;\n\
         SET sql_generate_invisible_primary_key = ON;\n{create}SET sql_generate_invisible_primary_key = OFF;\n"
    );
    let mut steps = vec![
        Step::new(create, &[&table]),
        Step::new(format!("INSERT INTO {p} (id, v) VALUES (1, 1), (2, 2);\n"), &[&table]),
    ];
    // A minimal image has the generated key alone, and rows are told apart by `id`.
    if image != Image::Minimal {
        let change = format!("UPDATE {p} SET v = 5 WHERE id = 2;\nDELETE FROM {p} WHERE id = 1;\n");
        steps.push(Step::new(change, &[&table]));
    }
    steps
}
