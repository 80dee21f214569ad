//! What the fuzz targets share: counted memory, the cutting of inputs, and the way from a rows event to printed cells.

pub mod memory;

use binlog::Cell;
use binlog::json;
use binlog::render::render_text;
use binlog::rows::RowsEvent;
use binlog::schema::Table;

/// Bound on one event, given to everything that takes one.
pub const MAX_EVENT: usize = 1 << 20;

/// The bytes behind a length of two bytes (or what there is of them), and the rest.
pub fn counted(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else { return (bytes, &[]) };
    rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()))
}

/// An event of `code` around `body`, with a header that fits and no checksum.
pub fn event(code: u8, body: &[u8], trailer: usize) -> Vec<u8> {
    let mut raw = vec![0; 19];
    raw[4] = code;
    raw.extend_from_slice(body);
    raw.resize(raw.len() + trailer, 0);
    set_size(&mut raw);
    raw
}

/// Makes the size in an event's header that of its bytes: otherwise hardly an input would come past it.
pub fn set_size(raw: &mut [u8]) {
    let size = u32::try_from(raw.len()).unwrap_or(u32::MAX);
    if let Some(field) = raw.get_mut(9..13) {
        field.copy_from_slice(&size.to_le_bytes());
    }
}

/// Decodes and prints every cell of every row, and checks that passing over a row ends where decoding it does.
pub fn print_rows(rows: &RowsEvent<'_>, table: &Table) {
    let Ok(mut reader) = rows.reader(table) else { return };
    let (mut before, mut after, mut out) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let mut passing = reader.clone();
        match reader.next(&mut before, &mut after) {
            Ok(true) => {}
            Ok(false) => {
                assert!(reader.is_done());
                return;
            }
            Err(_) => return,
        }
        assert_eq!(passing.skip(), Ok(true));
        assert_eq!(format!("{passing:?}"), format!("{reader:?}"), "skip and next differ");
        for cells in [&before, &after] {
            assert!(cells.is_empty() || cells.len() == table.columns.len());
            for (cell, column) in cells.iter().zip(&table.columns) {
                out.clear();
                let printed = render_text(cell, column, &mut out);
                if printed.is_ok() && !matches!(cell, Cell::Bytes(_) | Cell::Geometry(_) | Cell::Vector(_)) {
                    assert!(std::str::from_utf8(&out).is_ok(), "{cell:?} of {column:?} is not UTF-8");
                }
            }
        }
        for (before, after) in before.iter().zip(&after) {
            if let (Cell::Json(document), Cell::JsonDiff(diff)) = (before, after) {
                out.clear();
                let _ = json::apply_diff(document, diff, &mut out);
            }
        }
    }
}
