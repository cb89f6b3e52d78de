//! Tests that must pass on every S3 server.

mod aws;
pub mod command_line;
mod conflicts;
mod guards;
mod listing;
mod local;
mod names;
mod round_trip;
mod verify;
