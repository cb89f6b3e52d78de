//! Limits of the system on file sizes and threads.

use crate::{
    hostile::command::run_with_limit,
    support::{World, files, noise},
};

#[test]
fn file_above_the_size_limit_is_a_named_failure() {
    let world = World::in_process();
    world.store().put("whole", noise(1, 3 << 20));
    world.store().put("in parts", noise(2, 6 << 20));
    world.store().put("small", noise(3, 10_000));
    world.write("tree/whole", "the old version");
    world.write("tree/only here", "kept, because transfers fail");
    let line = "restore BUCKET tree --yes --part-size 5MiB";
    // The unit is 512 bytes (in bash: 1,024).
    let done = run_with_limit(&world, "-f 2048", &[], line);
    assert_eq!(done.code, 2, "{done:?}");
    for path in ["whole", "in parts"] {
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
fn run_succeeds_when_the_system_refuses_more_threads() {
    let world = World::in_process();
    for n in 0..200 {
        world.write(&format!("src/{n}"), format!("{n}"));
    }
    // The address space has room for `stacks` thread stacks. While both sides are read, the run
    // wants four threads in addition to the list workers. With 2 stacks, the listing has no thread
    // of its own. With 3, it has no watchdog. With 4, there is no list worker; with 6, there are
    // two. During transfers, the run has three threads in addition to the workers.
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

#[test]
fn restore_whose_marker_exceeds_the_size_limit_changes_nothing() {
    let world = World::in_process();
    world.store().put("empty", b"");
    world.write("tree/gone", "gone");
    let line = "restore BUCKET tree --yes --allow-unrelated 2> /dev/null";
    let done = run_with_limit(&world, "-f 0", &[], line);
    assert_eq!(done.code, 1, "{done:?}");
    assert_eq!(files(&world.path("tree")).into_keys().collect::<Vec<_>>(), ["gone"]);
}
