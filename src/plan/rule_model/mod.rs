//! A model of the rule: random histories of a simulated world.
//!
//! Each history ends with one event. The model counts how often the next run detects it: whether it
//! transfers a file whose content differs from that of its object. The table in the guide says for
//! each event whether it is always, sometimes or never detected; the test compares both.
//!
//! | file | content |
//! | --- | --- |
//! | `world` | the directory, the bucket, the clocks and the record |
//! | `runs` | backups and restores, by the real rule |
//! | `events` | what happens between two runs |

mod events;
mod runs;
mod world;

use std::fmt;

use fastrand::Rng;

use crate::{
    model::direction::Direction,
    plan::rule_model::{
        events::{EVENTS, Event, create_files, happen_before, restore_elsewhere},
        runs::Outcome,
        world::{PATHS, World},
    },
};

/// The number of histories for each event.
const HISTORIES: u64 = 2_500;

/// What the next run does about an event.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    detected: u32,
    missed: u32,
    /// The contents were the same.
    same: u32,
    /// The contents were the same, and the file was transferred only because of the event.
    needless: u32,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.detected, self.missed) {
            (0, 0) if self.same == 0 => "-",
            (0, 0) => "nothing to do",
            (_, 0) => "always",
            (0, _) => "never",
            _ => "sometimes",
        })
    }
}

/// The columns of the table in the guide: a backup with and without an entry in the record, a restore
/// with and without one.
type Columns = [Tally; 4];

fn column(direction: Direction, has_entry: bool) -> usize {
    usize::from(direction == Direction::Restore) * 2 + usize::from(!has_entry)
}

/// One history that ends with `event`, and what the next run does.
fn examine(event: &Event, seed: u64, tallies: &mut Columns) {
    let mut random = Rng::with_seed(seed);
    let file_system = event.file_systems[random.usize(..event.file_systems.len())];
    let evidence = event.evidence[random.usize(..event.evidence.len())];
    let mut world = World::new(random, file_system, evidence);
    create_files(&mut world);
    for _ in 0..world.random.u8(..6) {
        world.pause();
        happen_before(&mut world);
    }
    world.pause();
    match world.random.u8(..4) {
        0 => restore_elsewhere(&mut world),
        1 => world.run(Direction::Restore),
        _ => world.run(Direction::Backup),
    }
    world.pause();
    if world.random.bool() {
        // Most uploads are too young to be recorded before a second run has read them.
        world.run(Direction::Backup);
        world.pause();
    }
    let path = PATHS[world.random.usize(..PATHS.len())];
    let direction = if world.random.bool() { Direction::Backup } else { Direction::Restore };
    if !world.is_in_sync(path) {
        return;
    }
    let before = world.clone().outcome(direction, path);
    (event.happen)(&mut world, path);
    world.pause();
    let size = |world: &World| {
        (world.files.get(path).map(|file| file.size), world.objects.get(path).map(|o| o.size))
    };
    let (local, stored) = size(&world);
    if local != stored && !event.any_size {
        return;
    }
    let is_in_sync = world.is_in_sync(path);
    let has_entry = world.has_entry(path);
    let outcome = world.outcome(direction, path);
    let tally = &mut tallies[column(direction, has_entry)];
    match (is_in_sync, outcome) {
        (false, Outcome::Transferred) => tally.detected += 1,
        (false, _) => tally.missed += 1,
        (true, _) => {
            tally.same += 1;
            let is_needless = outcome == Outcome::Transferred && before != outcome;
            tally.needless += u32::from(is_needless);
        }
    }
}

/// The tallies of all histories that end with `event`.
fn examine_all(event: &Event) -> Columns {
    let mut tallies = Columns::default();
    (0..HISTORIES).for_each(|seed| examine(event, seed, &mut tallies));
    tallies
}

/// The rows of the table in the guide.
fn rows_in_guide() -> Vec<&'static str> {
    let lines = include_str!("../../guide/decision_rule.md").lines();
    let table = lines.skip_while(|line| !line.starts_with("| event |"));
    table.skip(2).take_while(|line| line.starts_with('|')).collect()
}

#[test]
fn guide_states_which_events_are_always_sometimes_or_never_detected() {
    let mut rows = Vec::new();
    for event in EVENTS {
        let tallies = examine_all(event);
        println!("{}: {tallies:?}", event.text);
        let cells = tallies.map(|tally| tally.to_string()).join(" | ");
        rows.push(format!("| {} | {cells} |", event.text));
        if tallies.iter().all(|tally| tally.detected + tally.missed == 0) {
            let needless: u32 = tallies.iter().map(|tally| tally.needless).sum();
            assert_eq!(needless, 0, "{}: {tallies:?}", event.text);
        }
    }
    assert_eq!(rows_in_guide(), rows);
}
