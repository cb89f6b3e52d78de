//! What the tests stand on: a world of one bucket and some directories, and a runner of the command.
//!
//! The bucket is that of the in-process server or, when `S3KEEP_TEST_ENDPOINT` names one, that of a real
//! server: each test then gets a fresh bucket there.

#![allow(dead_code)]

pub mod store;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use s3::{Bucket, BucketConfiguration, Region, creds::Credentials};
use store::Store;
use tempfile::TempDir;

/// A bucket and a place for directories.
pub struct World {
    home: TempDir,
    pub bucket: String,
    endpoint: String,
    access_key: String,
    secret_key: String,
    store: Option<Store>,
}

/// What a run of the command came to.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl World {
    /// On the server that the environment names, or in process.
    pub fn on_any_server() -> World {
        let var = |name| std::env::var(name).unwrap_or_default();
        let endpoint = var("S3KEEP_TEST_ENDPOINT");
        if endpoint.is_empty() {
            return World::in_process();
        }
        let world = World {
            home: TempDir::new().unwrap(),
            bucket: format!("test-{:016x}", fastrand::u64(..)),
            endpoint,
            access_key: var("S3KEEP_TEST_ACCESS_KEY"),
            secret_key: var("S3KEEP_TEST_SECRET_KEY"),
            store: None,
        };
        let made = Bucket::create_with_path_style(
            &world.bucket,
            world.region(),
            world.credentials(),
            BucketConfiguration::default(),
        );
        assert!(made.unwrap().success(), "the server makes a bucket");
        world
    }

    /// On the in-process server, whatever the environment says.
    pub fn in_process() -> World {
        World::on(Store::start())
    }

    pub fn on(store: Store) -> World {
        World {
            home: TempDir::new().unwrap(),
            bucket: store::BUCKET.to_owned(),
            endpoint: store.endpoint(),
            access_key: store::ACCESS_KEY.to_owned(),
            secret_key: store::SECRET_KEY.to_owned(),
            store: Some(store),
        }
    }

    /// The in-process server.
    pub fn store(&self) -> &Store {
        self.store.as_ref().expect("this test is in process")
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn region(&self) -> Region {
        Region::Custom { region: "us-east-1".to_owned(), endpoint: self.endpoint.clone() }
    }

    fn credentials(&self) -> Credentials {
        Credentials::new(Some(&self.access_key), Some(&self.secret_key), None, None, None).unwrap()
    }

    /// The bucket as another client sees it: rust-s3 with its own transport.
    pub fn s3(&self) -> Box<Bucket> {
        Bucket::new(&self.bucket, self.region(), self.credentials()).unwrap().with_path_style()
    }

    pub fn put_object(&self, key: &str, body: &[u8]) {
        assert_eq!(self.s3().put_object(key, body).unwrap().status_code(), 200);
    }

    pub fn get_object(&self, key: &str) -> Vec<u8> {
        self.s3().get_object(key).unwrap().to_vec()
    }

    /// All keys, in byte order.
    pub fn keys(&self) -> Vec<String> {
        let pages = self.s3().list(String::new(), None).unwrap();
        let mut keys: Vec<String> =
            pages.into_iter().flat_map(|page| page.contents).map(|object| object.key).collect();
        keys.sort();
        keys
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Writes a file below the home, with a time long past.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        write(&self.path(path), content.as_ref());
        set_age(&self.path(path), 3_600);
    }

    /// The command, ready to be added to.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_s3keep"));
        command
            .current_dir(self.home.path())
            .env_clear()
            .env("HOME", self.home.path())
            .env("AWS_ACCESS_KEY_ID", &self.access_key)
            .env("AWS_SECRET_ACCESS_KEY", &self.secret_key)
            .env("AWS_ENDPOINT_URL_S3", &self.endpoint)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::null());
        command
    }

    /// Runs the command with words split at spaces; `BUCKET` stands for the bucket's URL.
    pub fn run(&self, line: &str) -> Run {
        let url = format!("s3://{}", self.bucket);
        let words = line.split(' ').map(|word| word.replace("BUCKET", &url));
        run(self.command().args(words))
    }

    /// Runs the command and expects the exit code.
    #[track_caller]
    pub fn expect(&self, code: i32, line: &str) -> Run {
        let run = self.run(line);
        assert_eq!(run.code, code, "{line}: {run:#?}");
        run
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Run {
    let output = command.output().expect("the command runs");
    Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
    }
}

impl Run {
    /// Whether there was nothing to do, or nothing was done.
    #[track_caller]
    pub fn assert_nothing_to_do(&self) {
        let plan = self.stdout.lines().find(|line| line.contains("unchanged")).unwrap_or_default();
        assert!(plan.starts_with("0 to ") && plan.contains(" 0 to delete"), "{self:#?}");
    }

    #[track_caller]
    pub fn assert_says(&self, text: &str) {
        let said = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(said, "{text:?} is not said in {self:#?}");
    }
}

pub fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().expect("a file has a parent")).unwrap();
    fs::write(path, content).unwrap();
}

/// Sets a file's time to so many seconds ago; negative ones are in the future.
pub fn set_age(path: &Path, seconds: i64) {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let now = SystemTime::now();
    let time = if seconds >= 0 { now - distance } else { now + distance };
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// All files below a directory, with their content.
pub fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in walkdir::WalkDir::new(dir) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            let path = entry.path().strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
            files.insert(path, fs::read(entry.path()).unwrap());
        }
    }
    files
}

/// Bytes that no compression or coincidence makes equal: the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(len).collect()
}
