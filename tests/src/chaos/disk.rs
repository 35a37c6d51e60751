//! Fills the file system that contains the runtime directory of a node.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, mount_remount};

use crate::namespace::{Namespace, SCRATCH};

/// Size of the file system while it is full, in the syntax of tmpfs.
const SIZE: &str = "size=4m";
/// Its size otherwise.
const AMPLE: &str = "size=1g";
/// The file that fills it.
const FILE: &str = "filler";

/// Fills the file system.
pub(super) fn fill(host: &Namespace) -> Result<()> {
    host.run(|| {
        resize(SIZE)?;
        let mut file = File::create(Path::new(SCRATCH).join(FILE))?;
        loop {
            match file.write(&[0; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return anyhow::Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    })
    .with_context(|| format!("filling {SCRATCH} of {}", host.name()))
}

/// Empties it.
pub(super) fn free(host: &Namespace) -> Result<()> {
    host.run(|| {
        fs::remove_file(Path::new(SCRATCH).join(FILE))?;
        resize(AMPLE)
    })
    .with_context(|| format!("emptying {SCRATCH} of {}", host.name()))
}

fn resize(size: &str) -> Result<()> {
    mount_remount(SCRATCH, MountFlags::NOSUID | MountFlags::NODEV, size)
        .context("changing the size of the tmpfs")
}
