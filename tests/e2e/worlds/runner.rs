//! Runs a property test over random or fixed cases.

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner},
};

pub type CheckResult = Result<(), TestCaseError>;

/// Checks `percent` of the number of cases of all tests together.
pub fn check<S: Strategy>(percent: usize, strategy: S, test: impl Fn(S::Value) -> CheckResult)
where
    S::Value: std::fmt::Debug,
{
    let requested: Option<usize> = std::env::var("S3KEEP_TEST_WORLDS")
        .ok()
        .map(|number| number.parse().expect("S3KEEP_TEST_WORLDS"));
    let config = Config {
        cases: (requested.unwrap_or(300) * percent).div_ceil(100) as u32,
        failure_persistence: None,
        max_shrink_iters: 3_000,
        ..Config::default()
    };
    let mut runner = match requested {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    match runner.run(&strategy, test) {
        Ok(()) => {}
        Err(TestError::Fail(why, case)) => panic!("{why}\nThe smallest case:\n{case:#?}"),
        Err(other) => panic!("{other}"),
    }
}
