//! `verify` compares contents.

use crate::support::{World, noise, set_age};

#[test]
fn every_kind_of_difference_is_reported() {
    let world = World::on_any_server();
    for name in ["same", "content", "size", "gone"] {
        world.write(&format!("dir/{name}"), format!("{name} content"));
    }
    world.expect(0, "backup dir BUCKET --yes");
    world.expect(0, "verify dir BUCKET").assert_says("4 the same");

    // Size and time stay the same, only the content differs.
    std::fs::write(world.path("dir/content"), "CONTENT content").unwrap();
    set_age(&world.path("dir/content"), 3_600);
    world.write("dir/size", "quite another size");
    std::fs::remove_file(world.path("dir/gone")).unwrap();
    world.write("dir/new", "new");
    let keys = world.keys();
    let run = world.expect(2, "verify dir BUCKET");
    for line in
        ["content      content", "size         size", "only remote  gone", "only local   new"]
    {
        run.assert_says(line);
    }
    run.assert_says("1 the same");
    run.assert_says("4 different, 0 unknown");
    let quiet = world.expect(2, "verify dir BUCKET --quiet");
    assert_eq!(quiet.stdout.lines().count(), 4, "{quiet:#?}");
    assert_eq!(world.keys(), keys);
    world.expect(1, "verify nowhere BUCKET");
}

#[test]
fn damage_inside_a_large_file_is_reported() {
    let world = World::on_any_server();
    let mut large = noise(5, 11 << 20);
    world.write("dir/large", &large);
    world.expect(0, "backup dir BUCKET --yes --part-size 5MiB");
    world.expect(0, "verify dir BUCKET --part-size 5MiB").assert_says("1 the same");
    large[7 << 20] ^= 1;
    world.write("dir/large", &large);
    // `--read-data`, because some servers keep no checksum, and an ETag mismatch alone could also
    // mean that the parts had other sizes.
    let run = world.expect(2, "verify dir BUCKET --part-size 5MiB --read-data");
    run.assert_says("content      large");
}
