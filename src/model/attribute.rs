//! The attributes that a restore gives to a file, beside its content.

/// An attribute that a restore gives to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Attribute {
    /// The modification time: that of the object.
    Time,
    /// The permissions.
    Mode,
    /// The owner.
    Owner,
    /// The group.
    Group,
    /// The access control list.
    Acl,
}

impl Attribute {
    /// The attribute as one word, as the JSON output prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Attribute::Time => "time",
            Attribute::Mode => "mode",
            Attribute::Owner => "owner",
            Attribute::Group => "group",
            Attribute::Acl => "acl",
        }
    }
}

/// The reason for a modification time that was set, and that another one replaced later.
pub(crate) const TIME_CHANGED_LATER: &str = "it changed when the file was closed or renamed";

/// An attribute that a restored file does not have, and why. Its content is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unpreserved {
    pub attribute: Attribute,
    /// The words of the system, or what else is known.
    pub reason: String,
}
