//! `without landlock|seccomp PROGRAM ARGUMENTS…`: runs a program as on a kernel that lacks one of them, or in a container
//! whose profile denies it.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (missing, program) = (arguments.next(), arguments.next());
    let (calls, error): (&[i64], i32) = match missing.as_ref().and_then(|m| m.to_str()) {
        Some("landlock") => (&[libc::SYS_landlock_create_ruleset, libc::SYS_landlock_restrict_self], libc::ENOSYS),
        Some("seccomp") => (&[libc::SYS_seccomp], libc::EINVAL),
        _ => {
            eprintln!("without landlock|seccomp PROGRAM ARGUMENTS…");
            return ExitCode::from(64);
        }
    };
    let deny = |arch| -> Result<BpfProgram, seccompiler::BackendError> {
        let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
        let refuse = SeccompAction::Errno(error.unsigned_abs());
        SeccompFilter::new(rules, SeccompAction::Allow, refuse, TargetArch::try_from(arch)?)?.try_into()
    };
    let filter = deny(std::env::consts::ARCH).expect("a filter of a few calls");
    seccompiler::apply_filter(&filter).expect("a kernel with seccomp");
    let failed = Command::new(program.unwrap_or_default()).args(arguments).exec();
    eprintln!("the program does not start: {failed}");
    ExitCode::from(65)
}
