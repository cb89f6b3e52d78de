//! What means harm: keys that climb, links that are planted or swapped in, trees without end, and a
//! system that refuses. Nothing outside the directory is read, written or deleted.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use cap_std::{ambient_authority, fs::Dir};

use crate::support::{
    Run, World, files, noise, run,
    store::{Fault, Object},
};

// What is outside

/// All that stands beside the directory of a run, as it was.
struct Watch {
    home: PathBuf,
    except: &'static str,
    before: BTreeMap<PathBuf, Seen>,
}

/// Mode, time, and the bytes of a file or the target of a link.
type Seen = (u32, SystemTime, Vec<u8>);

impl Watch {
    /// Watches the whole home but the directory `except`.
    fn all_but(world: &World, except: &'static str) -> Watch {
        let home = world.path("");
        let before = Watch::look(&home, except);
        Watch { home, except, before }
    }

    fn look(home: &Path, except: &str) -> BTreeMap<PathBuf, Seen> {
        let entries = walkdir::WalkDir::new(home).min_depth(1).into_iter();
        let entries =
            entries.filter_entry(|entry| entry.depth() > 1 || entry.file_name() != except);
        let seen = |path: &Path| {
            let metadata = fs::symlink_metadata(path).unwrap();
            let content = match metadata.file_type() {
                kind if kind.is_file() => fs::read(path).unwrap(),
                kind if kind.is_symlink() => {
                    fs::read_link(path).unwrap().into_os_string().into_encoded_bytes()
                }
                _ => Vec::new(),
            };
            (metadata.mode(), metadata.modified().unwrap(), content)
        };
        entries
            .map(|entry| entry.unwrap().into_path())
            .map(|path| (path.clone(), seen(&path)))
            .collect()
    }

    #[track_caller]
    fn assert_untouched(&self) {
        assert_eq!(Watch::look(&self.home, self.except), self.before);
    }
}

fn as_tree<const N: usize>(files: [(&str, &str); N]) -> BTreeMap<String, Vec<u8>> {
    files.map(|(path, content)| (path.to_owned(), content.as_bytes().to_vec())).into()
}

/// Moves a directory away, and puts a link in its place.
fn swap_for_link(dir: &Path, away: &Path, target: &Path) {
    fs::rename(dir, away).unwrap();
    symlink(target, dir).unwrap();
}

fn temporary_files(dir: &Path) -> Vec<String> {
    files(dir).into_keys().filter(|path| path.contains(".s3keep-")).collect()
}

// Keys

const CLIMBING: [&str; 14] = [
    "../x",
    "..",
    ".",
    "/x",
    "//x",
    "a/../../x",
    "a/..",
    "a//b",
    "a/b//",
    "./a",
    "a/./b",
    "../outside/file",
    "nul\0key",
    "\0",
];

#[test]
fn keys_that_climb_are_named_and_neither_written_nor_deleted() {
    for prefix in ["", "deep/photos/"] {
        let world = World::in_process();
        world.write("x", "home's x");
        world.write("b", "home's b");
        world.write("outside/file", "precious");
        world.write("tree/mine", "mine");
        for key in CLIMBING.iter().copied().chain(["object"]) {
            world.store().put(&format!("{prefix}{key}"), b"evil");
        }
        if !prefix.is_empty() {
            // What a client that folds names would hit in their place.
            for key in ["deep/x", "x", "deep/outside/file"] {
                world.store().put(key, b"not ours");
            }
        }
        let watch = Watch::all_but(&world, "tree");
        let url = format!("BUCKET/{prefix}");
        let expect_named = |line: &str| {
            let done = world.expect(2, line);
            for key in CLIMBING {
                done.assert_says(&format!("skipped: {}: the key has", s3keep::Escaped(key)));
            }
            watch.assert_untouched();
            done
        };
        expect_named(&format!("restore {url} tree --mock"));
        expect_named(&format!("restore {url} new/tree --mock"));
        expect_named(&format!("verify tree {url}"));
        expect_named(&format!("backup tree {url} --mock"));
        assert_eq!(files(&world.path("tree")), as_tree([("mine", "mine")]));

        expect_named(&format!("restore {url} tree --yes")).assert_says("1 downloaded");
        assert_eq!(files(&world.path("tree")), as_tree([("object", "evil")]));
        world.write("tree/mine", "mine");
        fs::remove_file(world.path("tree/object")).unwrap();
        let done = expect_named(&format!("backup tree {url} --yes"));
        done.assert_says("1 uploaded");
        done.assert_says("1 deleted");
        for key in CLIMBING {
            let object = world.store().get(&format!("{prefix}{key}"));
            assert_eq!(object.unwrap_or_else(|| panic!("{key:?} is gone")).body, "evil");
        }
        assert_eq!(world.store().get(&format!("{prefix}mine")).unwrap().body, "mine");
        let others = world.store().keys().into_iter().filter(|key| !key.starts_with(prefix));
        assert_eq!(others.count(), if prefix.is_empty() { 0 } else { 3 });
    }
}

// Links that are there from the start

#[test]
fn sizes_beyond_all_measure_are_named_failures() {
    let world = World::in_process();
    world.write("dst/kept", "kept");
    let object = |key: &str, size: u64| {
        format!(
            "<Contents><Key>{key}</Key><Size>{size}</Size>\
             <LastModified>2024-02-29T12:34:56Z</LastModified></Contents>"
        )
    };
    for key in ["a", "b", "c"] {
        world.store().put(key, "x");
    }
    let objects = [object("a", u64::MAX), object("b", 1 << 63), object("c", 1 << 62)].concat();
    world.store().fault(Fault::on("ListObjectsV2").body(format!(
        "<ListBucketResult><IsTruncated>false</IsTruncated>{objects}</ListBucketResult>"
    )));
    world.expect(0, "restore BUCKET dst --mock").assert_says("3 to download");
    let run = world.expect(2, "restore BUCKET dst --yes --retries 0");
    run.assert_says("3 failed");
    assert_eq!(files(&world.path("dst")), as_tree([("kept", "kept")]));
}

#[test]
fn planted_links_lead_nobody_out() {
    let world = World::in_process();
    world.write("outside/passwd", "root");
    world.write("outside/file", "precious");
    world.write("outside/b", "precious, too");
    world.write("tree/mine", "an older version");
    fs::create_dir(world.path("tree/a")).unwrap();
    symlink("../outside", world.path("tree/link")).unwrap();
    symlink(world.path("outside"), world.path("tree/absolute")).unwrap();
    symlink("link", world.path("tree/twice")).unwrap();
    symlink("../outside/file", world.path("tree/file")).unwrap();
    symlink("../../outside", world.path("tree/a/link")).unwrap();
    symlink("../outside/created-through-a-link", world.path("tree/dangling")).unwrap();
    let under = ["link/passwd", "absolute/passwd", "twice/passwd", "a/link/b", "dangling/b"];
    for key in under.into_iter().chain(["file", "dangling", "a/fine", "mine"]) {
        world.store().put(key, b"evil");
    }
    let before = world.store().keys();
    let watch = Watch::all_but(&world, "tree");

    for links in ["", " --links skip", " --links follow"] {
        let done = world.expect(2, &format!("restore BUCKET tree --yes{links}"));
        for name in ["link", "absolute", "twice", "file", "a/link", "dangling"] {
            done.assert_says(&format!("skipped: {name}: a symbolic link"));
            assert!(world.path("tree").join(name).is_symlink(), "{name}");
        }
        for key in under {
            done.assert_says(&format!("skipped: {key}: "));
        }
        assert_eq!(files(&world.path("tree")), as_tree([("a/fine", "evil"), ("mine", "evil")]));
        watch.assert_untouched();

        // The other way round, nothing of outside is sent, and nothing deleted for a link's sake.
        world.expect(2, &format!("verify tree BUCKET{links}"));
        world.expect(2, &format!("backup tree BUCKET --yes{links}"));
        assert_eq!(world.store().keys(), before);
        assert!(before.iter().all(|key| world.store().get(key).unwrap().body == "evil"));
        world.store().create_bucket("new");
        world.expect(2, &format!("backup tree s3://new --yes{links}"));
        assert_eq!(world.store().keys_in("new"), ["a/fine", "mine"]);
        world.store().remove_bucket("new");
        watch.assert_untouched();
    }
}

// Links that are swapped in meanwhile

#[test]
fn a_directory_swapped_for_a_link_leads_no_download_out() {
    for (first, options) in [(10, ""), (6 << 20, " --part-size 5MiB")] {
        let world = World::in_process();
        world.store().put("d/1", noise(1, first));
        world.store().put("d/2", b"evil");
        world.store().put("d/sub/3", b"evil");
        world.store().put("else", b"fine");
        world.write("tree/d/2", "older");
        world.write("tree/only here", "stays, for not everything succeeds");
        for name in ["1", "2", "sub/3"] {
            world.write(&format!("outside/{name}"), "precious");
        }
        let watch = Watch::all_but(&world, "tree");
        let (tree, outside) = (world.path("tree"), world.path("outside"));
        world.store().fault(Fault::on("GetObject").key("d/1").times(1).run(move |_| {
            swap_for_link(&tree.join("d"), &tree.join("moved"), &outside);
        }));
        let line = format!("restore BUCKET tree --yes --workers 1{options}");
        let done = world.expect(2, &line);
        for path in ["d/1", "d/2", "d/sub/3"] {
            done.assert_says(&format!(" {path}: "));
        }
        done.assert_says("1 downloaded");
        done.assert_says("3 failed");
        done.assert_says("1 deletions were withheld");
        watch.assert_untouched();
        let left = files(&world.path("tree"));
        assert_eq!((&left["else"][..], &left["moved/2"][..]), (&b"fine"[..], &b"older"[..]));
        assert!(!left.contains_key("moved/1"));

        // The next run finds the link in its way, and sweeps what could not be found before.
        world.expect(2, &line).assert_says("skipped: d: a symbolic link that leads out");
        watch.assert_untouched();
        assert!(temporary_files(&world.path("tree")).is_empty());
    }
}

#[test]
fn a_root_swapped_for_a_link_leads_no_download_out() {
    let world = World::in_process();
    world.write("tree/old", "old");
    world.write("tree/gone", "gone");
    for name in ["1", "2", "old", "gone"] {
        world.write(&format!("outside/{name}"), "precious");
    }
    for key in ["1", "2", "old"] {
        world.store().put(key, b"object");
    }
    let home = world.path("");
    world.store().fault(Fault::on("GetObject").times(1).run(move |_| {
        // Both beside the tree, so this can't be watched as the others are.
        swap_for_link(&home.join("tree"), &home.join("moved"), &home.join("outside"));
    }));
    world.run("restore BUCKET tree --yes --workers 1");
    let left = files(&world.path("outside"));
    assert_eq!(left.len(), 4);
    assert!(left.values().all(|content| content == b"precious"), "{left:?}");
}

#[test]
fn a_directory_moved_away_under_a_restore_costs_named_failures_that_the_next_one_mends() {
    // Within the tree and out of it; while a large object is fetched in ranges, and a small one after it.
    let objects = (0..40).map(|n| (format!("d/{n:02}"), noise(n, 100)));
    let mut objects = BTreeMap::from_iter(objects);
    objects.insert("d/large".to_owned(), noise(40, 6 << 20));
    objects.insert("else".to_owned(), b"fine".to_vec());
    for (away, after) in
        [("tree/moved", 1), ("tree/moved", 8), ("outside/moved", 1), ("outside/moved", 8)]
    {
        let world = World::in_process();
        for (key, body) in &objects {
            world.store().put(key, body);
        }
        world.write("tree/d/05", "older");
        world.write("tree/only here", "stays, for not everything succeeds");
        world.write("outside/file", "precious");
        let outside = || {
            let mut outside = files(&world.path("outside"));
            outside.retain(|path, _| !path.starts_with("moved/"));
            assert_eq!(outside, as_tree([("file", "precious")]));
        };
        let (dir, to) = (world.path("tree/d"), world.path(away));
        let gets = Fault::on("GetObject").skip(after).times(1);
        world.store().fault(gets.run(move |_| fs::rename(&dir, &to).unwrap()));
        let line = "restore BUCKET tree --yes --workers 1 --part-size 5MiB";
        let done = world.expect(2, line);
        done.assert_says("1 deletions were withheld");
        let left = files(&world.path("tree"));
        let is_named = |path: &str| done.stderr.contains(&format!("download {path}: "));
        for (path, body) in &objects {
            assert_eq!(left.get(path), Some(body).filter(|_| !is_named(path)), "{path}: {done:?}");
        }
        assert!(is_named("d/large") && !is_named("else"));
        // What was there goes along as it is, and nothing more gets a name there.
        let mut moved = files(&world.path(away));
        moved.retain(|path, _| !path.contains(".s3keep-"));
        assert_eq!(moved, as_tree([("05", "older")]));
        outside();

        world.expect(0, line);
        assert_eq!(files(&world.path("tree")), objects);
        outside();
    }
}

#[test]
fn a_file_swapped_for_a_link_to_a_secret_is_not_uploaded() {
    let world = World::in_process();
    let secret = "the secret of outside ".repeat(300_000);
    world.write("outside/secret", &secret);
    world.write("outside/dir/file", &secret);
    world.write("tree/1", noise(1, 20 << 20));
    world.write("tree/large", noise(2, secret.len()));
    world.write("tree/middle", noise(3, 400_000));
    world.write("tree/small", "small");
    world.write("tree/dir/file", "harmless");
    world.write("tree/real", "harmless");
    world.write("tree/fine", "fine");
    symlink("real", world.path("tree/link")).unwrap();
    for key in ["small", "dir/file", "gone"] {
        world.store().put(key, b"an older version");
    }
    let watch = Watch::all_but(&world, "tree");
    let (tree, outside) = (world.path("tree"), world.path("outside"));
    world.store().fault(Fault::on("CreateMultipartUpload").key("1").times(1).run(move |_| {
        let secret = outside.join("secret");
        for name in ["large", "middle", "small", "real"] {
            fs::remove_file(tree.join(name)).unwrap();
            symlink(&secret, tree.join(name)).unwrap();
        }
        fs::remove_dir_all(tree.join("dir")).unwrap();
        symlink("../outside/dir", tree.join("dir")).unwrap();
    }));
    let done = world.expect(2, "backup tree BUCKET --yes --workers 1 --part-size 5MiB");
    for path in ["large", "middle", "small", "real", "link", "dir/file"] {
        done.assert_says(&format!("upload {path}: "));
    }
    done.assert_says("2 uploaded");
    done.assert_says("1 deletions were withheld");
    watch.assert_untouched();
    assert_eq!(world.store().keys(), ["1", "dir/file", "fine", "gone", "small"]);
    for key in ["dir/file", "gone", "small"] {
        assert_eq!(world.store().get(key).unwrap().body, "an older version");
    }
    assert!(world.store().uploads().is_empty());
}

#[test]
fn a_file_swapped_for_a_link_is_not_read_by_verify() {
    let world = World::in_process();
    world.write("outside/secret", "the secret");
    world.write("tree/file", "harmless!!");
    // Somebody who can write to the bucket guesses the secret, and would like to know.
    let guess = Object::new("the secret").etag("not-an-md5").no_checksum();
    world.store().put_object("file", guess);
    let watch = Watch::all_but(&world, "tree");
    let (file, secret) = (world.path("tree/file"), world.path("outside/secret"));
    world.store().fault(Fault::on("HeadObject").times(1).run(move |_| {
        fs::remove_file(&file).unwrap();
        symlink(&secret, &file).unwrap();
    }));
    let done = world.expect(2, "verify tree BUCKET --read-data");
    done.assert_says("read file: ");
    done.assert_says("0 the same");
    watch.assert_untouched();
}

#[test]
fn a_directory_swapped_for_a_link_leads_no_deletion_out() {
    let world = World::in_process();
    world.store().put("object", b"object");
    // The same size and time, inside and outside.
    let past = SystemTime::now() - Duration::from_secs(86_400);
    for path in ["tree/dir/victim", "tree/dir/sub/victim", "outside/victim", "outside/sub/victim"] {
        world.write(path, "victim");
        fs::File::options().write(true).open(world.path(path)).unwrap().set_modified(past).unwrap();
    }
    world.write("tree/gone", "gone");
    let watch = Watch::all_but(&world, "tree");
    let (tree, outside) = (world.path("tree"), world.path("outside"));
    world.store().fault(Fault::on("GetObject").times(1).run(move |_| {
        swap_for_link(&tree.join("dir"), &tree.join("moved"), &outside);
    }));
    let done = world.expect(2, "restore BUCKET tree --yes --allow-empty");
    done.assert_says("delete dir/victim: ");
    done.assert_says("delete dir/sub/victim: ");
    done.assert_says("1 downloaded");
    done.assert_says("1 deleted");
    watch.assert_untouched();
    assert!(world.path("tree/moved/victim").exists() && !world.path("tree/gone").exists());
}

#[test]
fn an_object_behind_a_link_that_appears_is_kept() {
    let world = World::in_process();
    world.write("tree/1", "new");
    world.write("outside/file", "precious");
    world.store().put("dir/file", b"object");
    world.store().put("gone", b"object");
    let watch = Watch::all_but(&world, "tree");
    let (tree, outside) = (world.path("tree"), world.path("outside"));
    world.store().fault(Fault::on("PutObject").times(1).run(move |_| {
        symlink(&outside, tree.join("dir")).unwrap();
    }));
    // A run that had seen the link would have left it out, and kept what is under its name.
    world.expect(2, "backup tree BUCKET --yes").assert_says("delete dir/file: ");
    assert_eq!(world.store().keys(), ["1", "dir/file"]);
    watch.assert_untouched();
}

// Trees without end

#[test]
fn directories_as_deep_as_keys_allow_travel_both_ways() {
    let world = World::in_process();
    // 499 directories and a file: 999 bytes.
    let dirs = ["d"; 499].join("/");
    let (deep, halfway) = (format!("{dirs}/f"), format!("{}/f", ["d"; 250].join("/")));
    assert_eq!(deep.len(), 999);
    world.write(&format!("tree/{deep}"), "deep");
    world.write(&format!("tree/{halfway}"), "halfway");
    world.write("tree/top", "top");
    world.expect(0, "backup tree BUCKET --yes").assert_says("3 uploaded");
    assert_eq!(world.store().get(&deep).unwrap().body, "deep");
    world.expect(0, "restore BUCKET back --yes").assert_says("3 downloaded");
    assert_eq!(files(&world.path("tree")), files(&world.path("back")));
    world.expect(0, "verify back BUCKET").assert_says("3 the same");
    world.expect(0, "restore BUCKET back --yes").assert_nothing_to_do();

    // Replaced and deleted, there and here.
    fs::remove_file(world.path("tree").join(&deep)).unwrap();
    world.write(&format!("tree/{halfway}"), "halfway, longer");
    world.expect(0, "backup tree BUCKET --yes").assert_says("1 deleted");
    let done = world.expect(0, "restore BUCKET back --yes");
    done.assert_says("1 downloaded");
    done.assert_says("1 deleted");
    assert_eq!(files(&world.path("tree")), files(&world.path("back")));

    let done = world.expect(0, "cleanup back");
    done.assert_says(&format!("{} empty directories removed", 499 - 250));
    assert!(world.path("back").join(&halfway).exists());
    assert!(!world.path("back").join(["d"; 251].join("/")).exists());
}

/// A chain of 1,000 directories in a tree. Taken away by `rm`, for who holds each of them open while he
/// empties it may run out of descriptors.
struct Chain {
    tree: PathBuf,
    path: String,
}

impl Chain {
    fn of(name: &str, world: &World, tree: &str) -> Chain {
        let chain = Chain { tree: world.path(tree), path: vec![name; 1_000].join("/") };
        fs::create_dir_all(&chain.tree).unwrap();
        let mut dir = Dir::open_ambient_dir(&chain.tree, ambient_authority()).unwrap();
        // Step by step: in one go, the path may be longer than the system takes.
        for name in chain.path.split('/') {
            dir.create_dir(name).unwrap();
            dir = dir.open_dir(name).unwrap();
        }
        dir.write("f", "bottom").unwrap();
        chain
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        Command::new("rm").arg("-rf").arg(&self.tree).status().unwrap();
    }
}

#[test]
fn a_file_deeper_than_any_key_is_named_and_nothing_is_changed() {
    let world = World::in_process();
    let chain = Chain::of("d", &world, "tree");
    world.write("tree/top", "top");
    world.store().put("gone", b"object");
    let before = files(&world.path("tree"));
    let bottom = format!("{}/f", chain.path);
    for line in ["backup tree BUCKET", "restore BUCKET tree"] {
        for how in ["--yes", "--mock"] {
            let done = world.expect(3, &format!("{line} {how}"));
            done.assert_says(&format!("1 keys are longer than 1000 bytes:\n  {bottom}\n"));
        }
    }
    world.expect(2, "verify tree BUCKET").assert_says(&format!("skipped: {bottom}: the key"));
    world.expect(0, "cleanup tree").assert_says("0 empty directories removed");
    assert_eq!(world.store().keys(), ["gone"]);
    assert_eq!(files(&world.path("tree")), before);
}

#[test]
fn empty_directories_deeper_than_any_key_are_ignored_until_they_are_cleaned_up() {
    let world = World::in_process();
    let chain = Chain::of("d", &world, "tree");
    fs::remove_file(chain.tree.join(&chain.path).join("f")).unwrap();
    world.write("tree/top", "top");
    world.store().put("gone", b"object");
    world.expect(0, "backup tree BUCKET --yes").assert_says("1 deleted");
    assert_eq!(world.store().keys(), ["top"]);
    world.expect(0, "verify tree BUCKET").assert_says("1 the same");
    world.store().put("new", b"new");
    world.expect(0, "restore BUCKET tree --yes").assert_says("1 downloaded");
    world.expect(0, "cleanup tree --mock").assert_says("1000 empty directories to remove");
    assert!(chain.tree.join(&chain.path).exists());
    world.expect(0, "cleanup tree").assert_says("1000 empty directories removed");
    assert!(!chain.tree.join("d").exists());
    assert_eq!(files(&chain.tree), as_tree([("new", "new"), ("top", "top")]));
}

#[test]
fn what_is_deeper_than_the_system_takes_is_named_and_left_alone() {
    let world = World::in_process();
    let name = "n".repeat(200);
    let chain = Chain::of(&name, &world, "tree");
    world.write("tree/top", "top");
    world.write("tree/gone", "gone");
    let expect = |line: &str| {
        let done = world.expect(2, line);
        done.assert_says(&format!("skipped: {name}/{name}"));
        done.assert_says("it cannot be read: File name too long");
        done
    };
    expect("backup tree BUCKET --yes").assert_says("2 uploaded");
    world.store().remove("gone");
    expect("verify tree BUCKET").assert_says("1 the same");
    expect("restore BUCKET tree --yes").assert_says("1 deleted");
    expect("cleanup tree").assert_says("0 empty directories removed");
    assert!(chain.tree.join(&name).join(&name).exists());
    assert_eq!(world.store().keys(), ["top"]);
}

// A system that refuses

/// As `World::run`, below a shell's `ulimit`.
fn run_with_limit(world: &World, limit: &str, vars: &[(&str, &str)], line: &str) -> Run {
    let url = format!("s3://{}", world.bucket);
    let exe = env!("CARGO_BIN_EXE_s3keep");
    let line = line.replace("BUCKET", &url);
    let mut command = like(&world.command(), "/bin/sh");
    command.envs(vars.iter().copied());
    run(command.arg("-c").arg(format!("ulimit {limit} && exec {exe} {line}")))
}

/// Another program in the same surroundings.
fn like(command: &Command, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut other = Command::new(program);
    other.env_clear().stdin(std::process::Stdio::null());
    other.current_dir(command.get_current_dir().unwrap());
    other.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    other
}

#[test]
fn a_file_beyond_the_size_limit_is_a_named_failure() {
    let world = World::in_process();
    world.store().put("whole", noise(1, 3 << 20));
    world.store().put("in ranges", noise(2, 6 << 20));
    world.store().put("small", noise(3, 10_000));
    world.write("tree/whole", "the old version");
    world.write("tree/only here", "stays, for not everything succeeds");
    let line = "restore BUCKET tree --yes --part-size 5MiB";
    // In blocks of 512 bytes (bash: 1,024).
    let done = run_with_limit(&world, "-f 2048", &[], line);
    assert_eq!(done.code, 2, "{done:?}");
    for path in ["whole", "in ranges"] {
        done.assert_says(&format!(" {path}: File too large"));
    }
    done.assert_says("1 downloaded");
    done.assert_says("1 deletions were withheld");
    let left = files(&world.path("tree"));
    assert_eq!(left.keys().collect::<Vec<_>>(), ["only here", "small", "whole"]);
    assert_eq!(left["whole"], b"the old version");
    assert_eq!(left["small"], noise(3, 10_000));
    world.expect(0, line);
    assert_eq!(files(&world.path("tree")).len(), 3);
}

#[test]
#[cfg(target_os = "linux")]
fn where_no_more_threads_can_be_had_those_that_there_are_do_all() {
    let world = World::in_process();
    for n in 0..200 {
        world.write(&format!("src/{n}"), format!("{n}"));
    }
    // The address space holds so many stacks. With two, the listing has no thread of its own, with three
    // nobody watches it. Four are there beside the workers while both sides are looked at, which leaves none
    // to list, or two; three are while files are moved.
    let vars =
        [("RUST_MIN_STACK", "536870912"), ("MALLOC_ARENA_MAX", "1"), ("RAYON_NUM_THREADS", "1")];
    for stacks in [2, 3, 4, 6usize] {
        let limit = format!("-v {}", stacks * 524_288 + 262_144);
        for line in ["backup src BUCKET/N --yes", "restore BUCKET/N back/N --yes"] {
            let before = world.store().connections();
            let line = line.replace('N', &stacks.to_string());
            let done = run_with_limit(&world, &limit, &vars, &line);
            assert_eq!(done.code, 0, "{line}: {done:?}");
            assert!(
                world.store().connections() - before <= stacks.saturating_sub(3).max(1),
                "{line}"
            );
        }
        assert_eq!(files(&world.path("src")), files(&world.path(&format!("back/{stacks}"))));
    }
}

/// Somebody whom permissions bind: not root.
struct Nobody<'a> {
    world: &'a World,
    exe: PathBuf,
    is_root: bool,
}

const NOBODY: u32 = 65_534;

impl Nobody<'_> {
    fn in_world(world: &World) -> Nobody<'_> {
        let is_root = rustix::process::geteuid().is_root();
        let exe = Path::new(env!("CARGO_BIN_EXE_s3keep"));
        if !is_root {
            return Nobody { world, exe: exe.to_owned(), is_root };
        }
        let copy = world.path("s3keep");
        // Not by this process: another test's child would hold it open for writing as it is started.
        assert!(Command::new("cp").arg(exe).arg(&copy).status().unwrap().success());
        let nobody = Nobody { world, exe: copy, is_root };
        nobody.set_mode("", 0o755);
        nobody.set_mode("s3keep", 0o755);
        nobody
    }

    fn set_mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.world.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Gives a tree away.
    fn own(&self, dir: &str) {
        if self.is_root {
            for entry in walkdir::WalkDir::new(self.world.path(dir)) {
                chown(entry.unwrap().path(), Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
    }

    #[track_caller]
    fn expect(&self, code: i32, line: &str) -> Run {
        let mut command = like(&self.world.command(), &self.exe);
        if self.is_root {
            command.uid(NOBODY).gid(NOBODY);
        }
        let url = format!("s3://{}", self.world.bucket);
        let done = run(command.args(line.split(' ').map(|word| word.replace("BUCKET", &url))));
        assert_eq!(done.code, code, "{line}: {done:#?}");
        done
    }
}

#[test]
fn a_file_that_may_not_be_read_is_a_named_failure() {
    let world = World::in_process();
    let nobody = Nobody::in_world(&world);
    for name in ["private", "private and known", "fine"] {
        world.write(&format!("tree/{name}"), "content");
    }
    world.store().put("private and known", b"an older version");
    world.store().put("gone", b"gone");
    nobody.own("tree");
    nobody.set_mode("tree/private", 0o000);
    nobody.set_mode("tree/private and known", 0o000);
    let done = nobody.expect(2, "backup tree BUCKET --yes");
    done.assert_says("upload private: Permission denied");
    done.assert_says("upload private and known: Permission denied");
    done.assert_says("1 uploaded");
    done.assert_says("1 deletions were withheld");
    assert_eq!(world.store().keys(), ["fine", "gone", "private and known"]);
    assert_eq!(world.store().get("private and known").unwrap().body, "an older version");

    world.store().put("private", b"CONTENT");
    nobody.expect(2, "verify tree BUCKET").assert_says("read private: Permission denied");
    nobody.set_mode("tree/private", 0o644);
    nobody.set_mode("tree/private and known", 0o600);
    nobody.expect(0, "backup tree BUCKET --yes --checksum").assert_says("1 deleted");
    nobody.expect(0, "verify tree BUCKET").assert_says("3 the same");
}

#[test]
fn a_directory_that_may_not_be_read_shields_its_objects() {
    // Not to be read; its names to be read, but nothing of what they stand for.
    for mode in [0o000, 0o111, 0o444] {
        let world = World::in_process();
        let nobody = Nobody::in_world(&world);
        world.write("tree/fine", "fine");
        world.write("tree/locked/file", "file");
        world.write("tree/locked/sub/file", "file");
        let shielded = ["locked/file", "locked/sub/file", "locked/sub/more/file"];
        for key in shielded.into_iter().chain(["locked-not", "gone", "locked.too"]) {
            world.store().put(key, b"object");
        }
        nobody.own("tree");
        nobody.set_mode("tree/locked", mode);
        let done = nobody.expect(2, "backup tree BUCKET --yes");
        done.assert_says("skipped: locked");
        done.assert_says("it cannot be read: Permission denied");
        done.assert_says("1 uploaded");
        done.assert_says("3 deleted");
        let mut kept = vec!["fine"];
        kept.extend(shielded);
        assert_eq!(world.store().keys(), kept, "{mode:o}");
        nobody.expect(2, "verify tree BUCKET").assert_says("skipped: locked");

        // Nor does a restore do anything there.
        world.store().put("new", b"new");
        world.store().remove("fine");
        let done = nobody.expect(2, "restore BUCKET tree --yes");
        done.assert_says("skipped: locked");
        done.assert_says("1 downloaded");
        done.assert_says("1 deleted");
        nobody.set_mode("tree/locked", 0o755);
        let left = [("locked/file", "file"), ("locked/sub/file", "file"), ("new", "new")];
        assert_eq!(files(&world.path("tree")), as_tree(left), "{mode:o}");
    }
}

#[test]
fn a_directory_that_may_not_be_written_keeps_its_files() {
    let world = World::in_process();
    let nobody = Nobody::in_world(&world);
    world.write("tree/ro/old", "the old version");
    world.write("tree/ro/gone", "gone");
    world.write("tree/rw/gone", "gone");
    world.write("tree/rw/read-only", "the old version");
    world.write("tree/ro/.s3keep-0123456789abcdef.part", "of a killed run");
    for key in ["ro/old", "ro/new", "ro/sub/new", "rw/new", "rw/read-only"] {
        world.store().put(key, b"object");
    }
    nobody.own("tree");
    nobody.set_mode("tree/ro", 0o555);
    nobody.set_mode("tree/rw/read-only", 0o444);
    let line = "restore BUCKET tree --yes";
    let done = nobody.expect(2, line);
    for path in ["ro/old", "ro/new", "ro/sub/new"] {
        done.assert_says(&format!("create file {path}: Permission denied"));
    }
    let leftover = "delete temporary file ro/.s3keep-0123456789abcdef.part: Permission denied";
    done.assert_says(leftover);
    done.assert_says("2 downloaded");
    done.assert_says("2 deletions were withheld");
    let left = [
        ("ro/.s3keep-0123456789abcdef.part", "of a killed run"),
        ("ro/gone", "gone"),
        ("ro/old", "the old version"),
        ("rw/gone", "gone"),
        ("rw/new", "object"),
        ("rw/read-only", "object"),
    ];
    assert_eq!(files(&world.path("tree")), as_tree(left));

    // With deletions only, those that can be made are, whatever can't be swept.
    for key in ["ro/old", "ro/new", "ro/sub/new"] {
        world.store().remove(key);
    }
    let done = nobody.expect(2, line);
    done.assert_says(leftover);
    done.assert_says("delete ro/gone: Permission denied");
    done.assert_says("delete ro/old: Permission denied");
    done.assert_says("1 deleted");
    nobody
        .expect(1, "restore BUCKET tree/ro/root --yes")
        .assert_says("create directory tree/ro/root");
    nobody.set_mode("tree/ro", 0o755);
    nobody.expect(0, line);
    let left = [("rw/new", "object"), ("rw/read-only", "object")];
    assert_eq!(files(&world.path("tree")), as_tree(left));
}

#[test]
fn a_cleanup_removes_what_it_may() {
    let world = World::in_process();
    let nobody = Nobody::in_world(&world);
    world.write("tree/ro/file", "file");
    for dir in ["ro/empty", "free/empty/empty", "locked/empty", "names/empty"] {
        fs::create_dir_all(world.path("tree").join(dir)).unwrap();
    }
    nobody.own("tree");
    nobody.set_mode("tree/ro", 0o555);
    nobody.set_mode("tree/locked", 0o000);
    nobody.set_mode("tree/names", 0o444);
    let done = nobody.expect(2, "cleanup tree");
    done.assert_says("remove directory ro/empty: Permission denied");
    done.assert_says("skipped: locked: it cannot be read: Permission denied");
    done.assert_says("skipped: names/empty: it cannot be read: Permission denied");
    done.assert_says("3 empty directories removed, 1 failed");
    assert!(!world.path("tree/free").exists() && world.path("tree/ro/empty").exists());
    for dir in ["ro", "locked", "names"] {
        nobody.set_mode(&format!("tree/{dir}"), 0o755);
    }
    nobody.expect(0, "cleanup tree").assert_says("5 empty directories removed");
    assert_eq!(files(&world.path("tree")), as_tree([("ro/file", "file")]));
}

/// The words behind which a command has its own mounts; `None` where nobody may mount.
fn unshared() -> Option<&'static [&'static str]> {
    [&["unshare", "-m"], &["unshare", "-rm"]].into_iter().map(|words| &words[..]).find(|words| {
        let mount = "mount -t tmpfs -o size=64k none /mnt";
        let tried = Command::new(words[0]).args(&words[1..]).args(["sh", "-c", mount]).output();
        tried.is_ok_and(|output| output.status.success())
    })
}

#[test]
fn a_full_disk_fails_what_does_not_fit_and_keeps_the_rest() {
    let Some(unshared) = unshared() else {
        println!("skipped: no file system can be mounted here");
        return;
    };
    let world = World::in_process();
    // 5 MiB, of which the larger half does not fit into two.
    world.store().put("large", noise(1, 5 << 20 | 1));
    world.store().put("whole", noise(2, 2_500_000));
    for n in 0..10 {
        world.store().put(&format!("dir {n}/small"), noise(n, 100_000));
    }
    world.write("before/whole", "the old version");
    world.write("before/only here", "stays, for not everything succeeds");
    let script = "
        mkdir disk && mount -t tmpfs -o size=2m none disk && cp -p before/* disk && rm -rf after || exit 99
        \"$@\"; code=$?
        cp -a disk after && umount disk && rmdir disk || exit 99
        exit $code";
    let restore = |workers: &str| {
        let url = format!("s3://{}", world.bucket);
        let mut command = like(&world.command(), unshared[0]);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).args(&unshared[1..]);
        command.args(["sh", "-c", script, "sh", env!("CARGO_BIN_EXE_s3keep"), "restore", &url]);
        command.args(["disk", "--yes", "--part-size", "5MiB", "--workers", workers]);
        let done = run(&mut command);
        assert_eq!(done.code, 2, "{done:?}");
        done.assert_says("1 deletions were withheld");
        (done, files(&world.path("after")))
    };
    // One after the other, each that fits finds room.
    let (done, left) = restore("1");
    for path in ["large", "whole"] {
        done.assert_says(&format!(" {path}: No space left on device"));
    }
    done.assert_says("10 downloaded");
    assert_eq!(left.len(), 12, "{:?}", left.keys());
    // All at once, some may find none: they are named.
    let (done, together) = restore("32");
    for (name, left) in [("one", left), ("many", together)] {
        assert_eq!(left["whole"], b"the old version", "{name}");
        assert!(left.contains_key("only here") && !left.contains_key("large"), "{name}");
        assert!(left.keys().all(|path| !path.contains(".s3keep-")), "{name}: {:?}", left.keys());
        for n in 0..10 {
            let path = format!("dir {n}/small");
            match left.get(&path) {
                Some(content) => assert_eq!(*content, noise(n, 100_000), "{name}: {path}"),
                None => done.assert_says(&format!(" {path}: No space left on device")),
            }
        }
    }
}

#[test]
fn what_is_restored_to_a_mounted_file_system_is_on_its_disk_before_it_has_its_name() {
    let has_strace = Command::new("strace").arg("-V").output().is_ok();
    let Some(unshared) = unshared().filter(|_| has_strace) else {
        println!("skipped: no file system can be mounted here, or no system call watched");
        return;
    };
    let world = World::in_process();
    for key in ["file", "mounted/file", "mounted/dir/file"] {
        world.store().put(key, noise(1, 10_000));
    }
    let script = "
        mkdir -p disk/mounted && mount -t tmpfs none disk/mounted || exit 99
        strace -f -y -o calls -e trace=syncfs,renameat,renameat2 \"$@\"";
    let url = format!("s3://{}", world.bucket);
    let mut command = like(&world.command(), unshared[0]);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).args(&unshared[1..]);
    command.args(["sh", "-c", script, "sh", env!("CARGO_BIN_EXE_s3keep"), "restore", &url]);
    let done = run(command.args(["disk", "--yes"]));
    assert_eq!(done.code, 0, "{done:?}");
    let calls = fs::read_to_string(world.path("calls")).unwrap();
    let is = |call: &str, place: &str| {
        let seen = |line: &&str| line.contains(call) && line.contains(place);
        calls
            .lines()
            .enumerate()
            .filter(|(_, line)| seen(line))
            .map(|(at, _)| at)
            .collect::<Vec<_>>()
    };
    let (synced, named) = (is("syncfs(", "/disk/mounted"), is("rename", "/disk/mounted"));
    assert_eq!(named.len(), 2, "{calls}");
    assert!(synced.first() < named.first() && synced.last() > named.last(), "{calls}");
    assert!(!synced.is_empty(), "{calls}");
}

#[test]
fn after_a_disk_has_failed_once_no_file_gets_its_name() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: no system call can be made to fail here");
        return;
    }
    let world = World::in_process();
    // More than one batch.
    for n in 0..1_500 {
        world.store().put(&format!("{n}"), b"small");
    }
    world.write("dst/old", "not replaceable by what may be lost");
    let url = format!("s3://{}", world.bucket);
    let mut command = like(&world.command(), "strace");
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    // The first call of a thread fails: there is one that moves files.
    command.args(["-f", "-o", "calls", "-e", "trace=syncfs"]);
    command.args(["-e", "inject=syncfs:error=EIO:when=1", env!("CARGO_BIN_EXE_s3keep")]);
    let done = run(command.args(["restore", &url, "dst", "--yes", "--workers", "1"]));
    assert_eq!(done.code, 1, "{done:?}");
    done.assert_says("write to disk dst: Input/output error");
    let kept = files(&world.path("dst"));
    assert_eq!(kept.keys().collect::<Vec<_>>(), ["old"]);
    world.expect(0, "restore BUCKET dst --yes --max-delete 1").assert_says("1500 downloaded");
}
