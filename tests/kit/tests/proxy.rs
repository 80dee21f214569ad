//! The proxy between a client and a server that answers each line in upper case.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use kit::{Proxy, wait_until};

const SOON: Duration = Duration::from_secs(10);
const A_WHILE: Duration = Duration::from_millis(200);

fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap());
                let (mut out, mut line) = (stream, String::new());
                while lines.read_line(&mut line).is_ok_and(|n| n > 0) {
                    if out.write_all(line.to_uppercase().as_bytes()).is_err() {
                        break;
                    }
                    line.clear();
                }
            });
        }
    });
    addr
}

fn client(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.addr()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

fn ask(stream: &mut TcpStream, line: &str) -> std::io::Result<String> {
    stream.write_all(line.as_bytes())?;
    let mut answer = vec![0; line.len()];
    stream.read_exact(&mut answer)?;
    Ok(String::from_utf8(answer).unwrap())
}

fn silent(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(A_WHILE)).unwrap();
    let read = stream.read(&mut [0; 1]);
    stream.set_read_timeout(Some(SOON)).unwrap();
    matches!(read, Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

#[test]
fn forwards_counts_and_passes_the_end_on() {
    let proxy = Proxy::to(server()).unwrap();
    let mut stream = client(&proxy);
    assert_eq!(ask(&mut stream, "hello\n").unwrap(), "HELLO\n");
    assert_eq!((proxy.bytes_up(), proxy.bytes_down(), proxy.connections()), (6, 6, 1));
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "the server's end comes back");
    assert!(wait_until(SOON, || proxy.connections() == 0));
}

#[test]
fn a_pause_holds_bytes_and_loses_none() {
    let proxy = Proxy::to(server()).unwrap();
    let mut stream = client(&proxy);
    ask(&mut stream, "a\n").unwrap();
    proxy.pause();
    stream.write_all(b"held\n").unwrap();
    assert!(silent(&mut stream));
    assert_eq!(proxy.bytes_up(), 2);
    proxy.resume();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HELD\n");
}

#[test]
fn a_cut_closes_what_is_open_and_lets_new_connections_in() {
    let proxy = Proxy::to(server()).unwrap();
    let mut stream = client(&proxy);
    ask(&mut stream, "a\n").unwrap();
    proxy.cut();
    assert!(ask(&mut stream, "b\n").is_err());
    assert_eq!(ask(&mut client(&proxy), "c\n").unwrap(), "C\n");
}

#[test]
fn a_cut_ends_a_paused_connection() {
    let proxy = Proxy::to(server()).unwrap();
    let mut stream = client(&proxy);
    ask(&mut stream, "a\n").unwrap();
    proxy.pause();
    stream.write_all(b"held\n").unwrap();
    proxy.cut();
    assert!(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)) && proxy.connections() == 0);
}

#[test]
fn a_black_hole_swallows_without_closing_and_its_connections_stay_dead() {
    let proxy = Proxy::to(server()).unwrap();
    let mut old = client(&proxy);
    ask(&mut old, "a\n").unwrap();
    proxy.black_hole();
    old.write_all(b"lost\n").unwrap();
    assert!(silent(&mut old));
    let mut new = client(&proxy);
    new.write_all(b"lost too\n").unwrap();
    assert!(silent(&mut new));
    proxy.resume();
    old.write_all(b"still lost\n").unwrap();
    assert!(silent(&mut old));
    assert_eq!(proxy.bytes_up(), 2);
    assert_eq!(ask(&mut client(&proxy), "b\n").unwrap(), "B\n");
}

#[test]
fn slow_keeps_the_rate_and_the_bytes() {
    let proxy = Proxy::to(server()).unwrap();
    let mut stream = client(&proxy);
    proxy.slow(20_000);
    let line = format!("{}\n", "x".repeat(9_999));
    let start = Instant::now();
    assert_eq!(ask(&mut stream, &line).unwrap(), line.to_uppercase());
    let took = start.elapsed();
    // Half a second up; the answer is as slow and may only overlap with it when the server answers early, which it does not.
    assert!(took >= Duration::from_millis(950), "{took:?}");
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[test]
fn refuse_and_retarget_concern_new_connections_only() {
    let proxy = Proxy::to(server()).unwrap();
    let mut stream = client(&proxy);
    ask(&mut stream, "a\n").unwrap();
    proxy.refuse();
    assert!(ask(&mut client(&proxy), "b\n").is_err());
    assert_eq!(ask(&mut stream, "c\n").unwrap(), "C\n");
    let down = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    proxy.retarget(down);
    proxy.resume();
    assert!(ask(&mut client(&proxy), "d\n").is_err(), "nobody listens there");
    proxy.retarget(server());
    assert_eq!(ask(&mut client(&proxy), "e\n").unwrap(), "E\n");
}
