//! A table's name as one text, for entries that are stored under it: quarantines and definitions.

/// Database and table, in which a dot, a slash, a percent sign and what cannot be seen stand as `%` and their code.
#[must_use]
pub fn encode(database: &str, table: &str) -> String {
    let mut out = String::new();
    for (i, part) in [database, table].into_iter().enumerate() {
        if i > 0 {
            out.push('.');
        }
        for c in part.chars() {
            if matches!(c, '.' | '/' | '%') || c.is_control() {
                out.push_str(&format!("%{:02X}", u32::from(c)));
            } else {
                out.push(c);
            }
        }
    }
    out
}

/// The table of [`encode`]; None for what it does not write.
#[must_use]
pub fn decode(name: &str) -> Option<(String, String)> {
    let (database, table) = name.split_once('.')?;
    let part = |text: &str| {
        let mut pieces = text.split('%');
        let mut out = pieces.next()?.to_string();
        for piece in pieces {
            let (code, rest) = piece.split_at_checked(2)?;
            out.push(char::from(u8::from_str_radix(code, 16).ok()?));
            out.push_str(rest);
        }
        Some(out)
    };
    Some((part(database)?, part(table)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_name_one_table() {
        for (database, table) in [("shop", "orders"), ("a.b", "c"), ("a", "b.c"), ("50%", "x/y\n"), ("ä", "ü%2E")] {
            let name = encode(database, table);
            assert_eq!(decode(&name), Some((database.to_string(), table.to_string())), "{name}");
            assert!(!name.contains(['/', '\n']), "{name}");
        }
        assert_eq!(decode("a%"), None);
        assert_eq!(decode("a.b%zz"), None);
    }
}
