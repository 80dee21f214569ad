//! What crashes and damaged disks do to the embedded backends.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use binlake_coord as coord;
use coord::file::FileCoordination;
use coord::history::file::FileHistory;
use coord::{CoordError, Coordination, DataDir, Fence, HistoryEntry, SchemaHistory, SourceId, Write};

const CHILD: &str = "BINLAKE_TEST_COORD_CHILD";

fn source() -> SourceId {
    SourceId::new("shop").unwrap()
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap())
}

/// Not a test of its own: the process that `killed_writer_leaves_whole_states` kills.
#[test]
fn child_writer() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let dir = DataDir::lock(folder).unwrap();
    let mut coordination = FileCoordination::open(&dir).unwrap();
    let mut history = FileHistory::open(&dir).unwrap();
    let taken = coordination.take(&source(), "child", 0).unwrap();
    let fence = Fence { source: source(), epoch: taken.epoch };
    let mut value = taken.checkpoint.map_or(0, |b| number(&b));
    let mut out = std::io::stdout();
    loop {
        value += 1;
        let bytes = value.to_le_bytes().to_vec();
        let batch = [Write::Checkpoint(bytes.clone()), Write::Put { name: "copy".into(), bytes: bytes.clone() }];
        coordination.write(&fence, &batch).unwrap();
        let entry = HistoryEntry {
            source: source(),
            table: "shop.t".into(),
            file_number: 1,
            offset: value,
            gtids: String::new(),
            payload: vec![7; 3000],
        };
        history.append(&entry).unwrap();
        writeln!(out, "stored {value}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn killed_writer_leaves_whole_states() {
    let folder = tempfile::tempdir().unwrap();
    let mut epoch = 0;
    let mut at_least = 0;
    for round in 0..12_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_writer", "--nocapture"])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The first acknowledgement proves that the child runs; then it is killed somewhere in its work.
        let mut acknowledged = lines.by_ref().map(Result::unwrap).find_map(|l| stored(&l)).unwrap();
        if round == 0 {
            let error = DataDir::lock(folder.path()).unwrap_err();
            assert_eq!(error, CoordError::Locked { path: folder.path().to_owned(), pid: Some(child.id()) });
        }
        std::thread::sleep(Duration::from_micros(round * 1_700));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            acknowledged = stored(&line).unwrap_or(acknowledged);
        }
        assert!(acknowledged > at_least, "the child went on from where the last one was");

        let dir = DataDir::lock(folder.path()).unwrap();
        let now = FileCoordination::open(&dir).unwrap().read(&source()).unwrap().unwrap();
        let value = number(now.checkpoint.as_ref().unwrap());
        assert!(value >= acknowledged, "acknowledged {acknowledged}, found {value}");
        assert!(now.entries.get("copy").is_some_and(|c| number(c) == value), "half a batch");
        assert!(now.epoch > epoch);
        let entries = FileHistory::open(&dir).unwrap().load(&source()).unwrap();
        assert!(entries.last().unwrap().offset >= acknowledged);
        assert!(entries.windows(2).all(|w| w[0].offset <= w[1].offset));
        (epoch, at_least) = (now.epoch, value);
    }
}

/// The harness may print its own text in front of the first line.
fn stored(line: &str) -> Option<u64> {
    line.split_once("stored ")?.1.trim().parse().ok()
}

#[test]
fn damaged_state_is_an_error_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::lock(folder.path()).unwrap();
    let epoch = FileCoordination::open(&dir).unwrap().take(&source(), "w", 0).unwrap().epoch;
    let path = folder.path().join("coordination/shop.state");
    let good = fs::read(&path).unwrap();
    for bad in [Vec::new(), good[..good.len() - 1].to_vec(), vec![0; good.len()], [&good[..], b"x"].concat()] {
        fs::write(&path, &bad).unwrap();
        let mut coordination = FileCoordination::open(&dir).unwrap();
        let error = coordination.take(&source(), "w", 0).unwrap_err();
        let CoordError::Corrupt { path: named, hint, .. } = &error else { panic!("{error}") };
        assert_eq!(named, &path);
        assert!(hint.contains("restore this file from a backup"));
        let write = coordination.write(&Fence { source: source(), epoch }, &[Write::Checkpoint(b"p".to_vec())]);
        assert!(matches!(write, Err(CoordError::Corrupt { .. })));
        assert_eq!(fs::read(&path).unwrap(), bad, "the evidence is untouched");
    }
    // A file put back is read without a restart; a temporary file of a crash does not matter.
    fs::write(&path, &good).unwrap();
    fs::write(path.with_extension("state.tmp"), b"half").unwrap();
    let mut coordination = FileCoordination::open(&dir).unwrap();
    assert_eq!(coordination.take(&source(), "w", 0).unwrap().epoch, epoch + 1);
    assert_eq!(fs::read_dir(folder.path().join("coordination")).unwrap().count(), 1);
}

#[test]
fn state_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::lock(folder.path()).unwrap();
    FileCoordination::open(&dir).unwrap().take(&source(), "w", 0).unwrap();
    let path = folder.path().join("coordination/shop.state");
    let mut bytes = fs::read(&path).unwrap();
    bytes[4] = 9;
    fs::write(&path, bytes).unwrap();
    let error = FileCoordination::open(&dir).unwrap().read(&source()).unwrap_err();
    assert!(error.to_string().contains("format version 9 is unknown"), "{error}");
}

#[test]
fn folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::lock(folder.path()).unwrap();
    let mut coordination = FileCoordination::open(&dir).unwrap();
    let epoch = coordination.take(&source(), "w", 0).unwrap().epoch;
    let fence = Fence { source: source(), epoch };
    // A folder in the place of the temporary file makes every write fail, whoever runs the test.
    let tmp = folder.path().join("coordination/shop.state.tmp");
    fs::create_dir(&tmp).unwrap();
    let error = coordination.write(&fence, &[Write::Checkpoint(b"1".to_vec())]).unwrap_err();
    assert!(matches!(&error, CoordError::Unavailable(text) if text.contains("shop.state.tmp")), "{error}");
    fs::remove_dir(&tmp).unwrap();
    assert_eq!(coordination.read(&source()).unwrap().unwrap().checkpoint, None);
    coordination.write(&fence, &[Write::Checkpoint(b"1".to_vec())]).unwrap();
}

fn entry(offset: u64) -> HistoryEntry {
    HistoryEntry {
        source: source(),
        table: "shop.t".into(),
        file_number: 3,
        offset,
        gtids: String::new(),
        payload: b"{\"columns\":[]}".to_vec(),
    }
}

fn history_of_three(folder: &Path) -> (DataDir, Vec<u8>, Vec<usize>) {
    let dir = DataDir::lock(folder).unwrap();
    let path = folder.join("schemas/shop.log");
    let mut history = FileHistory::open(&dir).unwrap();
    let mut ends = Vec::new();
    for offset in 1..=3 {
        history.append(&entry(offset)).unwrap();
        ends.push(usize::try_from(fs::metadata(&path).unwrap().len()).unwrap());
    }
    (dir, fs::read(&path).unwrap(), ends)
}

#[test]
fn torn_tail_of_the_history_is_cut_off_and_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, good, ends) = history_of_three(folder.path());
    let path = folder.path().join("schemas/shop.log");
    for cut in ends[1]..good.len() {
        fs::write(&path, &good[..cut]).unwrap();
        let mut history = FileHistory::open(&dir).unwrap();
        assert_eq!(history.load(&source()).unwrap(), [entry(1), entry(2)], "cut at {cut}");
        history.append(&entry(4)).unwrap();
        assert_eq!(history.load(&source()).unwrap(), [entry(1), entry(2), entry(4)], "cut at {cut}");
    }
    // Blocks that were allocated and never written read as zeros.
    fs::write(&path, [&good[..ends[1]], &[0; 5000]].concat()).unwrap();
    assert_eq!(FileHistory::open(&dir).unwrap().load(&source()).unwrap(), [entry(1), entry(2)]);
}

#[test]
fn damage_inside_the_history_is_never_taken_for_a_torn_tail() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, good, ends) = history_of_three(folder.path());
    let path = folder.path().join("schemas/shop.log");
    for at in 0..ends[1] {
        let mut bad = good.clone();
        bad[at] ^= 0x80;
        fs::write(&path, &bad).unwrap();
        let mut history = FileHistory::open(&dir).unwrap();
        let error = history.load(&source()).unwrap_err();
        assert!(matches!(error, CoordError::Corrupt { .. }), "byte {at}: {error}");
        assert!(matches!(history.append(&entry(9)), Err(CoordError::Corrupt { .. })));
        assert_eq!(fs::read(&path).unwrap(), bad, "byte {at}");
    }
}
