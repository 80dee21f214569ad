//! Peers that speak MySQL's protocol and mean no good: `tail` and `check` end in bounded time and memory with an error
//! that says where and what, or connect again with growing pauses where a reader has to.

#[path = "hostile/dump.rs"]
mod dump;

use std::io;
use std::time::Duration;

use kit::Process;
use kit::peer::{Peer, Talk, column, greeting, packet};

/// What a peer may make the program take, whatever it sends: a result or the first part of an event, of 16 MiB, and the
/// buffers that became too small for it (half, a quarter, …). The program alone takes 25 MiB as the tests build it.
const MEMORY_KIB: u64 = 80 << 10;
/// Login and each statement have 10 s; the rest is for a slow machine.
const DEADLINE: Duration = Duration::from_secs(25);

type Script = fn(&mut Talk) -> io::Result<()>;

/// A peer, and how a command that meets it has to end: its exit code, and words of what it says.
struct Case {
    name: &'static str,
    script: Script,
    code: i32,
    words: &'static [&'static str],
}

fn case(name: &'static str, code: i32, words: &'static [&'static str], script: Script) -> Case {
    Case { name, script, code, words }
}

/// Runs a command against every peer at once; each must end by itself, with the peer's address in what it says.
fn all_end(command: &str, cases: Vec<Case>) {
    let wrong = at_once(cases, |case| ends(command, &case).map_err(|e| format!("{command}, {}: {e}", case.name)));
    assert!(wrong.is_empty(), "{} cases went wrong\n{}", wrong.len(), wrong.join("\n"));
}

/// Runs `test` on all cases at the same time: what went wrong.
fn at_once<T: Send>(cases: Vec<T>, test: impl Fn(T) -> Result<(), String> + Sync) -> Vec<String> {
    std::thread::scope(|scope| {
        let running: Vec<_> = cases.into_iter().map(|case| scope.spawn(|| test(case))).collect();
        running.into_iter().filter_map(|thread| thread.join().unwrap().err()).collect()
    })
}

fn ends(command: &str, case: &Case) -> Result<(), String> {
    let script = case.script;
    let peer = Peer::start(move |_, talk| script(talk)).unwrap();
    let mut process = Process::binlake(&[command, "--source", &peer.url()]).unwrap();
    let (status, peak) = process.wait_measured(DEADLINE).map_err(|e| e.to_string())?;
    let said = process.stderr();
    let address = format!("127.0.0.1:{}", peer.port());
    let missing = case.words.iter().copied().chain([address.as_str()]).find(|word| !said.contains(word));
    match missing {
        _ if status.code() != Some(case.code) => Err(format!("{status} in place of {}: {said}", case.code)),
        Some(word) => Err(format!("no `{word}` in: {said}")),
        None if peak >= MEMORY_KIB => Err(format!("{peak} KiB")),
        None => decent(&said),
    }
}

/// No panic, nothing that moves a terminal's cursor, not too much.
fn decent(said: &str) -> Result<(), String> {
    if said.len() > 8192 || said.contains("panicked") || said.contains(|c: char| c.is_control() && c != '\n') {
        return Err(format!("{said:?}"));
    }
    Ok(())
}

fn before_the_greeting_is_read() -> Vec<Case> {
    let no_server: &[&str] = &["greeting", "MySQL or MariaDB"];
    vec![
        case("an HTTP server", 6, no_server, |talk| {
            talk.raw(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")?;
            talk.wait_closed()
        }),
        case("noise", 6, no_server, |talk| {
            let mut state = 1_u32;
            loop {
                let noise: Vec<u8> = (0..4096)
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (state >> 24) as u8
                    })
                    .collect();
                talk.raw(&noise)?;
            }
        }),
        case("an endless greeting", 6, no_server, |talk| talk.endless_packet(&greeting("x"), b'x')),
        case("an empty greeting", 6, no_server, |talk| talk.packet(&[])),
        case("a cut greeting", 6, no_server, |talk| talk.packet(&greeting("x")[..20])),
        case("a greeting with a wrong number", 6, no_server, |talk| {
            talk.seq = 9;
            talk.packet(&greeting("mysql_native_password"))
        }),
        case("another protocol", 6, no_server, |talk| talk.packet(&[&[9], &greeting("x")[1..]].concat())),
        case("nothing", 6, &["greeting"], Talk::wait_closed),
        case("a greeting in drops", 6, &["greeting"], |talk| {
            talk.drip(&packet(0, &greeting("x")), Duration::from_secs(1))
        }),
        case("a close", 6, &["closed", "greeting"], |_| Ok(())),
        case("a reset", 6, &["reset"], Talk::reset),
        case("an error with control characters and no end", 6, &["server error 1040"], |talk| {
            let text = [b"\xff\x10\x04#08004\x1b[2J\x1b]0;title\x07".to_vec(), vec![b'x'; 60_000]].concat();
            talk.packet(&text)
        }),
    ]
}

fn while_logging_in() -> Vec<Case> {
    fn greet(talk: &mut Talk) -> io::Result<()> {
        talk.packet(&greeting("mysql_native_password"))?;
        talk.read().map(drop)
    }
    vec![
        case("plugins without end", 6, &["logging in", "again and again"], |talk| {
            greet(talk)?;
            loop {
                talk.packet(b"\xfemysql_native_password\0abcdefghijklmnopqrst\0")?;
                talk.read()?;
            }
        }),
        case("plugin data without end", 6, &["logging in", "none is due"], |talk| {
            greet(talk)?;
            loop {
                talk.packet(b"\x01again")?;
            }
        }),
        case("a fast path without end", 6, &["logging in", "none is due"], |talk| {
            talk.packet(&greeting("caching_sha2_password"))?;
            talk.read()?;
            loop {
                talk.packet(b"\x01\x03")?;
            }
        }),
        case("a key that is none", 4, &["RSA"], |talk| {
            talk.packet(&greeting("caching_sha2_password"))?;
            talk.read()?;
            talk.packet(b"\x01\x04")?;
            talk.read()?;
            let mut key = b"\x01-----BEGIN PUBLIC KEY-----\n".to_vec();
            key.extend(std::iter::repeat_n(b'M', 60_000));
            key.extend(b"\n-----END PUBLIC KEY-----\n");
            talk.packet(&key)
        }),
        case("an unknown plugin", 4, &["authentication_of_doom"], |talk| {
            greet(talk)?;
            talk.packet(b"\xfeauthentication_of_doom\0abcdefghijklmnopqrst\0")
        }),
        case("a plugin whose name has no end", 6, &["logging in", "plugin"], |talk| {
            greet(talk)?;
            talk.packet(&[&[0xFE], &[b'x'; 60_000][..]].concat())
        }),
        case("a wrong number", 6, &["logging in", "number"], |talk| {
            greet(talk)?;
            talk.seq = 77;
            talk.ok()
        }),
        case("an endless answer", 6, &["logging in", "65536"], |talk| {
            greet(talk)?;
            talk.endless_packet(&[0], 0)
        }),
        case("an answer in drops", 6, &["logging in"], |talk| {
            greet(talk)?;
            talk.drip(&packet(2, &[0; 60]), Duration::from_secs(1))
        }),
        case("a reset", 6, &["logging in", "reset"], |talk| {
            greet(talk)?;
            talk.reset()
        }),
    ]
}

/// The first thing that `tail` and `check` ask for, after the login.
fn ask(talk: &mut Talk) -> io::Result<()> {
    talk.login()?;
    talk.read().map(drop)
}

fn at_a_statement() -> Vec<Case> {
    let at: &[&str] = &["statement's result"];
    vec![
        case("a wish for a local file", 6, &["local file"], |talk| {
            ask(talk)?;
            talk.packet(b"\xfb/etc/passwd")?;
            talk.wait_closed()
        }),
        case("rows without end", 7, &["result of a statement", "16777216"], |talk| {
            ask(talk)?;
            talk.columns(&["a", "b"])?;
            loop {
                talk.row(&["binlog.000001", "4"])?;
            }
        }),
        case("large rows without end", 7, &["result of a statement", "16777216"], |talk| {
            ask(talk)?;
            talk.columns(&["a"])?;
            let value = [&[0xFD, 0, 0, 0x10], &[b'x'; 1 << 20][..]].concat();
            loop {
                talk.packet(&value)?;
            }
        }),
        case("a row without end", 7, &["16777216"], |talk| {
            ask(talk)?;
            talk.columns(&["a"])?;
            talk.endless_packet(&[0xFE, 0, 0, 0, 0, 1, 0, 0, 0], b'x')
        }),
        case("columns without end", 6, at, |talk| {
            ask(talk)?;
            talk.packet(&[2])?;
            loop {
                talk.packet(&column("x"))?;
            }
        }),
        case("2^64 columns", 6, at, |talk| {
            ask(talk)?;
            talk.packet(&[&[0xFE][..], &[0xFF; 8]].concat())?;
            talk.wait_closed()
        }),
        case("rows of another width", 6, at, |talk| {
            ask(talk)?;
            talk.columns(&["File", "Position"])?;
            talk.row(&["binlog.000001"])
        }),
        case("a wrong number", 6, at, |talk| {
            ask(talk)?;
            talk.seq = 3;
            talk.ok()
        }),
        case("rows in drops", 6, at, |talk| {
            ask(talk)?;
            talk.columns(&["File"])?;
            talk.drip(&[0; 60], Duration::from_secs(1))
        }),
        case("nothing", 6, at, |talk| {
            ask(talk)?;
            talk.wait_closed()
        }),
        case("a reset", 6, &["statement's result", "reset"], |talk| {
            ask(talk)?;
            talk.reset()
        }),
    ]
}

/// A result, and its end again and again: what comes unasked is no answer to the next statement.
fn ends_without_end(talk: &mut Talk) -> io::Result<()> {
    ask(talk)?;
    talk.columns(&["File", "Position"])?;
    talk.row(&["binlog.000001", "4"])?;
    loop {
        talk.eof()?;
    }
}

/// What only `tail` asks and needs: an answer of the right form with unfit contents.
fn wrong_answers() -> Vec<Case> {
    const STATUS: [&str; 5] = ["File", "Position", "a", "b", "Executed_Gtid_Set"];
    vec![
        case("OK in place of the log's status", 7, &["no binary log"], |talk| {
            ask(talk)?;
            talk.ok()?;
            talk.wait_closed()
        }),
        case("a status without its columns", 7, &["no binary log"], |talk| {
            ask(talk)?;
            talk.result(&["x"], &[&["y"]])?;
            talk.wait_closed()
        }),
        case("a position that is no number", 7, &["no binary log"], |talk| {
            ask(talk)?;
            talk.result(&STATUS, &[&["binlog.000001", "-4", "", "", ""]])?;
            talk.wait_closed()
        }),
        case("a GTID set that is none", 7, &["GTID set"], |talk| {
            ask(talk)?;
            talk.result(&STATUS, &[&["binlog.000001", "4", "", "", "no set \u{1b}[2J"]])?;
            talk.wait_closed()
        }),
    ]
}

#[test]
fn tail_ends_before_and_in_the_login() {
    all_end("tail", [before_the_greeting_is_read(), while_logging_in()].into_iter().flatten().collect());
}

#[test]
fn tail_ends_at_a_hostile_answer() {
    all_end("tail", [at_a_statement(), wrong_answers()].into_iter().flatten().collect());
}

#[test]
fn check_ends_at_a_hostile_answer() {
    let ends = vec![case("ends without end", 6, &["protocol violation"], ends_without_end)];
    all_end("check", [at_a_statement(), ends].into_iter().flatten().collect());
}
