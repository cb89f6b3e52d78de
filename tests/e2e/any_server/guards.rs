//! Guards against accidental deletion.

use crate::support::{World, files};

fn with_objects(count: usize) -> World {
    let world = World::on_any_server();
    for n in 0..count {
        world.write(&format!("src/{n:03}"), "x");
    }
    world.expect(0, "backup src BUCKET --yes");
    world
}

#[test]
fn missing_source_deletes_nothing() {
    let world = with_objects(3);
    let run = world.expect(1, "backup unmounted BUCKET --yes");
    run.assert_says("unmounted");
    assert_eq!(world.keys().len(), 3);
}

#[test]
fn empty_source_is_refused_without_allow_empty() {
    let world = with_objects(3);
    std::fs::create_dir(world.path("empty")).unwrap();
    for line in ["backup empty BUCKET --yes", "backup empty BUCKET --mock"] {
        world.expect(3, line).assert_says("the source is empty");
    }
    world.expect(3, "restore BUCKET/nothing/here src --yes").assert_says("the source is empty");
    assert_eq!((world.keys().len(), files(&world.path("src")).len()), (3, 3));
    world.expect(0, "backup empty BUCKET --yes --no-delete").assert_says("0 deleted");
    world.expect(0, "backup empty BUCKET --yes --allow-empty").assert_says("3 deleted");
    assert!(world.keys().is_empty());
    // If both sides are empty, the guard does not apply.
    world.expect(0, "backup empty BUCKET --yes").assert_nothing_to_do();
    world.expect(0, "restore BUCKET empty --yes").assert_nothing_to_do();
}

#[test]
fn deleting_most_of_the_target_is_refused_without_max_delete() {
    let world = with_objects(120);
    world.write("other/000", "x");
    world.expect(3, "backup other BUCKET --yes").assert_says("119 of the target's 120 entries");
    world.expect(3, "backup other BUCKET --yes --max-delete 118");
    world.expect(3, "backup other BUCKET --yes --max-delete 99%");
    assert_eq!(world.keys().len(), 120);
    world.expect(0, "backup other BUCKET --yes --no-delete").assert_says("0 deleted");
    world.expect(0, "backup other BUCKET --yes --max-delete=119").assert_says("119 deleted");
    assert_eq!(world.keys(), ["000"]);

    world.expect(3, "restore BUCKET src --yes");
    assert_eq!(files(&world.path("src")).len(), 120);
    world.expect(0, "restore BUCKET src --yes --max-delete 100%").assert_says("119 deleted");
    assert_eq!(files(&world.path("src")).len(), 1);
}

#[test]
fn run_without_terminal_and_without_yes_changes_nothing() {
    let world = World::on_any_server();
    world.write("src/a", "a");
    let run = world.expect(3, "backup src BUCKET");
    run.assert_says("1 to upload");
    run.assert_says("--yes");
    assert!(world.keys().is_empty());
    world.expect(0, "backup src BUCKET --yes");
    // A run that would change nothing needs no confirmation.
    world.expect(0, "backup src BUCKET");
}

#[test]
fn restore_from_an_empty_prefix_warns() {
    let world = World::on_any_server();
    world.write("dir/a", "a");
    world.expect(0, "backup dir BUCKET/photos --yes");
    let warning = "check the prefix";
    world.expect(0, "restore BUCKET/fotos back --yes --quiet").assert_says(warning);
    world.expect(0, "restore BUCKET/fotos dir --yes --no-delete").assert_says(warning);
    for line in ["restore BUCKET/photos back --yes", "restore BUCKET/photos back --yes"] {
        assert!(!world.expect(0, line).stderr.contains(warning));
    }
}
