//! Looks up users and groups of this machine through the C library and its name services.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;
use std::ptr;

/// Maximum number of groups per user.
const MAX_GROUPS: usize = 65_536;
/// Maximum size of an entry in the user or group database, in bytes.
const MAX_ENTRY: usize = 1 << 20;

/// Returns the user ID and the primary group ID of a user, given by name or numeric ID; `None` if
/// there is no such user or the lookup fails.
pub(crate) fn user_ids(name: &str) -> Option<(u32, u32)> {
    let user = User::find(OsStr::new(name)).ok().flatten()?;
    Some((user.uid, user.gid))
}

/// Returns the ID of a group, given by name; `None` if there is no such group or the lookup fails.
pub(crate) fn group_id(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    let mut buffer = vec![0; 1024];
    loop {
        let mut entry = MaybeUninit::<libc::group>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: the pointers are valid for the call, the name ends with a null byte, and the
        // length is that of the buffer.
        let errno = unsafe {
            libc::getgrnam_r(
                name.as_ptr(),
                entry.as_mut_ptr(),
                buffer.as_mut_ptr(),
                buffer.len(),
                &raw mut found,
            )
        };
        if errno == libc::ERANGE && buffer.len() < MAX_ENTRY {
            buffer.resize(buffer.len() * 2, 0);
            continue;
        }
        if errno != 0 || found.is_null() {
            return None;
        }
        // SAFETY: the call has succeeded and filled the entry.
        return Some(unsafe { entry.assume_init() }.gr_gid);
    }
}

/// An entry of the user database.
pub(super) struct User {
    pub(super) name: CString,
    home: CString,
    uid: libc::uid_t,
    gid: libc::gid_t,
}

impl User {
    /// Finds a user by name or numeric ID, or the current user if `user` is empty. Returns `None`
    /// if the current user is not in the user database.
    pub(super) fn find(user: &OsStr) -> Result<Option<Self>, String> {
        if user.is_empty() {
            // SAFETY: no preconditions.
            let uid = unsafe { libc::geteuid() };
            return Ok(Self::lookup(|entry, buffer, found| {
                // SAFETY: the pointers are valid for the call, and the length is that of the
                // buffer.
                unsafe { libc::getpwuid_r(uid, entry, buffer.as_mut_ptr(), buffer.len(), found) }
            }));
        }
        let number: Option<libc::uid_t> = user.to_str().and_then(|text| text.parse().ok());
        let name = CString::new(user.as_bytes()).map_err(|_| "the user's name contains a null byte")?;
        let found = Self::lookup(|entry, buffer, found| match number {
            // SAFETY: the pointers are valid for the call, and the length is that of the buffer.
            Some(uid) => unsafe { libc::getpwuid_r(uid, entry, buffer.as_mut_ptr(), buffer.len(), found) },
            // SAFETY: as above; the name ends with a null byte.
            None => unsafe {
                libc::getpwnam_r(name.as_ptr(), entry, buffer.as_mut_ptr(), buffer.len(), found)
            },
        });
        found
            .map(Some)
            .ok_or_else(|| format!("user {} does not exist or cannot be looked up", user.display()))
    }

    /// Calls one of the `getpw…_r` functions and copies the entry that it finds.
    fn lookup(
        get: impl Fn(*mut libc::passwd, &mut [libc::c_char], *mut *mut libc::passwd) -> libc::c_int,
    ) -> Option<Self> {
        let mut buffer = vec![0; 1024];
        loop {
            let mut entry = MaybeUninit::<libc::passwd>::uninit();
            let mut found = ptr::null_mut();
            let errno = get(entry.as_mut_ptr(), &mut buffer, &raw mut found);
            if errno == libc::ERANGE && buffer.len() < MAX_ENTRY {
                buffer.resize(buffer.len() * 2, 0);
                continue;
            }
            if errno != 0 || found.is_null() {
                return None;
            }
            // SAFETY: the call has succeeded and filled the entry.
            let entry = unsafe { entry.assume_init() };
            // SAFETY: the strings end with a null byte, and the buffer that they are in still
            // exists.
            let copy = |text: *mut libc::c_char| unsafe { CStr::from_ptr(text) }.to_owned();
            let (name, home) = (copy(entry.pw_name), copy(entry.pw_dir));
            return Some(Self { name, home, uid: entry.pw_uid, gid: entry.pw_gid });
        }
    }

    /// Returns `HOME`, `USER` and `LOGNAME` for the user.
    pub(super) fn environment(&self) -> [(&'static str, &OsStr); 3] {
        let (name, home) = (OsStr::from_bytes(self.name.as_bytes()), OsStr::from_bytes(self.home.as_bytes()));
        [("USER", name), ("LOGNAME", name), ("HOME", home)]
    }

    /// Returns whether this process runs as a different user.
    pub(super) fn is_other(&self) -> bool {
        // SAFETY: no preconditions.
        let effective = unsafe { libc::geteuid() };
        // SAFETY: no preconditions.
        let real = unsafe { libc::getuid() };
        (effective, real) != (self.uid, self.uid)
    }

    /// Switches this process to the user and its groups. A process of root thereby loses its
    /// capabilities; any other process keeps its own until
    /// [`drop_all`](super::capabilities::drop_all).
    pub(super) fn switch(&self) -> io::Result<()> {
        let mut groups: Vec<libc::gid_t> = vec![0; 64];
        loop {
            let mut count = libc::c_int::try_from(groups.len()).unwrap_or(libc::c_int::MAX);
            let (name, list) = (self.name.as_ptr(), groups.as_mut_ptr());
            // SAFETY: the name ends with a null byte, and the list has room for `count` groups.
            let found = unsafe { libc::getgrouplist(name, self.gid, list, &raw mut count) };
            let count = usize::try_from(count).unwrap_or(0);
            if found >= 0 {
                groups.truncate(count);
                break;
            }
            if groups.len() >= MAX_GROUPS {
                return Err(io::Error::other("the user is in too many groups"));
            }
            groups.resize((groups.len() * 2).max(count), 0);
        }
        let checked =
            |result: libc::c_int| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
        // SAFETY: the list has `len` groups.
        checked(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })?;
        // SAFETY: no preconditions. The user ID is set last, because the process may afterwards
        // lack the privilege to set the group IDs.
        checked(unsafe { libc::setresgid(self.gid, self.gid, self.gid) })?;
        // SAFETY: no preconditions.
        checked(unsafe { libc::setresuid(self.uid, self.uid, self.uid) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name_and_id() {
        assert_eq!(user_ids("root"), Some((0, 0)));
        assert_eq!(user_ids("0"), Some((0, 0)));
        assert_eq!(group_id("root"), Some(0));
        let unknown = "no-such-name-9f3a";
        assert_eq!((user_ids(unknown), group_id(unknown)), (None, None));
    }
}
