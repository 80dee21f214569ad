//! MySQL's `gtid_mode` switched off and on under a reader: a GTID set in a checkpoint then no longer, or not yet, tells where
//! reading stopped. Nothing is skipped, and nothing that was settled comes again.

use kit::{Database, MySql};

use crate::support::{SOON, Up, ids, read_local, read_raw, topic_of};

/// A server with some history, and a reader of it with its own folder.
struct Scene {
    mysql: MySql,
    dir: tempfile::TempDir,
    next: u64,
}

impl Scene {
    fn new() -> Scene {
        let mysql = MySql::start().unwrap();
        mysql.sql("CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY)").unwrap();
        Scene { mysql, dir: tempfile::tempdir().unwrap(), next: 1 }
    }

    fn start(&self) -> Up {
        let url = self.mysql.url();
        let up = Up::start(&["--source", &url, "--tables", "it.*", "--data-dir", self.dir.path().to_str().unwrap()]);
        up.wait_streaming();
        up
    }

    /// It ends and names the way out.
    fn refused(&self, way: &str) {
        let url = self.mysql.url();
        let mut up =
            Up::start(&["--source", &url, "--tables", "it.*", "--data-dir", self.dir.path().to_str().unwrap()]);
        let status = up.process.wait(SOON).unwrap();
        let said = up.process.stderr();
        assert!(status.code() == Some(7) && said.contains(way), "{status} {said}");
    }

    fn insert(&mut self) {
        self.mysql
            .sql(&format!("INSERT INTO it.t VALUES ({}); INSERT INTO it.t VALUES ({})", self.next, self.next + 1))
            .unwrap();
        self.next += 2;
    }

    /// Goes to each of these modes in turn, which is all the server allows, with rows in each.
    fn modes(&mut self, modes: &[&str], mut then: impl FnMut(&Database)) {
        for mode in modes {
            self.mysql.sql(&format!("SET GLOBAL gtid_mode = {mode}")).unwrap();
            self.insert();
            then(&self.mysql);
        }
    }

    /// Every row from `first` on, each once, by the rule.
    fn assert_each_once(&self, first: u64) {
        let rows = ids(&read_local(self.dir.path(), &topic_of(self.mysql.port())));
        assert_eq!(rows, (first..self.next).collect::<Vec<_>>());
    }

    /// Of the raw topic only these may stand twice: what came right before the server ended a dump is read again from the
    /// checkpoint.
    fn assert_repeated(&self, repeated: std::ops::Range<u64>) {
        let mut rows = ids(&read_raw(self.dir.path(), &topic_of(self.mysql.port())));
        rows.retain(|id| !repeated.contains(id));
        let wanted: Vec<u64> = (rows[0]..self.next).filter(|id| !repeated.contains(id)).collect();
        assert_eq!(rows, wanted);
    }
}

const OFF: [&str; 3] = ["ON_PERMISSIVE", "OFF_PERMISSIVE", "OFF"];
const ON: [&str; 3] = ["OFF_PERMISSIVE", "ON_PERMISSIVE", "ON"];

#[test]
fn switched_off_and_on_while_it_is_read() {
    let mut scene = Scene::new();
    let mut up = scene.start();
    scene.insert();
    up.wait_settled(&scene.mysql);
    scene.modes(&OFF, |mysql| up.wait_settled(mysql));
    let health = up.health();
    assert!(health.to_string().contains("gtids_off") && health["gtid_set"] == "", "{health:#}");
    up.stop();
    scene.insert();
    up = scene.start();
    up.wait_settled(&scene.mysql);
    scene.modes(&ON, |mysql| up.wait_settled(mysql));
    let executed = scene.mysql.sql("SELECT @@gtid_executed").unwrap();
    assert_eq!(up.health()["gtid_set"], executed.trim(), "all is executed, so a failover is possible again");
    for _ in 0..2 {
        up.stop();
        scene.insert();
        up = scene.start();
        up.wait_settled(&scene.mysql);
    }
    up.stop();
    scene.assert_each_once(1);
    scene.assert_repeated(1..5);
}

#[test]
fn switched_off_and_on_while_nobody_reads() {
    let mut scene = Scene::new();
    let mut up = scene.start();
    scene.insert();
    up.wait_settled(&scene.mysql);
    assert_ne!(up.health()["gtid_set"], "");
    up.stop();
    // No transaction tells of it: the server refuses the set.
    scene
        .mysql
        .sql("SET GLOBAL gtid_mode = ON_PERMISSIVE; SET GLOBAL gtid_mode = OFF_PERMISSIVE; SET GLOBAL gtid_mode = OFF")
        .unwrap();
    up = scene.start();
    scene.insert();
    up.wait_settled(&scene.mysql);
    up.stop();
    // There and back: transactions without GTID are not read yet, and the server keeps them back.
    for _ in 0..2 {
        scene.modes(&ON, |_| {});
        scene.refused("SET GLOBAL gtid_mode = ON_PERMISSIVE");
        scene.modes(&["ON_PERMISSIVE"], |_| {});
        up = scene.start();
        up.wait_settled(&scene.mysql);
        scene.modes(&["ON"], |mysql| up.wait_settled(mysql));
        up.stop();
        scene.modes(&OFF, |_| {});
    }
    scene.refused("SET GLOBAL gtid_mode = OFF_PERMISSIVE");
    scene.modes(&["OFF_PERMISSIVE"], |_| {});
    up = scene.start();
    up.wait_settled(&scene.mysql);
    up.stop();
    scene.assert_each_once(1);
    scene.assert_repeated(5..scene.next - 2);
}

/// The set of what is read is not what the server has executed: there are GTIDs of before.
#[test]
fn switched_on_under_a_reader_that_never_knew_a_set() {
    let mut scene = Scene::new();
    scene.insert();
    for mode in OFF {
        scene.mysql.sql(&format!("SET GLOBAL gtid_mode = {mode}")).unwrap();
    }
    let first = scene.next;
    let mut up = scene.start();
    scene.insert();
    up.wait_settled(&scene.mysql);
    scene.modes(&ON, |mysql| up.wait_settled(mysql));
    up.process.kill9().unwrap();
    scene.insert();
    up = scene.start();
    up.wait_settled(&scene.mysql);
    let executed = scene.mysql.sql("SELECT @@gtid_executed").unwrap();
    assert_eq!(up.health()["gtid_set"], executed.trim());
    up.stop();
    scene.assert_each_once(first);
}
