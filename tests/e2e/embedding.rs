//! The library, embedded in another program.

use std::{
    sync::{Mutex, mpsc},
    thread,
    time::Duration,
};

use s3keep::{
    Access, AccessOptions, Cancel, Cause, Config, Direction, Env, Event, Keeper, Refusal, Stage,
    exit,
};

use crate::support::{
    World, files, noise,
    store::{self, Fault},
};

/// The configuration of a run between a directory of the world and a prefix of its bucket.
pub fn config(world: &World, dir: &str, prefix: &str) -> Config {
    let env = Env::default()
        .set("AWS_ACCESS_KEY_ID", store::ACCESS_KEY)
        .set("AWS_SECRET_ACCESS_KEY", store::SECRET_KEY)
        .set("AWS_CONFIG_FILE", "/nonexistent")
        .set("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent");
    let options =
        AccessOptions { endpoint: Some(world.endpoint().to_owned()), ..AccessOptions::default() };
    let access = Access::resolve(options, env).unwrap();
    let url = format!("s3://{}/{prefix}", world.bucket).parse().unwrap();
    Config::new(world.path(dir), url, access)
}

#[test]
fn plan_and_execute_report_events_on_the_callers_thread() {
    let world = World::in_process();
    world.write("src/a", "a");
    world.write("src/b", noise(1, 1_000_000));
    world.store().put("p/gone", b"gone");
    let mut config = config(&world, "src", "p");
    config.guards.allow_unrelated = true;
    let keeper = Keeper::new(config).unwrap();
    let caller = thread::current().id();
    let mut stages = Vec::new();
    let mut transferred = Vec::new();
    let mut deleted = Vec::new();
    let mut last_progress = None;
    let mut on_event = |event: Event| {
        assert_eq!(thread::current().id(), caller);
        match event {
            Event::Stage(stage) => stages.push(stage),
            Event::Transferred { path, bytes } => transferred.push((path.to_owned(), bytes)),
            Event::Deleted { path } => deleted.push(path.to_owned()),
            Event::Progress(progress) => last_progress = Some(progress),
            _ => {}
        }
    };
    let plan = keeper.plan(Direction::Backup, &mut on_event).unwrap();
    assert_eq!((plan.transfers.len(), plan.deletions.len()), (2, 1));
    assert_eq!(world.store().keys(), ["p/gone"]);
    let report = keeper.execute(plan, &mut on_event).unwrap();
    assert_eq!(
        (report.transferred.entries, report.deleted, report.exit_code()),
        (2, 1, exit::SUCCESS)
    );
    assert_eq!(world.store().keys(), ["p/a", "p/b"]);
    transferred.sort();
    assert_eq!(transferred, [("a".to_owned(), 1), ("b".to_owned(), 1_000_000)]);
    assert_eq!(deleted, ["gone"]);
    assert!(matches!(
        stages[..],
        [Stage::Scanning, Stage::Transferring(_), Stage::Deleting { entries: 1 }]
    ));
    let progress = last_progress.unwrap();
    assert_eq!((progress.done, progress.total), (report.transferred, report.transferred));
    assert_eq!(keeper.verify(false, &mut |_| {}).unwrap().exit_code(), exit::SUCCESS);
    let again = keeper.plan(Direction::Backup, &mut |_| {}).unwrap();
    assert!(again.is_empty());
}

#[test]
fn several_runs_work_at_once_in_one_process() {
    let world = World::in_process();
    for run in 0..4 {
        for n in 0..20 {
            world.write(&format!("src{run}/{n}"), format!("{run} {n}"));
        }
    }
    thread::scope(|scope| {
        for run in 0..4 {
            let world = &world;
            scope.spawn(move || {
                let up =
                    Keeper::new(config(world, &format!("src{run}"), &format!("p{run}"))).unwrap();
                let plan = up.plan(Direction::Backup, &mut |_| {}).unwrap();
                up.execute(plan, &mut |_| {}).unwrap();
                let down =
                    Keeper::new(config(world, &format!("back{run}"), &format!("p{run}"))).unwrap();
                let plan = down.plan(Direction::Restore, &mut |_| {}).unwrap();
                assert_eq!(down.execute(plan, &mut |_| {}).unwrap().transferred.entries, 20);
            });
        }
    });
    for run in 0..4 {
        assert_eq!(
            files(&world.path(&format!("src{run}"))),
            files(&world.path(&format!("back{run}")))
        );
    }
}

#[test]
fn run_can_be_cancelled_from_another_thread() {
    let world = World::in_process();
    for n in 0..200 {
        world.write(&format!("src/{n:03}"), "x");
    }
    let mut config = config(&world, "src", "");
    config.transfer.workers = 2;
    config.guards.allow_unrelated = true;
    let keeper = Keeper::new(config).unwrap();
    let cancel: Cancel = keeper.cancel();
    world.store().fault(Fault::on("PutObject").skip(20).times(1).run(move |_| cancel.cancel()));
    world.store().put("gone", b"gone");
    let plan = keeper.plan(Direction::Backup, &mut |_| {}).unwrap();
    let report = keeper.execute(plan, &mut |_| {}).unwrap();
    assert_eq!(report.exit_code(), exit::INTERRUPTED);
    assert!(report.fatal.unwrap().is_interrupted());
    assert!((20..100).contains(&report.transferred.entries), "{}", report.transferred.entries);
    assert!(world.store().get("gone").is_some());
    // A cancelled keeper starts nothing new.
    assert!(keeper.plan(Direction::Backup, &mut |_| {}).unwrap_err().is_interrupted());
}

#[test]
fn plan_for_another_source_or_target_is_refused() {
    let world = World::in_process();
    world.write("src/a", "a");
    world.store().put("one/gone", b"gone");
    world.store().put("two/gone", b"not in the plan");
    let one = Keeper::new(config(&world, "src", "one")).unwrap();
    // Another store with a bucket of the same name.
    let other_store = World::in_process();
    other_store.store().put("one/gone", b"not in the plan either");
    let mut namesake = config(&world, "src", "one");
    namesake.access = config(&other_store, "src", "one").access;
    for config in [config(&world, "src", "two"), config(&world, "other", "one"), namesake] {
        let plan = one.plan(Direction::Backup, &mut |_| {}).unwrap();
        let elsewhere = Keeper::new(config).unwrap();
        let refused = elsewhere.execute(plan, &mut |_| {}).unwrap_err();
        assert!(matches!(refused.cause(), Cause::Config(_)), "{refused}");
    }
    assert_eq!(world.store().keys(), ["one/gone", "two/gone"]);
    assert_eq!(other_store.store().keys(), ["one/gone"]);
    let plan = one.plan(Direction::Backup, &mut |_| {}).unwrap();
    let same = Keeper::new(config(&world, "src", "one")).unwrap();
    assert_eq!(same.execute(plan, &mut |_| {}).unwrap().exit_code(), exit::SUCCESS);
}

#[test]
fn refusal_of_a_guard_names_both_locations_as_data() {
    let world = World::in_process();
    for n in 0..20 {
        world.write(&format!("src/data/{n}"), "data");
    }
    world.write("src/file", "file");
    world.store().put("other/1", b"one");
    world.store().put("other/2", b"two");
    let refusal = |config: Config| {
        let keeper = Keeper::new(config).unwrap();
        let plan = keeper.plan(Direction::Backup, &mut |_| {}).unwrap();
        let checked = keeper.check(&plan).unwrap_err().to_string();
        let refused = keeper.execute(plan, &mut |_| {}).unwrap_err();
        assert_eq!((refused.to_string(), refused.exit_code()), (checked, exit::REFUSED));
        match refused.cause() {
            Cause::Refused(refusal) => refusal.clone(),
            cause => panic!("{cause}"),
        }
    };
    let src = world.path("src").to_str().unwrap().to_owned();
    let unrelated = config(&world, "src", "other");
    let bucket = Box::new(unrelated.bucket.clone());
    let (dir, shared, smaller, deletions) = (src.clone(), 0, 2, 2);
    let expected = Refusal::Unrelated { dir, bucket, shared, smaller, deletions };
    assert_eq!(refusal(unrelated), expected);
    assert_eq!(world.store().keys(), ["other/1", "other/2"]);

    world.expect(0, "backup src BUCKET/mine --yes");
    std::fs::remove_dir_all(world.path("src/data")).unwrap();
    std::fs::create_dir(world.path("src/data")).unwrap();
    let emptied = config(&world, "src", "mine");
    let (dir, bucket) = (src, Box::new(emptied.bucket.clone()));
    let directories = vec![("data".to_owned(), 20)];
    let expected = Refusal::EmptiedDirectories { dir, bucket, directories };
    assert_eq!(refusal(emptied), expected);
    assert_eq!(world.store().keys().len(), 2 + 21);
}

#[test]
fn timeout_may_be_unlimited_but_not_zero() {
    let world = World::in_process();
    world.write("src/a", "a");
    let with = |connect, stall| {
        let mut config = config(&world, "src", "");
        (config.transfer.connect_timeout, config.transfer.stall_timeout) = (connect, stall);
        Keeper::new(config)
    };
    let unlimited = with(Duration::MAX, Duration::MAX).unwrap();
    let plan = unlimited.plan(Direction::Backup, &mut |_| {}).unwrap();
    assert_eq!(unlimited.execute(plan, &mut |_| {}).unwrap().transferred.entries, 1);
    let second = Duration::from_secs(1);
    for (connect, stall) in [(Duration::ZERO, second), (second, Duration::ZERO)] {
        let refused = with(connect, stall).err().unwrap();
        assert!(matches!(refused.cause(), Cause::Config(_)), "{refused}");
    }
}

#[test]
fn second_run_in_a_locked_directory_is_refused() {
    let world = World::in_process();
    world.write("src/a", "a");
    let first = Keeper::new(config(&world, "src", "first")).unwrap();
    let second = Keeper::new(config(&world, "src", "second")).unwrap();
    // The first run waits in its upload until the second one has been refused.
    let (entered, wait_entered) = mpsc::channel();
    let (release, wait_release) = mpsc::channel::<()>();
    let wait_release = Mutex::new(wait_release);
    world.store().fault(Fault::on("PutObject").key("first/a").times(1).run(move |_| {
        entered.send(()).unwrap();
        let _ = wait_release.lock().unwrap().recv();
    }));
    thread::scope(|scope| {
        let run = scope.spawn(|| {
            let plan = first.plan(Direction::Backup, &mut |_| {}).unwrap();
            first.execute(plan, &mut |_| {}).unwrap()
        });
        wait_entered.recv().unwrap();
        let plan = second.plan(Direction::Backup, &mut |_| {}).unwrap();
        let refused = second.execute(plan, &mut |_| {}).unwrap_err();
        assert!(matches!(refused.cause(), Cause::Refused(Refusal::Busy(_))), "{refused}");
        assert_eq!(refused.exit_code(), exit::BUSY);
        release.send(()).unwrap();
        assert_eq!(run.join().unwrap().exit_code(), exit::SUCCESS);
    });
    assert_eq!(files(&world.path("src")).len(), 1, "no lock file remains");
    let plan = second.plan(Direction::Backup, &mut |_| {}).unwrap();
    assert_eq!(second.execute(plan, &mut |_| {}).unwrap().exit_code(), exit::SUCCESS);
}

#[test]
fn debug_output_contains_no_secret() {
    let world = World::in_process();
    let config = config(&world, "src", "");
    let debug = format!("{config:?} {:?}", config.access);
    assert!(!debug.contains(store::SECRET_KEY), "{debug}");
}
