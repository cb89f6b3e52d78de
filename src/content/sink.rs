//! Comparing a file with an object that is being downloaded.

use std::{fs::File, os::unix::fs::FileExt};

use crate::{
    error::Cause,
    s3::{Head, Sink},
};

/// Receives a download and compares it with a file.
pub(crate) struct CompareSink<'a> {
    file: &'a File,
    /// Whether any byte differed so far.
    pub differs: bool,
}

impl CompareSink<'_> {
    pub(crate) fn new(file: &File) -> CompareSink<'_> {
        CompareSink { file, differs: false }
    }
}

impl Sink for CompareSink<'_> {
    fn head(&mut self, _: &Head) {}

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Cause> {
        if !self.differs {
            let mut ours = vec![0; bytes.len()];
            match self.file.read_exact_at(&mut ours, offset) {
                Ok(()) => self.differs = ours != bytes,
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    self.differs = true
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn restart(&mut self) -> Result<(), Cause> {
        self.differs = false;
        Ok(())
    }
}
