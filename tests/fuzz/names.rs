//! Fuzzes the parsers of keys, ETags and bucket URLs.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| s3keep::fuzzing::names(bytes));
