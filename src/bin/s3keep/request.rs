//! What a command line asks for.

use std::{path::PathBuf, time::Duration};

use s3keep::{Config, Direction, Selection};

/// A resolved request.
pub struct Request {
    pub command: Command,
    pub output: Output,
}

pub enum Command {
    Sync { direction: Direction, config: Config, mock: bool, yes: bool, wait: Duration },
    Verify { config: Config, read_data: bool },
    Cleanup { dir: PathBuf, selection: Selection, mock: bool },
    List { config: Config, is_recursive: bool, sizes: Sizes },
    Usage { config: Config, max_depth: Option<usize>, sizes: Sizes },
}

/// How `ls` and `du` print sizes.
#[derive(Clone, Copy)]
pub enum Sizes {
    /// Rounded, with a unit.
    Rounded,
    /// In bytes.
    Exact,
}

/// How results are printed.
#[derive(Clone, Copy, Default)]
pub struct Output {
    pub json: bool,
    pub quiet: bool,
    /// List every entry, where there would be a summary.
    pub list: bool,
}
