//! Stores that differ from AWS: what s3keep does without an option.

mod deletions;
mod listings;
mod uploads;
