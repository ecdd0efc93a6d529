//! What only a system call can do to the own process: limits, and what was inherited.

use std::io;

/// Hard limits of a process; nothing in it can raise them again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Private writable memory in bytes (`RLIMIT_DATA`): heap and stacks, not libraries, not what a driver reserves.
    pub data: u64,
    /// Address space in bytes (`RLIMIT_AS`); `None` where a GPU driver reserves far more than it uses.
    pub address_space: Option<u64>,
    /// Open descriptors.
    pub files: u64,
}

/// Sets limits: no core dump (it would hold the source), no byte into any file, and those of `limits`. Pipes and sockets
/// have no file size.
///
/// # Errors
/// A hard limit was lower already and may not be changed.
pub fn limit(limits: &Limits) -> io::Result<()> {
    set(libc::RLIMIT_CORE, 0)?;
    set(libc::RLIMIT_FSIZE, 0)?;
    set(libc::RLIMIT_MSGQUEUE, 0)?;
    set(libc::RLIMIT_NOFILE, limits.files)?;
    set(libc::RLIMIT_DATA, limits.data)?;
    limits.address_space.map_or(Ok(()), |bytes| set(libc::RLIMIT_AS, bytes))
}

fn set(resource: libc::__rlimit_resource_t, most: u64) -> io::Result<()> {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes into the struct that it is given.
    if unsafe { libc::getrlimit(resource, &raw mut now) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // A lower limit that somebody set before may not be raised by a process without privileges, and need not be.
    let most = most.min(now.rlim_max);
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: reads the struct that it is given.
    if unsafe { libc::setrlimit(resource, &raw const limit) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Hides this process's memory from debuggers and core dumps, and ends it with the thread that started it.
///
/// # Errors
/// The kernel refuses.
pub fn hide_and_die_with_parent() -> io::Result<()> {
    // SAFETY: both calls take numbers only.
    let codes = unsafe {
        [libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0), libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0)]
    };
    if codes == [0, 0] { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Closes every descriptor from 3 on. Only for the start of a process, before anything in it opens one: what is closed
/// here was inherited by accident.
///
/// # Errors
/// The kernel refuses.
pub fn close_inherited() -> io::Result<()> {
    const FIRST: libc::c_uint = 3;
    // SAFETY: closes descriptors that nothing in this process owns yet, by the contract above.
    if unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, 0) } == 0 {
        return Ok(());
    }
    // Before Linux 5.9.
    for descriptor in 3..1024 {
        // SAFETY: as above; a descriptor that is not open gives EBADF.
        unsafe { libc::close(descriptor) };
    }
    Ok(())
}

/// Keeps the GPU driver's libraries loaded for the life of the process, so that a later use needs no file. Those that the
/// machine does not have are passed over.
pub fn keep_gpu_libraries() {
    for name in [c"libcuda.so.1", c"libnvcuvid.so.1", c"libnvidia-encode.so.1"] {
        // SAFETY: the name is valid; the driver's libraries are those that FFmpeg itself would load by these names.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_NODELETE) };
        tracing::debug!(library = %name.to_string_lossy(), loaded = !handle.is_null(), "GPU library");
    }
}
