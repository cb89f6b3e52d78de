//! The limit of open files.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files as far as the system allows: each worker needs a few.
pub fn raise_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // If the limit cannot be raised, the library starts fewer workers.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    // Linux doubles the descriptor table whenever it is full. In a process with threads, every open and
    // connect then waits for an RCU grace period (`expand_fdtable` in fs/file.c). So the table grows
    // here, before there are threads, to more descriptors than 512 workers need. It keeps its size when
    // this descriptor is closed.
    let _ = rustix::io::fcntl_dupfd_cloexec(io::stderr(), 2_047);
}
