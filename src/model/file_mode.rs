//! The mode of new files.

use std::{fmt, str::FromStr};

/// The permissions that a restore gives to new files, such as `0600`.
///
/// It consists of the bits for reading, writing and executing, without setuid, setgid and sticky. The
/// owner must be able to read the file, because the next backup has to.
///
/// ```
/// let mode: s3keep::FileMode = "0640".parse()?;
/// assert_eq!(mode.bits(), 0o640);
/// assert_eq!(mode.to_string(), "0640");
/// # Ok::<(), s3keep::InvalidFileMode>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(u32);

impl FileMode {
    /// A mode with these bits. `None` if there are others than 0o777, or if the owner cannot read.
    pub fn from_bits(bits: u32) -> Option<FileMode> {
        (bits & !0o777 == 0 && bits & 0o400 != 0).then_some(FileMode(bits))
    }

    /// The mode that the umask leaves to a new file.
    pub(crate) fn with_umask(umask: u32) -> FileMode {
        FileMode(0o666 & !umask)
    }

    /// The bits of the mode.
    pub fn bits(self) -> u32 {
        self.0
    }
}

/// Why a text is not a mode of new files. The message repeats the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is not a mode of files: it takes octal digits up to 0777, and the owner must be able to \
     read (0400), as in 0600 or 0644"
)]
pub struct InvalidFileMode {
    text: String,
}

impl FromStr for FileMode {
    type Err = InvalidFileMode;

    fn from_str(text: &str) -> Result<FileMode, InvalidFileMode> {
        let has_only_digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let bits = if has_only_digits { u32::from_str_radix(text, 8).ok() } else { None };
        let invalid = || InvalidFileMode { text: text.escape_default().to_string() };
        bits.and_then(FileMode::from_bits).ok_or_else(invalid)
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_has_permissions_only_and_lets_the_owner_read() {
        for (text, bits) in [("600", 0o600), ("0600", 0o600), ("0444", 0o444), ("0777", 0o777)] {
            let mode: FileMode = text.parse().unwrap();
            assert_eq!(mode.bits(), bits);
        }
        for text in
            ["", "0", "0244", "1600", "04755", "+600", "0o600", "680", "u=rw", "99999999999"]
        {
            assert!(text.parse::<FileMode>().is_err(), "{text}");
        }
        assert_eq!(FileMode::with_umask(0o027).to_string(), "0640");
    }
}
