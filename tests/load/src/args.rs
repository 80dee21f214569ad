//! Flags with values, `--name value` or `--name=value`. Every flag must be asked for, else it is unknown.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The arguments are wrong: exit code 2.
#[derive(Debug)]
pub(crate) struct Wrong(pub(crate) String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

#[derive(Debug)]
pub(crate) struct Args(BTreeMap<String, String>);

impl Args {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut flags = BTreeMap::new();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix("--") else {
                return Err(Wrong(format!("{word:?} is no flag")).into());
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name.to_owned(), value.to_owned()),
                None => {
                    let value = words.next().ok_or_else(|| Wrong(format!("--{flag} has no value")))?;
                    (flag.to_owned(), value)
                }
            };
            if flags.insert(name.clone(), value).is_some() {
                return Err(Wrong(format!("--{name} is given twice")).into());
            }
        }
        Ok(Args(flags))
    }

    /// Takes a flag out.
    pub(crate) fn optional<T: FromStr>(&mut self, name: &str) -> anyhow::Result<Option<T>> {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        let parsed = value.parse().map_err(|_| Wrong(format!("--{name}: {value:?} is not what it takes")))?;
        Ok(Some(parsed))
    }

    /// Takes a flag out that must be there.
    pub(crate) fn needed<T: FromStr>(&mut self, name: &str) -> anyhow::Result<T> {
        self.optional(name)?.ok_or_else(|| Wrong(format!("--{name} is missing")).into())
    }

    /// All flags must have been taken.
    pub(crate) fn end(self) -> anyhow::Result<()> {
        match self.0.into_keys().next() {
            Some(name) => Err(Wrong(format!("no flag --{name} here")).into()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> anyhow::Result<Args> {
        Args::parse(words.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_are_taken_once_and_unknown_ones_refused() {
        let mut args = parse("--rows 5 --source=mysql://h/?a=b").unwrap();
        assert_eq!(args.needed::<u64>("rows").unwrap(), 5);
        assert_eq!(args.needed::<String>("source").unwrap(), "mysql://h/?a=b");
        args.end().unwrap();
        assert_eq!(parse("--rows").unwrap_err().to_string(), "--rows has no value");
        assert_eq!(parse("--rows 1 --rows 2").unwrap_err().to_string(), "--rows is given twice");
        assert_eq!(parse("rows").unwrap_err().to_string(), "\"rows\" is no flag");
        assert_eq!(parse("--x 1").unwrap().end().unwrap_err().to_string(), "no flag --x here");
        let mut args = parse("--rows many").unwrap();
        assert_eq!(args.needed::<u64>("rows").unwrap_err().to_string(), "--rows: \"many\" is not what it takes");
        assert_eq!(args.needed::<u64>("rate").unwrap_err().to_string(), "--rate is missing");
    }
}
