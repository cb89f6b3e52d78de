//! The command from end to end, over HTTP, against a server that checks signatures.
//!
//! `any_server` runs in process with `cargo test`, and against a real server when the environment names
//! one; the rest needs what only the in-process server can do.

#[path = "../support/mod.rs"]
mod support;

mod access;
mod accounts;
mod any_server;
mod archived;
mod changed_plans;
mod conflicts;
mod congestion;
mod connecting;
mod credentials;
mod cross_links;
mod decision;
mod downloads;
mod embedding;
mod faults;
mod growing;
mod hostile;
mod interrupts;
mod kills;
mod large;
mod leftovers;
mod limits;
mod listing;
mod locks;
mod matrix;
mod messages;
mod moved;
mod one_object;
mod people;
mod proxies;
mod quirks;
mod races;
mod record;
mod requests;
mod resume;
mod scheduled_jobs;
mod secrets;
mod selection;
mod shell_completions;
mod slow_lines;
mod spellings;
mod unfinished_restores;
mod withheld;
mod worlds;
