//! `ls`, `du`, and the restore of one object.

use crate::support::{World, files};

fn world() -> World {
    let world = World::on_any_server();
    for path in ["a/f", "a/f.old", "a/f-2/x", "a/b c/+%", "a/z/y/x", "top"] {
        world.write(&format!("src/{path}"), path);
    }
    world.expect(0, "backup src BUCKET/p --yes").assert_says("6 uploaded");
    world
}

#[test]
fn bucket_is_listed() {
    let world = world();
    let names = |line: &str| {
        let run = world.expect(0, line);
        let names = run.stdout.lines().filter_map(|line| line.get(34..));
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names("ls BUCKET/p/a"), ["b c/", "f", "f-2/", "f.old", "z/"]);
    let all = [
        "a/", "a/b c/", "a/b c/+%", "a/f", "a/f-2/", "a/f-2/x", "a/f.old", "a/z/", "a/z/y/",
        "a/z/y/x", "top",
    ];
    assert_eq!(names("ls -R BUCKET/p"), all);
    world.expect(0, "ls BUCKET").assert_says("0 objects (0 B), 1 directory");
    world.expect(0, "du BUCKET/p").assert_says("35 B          6 objects  total");
    world.expect(0, "du BUCKET/p -d 1").assert_says("32 B          5 objects  a/");
    world.expect(1, "ls BUCKET/p/b").assert_says("there are no objects");
    world.expect(1, "ls BUCKET/P").assert_says("there are no objects; did you mean");
}

#[test]
fn one_object_is_restored() {
    let world = world();
    world.write("dst/mine", "mine");
    world.expect(0, "ls BUCKET/p/a/f").assert_says("1 object (3 B), 0 directories");
    world.expect(0, "restore BUCKET/p/a/f dst --yes").assert_says("1 downloaded");
    world.expect(0, "restore BUCKET/p/a/f dst --yes").assert_nothing_to_do();
    world.expect(0, "verify dst BUCKET/p/a/f").assert_says("1 the same");
    let restored = files(&world.path("dst"));
    assert_eq!(restored.len(), 2);
    assert_eq!((&*restored["f"], &*restored["mine"]), (&b"a/f"[..], &b"mine"[..]));
    // The directories above are no objects, also where the store has them as such.
    for missing in ["p/a/g", "p/a/f/none", "p/x/y"] {
        world.expect(1, &format!("restore BUCKET/{missing} new --yes"));
        assert!(!world.path("new").exists());
    }
}
