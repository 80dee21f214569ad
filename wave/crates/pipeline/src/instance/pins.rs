//! How many partitions of each topic are in use.
//!
//! A key's partition is its hash among so many, so the count stays what it was when the topic was first opened, and
//! partitions that are added later get nothing. It is stored before the first record. Only a topic that has fewer was made
//! anew: then its count counts anew, too.

use std::collections::BTreeMap;

use crate::io::OpenTopic;

/// By topic.
#[derive(Debug, Default)]
pub(super) struct Pins(BTreeMap<String, Pin>);

#[derive(Debug)]
struct Pin {
    partitions: u32,
    stored: bool,
    /// What the topic had when it was opened last.
    found: u32,
}

impl Pins {
    /// Takes over what is stored; what is not, has to be.
    pub(super) fn taken(&mut self, stored: &[(String, u32)]) {
        self.0.values_mut().for_each(|pin| pin.stored = false);
        for (topic, partitions) in stored {
            let partitions = *partitions;
            let pin = self.0.entry(topic.clone()).or_insert(Pin { partitions, stored: true, found: partitions });
            (pin.partitions, pin.stored) = (partitions, true);
        }
    }

    /// The count that a catch-up has used.
    pub(super) fn learn(&mut self, pinned: Vec<(String, u32)>) {
        for (topic, partitions) in pinned {
            self.0.insert(topic, Pin { partitions, stored: false, found: partitions });
        }
    }

    /// The partitions of a topic to use, and what to tell of a count that has changed.
    pub(super) fn open(&mut self, topic: &OpenTopic) -> (u32, Option<String>) {
        let (name, found) = (&topic.name, topic.partitions);
        let pin = self.0.entry(name.clone()).or_insert(Pin { partitions: found, stored: false, found });
        let changed = std::mem::replace(&mut pin.found, found) != found;
        let pinned = pin.partitions;
        if found < pinned {
            (pin.partitions, pin.stored) = (found, false);
        }
        let told = match found {
            _ if found == pinned => return (pinned, None),
            _ if found < pinned => format!(
                "topic {name} has {found} partitions and had {pinned}: it was made anew, and records go to these from here \
                 on. What it had before is not sent again, and its consumers have to begin anew"
            ),
            _ => format!(
                "topic {name} has {found} partitions now; records go on to the first {pinned}, which it had when it was \
                 first published to, because with another count a row's later changes would overtake its earlier ones in \
                 another partition. Nothing has to be done; to use {found}, publish to a new topic"
            ),
        };
        (pin.partitions, changed.then_some(told))
    }

    pub(super) fn all(&self) -> Vec<(String, u32)> {
        self.0.iter().map(|(topic, pin)| (topic.clone(), pin.partitions)).collect()
    }

    pub(super) fn unstored(&self) -> bool {
        self.0.values().any(|pin| !pin.stored)
    }

    /// What the next write holds.
    pub(super) fn take_unstored(&mut self) -> Vec<(String, u32)> {
        let unstored = self.0.iter_mut().filter(|(_, pin)| !pin.stored);
        unstored
            .map(|(topic, pin)| {
                pin.stored = true;
                (topic.clone(), pin.partitions)
            })
            .collect()
    }

    /// A write that failed.
    pub(super) fn give_back(&mut self, written: &[(String, u32)]) {
        for (topic, _) in written {
            if let Some(pin) = self.0.get_mut(topic) {
                pin.stored = false;
            }
        }
    }
}
