//! Fills the file system that contains the runtime directory of a node.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, mount_remount};

use crate::namespace::{Namespace, SCRATCH};

/// Size of the file system while it is full, as a mount option of tmpfs.
const SIZE: &str = "size=4m";
/// Size of the file system after the first fault. Until then, it has the default size of a tmpfs.
const AMPLE: &str = "size=1g";
/// Name of the file that fills the file system.
const FILE: &str = "filler";

/// Shrinks the file system and fills it.
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

/// Removes the filler, and enlarges the file system.
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
