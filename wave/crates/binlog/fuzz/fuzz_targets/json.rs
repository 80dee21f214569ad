//! A binary document behind a length of two bytes, and a partial update of it.
#![no_main]

use binlog::json::{apply_diff, diffs, write_diff, write_text};
use binlog_fuzz::counted;
use libfuzzer_sys::fuzz_target;

/// Text per byte of a document: `-1e-300`-like doubles, escapes and the commas between are all far below.
const GROWTH: usize = 32;

fn checked(name: &str, input: usize, write: impl FnOnce(&mut Vec<u8>) -> bool) -> Option<Vec<u8>> {
    let mut out = b"before".to_vec();
    let written = write(&mut out);
    let Some(text) = out.strip_prefix(b"before") else { panic!("{name} changed what was there") };
    if !written {
        assert!(text.is_empty(), "{name} failed and left something");
        return None;
    }
    assert!(std::str::from_utf8(text).is_ok(), "{name} wrote what is not UTF-8");
    assert!(text.len() <= GROWTH * (input + 8), "{name} made {} bytes of {input}", text.len());
    Some(text.to_vec())
}

fuzz_target!(|data: &[u8]| {
    let (document, diff) = counted(data);
    let plain = checked("write_text", document.len(), |out| write_text(document, out).is_ok());
    let updated = checked("apply_diff", document.len(), |out| apply_diff(document, &[], out).is_ok());
    // an update is stricter: it refuses a key that stands twice, and puts members that are out of order in order
    if let Some(mut updated) = updated {
        let mut plain = plain.expect("what can be updated can be printed");
        plain.sort_unstable();
        updated.sort_unstable();
        assert_eq!(plain, updated, "an update that changes nothing");
    }
    checked("write_diff", diff.len(), |out| write_diff(diff, out).is_ok());
    checked("apply_diff", data.len(), |out| apply_diff(document, diff, out).is_ok());
    assert!(diffs(diff).count() <= diff.len());
});
