//! The text of a cell as the server prints it.
