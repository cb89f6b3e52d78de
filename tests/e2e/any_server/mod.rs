//! What must hold on every S3 server.

mod command_line;
mod guards;
mod local;
mod names;
mod round_trip;
mod verify;
