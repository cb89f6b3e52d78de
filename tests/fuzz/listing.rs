//! Fuzzes the parser of a page of a listing.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| s3keep::fuzzing::listing(bytes));
