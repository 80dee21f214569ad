//! What a connection is made with. Plain data: reading files, environment and addresses is the caller's work.

use std::fmt;

use zeroize::Zeroizing;

use crate::error::{TlsProblem, WireError};
use crate::tls::client_config;

/// A password. Wiped from memory when dropped, and never shown by `Debug`; there is no `Display`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn new(password: impl Into<String>) -> Self {
        Self(Zeroizing::new(password.into()))
    }

    /// The password itself. Callers must not log or store it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(password: String) -> Self {
        Self::new(password)
    }
}

impl From<&str> for Secret {
    fn from(password: &str) -> Self {
        Self::new(password)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "Secret(empty)" } else { "Secret(***)" })
    }
}

/// The five modes of `--ssl-mode` (MySQL 9.7 manual, "Command Options for Encrypted Connections").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SslMode {
    /// Never encrypt.
    Disabled,
    /// Encrypt when the server offers TLS in a version that this client speaks, else go on in clear text. The certificate
    /// is not checked.
    #[default]
    Preferred,
    /// Encrypt or fail. The certificate is not checked against an authority, but the server must prove that it owns it.
    Required,
    /// As `Required`, and the certificate must be signed by a trusted authority.
    VerifyCa,
    /// As `VerifyCa`, and the certificate must name the host connected to.
    VerifyIdentity,
}

impl SslMode {
    /// In the order of their strictness.
    pub const ALL: [Self; 5] = [Self::Disabled, Self::Preferred, Self::Required, Self::VerifyCa, Self::VerifyIdentity];

    /// The name as in a URL: `verify_ca`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Preferred => "preferred",
            Self::Required => "required",
            Self::VerifyCa => "verify_ca",
            Self::VerifyIdentity => "verify_identity",
        }
    }

    /// Parses a name; case and `-` or `_` do not matter.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase().replace('-', "_");
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// TLS as wanted. Certificates and keys are the bytes of PEM files.
#[derive(Clone, Default)]
pub struct TlsOptions {
    pub mode: SslMode,
    /// Authorities for `VerifyCa` and `VerifyIdentity`; without, those of Mozilla's list.
    pub ca: Option<Vec<u8>>,
    /// The client's own certificate chain, leaf first; needs `client_key`.
    pub client_cert: Option<Vec<u8>>,
    pub client_key: Option<Vec<u8>>,
}

impl TlsOptions {
    /// Whether certificates and key are what they should be, before there is a connection to use them for.
    ///
    /// # Errors
    /// [`WireError::Config`].
    pub fn check(&self) -> Result<(), WireError> {
        if self.mode == SslMode::Disabled { Ok(()) } else { client_config(self).map(drop) }
    }
}

impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsOptions")
            .field("mode", &self.mode)
            .field("ca", &self.ca.is_some())
            .field("client_cert", &self.client_cert.is_some())
            .field("client_key", &self.client_key.is_some())
            .finish()
    }
}

/// Everything a session needs to log in, and the bounds of the memory it may take.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    pub user: String,
    pub password: Secret,
    /// The host name or address connected to: named in the TLS handshake and checked by `VerifyIdentity`.
    pub host: String,
    pub database: Option<String>,
    pub tls: TlsOptions,
    /// Permit `mysql_clear_password` (LDAP, PAM). Even then the password is sent over TLS only.
    pub allow_cleartext_auth: bool,
    /// The server's RSA public key (PEM). Without it a clear-text connection asks the server for its key, which
    /// somebody in the middle could replace: set it, or use TLS, where that matters.
    pub server_public_key: Option<Vec<u8>>,
    pub limits: Limits,
}

impl ConnectOptions {
    /// TLS as by default, no database.
    pub fn new(host: impl Into<String>, user: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self {
            user: user.into(),
            password: password.into(),
            host: host.into(),
            database: None,
            tls: TlsOptions::default(),
            allow_cleartext_auth: false,
            server_public_key: None,
            limits: Limits::default(),
        }
    }

    /// The options to connect with after `error`, if the mode is [`SslMode::Preferred`] and the server offers TLS only in
    /// versions or ciphers that this client does not speak (before MySQL 5.7.28 and 8.0.13 often TLS 1.1): the same in
    /// clear text. Whoever could force that could take the offer of TLS out of the greeting as well.
    #[must_use]
    pub fn in_clear_text_after(&self, error: &WireError) -> Option<Self> {
        let hopeless = matches!(error, WireError::Tls(TlsProblem::NoCommonVersion));
        (hopeless && self.tls.mode == SslMode::Preferred).then(|| {
            let tls = TlsOptions { mode: SslMode::Disabled, ..self.tls.clone() };
            Self { tls, ..self.clone() }
        })
    }
}

/// Bounds in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest single binlog event. Memory grows as bytes arrive, never by a length that was only declared.
    pub max_event: usize,
    /// Largest result of one statement, all its rows together.
    pub max_result: usize,
    /// Largest read buffer of the streaming phase; a batch holds at most this, or one event that is larger.
    pub max_read_buffer: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // the server's largest max_allowed_packet is 1 GiB; the event's header and checksum come on top
            max_event: (1 << 30) + (1 << 16),
            max_result: 16 << 20,
            max_read_buffer: 1 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_password_and_no_key() {
        let mut options = ConnectOptions::new("h", "u", "hunter2");
        options.tls.client_key = Some(b"PRIVATE".to_vec());
        let text = format!("{options:?}");
        assert!(!text.contains("hunter2") && !text.contains("PRIVATE"), "{text}");
        assert!(text.contains("Secret(***)"));
    }

    #[test]
    fn modes_parse_in_both_spellings() {
        assert_eq!(SslMode::parse("VERIFY-CA"), Some(SslMode::VerifyCa));
        assert_eq!(SslMode::parse("verify_identity"), Some(SslMode::VerifyIdentity));
        assert_eq!(SslMode::parse("on"), None);
    }
}
