//! Spills on disk: unnamed temporary files, gone when closed, also after `kill -9`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use pipeline::spill::{Spill, SpillStore};

/// Makes spills in a folder.
#[derive(Debug)]
pub struct DiskSpills {
    folder: PathBuf,
}

impl DiskSpills {
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        DiskSpills { folder: folder.into() }
    }
}

#[derive(Debug)]
struct DiskSpill {
    file: File,
    end: u64,
}

impl SpillStore for DiskSpills {
    fn create(&mut self) -> io::Result<Box<dyn Spill>> {
        std::fs::create_dir_all(&self.folder)?;
        Ok(Box::new(DiskSpill { file: tempfile::tempfile_in(&self.folder)?, end: 0 }))
    }
}

impl Spill for DiskSpill {
    fn append(&mut self, block: &[u8]) -> io::Result<()> {
        self.file.write_all_at(block, self.end)?;
        self.end += block.len() as u64;
        Ok(())
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, offset)
    }
}
