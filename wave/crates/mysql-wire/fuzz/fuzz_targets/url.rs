//! Addresses: no text panics, and no error or print shows a part of a password, however badly it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mysql_wire::Secret;
use mysql_wire::url::ServerUrl;

const MARK: &str = "Zq7Zq7";

fuzz_target!(|text: &str| {
    if let Ok(mut url) = ServerUrl::parse(text) {
        assert!(!url.host.is_empty() && url.port != 0);
        let printed = url.to_string();
        let _ = url.options();
        if url.password.is_some() {
            url.password = Some(Secret::new("another"));
            assert_eq!(printed, url.to_string(), "the print depends on the password");
        }
    }
    // an input that learned the mark may show its own
    if text.contains("Zq") {
        return;
    }
    let (before, after) = text.split_at(text.floor_char_boundary(text.len() / 2));
    for address in [format!("mysql://u:{before}{MARK}{after}@h/d"), format!("mysql://u:{before}{MARK}@h/{after}")] {
        let shown = match ServerUrl::parse(&address) {
            // an @ before the mark makes what stands there part of a host or database, which are shown
            Ok(url) if url.password.as_ref().is_some_and(|p| p.expose().contains(MARK)) => format!("{url} {url:?}"),
            Ok(_) => String::new(),
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!shown.contains(MARK), "{address}: {shown}");
    }
});
