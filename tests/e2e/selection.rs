//! Which files a run looks at: patterns, sizes, ages, and directories as a whole.

use std::{collections::BTreeMap, os::unix::net::UnixListener};

use crate::support::{World, files, set_age, store::Fault};

fn world_with(paths: &[&str]) -> World {
    let world = World::in_process();
    paths.iter().for_each(|path| world.write(&format!("src/{path}"), path));
    world
}

fn keys(world: &World) -> Vec<String> {
    world.store().keys()
}

#[test]
fn excluded_files_are_not_stored_and_their_objects_are_not_deleted() {
    let world = world_with(&["a.txt", "b.tmp", "cache/x", "deep/er/c.tmp", "deep/er/d"]);
    world.store().put("b.tmp", b"older");
    world.store().put("cache/y", b"of another machine");
    world.store().put("gone", b"");
    world.store().put("deep/er/d", b"older");
    let run = world.expect(0, "backup src BUCKET --yes --exclude *.tmp --exclude cache/");
    assert_eq!(keys(&world), ["a.txt", "b.tmp", "cache/y", "deep/er/d"]);
    assert_eq!(world.get_object("b.tmp"), b"older");
    run.assert_says("3 local entries and 2 objects excluded");
    world
        .expect(0, "backup src BUCKET --yes --exclude *.tmp --exclude cache/")
        .assert_nothing_to_do();
}

#[test]
fn excluded_objects_are_not_restored_and_their_files_are_not_deleted() {
    let world = World::in_process();
    for key in ["a.txt", "b.tmp", "cache/x"] {
        world.store().put(key, key.as_bytes());
    }
    world.write("dst/a.txt", "older");
    world.write("dst/b.tmp", "mine");
    world.write("dst/cache/y", "mine");
    world.write("dst/gone", "");
    world.expect(0, "restore BUCKET dst --yes --exclude *.tmp --exclude /cache");
    let left: Vec<String> = files(&world.path("dst")).into_keys().collect();
    assert_eq!(left, ["a.txt", "b.tmp", "cache/y"]);
    assert_eq!(std::fs::read(world.path("dst/b.tmp")).unwrap(), b"mine");
    world.expect(0, "verify dst BUCKET --exclude *.tmp --exclude cache").assert_says("1 the same");
}

#[test]
fn last_option_that_matches_decides() {
    for (options, expected) in [
        ("--exclude * --include *.jpg", vec!["a/b/x.jpg", "keep/y.jpg"]),
        ("--include *.jpg --exclude *", vec![]),
        ("--exclude a/ --include /a/b/x.jpg", vec!["a/b/x.jpg", "keep/y.jpg", "z"]),
        ("--exclude-from patterns --include z", vec!["keep/y.jpg", "z"]),
        ("--include z --exclude-from patterns", vec!["keep/y.jpg"]),
        ("--exclude=keep --include=y.jpg --exclude=y.jpg", vec!["a/b/w", "a/b/x.jpg", "z"]),
    ] {
        let world = world_with(&["a/b/w", "a/b/x.jpg", "keep/y.jpg", "z"]);
        world.write("patterns", "# not these\n*\n!keep/\n");
        world.expect(0, &format!("backup src BUCKET --yes {options}"));
        assert_eq!(keys(&world), expected, "{options}");
    }
}

#[test]
fn ignore_files_exclude_and_are_stored_themselves() {
    let world = world_with(&["a/x.log", "a/y", "b/x.log", "b/build/z", "top.log"]);
    world.write("src/.s3keepignore", "*.log\n/b/build/\n");
    world.write("src/a/.s3keepignore", "!x.log\n");
    world.store().put("b/build/old", b"protected");
    world.expect(0, "backup src BUCKET --yes");
    let expected = [".s3keepignore", "a/.s3keepignore", "a/x.log", "a/y", "b/build/old"];
    assert_eq!(keys(&world), expected);
    // The options have the last word.
    world.expect(0, "backup src BUCKET --yes --include top.log");
    assert!(keys(&world).contains(&"top.log".to_owned()));
    // A restore uses the ignore files that exist in its directory.
    world.expect(0, "restore BUCKET src --yes");
    assert!(world.path("src/b/build/z").exists() && !world.path("src/b/build/old").exists());
    world.expect(0, "restore BUCKET other --yes");
    assert!(world.path("other/b/build/old").exists());
}

#[test]
fn unreadable_ignore_file_protects_its_directory() {
    let world = world_with(&["a/x", "b"]);
    world.write("src/a/.s3keepignore", "[z-a]\n");
    world.store().put("a/old", b"");
    let run = world.expect(2, "backup src BUCKET --yes");
    run.assert_says("a/.s3keepignore");
    run.assert_says("[z-a]");
    assert_eq!(keys(&world), ["a/old", "b"]);
    world.write("src/.s3keepignore", "[z-a]\n");
    world.expect(1, "backup src BUCKET --yes").assert_says("[z-a]");
}

#[test]
fn excluded_directory_is_not_read() {
    let world = world_with(&["a", "secret/x"]);
    // A name that is no key would be named if the directory were read.
    let long = "n".repeat(200);
    world.write(&format!("src/secret/{long}/{long}/{long}/{long}/{long}/{long}"), "");
    world.expect(0, "backup src BUCKET --yes --exclude secret");
    assert_eq!(keys(&world), ["a"]);
}

#[test]
fn sizes_and_ages_of_the_source_decide() {
    let world = world_with(&["12", "1234", "123456"]);
    world.store().put("12", b"an older and longer one");
    world.store().put("1234", b"older");
    world.store().put("123456", b"1");
    world.store().put("gone", b"1");
    world.store().put("gone too", b"1234");
    world.expect(0, "backup src BUCKET --yes --min-size 3 --max-size 5B");
    assert_eq!(keys(&world), ["12", "1234", "123456", "gone"]);
    assert_eq!(world.get_object("12"), b"an older and longer one");
    assert_eq!(world.get_object("1234"), b"1234");
    assert_eq!(world.get_object("123456"), b"1");

    let world = world_with(&["new", "old"]);
    set_age(&world.path("src/old"), 3 * 86_400);
    world.expect(0, "backup src BUCKET --yes --newer-than 2days");
    assert_eq!(keys(&world), ["new"]);
    world.expect(0, "backup src BUCKET --yes --older-than 2days");
    assert_eq!(keys(&world), ["new", "old"]);
    // A restore looks at the objects, which are all new.
    world.expect(0, "restore BUCKET dst --yes --older-than 1h").assert_nothing_to_do();
    world.expect(0, "restore BUCKET dst --yes --newer-than 1h");
    assert_eq!(files(&world.path("dst")).len(), 2);
}

#[test]
fn delete_excluded_deletes_what_patterns_exclude_in_the_target() {
    let world = world_with(&["a", "b.tmp", "c.tmp/d"]);
    world.expect(0, "backup src BUCKET --yes");
    world.expect(0, "backup src BUCKET --yes --exclude *.tmp --delete-excluded");
    assert_eq!(keys(&world), ["a"]);
    assert_eq!(files(&world.path("src")).len(), 3, "the source is left alone");
    // In a restore, the target is the directory.
    world.expect(0, "restore BUCKET src --yes --exclude *.tmp --delete-excluded");
    assert_eq!(files(&world.path("src")).into_keys().collect::<Vec<_>>(), ["a"]);
    // Sizes never delete.
    world.store().put("large", b"1234567890");
    world.write("src/large", "1234567890");
    world.write("src/a", "changed");
    world.expect(0, "backup src BUCKET --yes --max-size 8B --delete-excluded");
    assert_eq!(keys(&world), ["a", "large"]);
}

#[test]
fn links_and_special_files_that_the_user_skips_are_no_fault() {
    let world = world_with(&["a"]);
    std::os::unix::fs::symlink("nowhere", world.path("src/dangling")).unwrap();
    let _socket = UnixListener::bind(world.path("src/socket")).unwrap();
    world.store().put("dangling", b"kept");
    world.store().put("socket/x", b"kept");
    world.expect(2, "backup src BUCKET --yes --mock");
    let run = world.expect(0, "backup src BUCKET --yes --links skip --special skip");
    run.assert_says("2 local entries and 2 objects excluded");
    assert_eq!(keys(&world), ["a", "dangling", "socket/x"]);
    world.expect(0, "restore BUCKET src --yes --links skip --special skip");
    assert!(world.path("src/dangling").is_symlink() && !world.path("src/socket/x").exists());
    world.expect(0, "verify src BUCKET --links skip --special skip");
}

#[test]
fn cache_directories_are_excluded_on_request() {
    let world = world_with(&["a", "c/x", "c/y/z", "fake/x"]);
    let tag = "Signature: 8a477f597d28d172789f06886806bc55\n# more";
    world.write("src/c/CACHEDIR.TAG", tag);
    world.write("src/fake/CACHEDIR.TAG", "Signature: another");
    world.write("src/CACHEDIR.TAG", tag);
    world.store().put("c/old", b"kept");
    world.expect(0, "backup src BUCKET --yes --exclude-caches");
    assert_eq!(keys(&world), ["CACHEDIR.TAG", "a", "c/old", "fake/CACHEDIR.TAG", "fake/x"]);
}

#[test]
fn cleanup_keeps_excluded_directories() {
    let world = world_with(&["full/x.tmp"]);
    for dir in ["empty/deep", "keep/deep", "full/empty"] {
        std::fs::create_dir_all(world.path("src").join(dir)).unwrap();
    }
    world.expect(0, "cleanup src --exclude keep/ --exclude *.tmp");
    let exists = |dir| world.path("src").join(dir).exists();
    assert!(!exists("empty") && exists("keep/deep") && !exists("full/empty"));
}

#[test]
fn file_that_appears_during_a_backup_is_excluded_as_well() {
    let world = world_with(&["a", "b"]);
    world.store().put("a", b"older");
    world.store().put("gone", b"");
    let source = world.path("src");
    world.store().fault(Fault::on("PutObject").times(1).run(move |_| {
        for name in ["late.tmp", "late", "later and larger"] {
            std::fs::write(source.join(name), name).unwrap();
        }
    }));
    world.expect(0, "backup src BUCKET --yes --exclude *.tmp --max-size 9B");
    let keys = keys(&world);
    assert!(!keys.contains(&"late.tmp".to_owned()), "{keys:?}");
    assert!(!keys.contains(&"later and larger".to_owned()), "{keys:?}");
    assert!(keys.contains(&"late".to_owned()), "{keys:?}");
}

#[test]
fn json_output_counts_excluded_entries() {
    let world = world_with(&["a", "b.tmp"]);
    world.store().put("c.tmp", b"");
    let run = world.expect(0, "backup src BUCKET --yes --json --exclude *.tmp");
    run.assert_says(r#""excluded":{"local":1,"remote":1}"#);
    let contents: BTreeMap<_, _> = files(&world.path("src")).into_iter().collect();
    assert_eq!(contents.len(), 2);
}

#[test]
fn invalid_pattern_or_size_is_a_usage_error() {
    let world = world_with(&["a"]);
    for options in ["--exclude [z-a]", "--include !x", "--exclude-from missing", "--special keep"] {
        world.expect(1, &format!("backup src BUCKET --yes {options}"));
    }
    assert_eq!(keys(&world), [""; 0]);
}
