//! The login's challenges and answers, for every plugin this client speaks.
//!
//! Rules: the password crosses a clear-text connection only hashed or encrypted; `mysql_clear_password` needs TLS and the
//! caller's permission; a server may change the plugin a few times only, and may have the password encrypted once, since
//! the random seed for that is used up. Hashes and signatures come from mysql_common; the order of packets is checked here.

use mysql_common::auth::plugins::caching_sha2_password::scramble_sha256;
use mysql_common::auth::plugins::mysql_native_password::scramble_native;
use mysql_common::auth::plugins::{AuthProc, ChallengeResponsePlugin, Context, Response};
use mysql_common::packets::AuthPlugin;
use zeroize::Zeroizing;

use crate::error::WireError;
use crate::handshake::NONCE_LEN;
use crate::rsa::{self, SEED_LEN};

/// MariaDB accounts with alternatives (`IDENTIFIED VIA a OR b OR …`) cause one change each.
const MAX_SWITCHES: u8 = 4;
const AT: &str = "logging in";

/// An answer to the server; may hold a password.
pub(crate) type Answer = Zeroizing<Vec<u8>>;

/// What an answer is made of.
#[derive(Clone, Copy)]
pub(crate) struct Credentials<'a> {
    pub(crate) password: &'a [u8],
    pub(crate) tls: bool,
    pub(crate) allow_cleartext: bool,
    pub(crate) server_key: Option<&'a [u8]>,
}

impl Context for Credentials<'_> {
    fn pass(&self) -> &[u8] {
        self.password
    }
    fn is_ipc_transport(&self) -> bool {
        false
    }
    fn is_tls_transport(&self) -> bool {
        self.tls
    }
    fn scramble(&self) -> &[u8] {
        &[]
    }
    fn server_key_pem(&self) -> Option<&[u8]> {
        self.server_key
    }
}

#[derive(Debug)]
enum Step {
    /// Nothing more is expected from the server than OK or ERR.
    Answered,
    /// caching_sha2_password: the hash is sent, the server says whether it is enough.
    AwaitingVerdict,
    /// The server's RSA key was asked for.
    AwaitingKey,
    /// A plugin of mysql_common that exchanges more than one packet.
    Exchange(Box<AuthProc>),
}

#[derive(Debug)]
pub(crate) struct Auth {
    step: Step,
    nonce: Vec<u8>,
    switches: u8,
    seed: Option<[u8; SEED_LEN]>,
}

impl Auth {
    pub(crate) fn new(seed: [u8; SEED_LEN]) -> Self {
        Self { step: Step::Answered, nonce: Vec::new(), switches: 0, seed: Some(seed) }
    }

    /// The first answer, for the plugin the greeting names. A plugin that is not known, or may not be used, is answered as
    /// the default plugin: the server then names the account's own.
    pub(crate) fn begin(
        &mut self,
        plugin: &[u8],
        nonce: &[u8],
        with: Credentials<'_>,
    ) -> Result<(Vec<u8>, Answer), WireError> {
        const DEFAULT: &[u8] = b"caching_sha2_password";
        let plugin = match AuthPlugin::from_bytes(plugin) {
            AuthPlugin::MysqlNativePassword | AuthPlugin::Sha256Password => plugin,
            _ => DEFAULT,
        };
        let answer = self.start(plugin, nonce, with)?;
        Ok((plugin.to_vec(), answer))
    }

    /// The server wants another plugin.
    pub(crate) fn switch(
        &mut self,
        plugin: &[u8],
        challenge: &[u8],
        with: Credentials<'_>,
    ) -> Result<Answer, WireError> {
        self.switches += 1;
        if self.switches > MAX_SWITCHES {
            return Err(WireError::protocol(AT, "the authentication plugin changes again and again"));
        }
        self.start(plugin, challenge, with)
    }

    fn start(&mut self, plugin: &[u8], challenge: &[u8], with: Credentials<'_>) -> Result<Answer, WireError> {
        let plugin = AuthPlugin::from_bytes(plugin);
        self.step = Step::Answered;
        match &plugin {
            AuthPlugin::MysqlNativePassword => {
                self.set_nonce(challenge)?;
                Ok(answer(scramble_native(&self.nonce, with.password).map(|hash| hash.to_vec()).unwrap_or_default()))
            }
            AuthPlugin::CachingSha2Password => {
                self.set_nonce(challenge)?;
                let Ok(nonce) = <&[u8; NONCE_LEN]>::try_from(self.nonce.as_slice()) else {
                    return Err(bad_challenge());
                };
                let Some(hash) = scramble_sha256(nonce, with.password) else { return Ok(answer(vec![0])) };
                self.step = Step::AwaitingVerdict;
                Ok(answer(hash.to_vec()))
            }
            AuthPlugin::Sha256Password => {
                self.set_nonce(challenge)?;
                if with.password.is_empty() { Ok(answer(vec![0])) } else { self.whole_password(with, 1) }
            }
            AuthPlugin::MysqlClearPassword => {
                if !with.tls || !with.allow_cleartext {
                    return Err(WireError::AuthUnsupported(
                        "the account wants the password in clear text, which needs TLS and allow_cleartext_auth".into(),
                    ));
                }
                Ok(terminated(with.password))
            }
            AuthPlugin::Ed25519 | AuthPlugin::Parsec => {
                let proc = plugin.init().map_err(|e| WireError::AuthUnsupported(e.to_string()))?;
                self.exchange(Box::new(proc), challenge, with)?.ok_or_else(bad_challenge)
            }
            AuthPlugin::MysqlOldPassword => Err(WireError::AuthUnsupported(
                "the account uses mysql_old_password, which is broken: give it another plugin".into(),
            )),
            AuthPlugin::Other(name) => {
                let name: String = String::from_utf8_lossy(name).chars().take(64).collect();
                Err(WireError::AuthUnsupported(format!("the account uses the authentication plugin {name:?}")))
            }
        }
    }

    /// More data of the current plugin. `None`: nothing to answer.
    pub(crate) fn more(&mut self, data: &[u8], with: Credentials<'_>) -> Result<Option<Answer>, WireError> {
        match std::mem::replace(&mut self.step, Step::Answered) {
            Step::AwaitingVerdict => match data {
                [3] => Ok(None),
                [4] => self.whole_password(with, 2).map(Some),
                _ => Err(bad_challenge()),
            },
            Step::AwaitingKey => self.encrypted(data, with).map(Some),
            Step::Exchange(proc) => self.exchange(proc, data, with),
            Step::Answered => Err(WireError::protocol(AT, "authentication data where none is due")),
        }
    }

    /// The password itself: over TLS as it is, else encrypted with the server's key, which `request` asks for.
    fn whole_password(&mut self, with: Credentials<'_>, request: u8) -> Result<Answer, WireError> {
        if with.tls {
            return Ok(terminated(with.password));
        }
        match with.server_key {
            Some(key) => self.encrypted(key, with),
            None => {
                self.step = Step::AwaitingKey;
                Ok(answer(vec![request]))
            }
        }
    }

    fn encrypted(&mut self, key: &[u8], with: Credentials<'_>) -> Result<Answer, WireError> {
        let seed = self.seed.take().ok_or_else(|| WireError::protocol(AT, "the password is asked for twice"))?;
        rsa::encrypt_password(with.password, &self.nonce, key, seed)
            .map(answer)
            .map_err(|reason| WireError::AuthUnsupported(reason.into()))
    }

    fn exchange(
        &mut self,
        mut proc: Box<AuthProc>,
        data: &[u8],
        with: Credentials<'_>,
    ) -> Result<Option<Answer>, WireError> {
        match proc.run(with, data).map_err(|_| bad_challenge())? {
            Response::Last { packet } => Ok(packet.map(answer)),
            Response::Next { packet } => {
                self.step = Step::Exchange(proc);
                Ok(packet.map(answer))
            }
        }
    }

    fn set_nonce(&mut self, challenge: &[u8]) -> Result<(), WireError> {
        // in a plugin change the challenge has a terminator, in the greeting it is already off
        let nonce = if challenge.len() == NONCE_LEN + 1 { challenge.strip_suffix(&[0]) } else { Some(challenge) };
        match nonce {
            Some(nonce) if nonce.len() == NONCE_LEN => {
                self.nonce = nonce.to_vec();
                Ok(())
            }
            _ => Err(bad_challenge()),
        }
    }
}

fn answer(bytes: Vec<u8>) -> Answer {
    Zeroizing::new(bytes)
}

fn terminated(password: &[u8]) -> Answer {
    let mut bytes = Vec::with_capacity(password.len() + 1);
    bytes.extend_from_slice(password);
    bytes.push(0);
    answer(bytes)
}

fn bad_challenge() -> WireError {
    WireError::protocol(AT, "the authentication challenge has the wrong form")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = include_bytes!("testdata/mysql_public_key.pem");
    const PLAIN: Credentials<'static> =
        Credentials { password: b"secret", tls: false, allow_cleartext: false, server_key: None };
    const TLS: Credentials<'static> =
        Credentials { password: b"secret", tls: true, allow_cleartext: true, server_key: None };

    fn auth() -> Auth {
        Auth::new([5; SEED_LEN])
    }

    #[test]
    fn caching_sha2_over_clear_text_asks_for_the_key_and_encrypts() {
        let mut auth = auth();
        let (plugin, hash) = auth.begin(b"caching_sha2_password", &[1; 20], PLAIN).unwrap();
        assert_eq!((plugin.as_slice(), hash.len()), (&b"caching_sha2_password"[..], 32));
        assert_eq!(auth.more(&[4], PLAIN).unwrap().unwrap().as_slice(), [2]);
        assert_eq!(auth.more(KEY, PLAIN).unwrap().unwrap().len(), 256);
        assert!(auth.more(KEY, PLAIN).is_err());
    }

    #[test]
    fn the_seed_is_used_once() {
        let pinned = Credentials { server_key: Some(KEY), ..PLAIN };
        let mut auth = auth();
        assert!(auth.switch(b"sha256_password", &[1; 21], pinned).unwrap_err().to_string().contains("wrong form"));
        let challenge = [&[1; 20][..], &[0]].concat();
        assert_eq!(auth.switch(b"sha256_password", &challenge, pinned).unwrap().len(), 256);
        assert!(auth.switch(b"sha256_password", &challenge, pinned).unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn clear_text_needs_tls_and_permission() {
        let clear = b"mysql_clear_password";
        assert!(auth().switch(clear, &[], PLAIN).is_err());
        assert!(auth().switch(clear, &[], Credentials { allow_cleartext: true, ..PLAIN }).is_err());
        assert!(auth().switch(clear, &[], Credentials { allow_cleartext: false, ..TLS }).is_err());
        assert_eq!(auth().switch(clear, &[], TLS).unwrap().as_slice(), b"secret\0");
        // and a greeting cannot ask for it at all
        let (plugin, sent) = auth().begin(clear, &[1; 20], TLS).unwrap();
        assert_eq!((plugin.as_slice(), sent.len()), (&b"caching_sha2_password"[..], 32));
    }

    #[test]
    fn plugins_cannot_change_forever() {
        let mut auth = auth();
        for _ in 0..MAX_SWITCHES {
            auth.switch(b"mysql_native_password", &[1; 20], PLAIN).unwrap();
        }
        assert!(auth.switch(b"mysql_native_password", &[1; 20], PLAIN).is_err());
    }

    #[test]
    fn unknown_plugins_are_named() {
        let error = auth().switch(b"authentication_fido", &[], PLAIN).unwrap_err().to_string();
        assert!(error.contains("authentication_fido"), "{error}");
    }
}
