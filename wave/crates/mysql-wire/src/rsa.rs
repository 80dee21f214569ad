//! The password encrypted for the server: `sha256_password` and `caching_sha2_password` without TLS.
//!
//! The key comes from the network, so it is taken apart here with every length checked before any arithmetic touches it.

use mysql_common::crypto::der;
use mysql_common::crypto::rsa::{Pkcs1OaepPadding, PublicKey, Rng};
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};
use zeroize::Zeroizing;

/// Length of the random seed that OAEP with SHA-1 takes.
pub(crate) const SEED_LEN: usize = 20;
/// Key sizes in bytes: 1024 to 16384 bits. Smaller is no protection, larger only burns the client's time.
const MODULUS_LEN: std::ops::RangeInclusive<usize> = 128..=2048;
/// What OAEP with SHA-1 adds.
const OAEP_OVERHEAD: usize = 42;

struct Seed([u8; SEED_LEN]);

impl Rng for Seed {
    type Error = std::io::Error;

    fn fill(&mut self, dest: &mut [u8]) -> Result<(), Self::Error> {
        if dest.len() != SEED_LEN {
            return Err(std::io::ErrorKind::InvalidInput.into());
        }
        dest.copy_from_slice(&self.0);
        Ok(())
    }
}

/// Encrypts `password` and its NUL, mixed with `nonce`, for the key in `pem` (`BEGIN PUBLIC KEY`).
///
/// `seed` must be random and used once. Errors are sentences about the key or the password's length.
pub(crate) fn encrypt_password(
    password: &[u8],
    nonce: &[u8],
    pem: &[u8],
    seed: [u8; SEED_LEN],
) -> Result<Vec<u8>, &'static str> {
    const BAD_KEY: &str = "the server's RSA public key cannot be read";
    let key = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| BAD_KEY)?;
    let modulus_len = check_public_key(&key).ok_or(BAD_KEY)?;
    if password.len() + 1 + OAEP_OVERHEAD > modulus_len {
        return Err("the password is too long for the server's RSA key: use TLS");
    }
    let mut mixed = Zeroizing::new(password.to_vec());
    mixed.push(0);
    for (byte, mask) in mixed.iter_mut().zip(nonce.iter().cycle()) {
        *byte ^= mask;
    }
    let (modulus, exponent) = der::parse_pub_key_pkcs8(&key).map_err(|_| BAD_KEY)?;
    PublicKey::new(modulus, exponent)
        .encrypt_block(&*mixed, Pkcs1OaepPadding::new(Seed(seed)))
        .map_err(|_| "the password cannot be encrypted with the server's RSA key")
}

/// Checks a SubjectPublicKeyInfo (RFC 5280, RFC 8017) of an RSA key, and gives the modulus' length in bytes.
fn check_public_key(key: &[u8]) -> Option<usize> {
    let (info, rest) = element(key, 0x30)?;
    let (_algorithm, info_rest) = element(info, 0x30)?;
    let (bits, bits_rest) = element(info_rest, 0x03)?;
    let (&unused_bits, public) = bits.split_first()?;
    let (fields, fields_rest) = element(public, 0x30)?;
    let (modulus, exponent) = element(fields, 0x02)?;
    let (exponent, end) = element(exponent, 0x02)?;
    let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
    let whole = [rest, bits_rest, fields_rest, end].iter().all(|rest| rest.is_empty());
    // the top bit is set in every real modulus, and the padding relies on the exact size
    let sound = modulus.first()? & 0x80 != 0 && modulus.last()? & 1 == 1 && (1..=8).contains(&exponent.len());
    (whole && sound && unused_bits == 0 && MODULUS_LEN.contains(&modulus.len())).then_some(modulus.len())
}

/// One DER element of `tag`: its content and what follows.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, der) = der.split_first()?;
    let (&first, der) = der.split_first()?;
    let (len, der) = match first {
        0..=0x7F => (usize::from(first), der),
        0x81..=0x83 => {
            let (len, der) = der.split_at_checked(usize::from(first & 0x7F))?;
            (len.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte)), der)
        }
        _ => return None,
    };
    if found == tag { der.split_at_checked(len) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// public_key.pem as MySQL 9.7.4 made it for itself.
    const KEY: &[u8] = include_bytes!("testdata/mysql_public_key.pem");

    #[test]
    fn a_servers_key_is_used() {
        let out = encrypt_password(b"lab", &[7; 20], KEY, [1; 20]).unwrap();
        assert_eq!(out.len(), 256);
        assert_ne!(out, encrypt_password(b"lab", &[7; 20], KEY, [2; 20]).unwrap());
        assert!(encrypt_password(&[b'x'; 213], &[7; 20], KEY, [1; 20]).is_ok());
        assert!(encrypt_password(&[b'x'; 214], &[7; 20], KEY, [1; 20]).unwrap_err().contains("too long"));
    }

    #[test]
    fn a_broken_key_is_refused() {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(KEY).unwrap();
        assert_eq!(check_public_key(&der), Some(256));
        for cut in 0..der.len() {
            assert_eq!(check_public_key(&der[..cut]), None, "{cut}");
        }
        for i in 0..der.len() {
            let mut bad = der.to_vec();
            bad[i] = bad[i].wrapping_add(0x55);
            // whatever is accepted can be computed with
            if check_public_key(&bad).is_some() {
                assert!(der::parse_pub_key_pkcs8(&bad).is_ok());
            }
        }
        assert!(encrypt_password(b"lab", &[7; 20], b"-----BEGIN PUBLIC KEY-----\nMAA=\n", [1; 20]).is_err());
    }
}
