//! What happens to the directory and the bucket between two runs.

use crate::{
    model::direction::Direction,
    plan::rule_model::world::{
        Change, DAY, Evidence, FileSystem, PATHS, SECOND, SimulatedFile, World,
    },
};

/// An event whose detection the guide states.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// The first column of the table in the guide.
    pub text: &'static str,
    pub file_systems: &'static [FileSystem],
    pub evidence: &'static [Evidence],
    /// Whether the event may change the size. Differences in size are counted only then.
    pub any_size: bool,
    /// Happens to a path that is in sync.
    pub happen: Change,
}

const USUAL: &[FileSystem] = &[FileSystem::Fine, FileSystem::WholeSeconds];
const COMPARABLE: &[Evidence] = &[Evidence::Md5, Evidence::Checksum];

const fn event(text: &'static str, happen: Change) -> Event {
    Event { text, file_systems: USUAL, evidence: COMPARABLE, any_size: false, happen }
}

/// The rows of the table in the guide.
pub const EVENTS: &[Event] = &[
    Event { any_size: true, ..event("an edit that changes the size", resize) },
    event("an edit that keeps the size", edit),
    event("an edit, then `touch -r` sets the mtime back", edit_and_set_back),
    event("`cp -p`, `cp -a` or `rsync -t` over the file", copy_over),
    event("`mv` of another file over the file", move_over),
    event("two directories swap their names", |world, _| world.swap_directories()),
    event("a write through a memory map", write_mapped_again),
    event("the disk is rolled back, or an older snapshot is backed up", roll_back),
    event("a change between a snapshot and the upload from it", edit_before_upload),
    event("an edit while the file is uploaded", edit_during_upload),
    event("an edit while the file is uploaded, then `touch -r`", edit_silently_during_upload),
    event("an edit while the local clock is behind, corrected before the run", edit_behind),
    event("an edit while the local clock is behind, also during the run", edit_while_behind),
    event("an edit while the local clock is ahead, corrected before the run", edit_ahead),
    event("an edit after an upload whose LastModified is in the future", edit_after_future_upload),
    event("an edit, then another program copies the object in place", edit_before_copy),
    event("another program overwrites the object, same size", overwrite_object),
    Event {
        any_size: true,
        ..event("another program overwrites the object, other size", resize_object)
    },
    Event {
        any_size: true,
        ..event("another program deletes the object", |world, path| {
            world.objects.remove(path);
        })
    },
    Event {
        any_size: true,
        ..event("the file is deleted, or moved to a new name", |world, path| {
            world.files.remove(path);
        })
    },
    event("`chown -R`, `chmod -R`, new hard links", |world, path| world.touch_ctime(path)),
    event("`CopyObject` in place", copy_object),
    event("the record is lost", |world, _| lose_record(world)),
    Event {
        file_systems: &[FileSystem::Memory],
        ..event("tmpfs: a write through a memory map", write_mapped_again)
    },
    Event {
        file_systems: &[FileSystem::NoCtime],
        ..event("FAT, sshfs: an edit, then `touch -r` sets the mtime back", edit_and_set_back)
    },
    Event {
        file_systems: &[FileSystem::NoCtime],
        ..event("FAT, sshfs: `cp -p`, `rsync -t` or `mv` over the file", copy_over)
    },
    Event {
        evidence: &[Evidence::Nothing],
        ..event("no comparable content: an edit, then `touch -r`", edit_and_set_back)
    },
    Event {
        evidence: &[Evidence::Nothing],
        ..event("no comparable content: another program overwrites the object", overwrite_object)
    },
];

/// A size that several files have.
const SIZE: u64 = 7;

fn edit(world: &mut World, path: &'static str) {
    world.write(path, SIZE);
}

fn resize(world: &mut World, path: &'static str) {
    world.write(path, SIZE + 1);
}

fn edit_and_set_back(world: &mut World, path: &'static str) {
    let before = world.files.get(path).map_or(0, |file| file.modified);
    edit(world, path);
    world.set_mtime(path, before);
}

/// Another file with an mtime of its own.
fn copy_over(world: &mut World, path: &'static str) {
    edit(world, path);
    let mtime = other_mtime(world, path);
    world.set_mtime(path, mtime);
}

/// Most files are older. Some have the mtime of the file that they replace, or one in the future.
fn other_mtime(world: &mut World, path: &'static str) -> i64 {
    match world.random.u8(..10) {
        0 => world.files.get(path).map_or(0, |file| file.modified),
        1 => world.local_now() + world.some_time(),
        2 => world.object(path).map_or(0, |object| object.modified.nanos()),
        _ => world.local_now() - world.some_time() - world.some_time(),
    }
}

fn move_over(world: &mut World, path: &'static str) {
    let content = world.new_content();
    let modified = other_mtime(world, path);
    let changed = world.local_now() - world.some_time();
    let dirty_until = world.now;
    let file = SimulatedFile { content, size: SIZE, modified, changed, dirty_until };
    world.files.insert(path, file);
    world.set_mtime(path, modified);
}

/// Writes through the same map before and after a backup. Some programs set the mtime back in between.
fn write_mapped_again(world: &mut World, path: &'static str) {
    let before = world.files.get(path).map_or(0, |file| file.modified);
    if world.random.bool() {
        world.write_mapped(path);
        if world.random.bool() {
            world.set_mtime(path, before);
        }
        world.pause();
        world.run(Direction::Backup);
        world.pause();
    }
    world.write_mapped(path);
}

/// The newest snapshot with other content at this path.
fn roll_back(world: &mut World, path: &'static str) {
    let current = world.files.get(path).map(|file| file.content);
    let is_other = |content: u64| Some(content) != current;
    let mut snapshots = world.snapshots.iter().rev();
    let older = snapshots.find(|files| files.get(path).is_some_and(|file| is_other(file.content)));
    if let Some(older) = older {
        world.files = older.clone();
        world.files.values_mut().for_each(|file| file.dirty_until = world.now);
    }
}

/// A backup of a snapshot stores a file that has changed since.
fn edit_before_upload(world: &mut World, path: &'static str) {
    edit(world, path);
    world.pause();
    let snapshot = world.files.clone();
    edit(world, path);
    let live = world.files.clone();
    world.pause();
    world.files = snapshot;
    world.run(Direction::Backup);
    world.files = live;
}

fn edit_during_upload(world: &mut World, path: &'static str) {
    edit(world, path);
    world.pause();
    world.during_upload = Some((path, edit));
    world.run(Direction::Backup);
}

fn edit_silently_during_upload(world: &mut World, path: &'static str) {
    edit(world, path);
    world.pause();
    world.during_upload = Some((path, edit_and_set_back));
    world.run(Direction::Backup);
}

fn edit_behind(world: &mut World, path: &'static str) {
    edit_while_behind(world, path);
    world.local_offset = 0;
}

fn edit_while_behind(world: &mut World, path: &'static str) {
    world.local_offset = -world.some_time();
    edit(world, path);
}

fn edit_ahead(world: &mut World, path: &'static str) {
    world.local_offset = world.some_time();
    edit(world, path);
    world.local_offset = 0;
}

fn edit_after_future_upload(world: &mut World, path: &'static str) {
    let offset = world.store_offset;
    world.store_offset += world.some_time();
    edit(world, path);
    world.pause();
    world.run(Direction::Backup);
    world.store_offset = offset;
    world.pause();
    edit(world, path);
}

fn edit_before_copy(world: &mut World, path: &'static str) {
    edit(world, path);
    world.pause();
    copy_object(world, path);
}

fn copy_object(world: &mut World, path: &'static str) {
    if let Some(object) = world.objects.get(path).cloned() {
        world.put(path, object.content, object.size, world.store_now());
    }
}

fn overwrite_object(world: &mut World, path: &'static str) {
    let content = world.new_content();
    world.put(path, content, SIZE, world.store_now());
}

fn resize_object(world: &mut World, path: &'static str) {
    let content = world.new_content();
    world.put(path, content, SIZE + 2, world.store_now());
}

fn lose_record(world: &mut World) {
    if let Some(record) = &mut world.record {
        record.clear();
    }
}

/// Creates the files of a new world: some were written in it, some were copied into it.
pub fn create_files(world: &mut World) {
    for path in PATHS {
        world.now += world.random.i64(0..2 * SECOND);
        edit(world, path);
        if world.random.bool() {
            let age = world.random.i64(0..300 * DAY);
            world.set_mtime(path, world.local_now() - age);
        }
    }
}

/// Anything that happens before the event that is examined. The clocks are right.
pub fn happen_before(world: &mut World) {
    let path = PATHS[world.random.usize(..PATHS.len())];
    match world.random.u8(..20) {
        0 | 1 => edit(world, path),
        2 => resize(world, path),
        3 => edit_and_set_back(world, path),
        4 => copy_over(world, path),
        5 => move_over(world, path),
        6 => world.swap_directories(),
        7 | 8 => world.write_mapped(path),
        9 => roll_back(world, path),
        10 => PATHS.iter().for_each(|path| world.touch_ctime(path)),
        11 => copy_object(world, path),
        12 => overwrite_object(world, path),
        13 => lose_record(world),
        14 => drop(world.objects.remove(path)),
        15 => restore_elsewhere(world),
        16 => {
            let modified = world.files.get(path).map_or(0, |file| file.modified);
            world.write_mapped(path);
            world.set_mtime(path, modified);
        }
        17 | 18 => world.run(Direction::Backup),
        _ => world.run(Direction::Restore),
    }
    if world.random.bool() {
        world.snapshots.push(world.files.clone());
    }
}

/// The history continues in a copy of the bucket.
pub fn restore_elsewhere(world: &mut World) {
    world.run(Direction::Backup);
    world.files.clear();
    lose_record(world);
    world.run(Direction::Restore);
}
