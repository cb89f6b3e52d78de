//! Random trees, random changes and random faults, checked against a naive oracle.
//!
//! A case is plain data ([`case::Case`]), so that proptest can shrink a failing case to the
//! smallest one that still fails. A [`fixture::Fixture`] is built from the case: a tree is backed
//! up, perhaps restored elsewhere, and then both sides are changed without the program. The
//! [`oracle`] implements the decision rule a second time, in plain loops over the actual content of
//! both sides.
//!
//! The [`promise`] has histories of interrupted runs, while the user works in the directory. Its oracle
//! knows no rule: no content may be lost.
//!
//! `S3KEEP_TEST_WORLDS` is the number of cases of all tests together. If it is not set, a few fixed
//! cases run. `scripts/worlds` runs thousands of new ones.

mod case;
mod failures;
mod fixture;
mod observe;
mod oracle;
mod parsing;
mod promise;
mod properties;
mod run;
mod runner;
