//! A random history as plain data, and the strategies that generate one.

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};
use s3keep::Direction;

use crate::support::store::{Folding, Folds, Listed};

/// Directories that can be renamed and swapped. A path in one of them has one of the file names.
pub const DIRECTORIES: [&str; 4] = ["", "d0/", "d1/", "d1/e/"];
const FILES: [&str; 4] = ["f0", "f1", "f2", "f3"];
/// Names that some stores do not distinguish.
const SIMILAR_FILES: [&str; 6] = ["f0", "F0", "f0.", "f1", "F1", "f2"];
/// Few sizes, so that different contents often have the same one.
const SIZES: [usize; 4] = [0, 20, 300, 3_000];

#[derive(Clone, Copy, Debug)]
pub enum Mtime {
    Now,
    Past,
    /// As on a file system that keeps whole seconds.
    ThisSecond,
}

/// A change that the user makes in the directory.
#[derive(Clone, Debug)]
pub enum Edit {
    Create(String, usize, Mtime),
    /// Writes new content of this size, or of the same size.
    Rewrite(Index, Option<usize>, Mtime),
    /// Writes new content of the same size and sets the mtime back.
    RewriteSilently(Index),
    Append(Index, usize),
    /// Renames a file, perhaps over another one.
    Rename(Index, String),
    RenameDirectory(Index, Index),
    SwapDirectories,
    Remove(Index),
}

/// A change that another program makes in the bucket.
#[derive(Clone, Debug)]
pub enum BucketEdit {
    Put(String, usize),
    Remove(Index),
}

/// What disturbs a run.
#[derive(Clone, Debug)]
pub enum Disturbance {
    Nothing,
    /// SIGKILL so many milliseconds after this number of requests.
    Kill {
        requests: usize,
        pause: u64,
    },
    /// Requests of this operation fail, after the first few.
    Fault {
        operation: &'static str,
        skip: usize,
        times: usize,
        status: u16,
    },
}

#[derive(Clone, Debug)]
pub struct RunSpec {
    pub direction: Direction,
    pub workers: usize,
    pub disturbance: Disturbance,
    /// What the user does meanwhile, each after a pause in milliseconds. During a restore, the user only
    /// creates files.
    pub meanwhile: Vec<(u64, Edit)>,
    /// How long each page of the listing takes, in milliseconds.
    pub list_delay: u64,
}

#[derive(Clone, Debug)]
pub enum Step {
    Edit(Edit),
    EditBucket(BucketEdit),
    /// The user loses all files in a directory, or all of them.
    Lose(Index),
    Run(RunSpec),
}

#[derive(Clone, Debug)]
pub struct Case {
    pub page_size: usize,
    pub lists_in_byte_order: bool,
    pub has_record: bool,
    /// How the store folds names.
    pub folding: Option<Folding>,
    pub tree: Vec<(String, usize, Mtime)>,
    pub steps: Vec<Step>,
}

/// A history of backups and restores, some of which are interrupted.
pub fn history() -> impl Strategy<Value = Case> {
    let run = prop_oneof![
        2 => run(Direction::Backup, disturbance(), 0..=3),
        3 => run(Direction::Restore, disturbance(), 0..=2),
    ];
    let step = prop_oneof![
        5 => run.prop_map(Step::Run),
        3 => edit(&FILES).prop_map(Step::Edit),
        1 => bucket_edit().prop_map(Step::EditBucket),
        2 => any::<Index>().prop_map(Step::Lose),
    ];
    case(2..=8, &FILES, Just(None), vec(step, 3..=10))
}

/// Backups of a directory in which the user works.
pub fn busy_directory() -> impl Strategy<Value = Case> {
    let run = run(Direction::Backup, Just(Disturbance::Nothing), 4..=14);
    let step = prop_oneof![4 => run.prop_map(Step::Run), 1 => edit(&FILES).prop_map(Step::Edit)];
    case(4..=12, &FILES, Just(None), vec(step, 2..=4))
}

/// Backups to a store that folds names. The user renames files to similar names between the runs.
pub fn folded_names() -> impl Strategy<Value = Case> {
    let run = run(Direction::Backup, disturbance(), 0..=0);
    let step = prop_oneof![
        2 => run.prop_map(Step::Run),
        3 => edit(&SIMILAR_FILES).prop_map(Step::Edit),
    ];
    let listed = select(vec![Listed::First, Listed::Latest, Listed::Lower]);
    let folding = (select(vec![Folds::Case, Folds::All]), listed, any::<bool>()).prop_map(
        |(folds, listed, exact_reads)| {
            Some(Folding { folds, listed, exact_reads, remembers: false })
        },
    );
    case(2..=6, &SIMILAR_FILES, folding, vec(step, 4..=12))
}

fn case(
    files: std::ops::RangeInclusive<usize>,
    names: &'static [&'static str],
    folding: impl Strategy<Value = Option<Folding>>,
    steps: impl Strategy<Value = Vec<Step>>,
) -> impl Strategy<Value = Case> {
    let tree = vec((path(names), select(&SIZES[..]), mtime()), files);
    (1..=7usize, any::<bool>(), any::<bool>(), folding, tree, steps).prop_map(
        |(page_size, lists_in_byte_order, has_record, folding, tree, steps)| Case {
            page_size,
            lists_in_byte_order,
            has_record,
            folding,
            tree,
            steps,
        },
    )
}

fn run(
    direction: Direction,
    disturbance: impl Strategy<Value = Disturbance>,
    edits: std::ops::RangeInclusive<usize>,
) -> impl Strategy<Value = RunSpec> {
    let meanwhile = vec((0..12u64, edit(&FILES)), edits);
    (select(vec![1, 4]), disturbance, meanwhile, 0..15u64).prop_map(
        move |(workers, disturbance, meanwhile, list_delay)| RunSpec {
            direction,
            workers,
            disturbance,
            meanwhile,
            list_delay,
        },
    )
}

fn disturbance() -> impl Strategy<Value = Disturbance> {
    let operations = vec!["PutObject", "GetObject", "DeleteObjects", "ListObjectsV2"];
    let statuses = vec![403, 404, 500];
    prop_oneof![
        3 => Just(Disturbance::Nothing),
        4 => (0..16usize, 0..6u64)
            .prop_map(|(requests, pause)| Disturbance::Kill { requests, pause }),
        3 => (select(operations), 0..5usize, 1..4usize, select(statuses)).prop_map(
            |(operation, skip, times, status)| Disturbance::Fault { operation, skip, times, status }
        ),
    ]
}

fn path(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    (select(&DIRECTORIES[..]), select(names)).prop_map(|(dir, file)| format!("{dir}{file}"))
}

fn mtime() -> impl Strategy<Value = Mtime> {
    select(vec![Mtime::Now, Mtime::Past, Mtime::ThisSecond])
}

fn edit(names: &'static [&'static str]) -> impl Strategy<Value = Edit> {
    let size = || select(&SIZES[..]);
    let rewrite = (any::<Index>(), proptest::option::of(size()), mtime());
    prop_oneof![
        2 => (path(names), size(), mtime()).prop_map(|(path, size, mtime)| Edit::Create(path, size, mtime)),
        2 => rewrite.prop_map(|(n, size, mtime)| Edit::Rewrite(n, size, mtime)),
        1 => any::<Index>().prop_map(Edit::RewriteSilently),
        2 => (any::<Index>(), 1..400usize).prop_map(|(n, len)| Edit::Append(n, len)),
        6 => (any::<Index>(), path(names)).prop_map(|(n, to)| Edit::Rename(n, to)),
        2 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Edit::RenameDirectory(from, to)),
        1 => Just(Edit::SwapDirectories),
        1 => any::<Index>().prop_map(Edit::Remove),
    ]
}

fn bucket_edit() -> impl Strategy<Value = BucketEdit> {
    prop_oneof![
        2 => (path(&FILES), select(&SIZES[..])).prop_map(|(path, size)| BucketEdit::Put(path, size)),
        1 => any::<Index>().prop_map(BucketEdit::Remove),
    ]
}
