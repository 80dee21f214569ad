//! Where the values of a configuration were written, so that what turns out to be wrong with one is told with its place.

use std::collections::BTreeMap;
use std::fmt;

use crate::exit::Exit;

/// A part of a configuration: a section, the source of this number, or of it the feed of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Section(&'static str),
    Source(usize),
    Feed(usize, usize),
}

/// As the part stands in a file.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Section(name) => write!(f, "[{name}]"),
            Part::Source(_) => f.write_str("[[source]]"),
            Part::Feed(..) => f.write_str("[[source.feed]]"),
        }
    }
}

/// By part and key: `FILE:LINE`, or the variable of the environment. What is not here came as a flag, or is a default.
#[derive(Clone, Debug, Default)]
pub struct Places(BTreeMap<(Part, String), String>);

impl Places {
    pub(super) fn put(&mut self, part: Part, key: &str, place: String) {
        self.0.insert((part, key.to_string()), place);
    }

    /// A flag has given this value instead.
    pub fn overruled(&mut self, section: &'static str, key: &str) {
        self.0.remove(&(Part::Section(section), key.to_string()));
    }

    /// Flags have given the sources instead.
    pub fn sources_overruled(&mut self) {
        self.0.retain(|(part, _), _| matches!(part, Part::Section(_)));
    }

    /// How a person finds a value: `FILE:LINE: key`, or the flag `--key`.
    #[must_use]
    pub fn name(&self, part: Part, key: &str) -> String {
        match self.0.get(&(part, key.to_string())) {
            Some(place) => format!("{place}: {key}"),
            None => format!("--{}", key.replace('_', "-")),
        }
    }

    /// The same end of a command, with the first place that is known of these values before its message.
    #[must_use]
    pub fn at(&self, values: &[(Part, &str)], exit: Exit) -> Exit {
        match values.iter().find_map(|(part, key)| self.0.get(&(*part, (*key).to_string()))) {
            Some(place) => exit.at(place),
            None => exit,
        }
    }
}
