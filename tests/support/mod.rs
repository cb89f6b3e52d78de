//! The fixture of the end-to-end tests: a bucket, a directory, and a runner of the command.
//!
//! The server runs in process. If `S3KEEP_TEST_ENDPOINT` is set, the tests of `any_server` use that
//! server instead, each with a new bucket. They need its keys in `S3KEEP_TEST_ACCESS_KEY` and
//! `S3KEEP_TEST_SECRET_KEY`; its region, if it is not us-east-1, in `S3KEEP_TEST_REGION`; and in
//! `S3KEEP_TEST_LIMITS` what it cannot do: see [`Limit`].

#![allow(dead_code)]

mod command;
pub mod connection_limit;
mod files;
mod limits;
mod new_bucket;
pub mod proxy;
pub mod relay;
pub mod store;
pub mod tls_front;

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use s3::{Bucket, Region, creds::Credentials};
use store::Store;
use tempfile::TempDir;

pub use command::{Run, run, with_separators};
pub use files::{files, is_marker, markers, noise, set_age, write};
pub use limits::Limit;

/// A bucket, a temporary home directory, and the command with access to both.
pub struct World {
    home: TempDir,
    pub bucket: String,
    endpoint: String,
    access_key: String,
    secret_key: String,
    region: String,
    store: Option<Store>,
}

impl World {
    /// Uses the server that the environment names, otherwise one in process.
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
            region: Some(var("S3KEEP_TEST_REGION"))
                .filter(|region| !region.is_empty())
                .unwrap_or_else(|| store::REGION.to_owned()),
            store: None,
        };
        let World { endpoint, bucket, region, .. } = &world;
        new_bucket::create(endpoint, bucket, region, &world.credentials());
        world
    }

    /// Uses a new in-process server, regardless of the environment.
    pub fn in_process() -> World {
        World::on(Store::start())
    }

    /// Uses this in-process server.
    pub fn on(store: Store) -> World {
        World {
            home: TempDir::new().unwrap(),
            bucket: store::BUCKET.to_owned(),
            endpoint: store.endpoint(),
            access_key: store::ACCESS_KEY.to_owned(),
            secret_key: store::SECRET_KEY.to_owned(),
            region: store::REGION.to_owned(),
            store: Some(store),
        }
    }

    // The bucket

    /// Whether the server has this limit. The in-process server has none.
    pub fn has_limit(&self, limit: Limit) -> bool {
        self.store.is_none() && Limit::of_environment().contains(&limit)
    }

    /// The in-process server.
    pub fn store(&self) -> &Store {
        self.store.as_ref().expect("this test runs on an in-process server")
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn region(&self) -> Region {
        Region::Custom { region: self.region.clone(), endpoint: self.endpoint.clone() }
    }

    fn credentials(&self) -> Credentials {
        Credentials::new(Some(&self.access_key), Some(&self.secret_key), None, None, None).unwrap()
    }

    /// Another client of the bucket: rust-s3 with its own transport.
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

    // The home directory

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Writes a file below the home directory, one hour old.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        write(&self.path(path), content.as_ref());
        set_age(&self.path(path), 3_600);
    }

    // The command

    /// The command without arguments, in the home directory, with access to the bucket.
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
        if self.store.is_none() {
            command.env("AWS_REGION", &self.region);
        }
        command
    }

    /// Runs the command with the arguments in `line`, which are separated by single spaces.
    ///
    /// `BUCKET` in an argument is replaced by the bucket's URL.
    pub fn run(&self, line: &str) -> Run {
        let url = format!("s3://{}", self.bucket);
        let words = line.split(' ').map(|word| word.replace("BUCKET", &url));
        run(self.command().args(words))
    }

    /// Runs the command as `run` does, and asserts its exit code.
    #[track_caller]
    pub fn expect(&self, code: i32, line: &str) -> Run {
        let run = self.run(line);
        assert_eq!(run.code, code, "{line}: {run:#?}");
        run
    }
}
