//! The umask of the process: the permissions that new files do not get.

use std::fs;

/// The umask. `None` where the system does not show it.
///
/// The system call that returns the umask also sets it. In the meantime, files of other threads would
/// be created without it.
pub(crate) fn umask() -> Option<u32> {
    parse(&fs::read_to_string("/proc/self/status").ok()?)
}

fn parse(status: &str) -> Option<u32> {
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(umask.trim(), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn umask_is_read_from_the_status_of_the_process() {
        assert_eq!(parse("Name:\ts3keep\nUmask:\t0027\nState:\tR (running)\n"), Some(0o027));
        assert_eq!(parse("Name:\tUmask: 0027\n"), None);
    }
}
