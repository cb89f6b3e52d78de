//! Attributes that the system refuses to set. The file is kept without them.

use std::io;

use rustix::io::Errno;

use crate::model::attribute::{Attribute, Unpreserved};

/// Turns the refusal to set an attribute into a note. Any other error, such as that of a failing disk,
/// remains an error.
pub(super) fn unless_refused(
    attribute: Attribute,
    result: io::Result<()>,
) -> io::Result<Option<Unpreserved>> {
    match result {
        Ok(()) => Ok(None),
        Err(error) if is_refusal(&error) => {
            Ok(Some(Unpreserved { attribute, reason: error.to_string() }))
        }
        Err(error) => Err(error),
    }
}

/// Whether the system does not permit or does not support what was asked.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    let refusals = [
        Errno::PERM,
        Errno::ACCESS,
        Errno::OPNOTSUPP,
        Errno::NOTSUP,
        Errno::NOSYS,
        Errno::INVAL,
        Errno::RANGE,
        Errno::OVERFLOW,
    ];
    Errno::from_io_error(error).is_some_and(|errno| refusals.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_becomes_a_note() {
        let set = |errno: Errno| unless_refused(Attribute::Mode, Err(errno.into()));
        assert_eq!(unless_refused(Attribute::Mode, Ok(())).unwrap(), None);
        for errno in [Errno::PERM, Errno::ACCESS, Errno::NOTSUP, Errno::INVAL, Errno::NOSYS] {
            let note = set(errno).unwrap().unwrap();
            assert_eq!((note.attribute, note.reason), (Attribute::Mode, errno.to_string()));
        }
        for errno in [Errno::IO, Errno::NOSPC, Errno::ROFS, Errno::DQUOT, Errno::STALE] {
            assert_eq!(Errno::from_io_error(&set(errno).unwrap_err()), Some(errno));
        }
    }
}
