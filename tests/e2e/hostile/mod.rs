//! Hostile input and hostile surroundings.
//!
//! Keys that climb out of the directory, symlinks that are planted or swapped in, very deep trees,
//! and a system that refuses. In every case, nothing outside the directory is read, written or
//! deleted.

mod attributes;
pub mod command;
mod deep_trees;
mod disk;
mod folding_directory;
mod hidden_content;
mod keys;
mod links;
mod permissions;
mod replaced_permissions;
mod sparse;
mod swapped_links;
mod system_limits;
mod watch;
