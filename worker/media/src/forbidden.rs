//! What an engine must not be able to do, tried by system call so that a sandbox can be seen to refuse it.
//!
//! Every attempt has arguments that do no harm where it is allowed: names that do not exist, a process that does not
//! exist, flags that are not valid. A refusal is `EPERM`, `EACCES` or `ENOSYS`; any other answer means that the kernel
//! looked at the arguments, so that other arguments might have worked.

use libc::c_long;

/// How a locked engine is refused an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// By an error: libraries ask for such things and can do without.
    Error,
    /// By death (`SIGSYS`): no sound engine asks for it.
    Death,
}

/// One operation.
#[derive(Clone, Copy)]
pub struct Operation {
    /// Name for people, unique.
    pub name: &'static str,
    /// How the system call filter refuses it.
    pub refusal: Refusal,
    /// Landlock ABI from which Landlock alone refuses it; `None` where only the filter does.
    pub landlock: Option<i32>,
    call: fn() -> c_long,
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operation").field("name", &self.name).field("refusal", &self.refusal).finish_non_exhaustive()
    }
}

impl Operation {
    /// The operation of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        OPERATIONS.iter().find(|o| o.name == name)
    }

    /// Tries it; `true` when it was refused. Dies where refusal is death.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        let value = (self.call)();
        let error = std::io::Error::last_os_error().raw_os_error();
        value < 0 && matches!(error, Some(libc::EPERM | libc::EACCES | libc::ENOSYS))
    }
}

const NOWHERE: *const libc::c_char = c"/proc/self/none".as_ptr();
const ROOT: *const libc::c_char = c"/".as_ptr();
/// No process has this number: the largest possible one is 2^22.
const NOBODY: c_long = 0x7fff_fff0;
/// Flags that no call knows.
const INVALID: c_long = -1;

macro_rules! call {
    ($number:ident $(, $argument:expr)*) => {
        // SAFETY: harmless by its arguments, see the module: an address is that of static NUL-terminated text, or one
        // that is never mapped, which the kernel answers with an error.
        || unsafe { libc::syscall(libc::$number $(, $argument as c_long)*) }
    };
}

const fn denied(name: &'static str, landlock: Option<i32>, call: fn() -> c_long) -> Operation {
    Operation { name, refusal: Refusal::Error, landlock, call }
}

const fn fatal(name: &'static str, landlock: Option<i32>, call: fn() -> c_long) -> Operation {
    Operation { name, refusal: Refusal::Death, landlock, call }
}

/// All operations that are tried.
pub const OPERATIONS: &[Operation] = &[
    denied("open a file to read", Some(1), || open(c"/etc/passwd", libc::O_RDONLY)),
    denied("open a file to write", Some(1), || open(c"/dev/null", libc::O_WRONLY)),
    denied("make a file", Some(1), || open(c"/tmp", libc::O_WRONLY | libc::O_TMPFILE)),
    denied("list a folder", Some(1), || open(c"/", libc::O_RDONLY | libc::O_DIRECTORY)),
    denied("read the parent's environment", Some(1), || open(c"/proc/1/environ", libc::O_RDONLY)),
    denied("open a device", Some(1), || open(c"/dev/urandom", libc::O_RDONLY)),
    denied("stat a file", None, call!(SYS_newfstatat, libc::AT_FDCWD, ROOT, 0, 0)),
    denied("read a link", None, call!(SYS_readlinkat, libc::AT_FDCWD, c"/proc/self/exe".as_ptr(), 1, 0)),
    denied("ask for access", None, call!(SYS_faccessat, libc::AT_FDCWD, ROOT, libc::R_OK)),
    denied("remove a file", None, call!(SYS_unlinkat, libc::AT_FDCWD, NOWHERE, 0)),
    denied("rename a file", None, call!(SYS_renameat2, libc::AT_FDCWD, NOWHERE, libc::AT_FDCWD, NOWHERE, 0)),
    denied("make a folder", None, call!(SYS_mkdirat, libc::AT_FDCWD, ROOT, 0)),
    denied("make a link", None, call!(SYS_symlinkat, NOWHERE, libc::AT_FDCWD, ROOT)),
    denied("change a mode", None, call!(SYS_fchmodat, libc::AT_FDCWD, NOWHERE, 0)),
    denied("cut a file", None, call!(SYS_ftruncate, 0, 0)),
    denied("watch files", None, call!(SYS_inotify_init1, INVALID)),
    denied("anonymous file", None, call!(SYS_memfd_create, 0, INVALID)),
    denied("executable memory", None, call!(SYS_mmap, 0, 4096, libc::PROT_EXEC | libc::PROT_READ, 0, -1, 0)),
    denied("make memory executable", None, call!(SYS_mprotect, 0, 0, libc::PROT_EXEC | libc::PROT_READ)),
    denied("device control", None, call!(SYS_ioctl, 2, INVALID, 0)),
    denied("change descriptor flags", None, call!(SYS_fcntl, 2, libc::F_GETFL)),
    denied("shared memory", None, call!(SYS_shmget, 0, 0, INVALID)),
    denied("message queue", None, call!(SYS_mq_open, 0, 0)),
    denied("raise a limit", None, call!(SYS_prlimit64, 0, INVALID, 0, 0)),
    denied("set the clock", None, call!(SYS_clock_settime, INVALID, 0)),
    fatal("IPv4 socket", None, call!(SYS_socket, libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0)),
    fatal("IPv6 socket", None, call!(SYS_socket, libc::AF_INET6, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0)),
    fatal("UDP socket", None, call!(SYS_socket, libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)),
    fatal("local socket", None, call!(SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0)),
    fatal("netlink socket", None, call!(SYS_socket, libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0)),
    fatal("connect", None, call!(SYS_connect, -1, 0, 0)),
    fatal("bind", None, call!(SYS_bind, -1, 0, 0)),
    fatal("listen", None, call!(SYS_listen, -1, 0)),
    fatal("accept", None, call!(SYS_accept4, -1, 0, 0, 0)),
    fatal("pass a descriptor on", None, call!(SYS_sendmsg, -1, 0, 0)),
    fatal("take a descriptor", None, call!(SYS_recvmsg, -1, 0, 0)),
    fatal("run a program", Some(1), call!(SYS_execve, c"/bin/sh".as_ptr(), 1, 0)),
    fatal("run a program by descriptor", None, call!(SYS_execveat, -1, ROOT, 0, 0, INVALID)),
    fatal("new process", None, new_process),
    fatal("signal another process", None, call!(SYS_kill, NOBODY, 0)),
    fatal("handle of a process", None, call!(SYS_pidfd_open, NOBODY, 0)),
    fatal("debug a process", None, call!(SYS_ptrace, libc::PTRACE_ATTACH, NOBODY, 0, 0)),
    fatal("read another process's memory", None, call!(SYS_process_vm_readv, NOBODY, 0, 0, 0, 0, 0)),
    fatal("write another process's memory", None, call!(SYS_process_vm_writev, NOBODY, 0, 0, 0, 0, 0)),
    fatal("compare processes", None, call!(SYS_kcmp, NOBODY, NOBODY, 0, 0, 0)),
    fatal("new name space", None, call!(SYS_unshare, INVALID)),
    fatal("enter a name space", None, call!(SYS_setns, -1, 0)),
    fatal("mount", None, call!(SYS_mount, 0, NOWHERE, 0, 0, 0)),
    fatal("unmount", None, call!(SYS_umount2, NOWHERE, 0)),
    fatal("change the root", None, call!(SYS_chroot, NOWHERE)),
    fatal("io_uring", None, call!(SYS_io_uring_setup, 0, 0)),
    fatal("userfaultfd", None, call!(SYS_userfaultfd, INVALID)),
    fatal("load into the kernel", None, call!(SYS_bpf, INVALID, 0, 0)),
    fatal("load a kernel module", None, call!(SYS_init_module, 0, 0, NOWHERE)),
    fatal("performance counters", None, call!(SYS_perf_event_open, 0, 0, -1, -1, 0)),
    fatal("keys of the kernel", None, call!(SYS_keyctl, INVALID, 0, 0, 0, 0)),
    fatal("become another user", None, call!(SYS_setresuid, -1, -1, -1)),
    fatal("change privileges", None, call!(SYS_capset, 0, 0)),
    fatal("open by handle", None, call!(SYS_open_by_handle_at, -1, 0, 0)),
    fatal("another filter", None, call!(SYS_seccomp, INVALID, 0, 0)),
    fatal("personality", None, call!(SYS_personality, 0xffff_ffff_u32)),
];

fn open(path: &std::ffi::CStr, flags: libc::c_int) -> c_long {
    // SAFETY: the path is NUL-terminated; with O_CREAT there is a mode.
    unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags | libc::O_CLOEXEC, 0o600) }
}

fn new_process() -> c_long {
    // SAFETY: a plain fork without glibc's handlers. The child ends at once and touches nothing; nobody waits for it,
    // and it is reaped with this process.
    unsafe {
        let child = libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0);
        if child == 0 {
            libc::_exit(0);
        }
        child
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_most_operations_are_possible_without_a_sandbox() {
        let mut names: Vec<_> = OPERATIONS.iter().map(|o| o.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), OPERATIONS.len());
        assert!(names.len() >= 40);
        // Some are refused to an ordinary user, too; these never are.
        for name in ["open a file to read", "list a folder", "IPv4 socket", "run a program", "debug a process"] {
            assert!(!Operation::named(name).unwrap().is_refused(), "{name}");
        }
    }
}
