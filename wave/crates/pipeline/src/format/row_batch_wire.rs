//! Protobuf by hand: what a row needs, in the canonical form (shortest lengths, fields in ascending order), so that the
//! bytes equal those of any generated encoder.

pub(super) fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes that [`varint`] takes.
pub(super) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// A number field, left out when it is 0.
pub(super) fn number_field(tag: u8, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        out.push(tag);
        varint(value, out);
    }
}

/// A bytes or string field, left out when it is empty.
pub(super) fn bytes_field(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    if !bytes.is_empty() {
        delimited(tag, bytes, out);
    }
}

/// A length-delimited field, present even when it is empty.
#[inline]
pub(super) fn delimited(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A length-delimited field whose length is known only when `write` has appended its body: a byte is kept for the
/// length, and a longer body is moved up.
#[inline]
pub(super) fn patched<R>(tag: u8, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    out.extend_from_slice(&[tag, 0]);
    let body = out.len();
    let result = write(out);
    let len = out.len() - body;
    if let (Ok(short @ 0..=0x7f), Some(slot)) = (u8::try_from(len), out.get_mut(body - 1)) {
        *slot = short;
        return result;
    }
    let more = varint_len(len as u64) - 1;
    out.resize(out.len() + more, 0);
    out.copy_within(body..body + len, body + more);
    let mut rest = len as u64;
    for slot in out.iter_mut().skip(body - 1).take(more + 1) {
        *slot = rest as u8 | 0x80;
        rest >>= 7;
    }
    if let Some(last) = out.get_mut(body + more - 1) {
        *last &= 0x7f;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_at_every_boundary() {
        for len in [0usize, 1, 127, 128, 129, 16_383, 16_384, 2_097_151, 2_097_152] {
            let body: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let mut expected = vec![9];
            delimited(0x1a, &body, &mut expected);
            let mut out = vec![9];
            patched(0x1a, &mut out, |out| out.extend_from_slice(&body));
            assert!(out == expected, "{len}");
        }
    }

    #[test]
    fn varints() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            varint(value, &mut out);
            assert_eq!(out.len(), varint_len(value), "{value}");
            assert_eq!(prost::encoding::decode_varint(&mut out.as_slice()).unwrap(), value);
        }
    }
}
