//! Environment variables, as plain data.

use std::{collections::BTreeMap, env, ffi::OsString, fmt};

/// The environment variables that the configuration is read from.
///
/// The library reads the environment of the process only in [`Env::from_process`], so that an
/// embedder or a test can pass other variables.
#[derive(Clone, Default)]
pub struct Env {
    vars: BTreeMap<String, String>,
}

impl Env {
    /// The variables of this process. A variable that is not UTF-8 counts as unset.
    pub fn from_process() -> Env {
        let utf8 = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        env::vars_os().filter_map(utf8).collect()
    }

    /// The value of a variable. An empty one counts as unset, as in the AWS tools.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The same variables with this one set.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Env {
        self.vars.insert(name.into(), value.into());
        self
    }

    /// The value of the first of these variables that is set.
    pub(crate) fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }

    /// Whether a variable is `true` in upper or lower case. The AWS tools write switches like this.
    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(vars: I) -> Env {
        Env { vars: vars.into_iter().map(|(name, value)| (name.into(), value.into())).collect() }
    }
}

/// Shows the names only: values may be secret.
impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.vars.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_variable_counts_as_unset_and_debug_shows_no_value() {
        let env: Env = [("AWS_SECRET_ACCESS_KEY", "s3cret"), ("EMPTY", "")].into_iter().collect();
        assert_eq!(env.get("AWS_SECRET_ACCESS_KEY"), Some("s3cret"));
        assert_eq!(env.get("EMPTY"), None);
        assert_eq!(env.first(&["UNSET", "EMPTY", "AWS_SECRET_ACCESS_KEY"]), Some("s3cret"));
        assert_eq!(format!("{env:?}"), r#"{"AWS_SECRET_ACCESS_KEY", "EMPTY"}"#);
        assert!(Env::from_process().get("PATH").is_some());
    }
}
