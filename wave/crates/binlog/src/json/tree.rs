//! A document that can be changed: what partial updates are applied to (MySQL worklog 2955; manual: "Functions That Modify
//! JSON Values").

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::binary::{Opaque, Visitor, walk};
use crate::error::{Error, Result};

/// A value; its text is borrowed from the event where possible.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node<'a> {
    Null,
    Boolean(bool),
    Int(i64),
    UInt(u64),
    Double(f64),
    String(Cow<'a, str>),
    Opaque(Opaque<'a>),
    Array(Vec<Node<'a>>),
    Object(Object<'a>),
}

/// Members in the server's order. A tree, so that a document with very many members in another order takes no long time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Object<'a>(BTreeMap<Key<'a>, Node<'a>>);

/// Shorter keys first, equally long ones by their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key<'a>(Cow<'a, str>);

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0.len(), self.0.as_bytes()).cmp(&(other.0.len(), other.0.as_bytes()))
    }
}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<'a> Object<'a> {
    pub(super) fn get_mut(&mut self, key: Cow<'a, str>) -> Option<&mut Node<'a>> {
        self.0.get_mut(&Key(key))
    }

    /// False, and nothing changed, when the key is there already.
    pub(super) fn insert(&mut self, key: Cow<'a, str>, value: Node<'a>) -> bool {
        let Entry::Vacant(place) = self.0.entry(Key(key)) else { return false };
        place.insert(value);
        true
    }

    pub(super) fn remove(&mut self, key: Cow<'a, str>) -> bool {
        self.0.remove(&Key(key)).is_some()
    }
}

impl<'a> Node<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self> {
        let mut builder = Builder { open: Vec::new(), root: Node::Null };
        walk(bytes, &mut builder)?;
        Ok(builder.root)
    }

    pub(super) fn visit(self, visitor: &mut impl Visitor<'a>) -> Result<()> {
        match self {
            Self::Null => visitor.null(),
            Self::Boolean(value) => visitor.boolean(value),
            Self::Int(value) => visitor.int(value),
            Self::UInt(value) => visitor.uint(value),
            Self::Double(value) => visitor.double(value),
            Self::String(value) => visitor.string(value),
            Self::Opaque(value) => visitor.opaque(value),
            Self::Array(values) => {
                visitor.begin_array(values.len())?;
                values.into_iter().try_for_each(|value| value.visit(visitor))?;
                visitor.end_array()
            }
            Self::Object(Object(members)) => {
                visitor.begin_object(members.len())?;
                for (Key(key), value) in members {
                    visitor.key(key)?;
                    value.visit(visitor)?;
                }
                visitor.end_object()
            }
        }
    }
}

/// A container whose members are still coming, and the key of the one that comes next.
struct Open<'a> {
    container: Node<'a>,
    key: Cow<'a, str>,
}

struct Builder<'a> {
    open: Vec<Open<'a>>,
    root: Node<'a>,
}

impl<'a> Builder<'a> {
    fn add(&mut self, value: Node<'a>) -> Result<()> {
        match self.open.last_mut() {
            None => self.root = value,
            Some(Open { container: Node::Object(object), key }) => {
                let key = std::mem::take(key);
                if !object.insert(key, value) {
                    return Err(Error::Malformed {
                        what: "JSON value",
                        detail: "a key stands twice in an object".into(),
                    });
                }
            }
            Some(Open { container: Node::Array(values), .. }) => values.push(value),
            Some(_) => {}
        }
        Ok(())
    }

    fn begin(&mut self, container: Node<'a>) {
        self.open.push(Open { container, key: Cow::Borrowed("") });
    }

    fn end(&mut self) -> Result<()> {
        match self.open.pop() {
            Some(done) => self.add(done.container),
            None => Ok(()),
        }
    }
}

impl<'a> Visitor<'a> for Builder<'a> {
    fn null(&mut self) -> Result<()> {
        self.add(Node::Null)
    }

    fn boolean(&mut self, value: bool) -> Result<()> {
        self.add(Node::Boolean(value))
    }

    fn int(&mut self, value: i64) -> Result<()> {
        self.add(Node::Int(value))
    }

    fn uint(&mut self, value: u64) -> Result<()> {
        self.add(Node::UInt(value))
    }

    fn double(&mut self, value: f64) -> Result<()> {
        self.add(Node::Double(value))
    }

    fn string(&mut self, value: Cow<'a, str>) -> Result<()> {
        self.add(Node::String(value))
    }

    fn opaque(&mut self, value: Opaque<'a>) -> Result<()> {
        self.add(Node::Opaque(value))
    }

    fn begin_array(&mut self, _len: usize) -> Result<()> {
        self.begin(Node::Array(Vec::new()));
        Ok(())
    }

    fn end_array(&mut self) -> Result<()> {
        self.end()
    }

    fn begin_object(&mut self, _len: usize) -> Result<()> {
        self.begin(Node::Object(Object::default()));
        Ok(())
    }

    fn key(&mut self, key: Cow<'a, str>) -> Result<()> {
        if let Some(open) = self.open.last_mut() {
            open.key = key;
        }
        Ok(())
    }

    fn end_object(&mut self) -> Result<()> {
        self.end()
    }
}
