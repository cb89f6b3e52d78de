//! A command in a profile that prints keys.
//! <https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html>

use std::{
    io::Read,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    error::CredentialsError,
    s3::{
        credentials::reply::{Reply, one_line},
        env::Env,
    },
};

/// Long enough for the user to touch a security key.
const TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 120 });

/// The most bytes of output to read. A reply with keys is much shorter.
const MAX_OUTPUT: u64 = 1 << 20;

/// A command, which is run without a shell.
pub(super) struct Process {
    program: String,
    args: Vec<String>,
}

impl Process {
    /// Splits a command line into words. `name` is for messages.
    pub(super) fn parse(name: &str, command: &str, env: &Env) -> Result<Process, CredentialsError> {
        let words = split(command, env.get("HOME")).unwrap_or_default();
        let mut words = words.into_iter();
        match words.next() {
            Some(program) => Ok(Process { program, args: words.collect() }),
            None => Err(CredentialsError::setting(name, "is empty or has an unclosed quote")),
        }
    }

    /// Runs the command and parses its output.
    pub(super) fn load(&self) -> Result<Reply, String> {
        let mut child = Command::new(&self.program)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run {:?}: {error}", self.program))?;
        let (output, errors) = (drain(child.stdout.take()), drain(child.stderr.take()));
        let started = Instant::now();
        let mut status = child.try_wait();
        while matches!(status, Ok(None)) && started.elapsed() < TIMEOUT {
            thread::sleep(Duration::from_millis(10));
            status = child.try_wait();
        }
        let Ok(Some(status)) = status else {
            // Whether this succeeds or not, the command will return no keys.
            let _ = child.kill().and_then(|()| child.wait());
            return Err(format!("it did not exit within {} s", TIMEOUT.as_secs()));
        };
        // With a timeout, because a child of the command may hold the pipes open.
        let read = |pipe: mpsc::Receiver<_>| pipe.recv_timeout(Duration::from_secs(1));
        if !status.success() {
            let errors = read(errors).unwrap_or_default();
            let errors = String::from_utf8_lossy(&errors);
            let last_line = errors.trim().lines().last().unwrap_or_default();
            return Err(one_line(&format!("{status}: {last_line}")));
        }
        let output = read(output).map_err(|_| "it exited, but its output is still open")?;
        let reply = Reply::from_json(&output)?;
        match reply.version {
            Some(1) => Ok(reply),
            _ => Err("its output lacks \"Version\": 1".to_owned()),
        }
    }
}

/// Splits a command line into words like a shell, and expands `~` and `$HOME` like a shell, as far as
/// `home` is known.
fn split(command: &str, home: Option<&str>) -> Option<Vec<String>> {
    let Some(home) = home else { return shlex::split(command) };
    // The home directory replaces this mark after the words are split: it may contain blanks.
    const MARK: char = '\0';
    let mut marked = String::new();
    let (mut in_single, mut in_double, mut at_start) = (false, false, true);
    let mut rest = command;
    while let Some(c) = rest.chars().next() {
        let is_quoted = in_single || in_double;
        let variable = ["${HOME}", "$HOME"].into_iter().find(|name| {
            let next = rest.strip_prefix(name).map(|rest| rest.chars().next());
            next.is_some_and(|next| {
                name.ends_with('}') || !next.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
            })
        });
        let is_tilde = c == '~'
            && at_start
            && !is_quoted
            && rest[1..].chars().next().is_none_or(|next| next == '/' || next.is_whitespace());
        let mut len = c.len_utf8();
        match variable {
            Some(name) if !in_single => {
                marked.push(MARK);
                len = name.len();
            }
            _ if is_tilde => marked.push(MARK),
            _ if c == '\\' && !in_single => {
                // The next character has no meaning of its own.
                len += rest[1..].chars().next().map_or(0, char::len_utf8);
                marked.push_str(&rest[..len]);
            }
            _ => {
                in_single ^= c == '\'' && !in_double;
                in_double ^= c == '"' && !in_single;
                marked.push(c);
            }
        }
        at_start = !is_quoted && c.is_whitespace();
        rest = &rest[len..];
    }
    let words = shlex::split(&marked)?;
    Some(words.into_iter().map(|word| word.replace(MARK, home)).collect())
}

/// Reads a pipe on another thread, so that the process does not block when the pipe is full.
fn drain(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    // If the thread cannot start, the channel is closed.
    let _ = thread::Builder::new().spawn(move || {
        let mut bytes = Vec::new();
        if pipe.is_none_or(|pipe| pipe.take(MAX_OUTPUT).read_to_end(&mut bytes).is_ok()) {
            let _ = sender.send(bytes);
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::s3::credentials::testing::{Home, SECRET, TOKEN, at, check_harmless};

    fn in_config(command: &str) -> Process {
        let home = Home::new(&format!("[default]\ncredential_process = {command}\n"));
        let profile = home.profile(None);
        Process::parse("p", profile.get("credential_process").unwrap(), &home.env).unwrap()
    }

    #[test]
    fn output_is_parsed_and_quoted_arguments_are_kept_whole() {
        let output = format!(
            r#"{{"Version":1,"AccessKeyId":"PROC","SecretAccessKey":"{SECRET}",
               "SessionToken":"{TOKEN}","Expiration":"2026-01-01T02:00:00+01:00"}}"#
        );
        let home = Home::new("");
        let script = home.path("my script.sh");
        fs::write(&script, format!("echo noise >&2; test \"$1\" = 'a # b' && echo '{output}'"))
            .unwrap();
        // In the AWS tools, a comment starts after a blank even within quotes, so `#` is quoted
        // apart.
        let process = in_config(&format!("sh \"{}\" 'a '\"#\"' b'", script.display()));
        let keys = process.load().unwrap().into_credentials(at(0)).unwrap();
        assert_eq!(keys.access_key, "PROC");
        assert_eq!(keys.session_token.as_deref(), Some(TOKEN));
        assert_eq!(keys.expires, Some(at(3600)));
    }

    #[test]
    fn failure_is_reported_without_the_output() {
        let fails = |command: &str| {
            let reply = in_config(command).load();
            let error = reply.and_then(|reply| reply.into_credentials(at(0))).unwrap_err();
            check_harmless(&error)
        };
        let text = fails(&format!(
            "sh -c 'echo {SECRET}; echo first >&2; echo \"no\tlogin\" >&2; exit 3'"
        ));
        assert!(text.contains("exit status: 3: no login") && !text.contains("first"), "{text}");
        let text = fails("/nonexistent/helper --token sEcReT/Key+0");
        assert!(text.contains("cannot run \"/nonexistent/helper\""), "{text}");
        assert!(fails(&format!("echo {SECRET}")).contains("JSON"));
        assert!(fails(&format!("printf '{{\"Version\":\"{SECRET}\"}}'")).contains("JSON"));
        assert!(fails("echo '{\"Version\":2,\"AccessKeyId\":\"a\"}'").contains("Version"));
        assert!(fails("echo '{\"Version\":1,\"AccessKeyId\":\"a\"}'").contains("lacks"));
        assert!(fails("true").contains("JSON"));
        fails("head -c 3000000 /dev/zero");
        assert!(fails("sleep 60").contains("did not exit within 3 s"));
    }

    #[test]
    fn command_without_words_or_with_an_open_quote_is_refused() {
        for command in ["a 'b", " "] {
            let error = Process::parse("credential_process of profile p", command, &Env::default());
            let text = check_harmless(&error.map(drop).unwrap_err());
            assert_eq!(text, "credential_process of profile p is empty or has an unclosed quote");
        }
    }

    #[test]
    fn home_directory_is_expanded_like_in_a_shell() {
        let words = |command: &str| split(command, Some("/home/a b")).unwrap();
        assert_eq!(words("~/bin/keys --to $HOME/x"), ["/home/a b/bin/keys", "--to", "/home/a b/x"]);
        assert_eq!(words("\"$HOME/k\" \"${HOME}\"c ~"), ["/home/a b/k", "/home/a bc", "/home/a b"]);
        assert_eq!(words("${HOME}x $HOMES a~/b ~c/d"), ["/home/a bx", "$HOMES", "a~/b", "~c/d"]);
        assert_eq!(words("'$HOME/~' '~/x' \"~/x\" \\~/x"), ["$HOME/~", "~/x", "~/x", "~/x"]);
        assert_eq!(
            words("\\$HOME \"\\$HOME\" \"it's $HOME\""),
            ["$HOME", "$HOME", "it's /home/a b"]
        );
        assert_eq!(split("~/x $HOME", None).unwrap(), ["~/x", "$HOME"]);
        assert_eq!(split("a 'b", Some("/h")), None);
        assert_eq!(split("é\\", Some("/h")), shlex::split("é\\"));
    }
}
