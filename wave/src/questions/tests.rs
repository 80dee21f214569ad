use std::net::TcpListener;
use std::sync::mpsc;

use coord::history::memory::MemoryHistory;

use super::*;

fn at(pos: u64) -> FilePos {
    FilePos { file: "b.000001".into(), pos }
}

/// Of a source whose server lets everybody in and says nothing.
fn questions(silent: &TcpListener) -> ServerQuestions {
    let url = format!("mysql://u:p@{}/", silent.local_addr().unwrap());
    let history = Box::new(MemoryHistory::default());
    ServerQuestions::new(Source::new(&url, None).unwrap(), SourceId::new("s").unwrap(), From::Now, history).unwrap()
}

#[test]
fn a_question_of_one_reader_holds_up_no_other() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let live = questions(&silent);
    let catch_up = live.another();
    thread::spawn(move || catch_up.load_table("it", "behind", &at(100), false));
    let _under_way = silent.accept().unwrap();

    let (done, answered) = mpsc::channel();
    thread::spawn(move || {
        live.connected(&Server { uuid: "one".into(), ..Server::default() });
        live.schema_changed(&[], None, &at(900)).unwrap();
        done.send(()).unwrap();
    });
    answered.recv_timeout(Duration::from_secs(5)).expect("it waits for the server too");
}

#[test]
fn statements_behind_the_reader_are_forgotten() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (questions, server) = (questions(&silent), Server::default());
    let changes = [200, 300, 400].map(|pos| Change::unknown(&at(pos))).to_vec();
    *lock(&questions.scanned) = Some(Scanned { server: server.uuid.clone(), from: at(100), to: at(500), changes });
    let between = |from, to| {
        let found = questions.changes_between(&server, &at(from), &at(to)).unwrap();
        (found.iter().map(|c| c.at.pos).collect::<Vec<_>>(), lock(&questions.scanned).as_ref().unwrap().changes.len())
    };
    assert_eq!(between(100, 300), (vec![200, 300], 3));
    assert_eq!(between(300, 500), (vec![400], 1));
    assert_eq!(between(300, 399), (vec![], 1));
}

#[test]
fn a_question_about_a_server_that_the_reader_has_left_ends() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let questions = Arc::new(questions(&silent));
    drop(silent);
    questions.connected(&Server { uuid: "one".into(), ..Server::default() });
    let (done, answered) = mpsc::channel();
    let asked = Arc::clone(&questions);
    thread::spawn(move || done.send(asked.load_table("it", "t", &at(100), false)));
    assert!(answered.recv_timeout(Duration::from_millis(300)).is_err(), "a server that is away is waited for");
    questions.connected(&Server { uuid: "two".into(), ..Server::default() });
    let failure = answered.recv_timeout(Duration::from_secs(20)).expect("it goes on asking").unwrap_err();
    assert_eq!(failure.kind, FailureKind::Transient, "{}", failure.message);
}
