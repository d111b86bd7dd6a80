//! A disk for tests that fails on demand and can lose its power: what was not synced survives by the sector, or not.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Database, DatabaseError, StorageBackend};

/// What a drive writes whole.
const SECTOR: usize = 512;

/// Clones are the same disk.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<Platters>>);

#[derive(Default)]
struct Platters {
    /// What readers see.
    seen: Vec<u8>,
    /// What survives for certain.
    synced: Vec<u8>,
    /// Since the last sync, in order.
    unsynced: Vec<Change>,
    fault: Fault,
    /// Operations left until the power goes; counted over writes and syncs.
    until_cut: Option<u32>,
}

enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

/// How the disk misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    #[default]
    None,
    /// Nothing more fits.
    Full,
    /// Every access fails.
    Dead,
    /// It says that it has synced, and has not.
    Lying,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Disk")
    }
}

impl Disk {
    pub fn database(&self) -> Result<Database, DatabaseError> {
        Database::builder().set_cache_size(1 << 20).create_with_backend(self.clone())
    }

    pub fn set_fault(&self, fault: Fault) {
        self.platters().fault = fault;
    }

    /// After so many more writes and syncs every access fails, as without power.
    pub fn cut_after(&self, operations: u32) {
        self.platters().until_cut = Some(operations);
    }

    /// Power is back: of what was not synced each sector of each write survives as `coin` falls; later ones may without earlier ones.
    pub fn revive(&self, mut coin: impl FnMut() -> bool) {
        let mut platters = self.platters();
        let mut image = std::mem::take(&mut platters.synced);
        for change in std::mem::take(&mut platters.unsynced) {
            match change {
                Change::Length(len) if coin() => image.resize(len, 0),
                Change::Length(_) => {}
                Change::Write { offset, bytes } => {
                    for (i, byte) in bytes.chunk_by_sector(offset) {
                        if coin() {
                            let end = i + byte.len();
                            let len = image.len().max(end);
                            image.resize(len, 0);
                            image[i..end].copy_from_slice(byte);
                        }
                    }
                }
            }
        }
        platters.seen = image.clone();
        platters.synced = image;
        platters.until_cut = None;
        platters.fault = Fault::None;
    }

    fn platters(&self) -> MutexGuard<'_, Platters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

trait BySector {
    fn chunk_by_sector(&self, offset: usize) -> impl Iterator<Item = (usize, &[u8])>;
}

impl BySector for Vec<u8> {
    /// The parts of a write at `offset`, cut where sectors end.
    fn chunk_by_sector(&self, offset: usize) -> impl Iterator<Item = (usize, &[u8])> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let begin = at;
            let room = SECTOR - (offset + begin) % SECTOR;
            at = (begin + room).min(self.len());
            (begin < self.len()).then(|| (offset + begin, &self[begin..at]))
        })
    }
}

impl Platters {
    fn access(&mut self) -> io::Result<()> {
        match (self.fault, self.until_cut) {
            (Fault::Dead, _) | (_, Some(0)) => Err(io::Error::other("no such device")),
            _ => Ok(()),
        }
    }

    fn change(&mut self) -> io::Result<()> {
        self.access()?;
        if self.fault == Fault::Full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Some(left) = &mut self.until_cut {
            *left -= 1;
        }
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        let mut platters = self.platters();
        platters.access()?;
        Ok(platters.seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut platters = self.platters();
        platters.access()?;
        let from = offset as usize;
        let found = platters.seen.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platters = self.platters();
        platters.change()?;
        platters.seen.resize(len as usize, 0);
        platters.unsynced.push(Change::Length(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platters = self.platters();
        platters.change()?;
        if platters.fault != Fault::Lying {
            platters.synced = platters.seen.clone();
            platters.unsynced.clear();
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platters = self.platters();
        platters.change()?;
        let from = offset as usize;
        let end = from + data.len();
        let len = platters.seen.len().max(end);
        platters.seen.resize(len, 0);
        platters.seen[from..end].copy_from_slice(data);
        platters.unsynced.push(Change::Write { offset: from, bytes: data.to_vec() });
        Ok(())
    }
}
