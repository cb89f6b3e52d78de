//! What a run costs: requests and connections, counted.

use crate::support::{World, files};

fn with_files(count: usize) -> World {
    let world = World::in_process();
    for n in 0..count {
        world.write(&format!("src/{}/{n}", n % 7), format!("{n}"));
    }
    world
}

#[test]
fn a_run_with_nothing_to_do_costs_one_list_per_1000_objects_and_nothing_else() {
    let world = with_files(2_001);
    world.expect(0, "backup src BUCKET --yes");
    world.expect(0, "restore BUCKET back --yes");
    for line in ["backup src BUCKET --yes", "restore BUCKET back --yes", "verify src BUCKET"] {
        world.store().clear_requests();
        world.expect(0, line);
        assert_eq!(world.store().count("ListObjectsV2"), 3, "{line}");
        assert_eq!(world.store().requests().len(), 3, "{line}");
    }
}

#[test]
fn a_small_file_costs_one_request_and_connections_are_kept() {
    let world = with_files(300);
    for (line, operation, looks) in [
        // A backup that has something to send asks once for uploads that were cut off.
        ("backup src BUCKET --yes --workers 4", "PutObject", 2),
        ("restore BUCKET back --yes --workers 4", "GetObject", 1),
    ] {
        world.store().clear_requests();
        let before = world.store().connections();
        world.expect(0, line);
        assert_eq!(world.store().count(operation), 300);
        assert_eq!(world.store().requests().len(), 300 + looks);
        assert!(world.store().connections() - before <= 5, "{line}");
    }
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}

#[test]
fn deletions_go_in_batches_of_1000() {
    let world = World::in_process();
    for n in 0..2_500 {
        world.store().put(&format!("gone/{n}"), b"x");
    }
    world.store().put("gone/with\ncontrol", b"x");
    world.store().put("gone/ trimmed? ", b"x");
    world.write("src/a", "a");
    world.expect(0, "backup src BUCKET --yes --max-delete 100%").assert_says("2502 deleted");
    assert_eq!(world.store().keys(), ["a"]);
    assert_eq!(world.store().count("DeleteObjects"), 3);
    // What XML can't carry goes alone.
    assert_eq!(world.store().count("DeleteObject"), 2);
    // Transfers come before deletions.
    let operations: Vec<_> = world.store().requests().iter().map(|r| r.operation).collect();
    let put = operations.iter().position(|operation| *operation == "PutObject");
    let delete = operations.iter().position(|operation| operation.starts_with("Delete"));
    assert!(put < delete);
}

#[test]
fn pages_in_any_order_and_of_any_size_make_one_listing() {
    use crate::support::store::ListOrder;
    let world = World::in_process();
    for name in ["a", "a-b", "a/b", "a/c", "a0", "b/c/d", "b/c-d", "b.c"] {
        if name != "a" {
            world.write(&format!("src/{name}"), name);
        }
    }
    for order in [ListOrder::Paths, ListOrder::Bytes] {
        for size in [1, 2, 3, 1_000] {
            world.store().set_list_order(order);
            world.store().set_page_size(size);
            let run = world.run("backup src BUCKET --yes");
            assert_eq!(run.code, 0, "{run:?}");
            world.expect(0, "restore BUCKET back --yes");
            world.expect(0, "backup back BUCKET --yes").assert_nothing_to_do();
            assert_eq!(files(&world.path("src")), files(&world.path("back")));
        }
    }
}
