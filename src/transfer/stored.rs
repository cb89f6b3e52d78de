//! Whether the store has the content of a file under its name.

use crate::{
    content::{self, CompareSink},
    error::{Cause, Error, Result},
    model::entry::File,
    s3::{Head, Sink, Version},
    transfer::context::RunContext,
};

/// What the store has under the name of a file.
pub(super) enum Stored {
    /// The content of the file, as far as it was read.
    Same,
    /// Another content, or nothing.
    Other,
    /// The check failed. That proves nothing.
    Unknown(Error),
}

impl Stored {
    /// Compares the first `limit` bytes of a file with what the store has under its name.
    ///
    /// The whole object is requested, because some gateways to file systems do not support ranges.
    pub(super) fn find(context: &RunContext, file: &File, limit: u64) -> Stored {
        match is_same(context, file, limit) {
            Ok(true) => Stored::Same,
            Ok(false) => Stored::Other,
            Err(error) => Stored::Unknown(error),
        }
    }
}

/// Whether a file can be read, and did not change since the scan.
pub(super) fn is_unchanged(context: &RunContext, file: &File) -> bool {
    content::open(context.root, file)
        .is_ok_and(|open| content::check_unchanged(file, &open).is_ok())
}

fn is_same(context: &RunContext, file: &File, limit: u64) -> Result<bool> {
    let open = content::open(context.root, file)?;
    content::check_unchanged(file, &open)?;
    let key = context.key(&file.path);
    let head = match context.client.head(&key) {
        Err(error) if is_not_found(&error) => return Ok(false),
        head => head?,
    };
    if head.size.is_some_and(|size| size != file.size) {
        return Ok(false);
    }
    if file.size == 0 {
        return Ok(true);
    }
    let mut sink = Beginning { compare: CompareSink::new(&open), limit, is_over: false };
    let version = Version::of_head(file.size, &head);
    let read = context.client.get(&key, &version, &mut sink);
    content::check_unchanged(file, &open)?;
    match read {
        _ if sink.compare.differs => Ok(false),
        _ if sink.is_over => Ok(true),
        Err(error) if is_not_found(&error) => Ok(false),
        read => read.map(|()| true),
    }
}

fn is_not_found(error: &Error) -> bool {
    matches!(error.cause(), Cause::S3 { status: 404, .. })
}

/// Compares the beginning of a download with a file, then ends it.
struct Beginning<'a> {
    compare: CompareSink<'a>,
    limit: u64,
    is_over: bool,
}

impl Sink for Beginning<'_> {
    fn head(&mut self, _: &Head) {}

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Cause> {
        self.compare.write(offset, bytes)?;
        if self.compare.differs || offset + bytes.len() as u64 >= self.limit {
            self.is_over = true;
            return Err(Cause::Changed("the beginning was compared"));
        }
        Ok(())
    }

    fn restart(&mut self) -> Result<(), Cause> {
        self.is_over = false;
        self.compare.restart()
    }
}
