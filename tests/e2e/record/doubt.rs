//! Transfers in doubt: their contents cannot be compared.

use s3keep::{Direction, Keeper, Refusal};

use crate::{
    embedding,
    support::{World, store::Object},
};

/// Writes files whose objects cannot be compared with them.
fn world(incomparable: usize, others: usize) -> World {
    let world = World::in_process();
    for n in 0..incomparable + others {
        let path = format!("{n:03}");
        world.write(&format!("src/{path}"), "content");
        let object = Object::new("content");
        let object = if n < incomparable { object.etag("x").no_checksum() } else { object };
        world.store().put_object(&path, object);
    }
    world
}

#[test]
fn much_doubt_is_refused_in_both_directions() {
    for line in ["backup src BUCKET", "restore BUCKET src"] {
        let world = world(101, 100);
        for option in ["--yes", "--mock"] {
            let run = world.expect(3, &format!("{line} {option}"));
            run.assert_says("101 of these in doubt (707 B)");
            run.assert_says("the contents of 101 of 201 files could not be compared");
            run.assert_says("--allow-doubt");
        }
        let json = world.expect(0, &format!("{line} --mock --allow-doubt --json"));
        json.assert_says(r#""doubt":{"bytes":707,"entries":101}"#);
        world.expect(0, &format!("{line} --yes --allow-doubt")).assert_says("101 ");
        world.expect(0, &format!("{line} --yes")).assert_nothing_to_do();
    }
}

#[test]
fn some_doubt_is_allowed() {
    for (incomparable, others) in [(100, 0), (101, 101)] {
        let world = world(incomparable, others);
        world.expect(0, "backup src BUCKET --mock").assert_says("in doubt");
    }
}

#[test]
fn guard_of_the_library_refuses_doubt() {
    let world = world(101, 0);
    let mut config = embedding::config(&world, "src", "");
    let keeper = Keeper::new(config.clone()).unwrap();
    let plan = keeper.plan(Direction::Backup, &mut |_| {}).unwrap();
    assert_eq!(plan.in_doubt().entries, 101);
    let refused = keeper.execute(plan, &mut |_| {}).unwrap_err();
    let cause = refused.cause();
    let is_doubt =
        |refusal: &Refusal| matches!(refusal, Refusal::TooMuchDoubt { doubtful: 101, pairs: 101 });
    assert!(matches!(cause, s3keep::Cause::Refused(refusal) if is_doubt(refusal)), "{refused}");
    config.guards.allow_doubt = true;
    let keeper = Keeper::new(config).unwrap();
    let plan = keeper.plan(Direction::Backup, &mut |_| {}).unwrap();
    assert_eq!(keeper.execute(plan, &mut |_| {}).unwrap().transferred.entries, 101);
}
