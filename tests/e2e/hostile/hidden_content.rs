//! Files whose size is reported as 0 although they have content, such as those of `/proc`.

use crate::support::World;

const DIR: &str = "/proc/sys/kernel/random";
const WHY: &str = "its size is reported as 0, but it has content";

#[test]
#[cfg(target_os = "linux")]
fn file_of_size_0_with_content_is_not_stored_as_empty() {
    let world = World::in_process();
    for line in ["--mock", "--yes", "--yes --checksum"] {
        let done = world.expect(2, &format!("backup {DIR} BUCKET {line}"));
        done.assert_says(&format!("skipped: boot_id: it cannot be read: {WHY}"));
        done.assert_says("0 to upload");
        assert!(world.store().keys().is_empty());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn file_of_size_0_with_content_is_not_the_same_as_an_empty_object() {
    let world = World::in_process();
    world.store().put("boot_id", b"");
    for line in ["", " --read-data"] {
        let done = world.expect(2, &format!("verify {DIR} BUCKET{line}"));
        done.assert_says(&format!("read boot_id: {WHY}"));
        done.assert_says("0 the same");
    }
}

#[test]
fn empty_file_is_stored_and_the_same() {
    let world = World::in_process();
    world.write("src/empty", "");
    world.expect(0, "backup src BUCKET --yes").assert_says("1 uploaded");
    world.expect(0, "verify src BUCKET").assert_says("1 the same");
}
