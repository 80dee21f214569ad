//! TLS inside the session: rustls over the same bytes, with the five modes of `ssl-mode`.
//!
//! The one place where the session is not a pure function of its inputs: rustls asks the system for randomness and for
//! the time against which certificates are checked.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
};

use crate::error::{TlsProblem, WireError};
use crate::options::{ConnectOptions, SslMode, TlsOptions};
use crate::packets::Packets;

/// Ciphertext read at once: four full TLS records.
const READ_SIZE: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct Tls {
    conn: ClientConnection,
    incoming: Vec<u8>,
    host: String,
}

impl Tls {
    pub(crate) fn new(config: Arc<ClientConfig>, options: &ConnectOptions) -> Result<Self, WireError> {
        let name = server_name(options)?;
        let mut conn = ClientConnection::new(config, name).map_err(|e| problem(&e, &options.host))?;
        // what is written is bounded by the session's own statements
        conn.set_buffer_limit(None);
        Ok(Self { conn, incoming: vec![0; READ_SIZE], host: options.host.clone() })
    }

    pub(crate) fn space(&mut self) -> &mut [u8] {
        &mut self.incoming
    }

    pub(crate) fn handshaking(&self) -> bool {
        self.conn.is_handshaking()
    }

    /// Decrypts the first `n` bytes of the last [`Self::space`] into `packets`.
    pub(crate) fn received(&mut self, n: usize, packets: &mut Packets) -> Result<(), WireError> {
        let mut cipher = self.incoming.get(..n).unwrap_or_default();
        while !cipher.is_empty() {
            let taken = self.conn.read_tls(&mut cipher).map_err(|e| other(&e))?;
            self.conn.process_new_packets().map_err(|e| problem(&e, &self.host))?;
            loop {
                match self.conn.reader().read(packets.space()) {
                    // `WouldBlock` is "no more plaintext", 0 is the peer's close_notify
                    Ok(0) | Err(_) => break,
                    Ok(n) => packets.filled(n),
                }
            }
            if taken == 0 {
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn send(&mut self, plain: &[u8]) -> Result<(), WireError> {
        self.conn.writer().write_all(plain).map_err(|e| other(&e))
    }

    /// Moves what rustls wants to send (also an alert after a failure) to `output`.
    pub(crate) fn flush(&mut self, output: &mut Vec<u8>) {
        while self.conn.wants_write() {
            if self.conn.write_tls(output).is_err() {
                break;
            }
        }
    }
}

fn server_name(options: &ConnectOptions) -> Result<ServerName<'static>, WireError> {
    match ServerName::try_from(options.host.clone()) {
        Ok(name) => Ok(name),
        Err(_) if options.tls.mode == SslMode::VerifyIdentity => {
            Err(WireError::Config(format!("{:?} is no host name a certificate can be for", options.host)))
        }
        // only VerifyIdentity compares the name; an unusable one is just not announced
        Err(_) => Ok(ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into())),
    }
}

/// The TLS set-up, or the reason why the options' certificates and keys are unusable.
pub(crate) fn client_config(options: &TlsOptions) -> Result<Arc<ClientConfig>, WireError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| other(&e))?;
    let builder = match options.mode {
        SslMode::VerifyIdentity => builder.with_root_certificates(roots(options)?),
        SslMode::VerifyCa => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyName { provider, roots: Some(roots(options)?) })),
        SslMode::Disabled | SslMode::Preferred | SslMode::Required => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName { provider, roots: None }))
        }
    };
    let config = match (&options.client_cert, &options.client_key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let chain = certificates(cert, "client certificate")?;
            let key = PrivateKeyDer::from_pem_slice(key)
                .map_err(|_| WireError::Config("the client key is not a private key in PEM".into()))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|e| WireError::Config(format!("client certificate and key do not fit: {e}")))?
        }
        _ => return Err(WireError::Config("a client certificate needs its key, and a key its certificate".into())),
    };
    Ok(Arc::new(config))
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, WireError> {
    match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(WireError::Config(format!("the {what} is not a certificate in PEM"))),
    }
}

fn roots(options: &TlsOptions) -> Result<RootCertStore, WireError> {
    let Some(pem) = &options.ca else {
        return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    };
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem, "CA file")? {
        store
            .add(certificate)
            .map_err(|e| WireError::Config(format!("a certificate of the CA file is unusable: {e}")))?;
    }
    Ok(store)
}

/// Accepts any host name; with `roots` only certificates signed by them. The handshake's signatures are always checked,
/// so the server does own the key of the certificate it shows.
#[derive(Debug)]
struct AnyName {
    provider: Arc<CryptoProvider>,
    roots: Option<RootCertStore>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn other(error: &dyn std::fmt::Display) -> WireError {
    WireError::Tls(TlsProblem::Other(error.to_string()))
}

fn problem(error: &rustls::Error, host: &str) -> WireError {
    use AlertDescription as A;
    use CertificateError as C;
    WireError::Tls(match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
            C::UnknownIssuer => TlsProblem::UnknownAuthority,
            C::NotValidForName | C::NotValidForNameContext { .. } => TlsProblem::WrongHost(host.to_owned()),
            C::Expired | C::ExpiredContext { .. } | C::NotValidYet | C::NotValidYetContext { .. } => {
                TlsProblem::NotInValidity
            }
            // webpki's error type is not a direct dependency; its name is part of its Debug
            C::Other(inner) if format!("{inner:?}").contains("UnsupportedCertVersion") => TlsProblem::CertificateV1,
            other => TlsProblem::Other(format!("the server's certificate is unusable: {other}")),
        },
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(A::ProtocolVersion | A::HandshakeFailure | A::InsufficientSecurity) => {
            TlsProblem::NoCommonVersion
        }
        rustls::Error::AlertReceived(
            alert @ (A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
            | A::AccessDenied
            | A::CertificateRequired),
        ) => TlsProblem::ClientCertificate(format!("{alert:?}")),
        other => TlsProblem::Other(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_files_are_named() {
        let message = |tls: TlsOptions| client_config(&tls).unwrap_err().to_string();
        let ca = TlsOptions { mode: SslMode::VerifyCa, ca: Some(b"nonsense".to_vec()), ..TlsOptions::default() };
        assert_eq!(message(ca), "the CA file is not a certificate in PEM");
        let half = TlsOptions { client_key: Some(b"x".to_vec()), ..TlsOptions::default() };
        assert!(message(half).contains("needs its key"));
    }
}
