//! The server's greeting and the client's answer (protocol manual, "Connection Phase Packets").

use crate::options::ConnectOptions;
use crate::reader::{Reader, put_lenenc_bytes, put_lenenc_int};

/// Bits of the capability flags that this client knows.
pub(crate) mod capability {
    pub(crate) const LONG_PASSWORD: u32 = 1;
    pub(crate) const LONG_FLAG: u32 = 1 << 2;
    pub(crate) const CONNECT_WITH_DB: u32 = 1 << 3;
    /// Never set: with it a server may ask for any file of this machine.
    #[cfg(test)]
    pub(crate) const LOCAL_FILES: u32 = 1 << 7;
    pub(crate) const PROTOCOL_41: u32 = 1 << 9;
    pub(crate) const SSL: u32 = 1 << 11;
    pub(crate) const TRANSACTIONS: u32 = 1 << 13;
    pub(crate) const SECURE_CONNECTION: u32 = 1 << 15;
    pub(crate) const PLUGIN_AUTH: u32 = 1 << 19;
    pub(crate) const CONNECT_ATTRS: u32 = 1 << 20;
    pub(crate) const PLUGIN_AUTH_LENENC_DATA: u32 = 1 << 21;
}
use capability as c;

/// utf8mb4_general_ci, which every server from 5.5.3 on knows.
const COLLATION: u8 = 45;
/// What the client says it can receive: the protocol's most.
const MAX_PACKET: u32 = 1 << 30;
/// Length of the challenge of every plugin of MySQL.
pub(crate) const NONCE_LEN: usize = 20;

/// Which family a server is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    MySql,
    MariaDb,
}

/// What the server says of itself before login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Greeting {
    /// As sent, except that MariaDB's `5.5.5-` prefix is taken off.
    pub(crate) version: String,
    pub(crate) flavor: Flavor,
    pub(crate) connection_id: u32,
    pub(crate) capabilities: u32,
    pub(crate) nonce: Vec<u8>,
    pub(crate) plugin: Vec<u8>,
}

impl Greeting {
    /// Parses the payload of the first packet. The error says what is wrong with it.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, &'static str> {
        const SHORT: &str = "the greeting ends early";
        let mut reader = Reader::new(payload);
        if reader.u8() != Some(10) {
            return Err("the greeting is not of protocol version 10");
        }
        let version = reader.until_nul().ok_or(SHORT)?;
        let connection_id = reader.u32().ok_or(SHORT)?;
        let mut nonce = reader.take(8).ok_or(SHORT)?.to_vec();
        reader.u8().ok_or(SHORT)?;
        let low = reader.u16().ok_or(SHORT)?;
        let _collation = reader.u8().ok_or(SHORT)?;
        let _status = reader.u16().ok_or(SHORT)?;
        let high = reader.u16().ok_or(SHORT)?;
        let nonce_len = usize::from(reader.u8().ok_or(SHORT)?);
        reader.take(6).ok_or(SHORT)?;
        let mariadb_capabilities = reader.u32().ok_or(SHORT)?;
        let capabilities = u32::from(low) | u32::from(high) << 16;
        if capabilities & c::PROTOCOL_41 == 0 || capabilities & c::SECURE_CONNECTION == 0 {
            return Err("the server is older than MySQL 4.1 and has no safe login");
        }
        let second = reader.take(nonce_len.saturating_sub(8).max(13)).ok_or(SHORT)?;
        nonce.extend_from_slice(second.strip_suffix(&[0]).unwrap_or(second));
        let plugin = if capabilities & c::PLUGIN_AUTH == 0 {
            b"mysql_native_password".to_vec()
        } else {
            // early 5.5 and 5.6 leave the terminator off
            let name = reader.rest();
            name.split(|&byte| byte == 0).next().unwrap_or_default().to_vec()
        };
        let version = String::from_utf8_lossy(version).into_owned();
        // MariaDB clears bit 0 and says what more it can do in bytes MySQL leaves zero
        let mariadb = version.to_ascii_lowercase().contains("mariadb")
            || (capabilities & c::LONG_PASSWORD == 0 && mariadb_capabilities != 0);
        let flavor = if mariadb { Flavor::MariaDb } else { Flavor::MySql };
        let version = match version.strip_prefix("5.5.5-") {
            Some(real) if mariadb => real.to_owned(),
            _ => version,
        };
        Ok(Self { version, flavor, connection_id, capabilities, nonce, plugin })
    }

    pub(crate) fn offers_tls(&self) -> bool {
        self.capabilities & c::SSL != 0
    }
}

fn client_capabilities(greeting: &Greeting, options: &ConnectOptions, tls: bool) -> u32 {
    let mut wanted = c::LONG_PASSWORD
        | c::LONG_FLAG
        | c::PROTOCOL_41
        | c::TRANSACTIONS
        | c::SECURE_CONNECTION
        | c::PLUGIN_AUTH
        | c::CONNECT_ATTRS
        | c::PLUGIN_AUTH_LENENC_DATA;
    if options.database.is_some() {
        wanted |= c::CONNECT_WITH_DB;
    }
    if tls {
        wanted |= c::SSL;
    }
    // MariaDB does not announce LONG_PASSWORD, but a client of MySQL's protocol sets it
    wanted & (greeting.capabilities | c::LONG_PASSWORD)
}

fn fixed_part(capabilities: u32) -> Vec<u8> {
    let mut out = capabilities.to_le_bytes().to_vec();
    out.extend_from_slice(&MAX_PACKET.to_le_bytes());
    out.push(COLLATION);
    out.extend_from_slice(&[0; 23]);
    out
}

/// The packet after which TLS begins.
pub(crate) fn ssl_request(greeting: &Greeting, options: &ConnectOptions) -> Vec<u8> {
    fixed_part(client_capabilities(greeting, options, true))
}

/// The login packet, with `plugin` and its first answer.
pub(crate) fn response(
    greeting: &Greeting,
    options: &ConnectOptions,
    tls: bool,
    plugin: &[u8],
    answer: &[u8],
) -> Result<Vec<u8>, &'static str> {
    let capabilities = client_capabilities(greeting, options, tls);
    let mut out = fixed_part(capabilities);
    put_text(&mut out, &options.user)?;
    if capabilities & c::PLUGIN_AUTH_LENENC_DATA != 0 {
        put_lenenc_bytes(&mut out, answer);
    } else {
        out.push(u8::try_from(answer.len()).map_err(|_| "the password is too long for this server")?);
        out.extend_from_slice(answer);
    }
    if let (true, Some(database)) = (capabilities & c::CONNECT_WITH_DB != 0, &options.database) {
        put_text(&mut out, database)?;
    }
    if capabilities & c::PLUGIN_AUTH != 0 {
        out.extend_from_slice(plugin);
        out.push(0);
    }
    if capabilities & c::CONNECT_ATTRS != 0 {
        // shown in performance_schema.session_connect_attrs, so that an administrator sees who is connected
        let mut attributes = Vec::new();
        for text in ["_client_name", "binlake", "_client_version", env!("CARGO_PKG_VERSION"), "program_name", "binlake"]
        {
            put_lenenc_bytes(&mut attributes, text.as_bytes());
        }
        put_lenenc_int(&mut out, attributes.len() as u64);
        out.extend_from_slice(&attributes);
    }
    Ok(out)
}

fn put_text(out: &mut Vec<u8>, text: &str) -> Result<(), &'static str> {
    if text.contains('\0') {
        return Err("a user or database name holds a NUL");
    }
    out.extend_from_slice(text.as_bytes());
    out.push(0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_of_real_servers() {
        let mysql = Greeting::parse(include_bytes!("testdata/greeting_mysql_9_7.bin")).unwrap();
        assert_eq!((mysql.version.as_str(), mysql.flavor), ("9.7.4-2", Flavor::MySql));
        assert_eq!((mysql.plugin.as_slice(), mysql.nonce.len()), (&b"caching_sha2_password"[..], NONCE_LEN));
        assert!(mysql.offers_tls());
        let mariadb = Greeting::parse(include_bytes!("testdata/greeting_mariadb_10_11.bin")).unwrap();
        assert_eq!(mariadb.flavor, Flavor::MariaDb);
        assert!(mariadb.version.starts_with("10.11."), "{}", mariadb.version);
        assert_eq!((mariadb.plugin.as_slice(), mariadb.nonce.len()), (&b"mysql_native_password"[..], NONCE_LEN));
        assert!(!mariadb.offers_tls());
    }

    #[test]
    fn a_cut_greeting_is_refused() {
        let whole = include_bytes!("testdata/greeting_mysql_9_7.bin");
        let nonce_end = whole.len() - b"caching_sha2_password\0".len();
        for cut in 0..nonce_end {
            assert!(Greeting::parse(&whole[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn files_of_this_machine_are_never_offered() {
        let mut greeting = Greeting::parse(include_bytes!("testdata/greeting_mysql_9_7.bin")).unwrap();
        greeting.capabilities = u32::MAX;
        let options = ConnectOptions::new("h", "u", "p");
        let answer = response(&greeting, &options, false, b"caching_sha2_password", &[1; 32]).unwrap();
        let sent = u32::from_le_bytes(answer[..4].try_into().unwrap());
        assert_eq!(sent & (c::LOCAL_FILES | c::SSL | c::CONNECT_WITH_DB), 0);
        assert_ne!(sent & c::PLUGIN_AUTH, 0);
    }
}
