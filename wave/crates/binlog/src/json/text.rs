//! A document as the text that the server prints (manual: "The JSON Data Type").

use std::borrow::Cow;

use super::binary::{Opaque, Visitor, walk};
use crate::error::Result;
use crate::render::{write_base64, write_f64, write_int, write_json_string, write_uint};

/// Appends the document `bytes` as the server's `SELECT` prints it: `{"a": 1, "b": [1, 2.5]}`.
///
/// # Errors
/// A broken document; `out` is as before then.
pub fn write_text(bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    let written = walk(bytes, &mut TextWriter::new(out));
    if written.is_err() {
        out.truncate(start);
    }
    written
}

pub(super) struct TextWriter<'o> {
    out: &'o mut Vec<u8>,
    /// A value was just completed in the innermost container: a comma comes before the next.
    after_value: bool,
}

impl<'o> TextWriter<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, after_value: false }
    }

    fn separate(&mut self) {
        if self.after_value {
            self.out.extend_from_slice(b", ");
        }
        self.after_value = true;
    }
}

impl<'a> Visitor<'a> for TextWriter<'_> {
    fn null(&mut self) -> Result<()> {
        self.separate();
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn boolean(&mut self, value: bool) -> Result<()> {
        self.separate();
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn int(&mut self, value: i64) -> Result<()> {
        self.separate();
        write_int(value, self.out);
        Ok(())
    }

    fn uint(&mut self, value: u64) -> Result<()> {
        self.separate();
        write_uint(value, self.out);
        Ok(())
    }

    fn double(&mut self, value: f64) -> Result<()> {
        self.separate();
        let start = self.out.len();
        write_f64(value, self.out);
        // So that it is read back as a double.
        if !self.out.iter().skip(start).any(|b| matches!(b, b'.' | b'e')) {
            self.out.extend_from_slice(b".0");
        }
        Ok(())
    }

    fn string(&mut self, value: Cow<'a, str>) -> Result<()> {
        self.separate();
        write_json_string(value.as_bytes(), self.out);
        Ok(())
    }

    fn opaque(&mut self, value: Opaque<'a>) -> Result<()> {
        self.separate();
        if let Opaque::Decimal(decimal) = value {
            decimal.write(self.out);
            return Ok(());
        }
        self.out.push(b'"');
        match value {
            Opaque::Date(date) => date.date().write(self.out),
            Opaque::Time(time) => time.write(self.out, 6),
            Opaque::DateTime(value) => value.write(self.out, 6),
            Opaque::Other { sql_type, bytes } => write_typed_base64(sql_type, bytes, self.out),
            Opaque::Decimal(_) => {}
        }
        self.out.push(b'"');
        Ok(())
    }

    fn begin_array(&mut self, _len: usize) -> Result<()> {
        self.separate();
        self.out.push(b'[');
        self.after_value = false;
        Ok(())
    }

    fn end_array(&mut self) -> Result<()> {
        self.out.push(b']');
        self.after_value = true;
        Ok(())
    }

    fn begin_object(&mut self, _len: usize) -> Result<()> {
        self.separate();
        self.out.push(b'{');
        self.after_value = false;
        Ok(())
    }

    fn key(&mut self, key: Cow<'a, str>) -> Result<()> {
        self.separate();
        write_json_string(key.as_bytes(), self.out);
        self.out.extend_from_slice(b": ");
        self.after_value = false;
        Ok(())
    }

    fn end_object(&mut self) -> Result<()> {
        self.out.push(b'}');
        self.after_value = true;
        Ok(())
    }
}

/// `base64:type15:…`, with a line end (escaped) after every 76 characters as the server has it.
fn write_typed_base64(sql_type: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"base64:type");
    write_uint(u64::from(sql_type), out);
    out.push(b':');
    for (index, line) in bytes.chunks(57).enumerate() {
        if index > 0 {
            out.extend_from_slice(b"\\n");
        }
        write_base64(line, out);
    }
}
