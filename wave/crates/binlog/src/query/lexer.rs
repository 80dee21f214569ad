//! Words, quoted names and symbols of SQL text; just enough to find the names in DDL (manual: "Comments",
//! "String Literals", "Schema Object Names").

use super::TableName;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Word(&'a [u8]),
    /// In backticks or double quotes, unquoted.
    Quoted(Vec<u8>),
    /// A string literal.
    Literal,
    Symbol(u8),
    End,
}

#[derive(Clone, Debug)]
pub(super) struct Lexer<'a> {
    text: &'a [u8],
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.text
    }

    /// Spaces, comments, and the marks of executable comments.
    fn skip_spaces(&mut self) {
        loop {
            self.text = self.text.trim_ascii_start();
            self.text = match self.text {
                [b'#', tail @ ..] => after_line(tail),
                [b'-', b'-', tail @ ..] if tail.first().is_none_or(u8::is_ascii_whitespace) => after_line(tail),
                [b'/', b'*', b'!', tail @ ..] | [b'/', b'*', b'M', b'!', tail @ ..] => after_digits(tail),
                [b'*', b'/', tail @ ..] => tail,
                [b'/', b'*', tail @ ..] => {
                    memchr::memmem::find(tail, b"*/").and_then(|at| tail.get(at + 2..)).unwrap_or_default()
                }
                _ => return,
            };
        }
    }

    pub(super) fn next(&mut self) -> Token<'a> {
        self.skip_spaces();
        let Some((first, tail)) = self.text.split_first() else { return Token::End };
        match first {
            b'`' | b'"' => {
                let (name, rest) = unquote(*first, tail);
                self.text = rest;
                Token::Quoted(name)
            }
            b'\'' => {
                self.text = after_literal(tail);
                Token::Literal
            }
            c if is_word(*c) => {
                let n = self.text.iter().position(|c| !is_word(*c)).unwrap_or(self.text.len());
                let (word, rest) = self.text.split_at(n);
                self.text = rest;
                Token::Word(word)
            }
            c => {
                self.text = tail;
                Token::Symbol(*c)
            }
        }
    }

    /// Takes the next token if it is this word.
    pub(super) fn word(&mut self, word: &str) -> bool {
        let mut ahead = self.clone();
        let found = matches!(ahead.next(), Token::Word(w) if w.eq_ignore_ascii_case(word.as_bytes()));
        if found {
            *self = ahead;
        }
        found
    }

    pub(super) fn peek_word(&self, word: &str) -> bool {
        self.clone().word(word)
    }

    /// Takes all of these words if they come.
    pub(super) fn words(&mut self, words: &[&str]) -> bool {
        let mut ahead = self.clone();
        let found = words.iter().all(|word| ahead.word(word));
        if found {
            *self = ahead;
        }
        found
    }

    pub(super) fn symbol(&mut self, symbol: u8) -> bool {
        let mut ahead = self.clone();
        let found = ahead.next() == Token::Symbol(symbol);
        if found {
            *self = ahead;
        }
        found
    }

    /// Takes `name` or `name.name`.
    pub(super) fn name(&mut self) -> Option<TableName> {
        let first = self.identifier()?;
        if !self.symbol(b'.') {
            return Some(TableName { database: None, table: first });
        }
        let table = self.identifier()?;
        Some(TableName { database: Some(first), table })
    }

    /// The name after the next word `word`.
    pub(super) fn name_after(&mut self, word: &str) -> Option<TableName> {
        loop {
            match self.next() {
                Token::End => return None,
                Token::Word(w) if w.eq_ignore_ascii_case(word.as_bytes()) => return self.name(),
                _ => {}
            }
        }
    }

    pub(super) fn identifier(&mut self) -> Option<String> {
        match self.next() {
            Token::Word(word) => Some(String::from_utf8_lossy(word).into_owned()),
            Token::Quoted(name) => Some(String::from_utf8_lossy(&name).into_owned()),
            _ => None,
        }
    }
}

fn is_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'_' || c == b'$' || c >= 0x80
}

fn after_line(text: &[u8]) -> &[u8] {
    memchr::memchr(b'\n', text).and_then(|at| text.get(at + 1..)).unwrap_or_default()
}

fn after_digits(text: &[u8]) -> &[u8] {
    let n = text.iter().take(6).take_while(|c| c.is_ascii_digit()).count();
    text.get(n..).unwrap_or_default()
}

/// The text up to the closing quote (doubled ones stand for one), and what follows.
fn unquote(quote: u8, mut text: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut name = Vec::new();
    loop {
        let Some((head, tail)) = memchr::memchr(quote, text).and_then(|at| text.split_at_checked(at)) else {
            name.extend_from_slice(text);
            return (name, &[]);
        };
        name.extend_from_slice(head);
        match tail {
            [_, second, rest @ ..] if *second == quote => {
                name.push(quote);
                text = rest;
            }
            _ => return (name, tail.get(1..).unwrap_or_default()),
        }
    }
}

fn after_literal(mut text: &[u8]) -> &[u8] {
    loop {
        match text {
            [b'\\', _, rest @ ..] | [b'\'', b'\'', rest @ ..] | [_, rest @ ..] if !ends_literal(text) => text = rest,
            [_, rest @ ..] => return rest,
            [] => return &[],
        }
    }
}

fn ends_literal(text: &[u8]) -> bool {
    matches!(text, [b'\'', tail @ ..] if tail.first() != Some(&b'\''))
}
