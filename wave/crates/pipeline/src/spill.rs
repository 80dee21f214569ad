//! Where the rows of a large transaction wait for its commit.
//!
//! Up to [`HELD_IN_MEMORY`] bytes stay in memory; beyond, blocks are compressed (LZ4) and appended to a spill given by
//! the driver, and read back in order when the transaction is published. A spill is a cache, never the only copy: after
//! a crash the log is read again from the checkpoint.

use std::io;

/// Bytes of one open transaction kept in memory before it spills.
pub const HELD_IN_MEMORY: usize = 16 << 20;

/// Size of an uncompressed block on its way to the spill; also the read-back granularity, so RSS stays near it.
const BLOCK: usize = 4 << 20;

/// Append-only temporary storage; dropped means deleted.
pub trait Spill: Send + std::fmt::Debug {
    /// # Errors
    /// No space, or the device fails.
    fn append(&mut self, block: &[u8]) -> io::Result<()>;
    /// Reads `into.len()` bytes at `offset`.
    ///
    /// # Errors
    /// The bytes are not there or the device fails.
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()>;
}

/// Gives new empty spills.
pub trait SpillStore: Send + std::fmt::Debug {
    /// # Errors
    /// The spill cannot be created.
    fn create(&mut self) -> io::Result<Box<dyn Spill>>;
}

#[derive(Debug, Clone, Copy)]
struct Block {
    offset: u64,
    compressed: usize,
    raw: usize,
}

/// Bytes appended in order and read back once in order.
#[derive(Debug, Default)]
pub struct Held {
    memory: Vec<u8>,
    blocks: Vec<Block>,
    spill: Option<Box<dyn Spill>>,
    spilled: u64,
    raw: u64,
}

impl Held {
    /// Bytes held in all, uncompressed.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.raw + self.memory.len() as u64
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory in use.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory.len()
    }

    /// Appends one piece; gives its offset.
    ///
    /// # Errors
    /// The spill is needed and fails; nothing of the piece is held then.
    pub fn push(&mut self, piece: &[u8], store: &mut dyn SpillStore) -> io::Result<u64> {
        let limit = if self.spill.is_some() { BLOCK } else { HELD_IN_MEMORY };
        if !self.memory.is_empty() && self.memory.len() + piece.len() > limit {
            self.spill_memory(store)?;
        }
        let at = self.len();
        self.memory.extend_from_slice(piece);
        Ok(at)
    }

    fn spill_memory(&mut self, store: &mut dyn SpillStore) -> io::Result<()> {
        if self.spill.is_none() {
            self.spill = Some(store.create()?);
        }
        let Some(spill) = self.spill.as_mut() else { return Ok(()) };
        let compressed = lz4_flex::block::compress(&self.memory);
        spill.append(&compressed)?;
        self.blocks.push(Block { offset: self.spilled, compressed: compressed.len(), raw: self.memory.len() });
        self.spilled += compressed.len() as u64;
        self.raw += self.memory.len() as u64;
        self.memory = Vec::with_capacity(BLOCK);
        Ok(())
    }

    /// Drops what was pushed at or after `len` (a savepoint is rolled back). Only what is still in memory can be cut;
    /// gives false when the cut lies in the spill, in which case the caller simply no longer refers to those bytes.
    pub fn truncate(&mut self, len: u64) -> bool {
        match len.checked_sub(self.raw).and_then(|keep| usize::try_from(keep).ok()) {
            Some(keep) if keep <= self.memory.len() => {
                self.memory.truncate(keep);
                true
            }
            _ => false,
        }
    }

    /// A reader over everything held.
    #[must_use]
    pub fn into_reader(self) -> HeldReader {
        HeldReader { held: self, block: Vec::new(), block_start: 0, next_block: 0, passed: 0 }
    }
}

/// Reads held pieces back, in ascending order of their offsets.
#[derive(Debug, Default)]
pub struct HeldReader {
    held: Held,
    block: Vec<u8>,
    /// Raw offset of `block`.
    block_start: u64,
    next_block: usize,
    /// Raw end of the last block loaded.
    passed: u64,
}

impl HeldReader {
    /// The piece of `len` bytes at `at`, as given by [`Held::push`]. Pieces must be asked for in ascending order.
    ///
    /// # Errors
    /// The spill fails, or the piece was not pushed.
    pub fn get(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        while at >= self.passed && self.next_block < self.held.blocks.len() {
            self.load_next()?;
        }
        let (from, source) =
            if at < self.passed { (self.block_start, &self.block) } else { (self.held.raw, &self.held.memory) };
        let start = at.checked_sub(from).and_then(|s| usize::try_from(s).ok()).unwrap_or(usize::MAX);
        start
            .checked_add(len)
            .and_then(|end| source.get(start..end))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no such piece is held"))
    }

    fn load_next(&mut self) -> io::Result<()> {
        let block = self.held.blocks[self.next_block];
        let mut compressed = vec![0; block.compressed];
        if let Some(spill) = self.held.spill.as_mut() {
            spill.read_at(block.offset, &mut compressed)?;
        }
        self.block.resize(block.raw, 0);
        let n = lz4_flex::block::decompress_into(&compressed, &mut self.block)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        if n != block.raw {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "spilled block is short"));
        }
        self.block_start = self.passed;
        self.passed += block.raw as u64;
        self.next_block += 1;
        Ok(())
    }
}

/// Keeps spills in memory: for tests and simulations.
#[derive(Debug, Default, Clone, Copy)]
pub struct MemorySpills;

#[derive(Debug, Default)]
struct MemorySpill(Vec<u8>);

impl Spill for MemorySpill {
    fn append(&mut self, block: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(block);
        Ok(())
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let piece = start.checked_add(into.len()).and_then(|end| self.0.get(start..end));
        into.copy_from_slice(piece.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl SpillStore for MemorySpills {
    fn create(&mut self) -> io::Result<Box<dyn Spill>> {
        Ok(Box::new(MemorySpill::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_back_in_order_and_memory_stays_bounded() {
        let mut held = Held::default();
        let mut pieces = Vec::new();
        for i in 0u32..600 {
            let piece: Vec<u8> = (0..100_000u32).map(|j| (i.wrapping_mul(31) ^ j) as u8).collect();
            pieces.push((held.push(&piece, &mut MemorySpills).unwrap(), piece));
            assert!(held.memory() <= HELD_IN_MEMORY);
        }
        assert_eq!(held.len(), 60_000_000);
        assert!(held.blocks.len() > 3);
        let mut reader = held.into_reader();
        for (at, piece) in &pieces {
            assert_eq!(reader.get(*at, piece.len()).unwrap(), &piece[..]);
        }
        assert!(reader.get(60_000_000, 1).is_err());
    }

    #[test]
    fn truncate_in_memory() {
        let mut held = Held::default();
        held.push(b"abc", &mut MemorySpills).unwrap();
        let at = held.push(b"def", &mut MemorySpills).unwrap();
        assert!(held.truncate(at));
        assert_eq!(held.push(b"xy", &mut MemorySpills).unwrap(), 3);
        assert_eq!(held.into_reader().get(3, 2).unwrap(), b"xy");
    }
}
