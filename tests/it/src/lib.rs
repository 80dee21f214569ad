//! Integration scenarios on real servers live in `tests/it`; this library is empty.
