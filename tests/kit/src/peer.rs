//! A scripted MySQL server: as much of one as a test needs, to misbehave at any point of a conversation.
//!
//! A [`Peer`] accepts connections and runs the test's script on each, on a thread of its own. The script speaks through
//! its [`Talk`]: whole packets that count their own sequence numbers, the answers of an orderly MySQL 9.7 up to a point of
//! the script's choice ([`Talk::serve_until`]), and any bytes at all. An error of the socket ends the script: the other
//! side has gone.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;

use crate::events;

/// A listener on loopback with a script; dropping it closes every connection.
#[derive(Debug)]
pub struct Peer {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    closed: AtomicBool,
    connections: AtomicUsize,
    open: Mutex<HashMap<usize, TcpStream>>,
}

impl Peer {
    /// Listens on a free port; `script` is given the number of the connection, from 0, and the connection.
    pub fn start(script: impl Fn(usize, &mut Talk) -> io::Result<()> + Send + Sync + 'static) -> Result<Peer> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let (accepting, script) = (Arc::clone(&shared), Arc::new(script));
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if accepting.closed.load(Ordering::SeqCst) {
                    return;
                }
                let number = accepting.connections.fetch_add(1, Ordering::SeqCst);
                let Ok(copy) = stream.try_clone() else { continue };
                accepting.open.lock().unwrap_or_else(PoisonError::into_inner).insert(number, copy);
                let _ = stream.set_nodelay(true);
                let (script, shared) = (Arc::clone(&script), Arc::clone(&accepting));
                std::thread::spawn(move || {
                    let mut talk = Talk { stream, seq: 0 };
                    let _ = script(number, &mut talk);
                    shared.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
                });
            }
        });
        Ok(Peer { addr, shared })
    }

    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// For a reader: `mysql://u:p@127.0.0.1:PORT/`.
    pub fn url(&self) -> String {
        format!("mysql://u:p@{}/", self.addr)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        for (_, stream) in self.shared.open.lock().unwrap_or_else(PoisonError::into_inner).drain() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.addr);
    }
}

/// The server's end of one connection.
#[derive(Debug)]
pub struct Talk {
    stream: TcpStream,
    /// Number of the next packet.
    pub seq: u8,
}

/// A packet of this length is continued by the next one.
const FULL: usize = 0xFF_FFFF;

impl Talk {
    /// Any bytes.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// One byte per `pause`.
    pub fn drip(&mut self, bytes: &[u8], pause: Duration) -> io::Result<()> {
        for byte in bytes {
            self.raw(&[*byte])?;
            std::thread::sleep(pause);
        }
        Ok(())
    }

    /// A packet, with its sequence number.
    pub fn packet(&mut self, payload: &[u8]) -> io::Result<()> {
        self.raw(&packet(self.seq, payload))?;
        self.seq = self.seq.wrapping_add(1);
        Ok(())
    }

    /// Full packets of `byte`, each continuing the one before, until the other side has had enough.
    pub fn endless_packet(&mut self, first: &[u8], byte: u8) -> io::Result<()> {
        let mut payload = vec![byte; FULL];
        payload[..first.len()].copy_from_slice(first);
        self.packet(&payload)?;
        payload.fill(byte);
        loop {
            self.packet(&payload)?;
        }
    }

    /// The client's next packet; the answer's number follows it.
    pub fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut header = [0; 4];
        self.stream.read_exact(&mut header)?;
        let mut payload = vec![0; u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize];
        self.stream.read_exact(&mut payload)?;
        self.seq = header[3].wrapping_add(1);
        Ok(payload)
    }

    /// Waits until the other side closes.
    pub fn wait_closed(&mut self) -> io::Result<()> {
        while self.stream.read(&mut [0; 1024])? > 0 {}
        Ok(())
    }

    /// Closes so that the other side's system reports a reset.
    pub fn reset(&mut self) -> io::Result<()> {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?;
        // The script ends with this, and the socket closes.
        Err(io::ErrorKind::ConnectionReset.into())
    }

    /// The greeting and, whatever the client's answer is, OK.
    pub fn login(&mut self) -> io::Result<()> {
        self.packet(&greeting("mysql_native_password"))?;
        self.read()?;
        self.ok()
    }

    pub fn ok(&mut self) -> io::Result<()> {
        self.packet(&[0, 0, 0, 2, 0, 0, 0])
    }

    /// The end of a list of columns or rows.
    pub fn eof(&mut self) -> io::Result<()> {
        self.packet(&[0xFE, 0, 0, 2, 0])
    }

    /// A result's head: the number of columns, each of them, and their end.
    pub fn columns(&mut self, names: &[&str]) -> io::Result<()> {
        self.packet(&[names.len() as u8])?;
        for name in names {
            self.packet(&column(name))?;
        }
        self.eof()
    }

    /// A row of texts.
    pub fn row(&mut self, values: &[&str]) -> io::Result<()> {
        let mut payload = Vec::new();
        for value in values {
            payload.push(value.len() as u8);
            payload.extend_from_slice(value.as_bytes());
        }
        self.packet(&payload)
    }

    /// A whole result.
    pub fn result(&mut self, names: &[&str], rows: &[&[&str]]) -> io::Result<()> {
        self.columns(names)?;
        for row in rows {
            self.row(row)?;
        }
        self.eof()
    }

    /// Logs in and answers as an orderly MySQL 9.7 with an empty log does, until a command contains `what`: that one is
    /// not answered.
    pub fn serve_until(&mut self, what: &str) -> io::Result<()> {
        self.login()?;
        loop {
            let command = self.read()?;
            let text = String::from_utf8_lossy(&command).into_owned();
            if text.contains(what) {
                return Ok(());
            }
            self.answer(&text)?;
        }
    }

    fn answer(&mut self, command: &str) -> io::Result<()> {
        const STATUS: [&str; 5] = ["File", "Position", "Binlog_Do_DB", "Binlog_Ignore_DB", "Executed_Gtid_Set"];
        if command.contains("BINARY LOG STATUS") {
            self.result(&STATUS, &[&["binlog.000001", "4", "", "", ""]])
        } else if command.contains("binlog_format'") || command.contains("SHOW GLOBAL VARIABLES") {
            let uuid = "5ba7f2a0-0000-4000-8000-0000000000aa";
            let rows: [&[&str]; 4] =
                [&["binlog_checksum", "NONE"], &["binlog_format", "ROW"], &["server_id", "7"], &["server_uuid", uuid]];
            self.result(&["Variable_name", "Value"], &rows)
        } else if command.contains("binlog_format") {
            self.result(&["@@GLOBAL.binlog_format"], &[&["ROW"]])
        } else if command.starts_with("\u{3}S") && !command.contains("SET ") {
            self.result(&["nothing"], &[])
        } else {
            self.ok()
        }
    }

    /// Up to the dump and its first two events: [`DUMP`] is answered, events may follow.
    pub fn stream(&mut self) -> io::Result<()> {
        self.serve_until(DUMP)?;
        self.event(&events::rotate("binlog.000001"))?;
        self.event(&events::format_description())
    }

    /// One event of a dump.
    pub fn event(&mut self, event: &[u8]) -> io::Result<()> {
        self.packet(&[&[0], event].concat())
    }
}

/// What only COM_BINLOG_DUMP contains, the name of the log file, for [`Talk::serve_until`].
pub const DUMP: &str = "binlog.000001";

/// Length, number and payload.
pub fn packet(seq: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_le_bytes()[..3].to_vec();
    out.push(seq);
    out.extend_from_slice(payload);
    out
}

/// The greeting of a MySQL 9.7 without TLS.
pub fn greeting(plugin: &str) -> Vec<u8> {
    let mut out = b"\x0a9.7.4\0\x07\0\0\0abcdefgh\0".to_vec();
    // All capabilities but TLS; utf8mb4; autocommit.
    out.extend_from_slice(&[0xFF, 0xF7, 0xFF, 2, 0, 0xFF, 0xDF, 21]);
    out.extend_from_slice(&[0; 10]);
    out.extend_from_slice(b"ijklmnopqrst\0");
    out.extend_from_slice(plugin.as_bytes());
    out.push(0);
    out
}

/// A column definition.
pub fn column(name: &str) -> Vec<u8> {
    let mut out = b"\x03def\0\0\0".to_vec();
    out.push(name.len() as u8);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\0\x0c\x2d\0\0\x01\0\0\xfd\0\0\0\0\0");
    out
}
