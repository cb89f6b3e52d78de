//! Fuzzes the parsers of all other XML responses: errors, uploads, parts, deletions, completions.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| s3keep::fuzzing::responses(bytes));
