//! Reads JSON without touching its numbers: they are compared by their digits.

use anyhow::{Result, bail};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    /// As it stands there.
    Number(String),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    pub(crate) fn parse(text: &str) -> Result<Json> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value()?;
        reader.space();
        if reader.at < text.len() {
            bail!("more behind the value at {}", reader.at);
        }
        Ok(value)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members.iter().find(|(n, _)| n == name).map(|(_, value)| value),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, wanted: &str) -> bool {
        let found = self.text[self.at..].starts_with(wanted);
        if found {
            self.at += wanted.len();
        }
        found
    }

    fn value(&mut self) -> Result<Json> {
        self.space();
        for (word, value) in [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))] {
            if self.eat(word) {
                return Ok(value);
            }
        }
        match self.peek() {
            Some(b'"') => Ok(Json::Text(self.string()?)),
            Some(b'[') => {
                let mut items = Vec::new();
                self.list(b']', |r| {
                    items.push(r.value()?);
                    Ok(())
                })?;
                Ok(Json::Array(items))
            }
            Some(b'{') => {
                let mut members = Vec::new();
                self.list(b'}', |r| {
                    r.space();
                    let name = r.string()?;
                    r.space();
                    if !r.eat(":") {
                        bail!("no colon at {}", r.at);
                    }
                    members.push((name, r.value()?));
                    Ok(())
                })?;
                Ok(Json::Object(members))
            }
            Some(b'-' | b'0'..=b'9') => {
                let rest = &self.text[self.at..];
                let end =
                    rest.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E')).unwrap_or(rest.len());
                self.at += end;
                Ok(Json::Number(rest[..end].to_owned()))
            }
            _ => bail!("no value at {}", self.at),
        }
    }

    fn list(&mut self, close: u8, mut item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.at += 1;
        self.space();
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(());
        }
        loop {
            item(self)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(c) if c == close => {
                    self.at += 1;
                    return Ok(());
                }
                _ => bail!("neither a comma nor the end at {}", self.at),
            }
        }
    }

    fn string(&mut self) -> Result<String> {
        if !self.eat("\"") {
            bail!("no string at {}", self.at);
        }
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(end) = rest.find(['"', '\\']) else { bail!("a string does not end") };
            if let Some(control) = rest[..end].bytes().find(|b| *b < 0x20) {
                bail!("a control character {control} in a string");
            }
            out.push_str(&rest[..end]);
            self.at += end;
            if self.eat("\"") {
                return Ok(out);
            }
            self.at += 1;
            let escape = self.peek();
            self.at += 1;
            out.push(match escape {
                Some(b'n') => '\n',
                Some(b't') => '\t',
                Some(b'r') => '\r',
                Some(b'b') => '\u{8}',
                Some(b'f') => '\u{c}',
                Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
                Some(b'u') => self.unicode()?,
                _ => bail!("an unknown escape at {}", self.at),
            });
        }
    }

    fn unicode(&mut self) -> Result<char> {
        let mut unit = || -> Result<u32> {
            let hex = self.text.get(self.at..self.at + 4).unwrap_or_default();
            self.at += 4;
            Ok(u32::from_str_radix(hex, 16)?)
        };
        let first = unit()?;
        let code = if (0xd800..0xdc00).contains(&first) {
            self.at += 2;
            let second = u32::from_str_radix(self.text.get(self.at..self.at + 4).unwrap_or_default(), 16)?;
            self.at += 4;
            0x1_0000 + ((first - 0xd800) << 10) + (second.wrapping_sub(0xdc00) & 0x3ff)
        } else {
            first
        };
        match char::from_u32(code) {
            Some(c) => Ok(c),
            None => bail!("half a surrogate pair at {}", self.at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits() {
        let json = Json::parse(r#" {"a":[1,-0.10, 1E+5],"é":"\u00e9\ud83d\ude00\n\"","x":{},"n":null} "#).unwrap();
        assert_eq!(json.get("a").unwrap(), &Json::Array(["1", "-0.10", "1E+5"].map(|n| Json::Number(n.into())).into()));
        assert_eq!(json.get("é").unwrap().text(), Some("é😀\n\""));
        assert_eq!(json.get("n"), Some(&Json::Null));
        for broken in ["", "{", "[1,]", "{\"a\"}", "\"\\x\"", "\"\\ud800x\"", "1 2", "\"\t\""] {
            assert!(Json::parse(broken).is_err(), "{broken}");
        }
    }
}
