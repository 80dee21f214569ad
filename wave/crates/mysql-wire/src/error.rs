//! Errors of a session, what kind of trouble each is, and what a person can do about it.
//!
//! No variant ever holds a password. Text that came from a server is bounded and lossily decoded.

use std::fmt;

/// What went wrong. `Display` is one line without the hint; see [`WireError::hint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The server answered with an ERR packet.
    #[error("{0}")]
    Server(ServerError),
    /// The server refused the login.
    #[error("login refused: {0}")]
    AuthFailed(ServerError),
    /// The login cannot go on as this client is set up.
    #[error("login not possible: {0}")]
    AuthUnsupported(String),
    /// TLS is demanded, but the server offers none.
    #[error("the server offers no TLS, but ssl-mode={0} demands it")]
    TlsRefused(&'static str),
    /// The TLS handshake or a TLS record failed.
    #[error("TLS failed: {0}")]
    Tls(TlsProblem),
    /// The server broke the protocol: `what`, while the session was in state `at`.
    #[error("protocol violation while {at}: {what}")]
    Protocol { what: String, at: &'static str },
    /// Something is larger than its bound.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge { what: &'static str, limit: usize },
    /// The connection ended while the session still needed it.
    #[error("the server closed the connection while {at}")]
    Closed { at: &'static str },
    /// The caller's options or request cannot work.
    #[error("{0}")]
    Config(String),
}

/// An ERR packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    pub code: u16,
    /// Five characters; empty when the server sent none (before login).
    pub sqlstate: String,
    pub message: String,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "server error {}", self.code)?;
        if !self.sqlstate.is_empty() {
            write!(f, " ({})", self.sqlstate)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Why TLS failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsProblem {
    #[error("the server's certificate is of X.509 version 1, which this TLS library does not accept")]
    CertificateV1,
    #[error("the server's certificate is not signed by a trusted authority")]
    UnknownAuthority,
    #[error("the server's certificate is not for the host {0}")]
    WrongHost(String),
    #[error("the server's certificate is expired or not valid yet")]
    NotInValidity,
    #[error("the server and this client have no TLS version or cipher in common")]
    NoCommonVersion,
    #[error("the server does not accept this client's certificate, or wants one: {0}")]
    ClientCertificate(String),
    #[error("{0}")]
    Other(String),
}

/// The kind of trouble, which decides whether to retry, and the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Wrong account, password, certificate or missing privilege. Retrying does not help.
    Denied,
    /// The server is away, full or shutting down, or the connection broke. Retry.
    Unavailable,
    /// Another reader has taken this one's identity, or the server gives its log for a reason of its own no further.
    Conflict,
    /// The log does not hold the wanted position, or no longer.
    Gone,
    /// The server gives its log by file and offset, not by GTID set.
    NoGtids,
    /// Options, the request or the server's set-up are unfit. Retrying does not help.
    Config,
    /// The server sent what no server may send. Reconnect; if it comes back it is a defect or not a MySQL server.
    Protocol,
}

/// What may be [`WireError::TooLarge`] of what a server sends.
pub(crate) const RESULT: &str = "the result of a statement";
pub(crate) const PACKET: &str = "a packet of the server";

/// ER_MASTER_FATAL_ERROR_READING_BINLOG: one code for many troubles, told apart by the message.
const FATAL_READING_BINLOG: u16 = 1236;

impl WireError {
    pub(crate) fn protocol(at: &'static str, what: impl Into<String>) -> Self {
        Self::Protocol { what: what.into(), at }
    }

    /// What kind of trouble this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Server(error) => server_kind(error),
            Self::Tls(TlsProblem::Other(_)) | Self::Closed { .. } => ErrorKind::Unavailable,
            Self::AuthFailed(_) | Self::AuthUnsupported(_) | Self::TlsRefused(_) | Self::Tls(_) => ErrorKind::Denied,
            Self::TooLarge { .. } | Self::Config(_) => ErrorKind::Config,
            Self::Protocol { .. } => ErrorKind::Protocol,
        }
    }

    /// What to do next, for the common cases.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            // After the login this code means a missing right, whatever its text says.
            Self::Server(error) if error.code == ACCESS_DENIED => return Some(GRANT),
            Self::Server(error) | Self::AuthFailed(error) => return server_hint(error),
            _ => {}
        }
        Some(match self {
            Self::AuthUnsupported(_) => {
                "connect over TLS (ssl-mode=required or stricter), or give the account another authentication plugin"
            }
            Self::TlsRefused(_) => {
                "switch TLS on in the server (have_ssl, ssl_cert, ssl_key), or set ssl-mode=preferred to go without"
            }
            Self::Tls(TlsProblem::CertificateV1) => {
                "give the server a certificate of version 3 (`openssl x509 -req` makes version 1 unless -extfile adds an \
                 extension such as subjectAltName), or set ssl-mode=disabled on a network you trust"
            }
            Self::Tls(TlsProblem::UnknownAuthority) => {
                "set ssl-ca to the authority that signed the server's certificate (ca.pem in the server's data directory)"
            }
            Self::Tls(TlsProblem::WrongHost(_)) => {
                "connect by a name in the certificate's subjectAltName (a common name does not count), or use \
                 ssl-mode=verify_ca; certificates a server made by itself name no host"
            }
            Self::Tls(TlsProblem::NotInValidity) => "renew the server's certificate, and check both clocks",
            Self::Tls(TlsProblem::NoCommonVersion) => {
                "TLS 1.2 or 1.3 is needed: set tls_version on the server, or ssl-mode=disabled on a network you trust"
            }
            Self::Tls(TlsProblem::ClientCertificate(_)) => {
                "set ssl-cert and ssl-key to a pair signed by the server's ssl_ca"
            }
            Self::Protocol { .. } => "check that host and port are those of a MySQL or MariaDB server",
            Self::TooLarge { what: RESULT | PACKET, .. } => {
                "no server that is well answers so much: look into its error log"
            }
            _ => return None,
        })
    }
}

fn server_kind(error: &ServerError) -> ErrorKind {
    match error.code {
        // DBACCESS_DENIED, ACCESS_DENIED, TABLEACCESS_DENIED, SPECIFIC_ACCESS_DENIED, NO_PASSWORD, MUST_CHANGE_PASSWORD,
        // ACCOUNT_HAS_BEEN_LOCKED, MariaDB's ACCOUNT_HAS_BEEN_LOCKED, SECURE_TRANSPORT_REQUIRED
        1044 | 1045 | 1142 | 1227 | 1698 | 1820 | 1862 | 3118 | 3159 | 4151 => ErrorKind::Denied,
        // CON_COUNT, BAD_HOST, HANDSHAKE, SERVER_SHUTDOWN, LOCK_WAIT_TIMEOUT, QUERY_INTERRUPTED, HOST_IS_BLOCKED,
        // OUT_OF_RESOURCES, TOO_MANY_USER_CONNECTIONS, USER_LIMIT_REACHED, CONNECTION_KILLED, CLIENT_INTERACTION_TIMEOUT
        1040 | 1041 | 1042 | 1043 | 1053 | 1129 | 1203 | 1205 | 1226 | 1317 | 1927 | 3169 | 3032 | 4031 => {
            ErrorKind::Unavailable
        }
        // SLAVE_SAME_ID (MariaDB 4052) and the catch-all 1236
        4052 => ErrorKind::Conflict,
        FATAL_READING_BINLOG => fatal_kind(error),
        _ => ErrorKind::Config,
    }
}

fn fatal_kind(error: &ServerError) -> ErrorKind {
    let message = error.message.to_ascii_lowercase();
    if message.contains("auto_position") {
        ErrorKind::NoGtids
    } else if ["binary log is not open", "not enabled", "max_allowed_packet", "checksum", "misconfigured", "gtid_mode"]
        .iter()
        .any(|word| message.contains(word))
    {
        ErrorKind::Config
    } else if message.contains("shutdown") || message.contains("out of memory") {
        ErrorKind::Unavailable
    } else if is_purged(&message) || is_beyond(&message) || is_foreign(&message) {
        ErrorKind::Gone
    } else {
        ErrorKind::Conflict
    }
}

fn has_any(message: &str, words: &[&str]) -> bool {
    words.iter().any(|word| message.contains(word))
}

fn is_purged(message: &str) -> bool {
    has_any(message, &["purged", "could not find first log file", "could not find gtid state"])
}

fn is_beyond(message: &str) -> bool {
    has_any(message, &["impossible position", "> file size", "not in binlog", "reading log event"])
}

fn is_foreign(message: &str) -> bool {
    has_any(message, &["more gtids than", "not in the master's binlog", "ahead", "diverge"])
}

const ACCESS_DENIED: u16 = 1045;
const GRANT: &str = "grant what is missing: GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO the account (on MariaDB \
                     10.5 and newer also BINLOG MONITOR)";

fn server_hint(error: &ServerError) -> Option<&'static str> {
    Some(match error.code {
        ACCESS_DENIED | 1698 => {
            "check user, password and the host part of the account (SELECT user, host, plugin FROM mysql.user)"
        }
        1227 | 1142 => GRANT,
        3118 | 4151 => "unlock the account: ALTER USER … ACCOUNT UNLOCK",
        1820 | 1862 => "the password has expired: ALTER USER … IDENTIFIED BY …",
        3159 => "this account must use TLS: set ssl-mode=required or stricter",
        1040 | 1203 | 1226 => "the server's or the account's connection limit is reached: max_connections",
        1129 => "the server blocks this host after failed connections: FLUSH HOSTS there",
        4052 => "another replica uses the same server id: give every reader its own",
        FATAL_READING_BINLOG => fatal_hint(&error.message),
        _ => return None,
    })
}

fn fatal_hint(message: &str) -> &'static str {
    let message = message.to_ascii_lowercase();
    let has = |word: &str| message.contains(word);
    if has("same server_uuid") || has("same server_id") || has("same uuid") {
        "another replica has the same server uuid or server id: give every reader its own"
    } else if has("auto_position") {
        "set gtid_mode=ON on the server, or start at a file and offset"
    } else if has("gtid-transaction") {
        "the log has transactions with GTID, which the server gives nobody while gtid_mode is OFF: SET GLOBAL gtid_mode = \
         OFF_PERMISSIVE, start again, and set it to OFF when they are read"
    } else if has("gtid_mode") {
        "the log has transactions without GTID, which the server gives nobody while gtid_mode is ON: SET GLOBAL gtid_mode = \
         ON_PERMISSIVE, start again, and set it to ON when they are read"
    } else if is_purged(&message) {
        "the server no longer has the log of this position; have it keep logs longer (binlog_expire_logs_seconds)"
    } else if has("binary log is not open") || has("not enabled") {
        "switch the binary log on: log_bin and server_id, then restart the server"
    } else if has("max_allowed_packet") {
        "raise max_allowed_packet on the server above its largest event (1 GiB is the most)"
    } else if is_beyond(&message) {
        "the log does not go on at this position: the server's logs were reset, or it was restored or replaced (its error log \
         tells if the file is damaged)"
    } else if is_foreign(&message) {
        "the position holds transactions that this server does not have: it is another one, it lost some at a failover, or \
         its logs were reset"
    } else {
        "look into the server's error log: it names the file and the position"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: u16, message: &str) -> WireError {
        WireError::Server(ServerError { code, sqlstate: "HY000".into(), message: message.into() })
    }

    #[test]
    fn every_1236_has_its_own_kind_and_hint() {
        // messages as MySQL 9.7 and MariaDB 10.11 send them
        let purged = server(
            1236,
            "Cannot replicate because the source purged required binary logs. Replicate the missing transactions from elsewhere",
        );
        assert_eq!(purged.kind(), ErrorKind::Gone);
        assert!(purged.hint().unwrap().contains("keep logs longer"));
        let twin =
            server(1236, "A replica with the same server_uuid/server_id as this replica has connected to the source;");
        assert_eq!(twin.kind(), ErrorKind::Conflict);
        assert!(twin.hint().unwrap().contains("its own"));
        let gone = server(1236, "Could not find first log file name in binary log index file");
        assert_eq!((gone.kind(), gone.hint().unwrap().contains("keep logs longer")), (ErrorKind::Gone, true));
        for refused in [
            "The replication sender thread cannot start in AUTO_POSITION mode: this server has GTID_MODE = OFF instead of ON.",
            "Cannot replicate anonymous transaction when AUTO_POSITION = 1, at file ./binlog.000002, position 197.",
        ] {
            let refused = server(1236, refused);
            assert_eq!((refused.kind(), refused.hint().unwrap().contains("gtid_mode")), (ErrorKind::NoGtids, true));
        }
        let anonymous =
            server(1236, "Cannot replicate anonymous transaction when @@GLOBAL.GTID_MODE = ON, at file ./b.1");
        assert_eq!(
            (anonymous.kind(), anonymous.hint().unwrap().contains("= ON_PERMISSIVE")),
            (ErrorKind::Config, true)
        );
        let named = server(1236, "Cannot replicate GTID-transaction when @@GLOBAL.GTID_MODE = OFF, at file ./b.1");
        assert_eq!((named.kind(), named.hint().unwrap().contains("= OFF_PERMISSIVE")), (ErrorKind::Config, true));
        let off = server(1236, "Binary log is not open");
        assert_eq!((off.kind(), off.hint().unwrap().contains("log_bin")), (ErrorKind::Config, true));
        let beyond = server(1236, "Client requested source to start replication from position > file size");
        assert_eq!((beyond.kind(), beyond.hint().unwrap().contains("were reset")), (ErrorKind::Gone, true));
        for reset in [
            "I/O error reading log event; the first event '' at 4, the last event read from './binlog.000001' at 3275, the last \
             byte read from './binlog.000001' at 3275.",
            "Slave has more GTIDs than the master has, using the master's SERVER_UUID. This may indicate that the end of the \
             binary log was truncated or that the last binary log file was lost",
            "Error: connecting slave requested to start from GTID 0-1-72, which is not in the master's binlog",
        ] {
            let reset = server(1236, reset);
            assert_eq!(
                (reset.kind(), reset.hint().unwrap().contains("were reset")),
                (ErrorKind::Gone, true),
                "{reset}"
            );
        }
    }

    #[test]
    fn kinds_by_code() {
        for (code, kind) in [
            (1045, ErrorKind::Denied),
            (1227, ErrorKind::Denied),
            (1040, ErrorKind::Unavailable),
            (1053, ErrorKind::Unavailable),
            (4052, ErrorKind::Conflict),
            (1064, ErrorKind::Config),
        ] {
            assert_eq!(server(code, "").kind(), kind, "{code}");
        }
        assert_eq!(WireError::Closed { at: "streaming" }.kind(), ErrorKind::Unavailable);
    }
}
