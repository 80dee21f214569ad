//! Sections of a configuration: a struct whose fields are its keys, with the text of the reference and the ranges.

use super::setting::Raw;

/// One key of a section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub name: &'static str,
    /// Lines of the reference.
    pub about: &'static [&'static str],
}

pub(super) trait Section: Default {
    const KEYS: &'static [Key];

    /// Sets one key.
    ///
    /// # Errors
    /// The value is of the wrong form or out of its range. The key must be one of `KEYS`.
    fn set(&mut self, key: &str, raw: &Raw<'_>) -> Result<(), String>;

    /// The key's value, as it stands in a file.
    fn show(&self, key: &str) -> String;

    /// The key's range, if it has one, as it stands in the reference.
    fn range(key: &str) -> Option<String>;
}

/// Declares a section: fields with a default and, where it has one, a range.
macro_rules! section {
    ($(#[$meta:meta])* pub struct $name:ident {
        $($(#[doc = $about:literal])+ $field:ident: $type:ty = $default:expr $(, in $low:expr => $high:expr)?;)*
    }) => {
        $(#[$meta])*
        #[allow(rustdoc::broken_intra_doc_links, reason = "the text is that of the reference, whose brackets are no links")]
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[doc = $about])+ pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                $name { $($field: $default,)* }
            }
        }

        impl $crate::config::section::Section for $name {
            const KEYS: &'static [$crate::config::section::Key] =
                &[$($crate::config::section::Key { name: stringify!($field), about: &[$($about),+] },)*];

            fn set(&mut self, key: &str, raw: &$crate::config::setting::Raw<'_>) -> Result<(), String> {
                use $crate::config::setting::Setting;
                match key {
                    $(stringify!($field) => {
                        let value = <$type>::read(raw)?;
                        $(if value.is_set() && (value < $low || value > $high) {
                            return Err(format!(
                                "is {}; it may be {} to {}", value.show(), ($low).show(), ($high).show()
                            ));
                        })?
                        self.$field = value;
                    })*
                    other => return Err(format!("is no key: {other}")),
                }
                Ok(())
            }

            fn show(&self, key: &str) -> String {
                use $crate::config::setting::Setting;
                match key {
                    $(stringify!($field) => self.$field.show(),)*
                    _ => String::new(),
                }
            }

            fn range(key: &str) -> Option<String> {
                #[allow(unused_imports, reason = "a section without ranges")]
                use $crate::config::setting::Setting;
                match key {
                    $($(stringify!($field) => Some(format!("{} to {}", ($low).show(), ($high).show())),)?)*
                    _ => None,
                }
            }
        }
    };
}
pub(super) use section;
