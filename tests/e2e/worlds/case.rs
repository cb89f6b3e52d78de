//! A random case as plain data, and the strategies that generate one.

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};
use s3keep::Direction;

/// Names that are neighbors in byte order or in tree order, and names that are hard to encode.
const NAMES: [&str; 16] = [
    "a",
    "b",
    "a-b",
    "a0",
    "a!",
    "a b",
    " ",
    "+",
    "%",
    "%2F",
    "é",
    "e\u{301}",
    "\u{1f600}",
    "a\\b",
    "&<\"",
    "a\u{1}",
];
/// Few sizes, so that many files have the same one.
const SIZES: [usize; 5] = [0, 1, 7, 300, 3_000];
pub const PREFIXES: [&str; 4] = ["", "p/", "a/", "p q/+%/"];

/// The modification time that a file gets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mtime {
    Past,
    PastWholeSecond,
    Now,
    Future,
}

#[derive(Clone, Copy, Debug)]
pub struct Body {
    pub seed: u64,
    pub size: usize,
}

#[derive(Clone, Debug)]
pub enum EntryKind {
    File(Body, Mtime),
    /// A symlink to one of the existing files.
    LinkToFile(Index),
    /// A symlink to one of the existing directories, or to the root.
    LinkToDirectory(Index),
    DanglingLink,
    LinkOutside,
    EmptyDirectory,
}

#[derive(Clone, Debug)]
pub struct TreeEntry {
    pub path: String,
    pub kind: EntryKind,
}

/// A change in the directory.
#[derive(Clone, Debug)]
pub enum LocalEdit {
    /// Removes every entry that is in the way first, including directories.
    Put(TreeEntry),
    Remove(Index),
    /// Writes different content of the same size.
    Rewrite(Index, u64, Mtime),
    Touch(Index, Mtime),
    /// Writes different content of the same size, and sets the mtime back.
    RewriteSilently(Index, u64),
    /// Renames a file to the path of another one.
    MoveOver(Index, Index),
}

/// A change in the bucket that another program makes.
#[derive(Clone, Debug)]
pub enum BucketEdit {
    Put(String, Body, ObjectKind),
    Remove(Index),
    /// Writes different content of the same size.
    Rewrite(Index, u64, ObjectKind),
    /// Puts an object whose key is an existing key with a suffix.
    PutWithSuffix(Index, &'static str, Body),
    /// Puts a zero-byte `name/` object.
    PutDirectoryMarker(String),
    /// Puts an object whose key no file can have: a template, and the path to insert into it.
    PutInvalidKey(&'static str, String, Body),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ObjectKind {
    Plain,
    /// LastModified is long ago.
    Old,
    /// The ETag is not an MD5.
    OpaqueETag,
    /// The ETag is not an MD5, and the store keeps no checksum.
    Incomparable,
}

#[derive(Clone, Copy, Debug)]
pub enum FaultKind {
    Status(u16, &'static str),
    StatusAfter(u16, &'static str),
    Close,
    CloseAfter,
    CutBody,
    FlipBody,
}

/// A fault of the server, once or on every matching request.
#[derive(Clone, Debug)]
pub struct FaultSpec {
    pub operation: &'static str,
    pub key: Index,
    pub kind: FaultKind,
    pub always: bool,
}

#[derive(Clone, Debug)]
pub struct Case {
    /// An index into [`PREFIXES`].
    pub prefix: usize,
    pub page_size: usize,
    /// Whether the store lists its keys in byte order.
    pub lists_in_byte_order: bool,
    /// The skew of the store's clock, in seconds, during the first backup.
    pub first_skew: i64,
    /// The skew of the store's clock, in seconds, after the first backup.
    pub later_skew: i64,
    pub tree: Vec<TreeEntry>,
    /// Continue in a restored copy instead of the original directory.
    pub in_restored_copy: bool,
    /// Keep a record of each directory.
    pub has_record: bool,
    pub local_edits: Vec<LocalEdit>,
    pub bucket_edits: Vec<BucketEdit>,
}

pub fn case() -> impl Strategy<Value = Case> {
    let server = (0..PREFIXES.len(), 1..=5usize, any::<bool>(), (skew(), skew()));
    let sides = (
        vec(tree_entry(), 0..=12),
        (any::<bool>(), any::<bool>()),
        vec(local_edit(), 0..=6),
        vec(bucket_edit(), 0..=6),
    );
    (server, sides).prop_map(
        |(
            (prefix, page_size, lists_in_byte_order, (first_skew, later_skew)),
            (tree, (in_restored_copy, has_record), local_edits, bucket_edits),
        )| Case {
            prefix,
            page_size,
            lists_in_byte_order,
            first_skew,
            later_skew,
            tree,
            in_restored_copy,
            has_record,
            local_edits,
            bucket_edits,
        },
    )
}

/// A case in which the skew of the store's clock does not change, so that its times are comparable.
pub fn steady_clock_case() -> impl Strategy<Value = Case> {
    case().prop_map(|case| Case { later_skew: case.first_skew, ..case })
}

pub fn fault_spec() -> impl Strategy<Value = FaultSpec> {
    let operations =
        vec!["PutObject", "GetObject", "ListObjectsV2", "DeleteObjects", "DeleteObject"];
    let kind = select(vec![
        FaultKind::Status(503, "SlowDown"),
        FaultKind::Status(500, "InternalError"),
        FaultKind::Status(403, "AccessDenied"),
        FaultKind::StatusAfter(500, "InternalError"),
        FaultKind::Close,
        FaultKind::CloseAfter,
        FaultKind::CutBody,
        FaultKind::FlipBody,
    ]);
    (select(operations), any::<Index>(), kind, any::<bool>())
        .prop_map(|(operation, key, kind, always)| FaultSpec { operation, key, kind, always })
}

pub fn direction() -> impl Strategy<Value = Direction> {
    select(vec![Direction::Backup, Direction::Restore])
}

fn path() -> impl Strategy<Value = String> {
    // Mostly the first few names, so that paths collide.
    let name = prop_oneof![3 => select(&NAMES[..4]), 2 => select(&NAMES[..])];
    vec(name, 1..=4).prop_map(|names| names.join("/"))
}

fn body() -> impl Strategy<Value = Body> {
    (0..3u64, select(&SIZES[..])).prop_map(|(seed, size)| Body { seed, size })
}

fn mtime() -> impl Strategy<Value = Mtime> {
    select(vec![Mtime::Past, Mtime::PastWholeSecond, Mtime::Now, Mtime::Future])
}

fn tree_entry() -> impl Strategy<Value = TreeEntry> {
    let kind = prop_oneof![
        12 => (body(), mtime()).prop_map(|(body, mtime)| EntryKind::File(body, mtime)),
        4 => any::<Index>().prop_map(EntryKind::LinkToFile),
        1 => any::<Index>().prop_map(EntryKind::LinkToDirectory),
        1 => Just(EntryKind::DanglingLink),
        1 => Just(EntryKind::LinkOutside),
        1 => Just(EntryKind::EmptyDirectory),
    ];
    (path(), kind).prop_map(|(path, kind)| TreeEntry { path, kind })
}

fn local_edit() -> impl Strategy<Value = LocalEdit> {
    // These seeds differ from those of `body` and of `bucket_edit`: a rewrite changes the content.
    let rewrite = (any::<Index>(), 3..6u64, mtime());
    prop_oneof![
        3 => tree_entry().prop_map(LocalEdit::Put),
        2 => any::<Index>().prop_map(LocalEdit::Remove),
        2 => rewrite.prop_map(|(n, seed, mtime)| LocalEdit::Rewrite(n, seed, mtime)),
        1 => (any::<Index>(), mtime()).prop_map(|(n, mtime)| LocalEdit::Touch(n, mtime)),
        1 => (any::<Index>(), 3..6u64).prop_map(|(n, seed)| LocalEdit::RewriteSilently(n, seed)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| LocalEdit::MoveOver(from, to)),
    ]
}

fn bucket_edit() -> impl Strategy<Value = BucketEdit> {
    let kind = || {
        prop_oneof![
            3 => Just(ObjectKind::Plain),
            1 => Just(ObjectKind::Old),
            1 => Just(ObjectKind::OpaqueETag),
            1 => Just(ObjectKind::Incomparable),
        ]
    };
    let put = (path(), body(), kind());
    let rewrite = (any::<Index>(), 6..9u64, kind());
    let suffixed = (any::<Index>(), select(vec!["/a", "/a/b", "-b", "0", " "]), body());
    let templates = vec!["/{}", "{}//b", "{}/", "{}/../b", "./{}", "{}/.", "{}\0", "{}/{255}"];
    let invalid = (select(templates), path(), body());
    prop_oneof![
        4 => put.prop_map(|(path, body, kind)| BucketEdit::Put(path, body, kind)),
        2 => any::<Index>().prop_map(BucketEdit::Remove),
        2 => rewrite.prop_map(|(n, seed, kind)| BucketEdit::Rewrite(n, seed, kind)),
        2 => suffixed.prop_map(|(n, suffix, body)| BucketEdit::PutWithSuffix(n, suffix, body)),
        1 => path().prop_map(BucketEdit::PutDirectoryMarker),
        1 => invalid.prop_map(|(key, path, body)| BucketEdit::PutInvalidKey(key, path, body)),
    ]
}

fn skew() -> impl Strategy<Value = i64> {
    prop_oneof![3 => Just(0), 1 => -3..=3i64, 2 => -600..=600i64]
}
