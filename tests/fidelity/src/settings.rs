//! The settings of a server under which everything is written again.

use crate::spec::Server;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Image {
    Full,
    Minimal,
    NoBlob,
}

/// One choice. Those that a server does not have are off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) image: Image,
    pub(crate) full_metadata: bool,
    pub(crate) partial_json: bool,
    pub(crate) compress: bool,
    pub(crate) checksum: bool,
}

impl Settings {
    /// All choices of `server`, the usual one first, the others in an order in which neighbours differ in much.
    pub(crate) fn all(server: &Server) -> Vec<Settings> {
        let both = |has: bool| if has { &[false, true][..] } else { &[false][..] };
        let images: &[Image] = if server.mysql(5, 6, 0) || server.maria(10, 1, 6) {
            &[Image::Full, Image::Minimal, Image::NoBlob]
        } else {
            &[Image::Full]
        };
        let mut all = Vec::new();
        for minimal_metadata in both(server.has_full_metadata()) {
            for &compress in both(server.mysql(8, 0, 20) || server.maria(10, 2, 3)) {
                for &partial_json in both(server.mysql(8, 0, 3)) {
                    for no_checksum in both(server.mysql(5, 6, 2) || server.mariadb) {
                        for &image in images {
                            all.push(Settings {
                                image,
                                full_metadata: server.has_full_metadata() && !minimal_metadata,
                                partial_json,
                                compress,
                                checksum: !no_checksum && (server.mysql(5, 6, 2) || server.mariadb),
                            });
                        }
                    }
                }
            }
        }
        // A stride through the list: the second choice is of the other half, with the other metadata.
        let n = all.len();
        let stride = (n / 2 + n / 8 + 1..).find(|s| gcd(*s, n) == 1).unwrap_or(1);
        (0..n).map(|i| all[i * stride % n]).collect()
    }

    /// What sets the server to them; effective in connections that begin later.
    pub(crate) fn global(&self, server: &Server) -> String {
        let mut sql = String::new();
        if server.mysql(5, 6, 2) || server.mariadb {
            sql += &format!("SET GLOBAL binlog_checksum = {};\n", if self.checksum { "CRC32" } else { "NONE" });
        }
        if server.has_full_metadata() {
            let metadata = if self.full_metadata { "FULL" } else { "MINIMAL" };
            sql += &format!("SET GLOBAL binlog_row_metadata = {metadata};\n");
        }
        if server.maria(10, 2, 3) {
            let on = if self.compress { "ON" } else { "OFF" };
            sql += &format!("SET GLOBAL log_bin_compress = {on}; SET GLOBAL log_bin_compress_min_len = 10;\n");
        }
        sql
    }

    /// What a writing connection says first.
    pub(crate) fn session(&self, server: &Server) -> String {
        let mut sql = "SET NAMES utf8mb4; SET time_zone = '+00:00', sql_mode = 'ALLOW_INVALID_DATES';\n".to_owned();
        if server.mysql(5, 6, 0) || server.maria(10, 1, 6) {
            let image = match self.image {
                Image::Full => "FULL",
                Image::Minimal => "MINIMAL",
                Image::NoBlob => "NOBLOB",
            };
            sql += &format!("SET binlog_row_image = {image};\n");
        }
        if server.mysql(8, 0, 3) {
            let options = if self.partial_json { "PARTIAL_JSON" } else { "" };
            sql += &format!("SET binlog_row_value_options = '{options}';\n");
        }
        if server.mysql(8, 0, 20) {
            sql += &format!("SET binlog_transaction_compression = {};\n", if self.compress { "ON" } else { "OFF" });
        }
        sql
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl std::fmt::Display for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "image {:?}, metadata {}", self.image, if self.full_metadata { "FULL" } else { "MINIMAL" })?;
        for (on, name) in
            [(self.partial_json, "PARTIAL_JSON"), (self.compress, "compressed"), (!self.checksum, "no checksum")]
        {
            if on {
                write!(f, ", {name}")?;
            }
        }
        Ok(())
    }
}
