//! Names as servers compare those of savepoints: by a collation of utf8mb3, whatever the session's character set. Two
//! names are one exactly if their weights are equal (the tables are the server's `WEIGHT_STRING`).

/// Characters with a weight other than their own number, ascending, each with that.
type Weights = [[u8; 4]];

static GENERAL: &Weights = include_bytes!("../../tables/general_ci.bin").as_chunks().0;
static GENERAL_1400: &Weights = include_bytes!("../../tables/general1400_as_ci.bin").as_chunks().0;

/// Collation of a server's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameCollation {
    /// `utf8mb3_general_ci`: case and accents do not count, `ß` is `s`.
    General,
    /// `utf8mb3_general1400_as_ci` of MariaDB since 11.5: accents count, case does not.
    General1400,
}

impl NameCollation {
    /// What is equal for equal names.
    #[must_use]
    pub fn weights(self, name: &str) -> Vec<u16> {
        let table = match self {
            Self::General => GENERAL,
            Self::General1400 => GENERAL_1400,
        };
        name.chars().map(|c| weight(table, c)).collect()
    }
}

fn weight(table: &Weights, character: char) -> u16 {
    // Names are utf8mb3: the server has replaced what lies above.
    let code = u16::try_from(u32::from(character)).unwrap_or(0xfffd);
    let number = |[low, high]: [u8; 2]| u16::from_le_bytes([low, high]);
    let found = table.binary_search_by_key(&code, |[a, b, ..]| number([*a, *b]));
    found.ok().and_then(|at| table.get(at)).map_or(code, |[.., a, b]| number([*a, *b]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each seen in a log, with what the server then did.
    #[test]
    fn equal_names() {
        use NameCollation::{General, General1400};
        for (a, b, in_general, in_1400) in [
            ("sp", "SP", true, true),
            ("É", "é", true, true),
            ("é", "e", true, false),
            ("ß", "s", true, false),
            ("ток", "ТОК", true, true),
            ("a", "a ", false, false),
            ("甲", "乙", false, false),
            ("ss", "s", false, false),
        ] {
            assert_eq!(General.weights(a) == General.weights(b), in_general, "{a} {b}");
            assert_eq!(General1400.weights(a) == General1400.weights(b), in_1400, "{a} {b}");
        }
    }
}
