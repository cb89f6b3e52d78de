//! The payload of a request: bytes in memory, or a part of a file.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    time::Instant,
};

use crate::{cancel::Cancel, error::Cause, s3::checksum::Hasher};

/// How much is read or hashed at a time, in bytes.
pub(crate) const CHUNK_SIZE: usize = 128 << 10;

/// The payload of a request. It can be read again for a retry.
#[derive(Clone, Copy)]
pub(crate) enum Payload<'a> {
    /// Bytes in memory.
    Bytes(&'a [u8]),
    /// A part of a file, read when it is sent.
    File {
        /// Open for reading.
        file: &'a File,
        /// Where the part starts, in bytes.
        offset: u64,
        /// The length of the part, in bytes.
        len: u64,
    },
}

impl Payload<'_> {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::File { len, .. } => *len,
        }
    }

    pub(crate) fn reader(&self) -> PayloadReader<'_> {
        PayloadReader { payload: *self, position: 0, finished_at: None, error: None }
    }

    /// Reads the whole payload and passes it on chunk by chunk.
    pub(crate) fn for_each_chunk(
        &self,
        cancel: &Cancel,
        mut on_chunk: impl FnMut(&[u8]),
    ) -> Result<(), Cause> {
        if let Payload::Bytes(bytes) = self {
            on_chunk(bytes);
            return Ok(());
        }
        let mut reader = self.reader();
        let mut buffer = vec![0; CHUNK_SIZE];
        loop {
            if cancel.is_cancelled() {
                return Err(Cause::Interrupted);
            }
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => on_chunk(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(reader.into_error().unwrap_or(error.into())),
            }
        }
    }

    /// Computes several digests while reading the payload once.
    pub(crate) fn hash<const N: usize>(
        &self,
        mut hashers: [Hasher; N],
        cancel: &Cancel,
    ) -> Result<[Vec<u8>; N], Cause> {
        if hashers.iter().any(|hasher| !matches!(hasher, Hasher::None)) {
            self.for_each_chunk(cancel, |bytes| {
                hashers.iter_mut().for_each(|hasher| hasher.update(bytes));
            })?;
        }
        Ok(hashers.map(Hasher::finish))
    }
}

/// Reads a payload from its start.
pub(crate) struct PayloadReader<'a> {
    payload: Payload<'a>,
    position: u64,
    finished_at: Option<Instant>,
    error: Option<Cause>,
}

impl PayloadReader<'_> {
    /// When the whole payload had been read.
    pub(crate) fn finished_at(&self) -> Option<Instant> {
        self.finished_at
    }

    /// Why the payload could not be read. The HTTP client reports such an error as one of the
    /// network.
    pub(crate) fn into_error(self) -> Option<Cause> {
        self.error
    }
}

impl Read for PayloadReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.payload.len() - self.position;
        let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..want];
        let read = match self.payload {
            Payload::Bytes(bytes) => (&bytes[self.position as usize..]).read(buffer),
            Payload::File { file, offset, .. } => file.read_at(buffer, offset + self.position),
        };
        match read {
            Ok(0) if want > 0 => {
                self.error = Some(Cause::Changed("the file became shorter while it was read"));
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Ok(read) => {
                self.position += read as u64;
                if self.position == self.payload.len() {
                    self.finished_at.get_or_insert_with(Instant::now);
                }
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.error = Some(io::Error::new(error.kind(), error.to_string()).into());
                Err(error)
            }
        }
    }
}
