//! Random values as SQL.

use crate::spec::{Gen, Random, Type};

/// Pieces that random text is made of: most sets lack some of them, which is the server's to convert.
const CHARACTERS: [&str; 24] = [
    "a", "Z", "0", " ", "'", "\\", "\"", "é", "ß", "Ж", "ю", "Ω", "λ", "א", "ش", "ต", "中", "文", "あ", "ア", "한",
    "€", "😀", "\t",
];

/// A value of `ty` as SQL: a boundary value, NULL, or a random one.
pub(crate) fn value(ty: &Type, random: &mut Random) -> String {
    if random.one_in(4) {
        return random.pick(&ty.values).clone();
    }
    match ty.random {
        Gen::Int(bits, unsigned) => {
            let raw = random.next() >> (64 - bits) >> random.below(bits as usize);
            if unsigned { raw.to_string() } else { (raw as i64).wrapping_sub(1i64 << (bits - 1)).to_string() }
        }
        Gen::Decimal(precision, scale) => {
            let digits = |n: u32, random: &mut Random| -> String {
                (0..n).map(|_| char::from(b'0' + random.below(10) as u8)).collect()
            };
            let (whole, sign) = ((precision - scale) as usize, if random.one_in(2) { "-" } else { "" });
            let whole = digits(random.below(whole + 1) as u32, random);
            format!("'{sign}0{whole}.{}'", digits(scale, random))
        }
        Gen::Double => loop {
            let value = f64::from_bits(random.next());
            if value.is_finite() {
                break format!("{value:e}");
            }
        },
        Gen::Date => format!("'{}'", date(random)),
        Gen::Time(fsp) => {
            let sign = if random.one_in(2) { "-" } else { "" };
            let (h, m, s) = (random.below(838), random.below(60), random.below(60));
            format!("'{sign}{h:02}:{m:02}:{s:02}{}'", fraction(fsp, random))
        }
        Gen::DateTime(fsp) => {
            let (h, m, s) = (random.below(24), random.below(60), random.below(60));
            format!("'{} {h:02}:{m:02}:{s:02}{}'", date(random), fraction(fsp, random))
        }
        Gen::Text(most) => format!("'{}'", text(random.below(most + 1), random)),
        Gen::Bytes(most) => {
            let n = random.below(most + 1);
            let hex: String = (0..n).map(|_| format!("{:02x}", random.below(256))).collect();
            format!("x'{hex}'")
        }
        Gen::Json => format!("'{}'", sql_escape(&document(3, random))),
        Gen::Listed => random.pick(&ty.values).clone(),
    }
}

fn date(random: &mut Random) -> String {
    // Within the range of TIMESTAMP half of the time.
    let year = if random.one_in(2) { 1971 + random.below(60) } else { 1000 + random.below(9000) };
    format!("{year:04}-{:02}-{:02}", 1 + random.below(12), 1 + random.below(28))
}

fn fraction(fsp: u32, random: &mut Random) -> String {
    if fsp == 0 { String::new() } else { format!(".{:06}", random.below(1_000_000)) }
}

fn sql_escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "''")
}

fn text(characters: usize, random: &mut Random) -> String {
    // Trailing spaces and the like are for the boundary values: here every text ends with a letter.
    let body: String = (0..characters.saturating_sub(1)).map(|_| *random.pick(&CHARACTERS)).collect();
    let end = if characters == 0 { "" } else { "z" };
    sql_escape(&(body + end))
}

/// A JSON document as text.
pub(crate) fn document(depth: usize, random: &mut Random) -> String {
    match random.below(if depth == 0 { 6 } else { 9 }) {
        0 => "null".into(),
        1 => if random.one_in(2) { "true" } else { "false" }.into(),
        2 => ((random.next() as i64) >> random.below(64)).to_string(),
        3 => (random.next() >> random.below(64)).to_string(),
        4 => format!("{:e}", (random.next() as i64 >> random.below(64)) as f64 / 1024.0),
        5 => {
            let body: String = (0..random.below(12)).map(|_| *random.pick(&CHARACTERS)).collect();
            serde_json::Value::from(body).to_string()
        }
        6 => {
            let items: Vec<String> = (0..random.below(5)).map(|_| document(depth - 1, random)).collect();
            format!("[{}]", items.join(","))
        }
        _ => {
            let items: Vec<String> = (0..random.below(5))
                .map(|n| format!("\"{}{n}\":{}", ["a", "key", "é", ""][random.below(4)], document(depth - 1, random)))
                .collect();
            format!("{{{}}}", items.join(","))
        }
    }
}
