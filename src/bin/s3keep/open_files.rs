//! The limit of open files.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The size that the descriptor table gets at the start. 512 workers need up to 2,080 descriptors, and
/// the size is always a power of two.
const TABLE_SIZE: u64 = 4_096;

/// Raises the limit of open files as far as the system allows: each worker needs a few.
pub fn raise_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // If the limit cannot be raised, the library starts fewer workers.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    // Linux doubles the descriptor table whenever it is full. In a process with threads, every open and
    // connect then waits for an RCU grace period (`expand_fdtable` in fs/file.c). So the table grows
    // here, before there are threads. It keeps its size when this descriptor is closed.
    let highest = maximum.map_or(TABLE_SIZE, |limit| limit.min(TABLE_SIZE)).saturating_sub(1);
    if let Ok(highest) = i32::try_from(highest) {
        let _ = rustix::io::fcntl_dupfd_cloexec(io::stderr(), highest);
    }
}
