//! What must hold on every S3 server.

mod aws;
mod command_line;
mod guards;
mod local;
mod names;
mod round_trip;
mod verify;
