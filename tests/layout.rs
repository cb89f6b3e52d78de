//! The order of the modules, and a check that every import points downward.
//!
//! [`ORDER`] lists all source files from top to bottom. A file may import only files that are further
//! down. So there are no cycles, and each file can be read and tested with those below it alone. A
//! `mod.rs` is above the files of its folder: they import each other by their full paths, and never
//! through it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// All files below `src/`, from top to bottom, without `.rs`.
const ORDER: &[&str] = &[
    // The public API, and the entry points of the fuzz targets.
    "lib",
    "fuzzing",
    // The command: arguments to a request, results to text. A crate of its own.
    "bin/s3keep/main",
    "bin/s3keep/listing",
    "bin/s3keep/output",
    "bin/s3keep/json",
    "bin/s3keep/summary_text",
    "bin/s3keep/plan_text",
    "bin/s3keep/grouped",
    "bin/s3keep/terminal",
    "bin/s3keep/cli",
    "bin/s3keep/completions",
    "bin/s3keep/man",
    "bin/s3keep/help",
    "bin/s3keep/environment",
    "bin/s3keep/arguments",
    "bin/s3keep/commands",
    "bin/s3keep/flags",
    "bin/s3keep/request",
    "bin/s3keep/question",
    "bin/s3keep/heading",
    "bin/s3keep/words",
    "bin/s3keep/signals",
    "bin/s3keep/open_files",
    // The guide: documentation pages, no code.
    "guide/mod",
    // The whole flow on one screen.
    "keeper",
    // Executing a plan.
    "transfer/mod",
    "transfer/run",
    "transfer/replace",
    "transfer/spellings",
    "transfer/stored",
    "transfer/delete",
    "transfer/recheck",
    "transfer/download",
    "transfer/leftovers",
    "transfer/scheduler",
    "transfer/in_flight",
    "transfer/large",
    "transfer/upload",
    "transfer/reuse",
    "transfer/growth",
    "transfer/holes",
    "transfer/resume",
    "transfer/restore_marker",
    "transfer/worker",
    "transfer/publish",
    "transfer/learn",
    "transfer/context",
    "transfer/job",
    "transfer/steps",
    // The other two commands.
    "verify",
    "cleanup",
    // A prefix that is the key of one object.
    "one_object",
    // Events, the report, exit codes.
    "report/mod",
    "report/report",
    "report/attributes",
    "report/events",
    "report/exit",
    // The configuration of a run.
    "config",
    // Comparing contents.
    "content/mod",
    "content/evidence",
    "content/part_sums",
    "content/same_objects",
    "content/sink",
    "content/archived",
    "content/undecided",
    "content/unreadable",
    "content/compare",
    "content/identify",
    "content/proof",
    "content/multipart_etag",
    // Planning: pure functions.
    "plan/mod",
    "plan/guards",
    "plan/doubt",
    "plan/build",
    "plan/archived",
    "plan/join",
    "plan/incomplete",
    "plan/left_out",
    "plan/unreadable",
    "plan/selected",
    "plan/one_object",
    "plan/plan",
    "plan/excluded",
    "plan/spellings",
    "plan/merge",
    "plan/planned",
    "plan/withheld",
    "plan/protected",
    "plan/emptied",
    "plan/overlap",
    "plan/actions",
    "plan/rule_model/mod",
    "plan/rule_model/events",
    "plan/rule_model/runs",
    "plan/rule_model/world",
    "plan/rule",
    // Listing the bucket.
    "remote/mod",
    "remote/contents",
    "remote/one_object",
    "remote/level",
    "remote/listing",
    "remote/prefixes",
    "remote/ranges",
    "remote/simulated_store",
    "remote/pages",
    "remote/entry",
    // The local directory: scanning it, and every access to its files.
    "local/mod",
    "local/gone",
    "local/same_entry",
    "local/lock",
    "local/marker",
    "local/leftover",
    "local/snapshot",
    "local/settle",
    "local/scan",
    "local/directory_times",
    "local/links",
    "local/temporary",
    "local/reading",
    "local/replacement",
    "local/parent",
    "local/hidden_content",
    "local/permission",
    "local/root",
    "local/access_control",
    "local/acl",
    "local/umask",
    "local/times",
    "local/refused",
    "local/file_state",
    "local/flush",
    "local/platform",
    // Which entries a run looks at.
    "selection/mod",
    "selection/selector",
    "selection/selection",
    "selection/rules",
    "selection/pattern_list",
    // The record: what was last known to be the same.
    "record/mod",
    "record/record",
    "record/facts",
    "record/location",
    "record/format",
    "record/entry",
    // The S3 client.
    "s3/mod",
    "s3/operations/mod",
    "s3/operations/list",
    "s3/operations/archived",
    "s3/operations/put",
    "s3/operations/download",
    "s3/operations/complete",
    "s3/operations/multipart",
    "s3/operations/delete",
    "s3/operations/content",
    "s3/operations/version",
    "s3/operations/head",
    "s3/operations/content_range",
    "s3/request_bodies",
    "s3/bucket_in_endpoint",
    "s3/client",
    "s3/error_response",
    "s3/request",
    "s3/retry",
    "s3/watchdog",
    "s3/throttle",
    "s3/outage",
    "s3/sign",
    "s3/address",
    "s3/credentials/mod",
    "s3/credentials/provider",
    "s3/credentials/chain",
    "s3/credentials/assumed_role",
    "s3/credentials/environment",
    "s3/credentials/profile_keys",
    "s3/credentials/source",
    "s3/credentials/role",
    "s3/credentials/signature",
    "s3/credentials/sso",
    "s3/credentials/container",
    "s3/credentials/instance",
    "s3/credentials/process",
    "s3/credentials/file_keys",
    "s3/credentials/static_keys",
    "s3/credentials/web_identity",
    "s3/credentials/sts",
    "s3/credentials/exchange",
    "s3/credentials/reply",
    "s3/credentials/testing",
    "s3/credentials/validate",
    "s3/credentials/access_keys",
    "s3/credentials/now",
    "s3/transport/mod",
    "s3/transport/credential_fetcher",
    "s3/transport/http_client",
    "s3/transport/agent",
    "s3/transport/route",
    "s3/transport/bandwidth",
    "s3/transport/absolute_form",
    "s3/transport/tcp",
    "s3/transport/progress",
    "s3/transport/dialer",
    "s3/transport/dns",
    "s3/transport/early_response",
    "s3/transport/connections",
    "s3/transport/response",
    "s3/transport/describe",
    "s3/transport/proxy",
    "s3/transport/no_proxy",
    "s3/transport/tls",
    "s3/transport/certificates",
    "s3/access",
    "s3/account_headers",
    "s3/aws_hosts",
    "s3/profile/mod",
    "s3/profile/profile",
    "s3/profile/files",
    "s3/profile/parser",
    "s3/profile/error",
    "s3/env",
    "s3/fetch",
    "s3/options",
    "s3/payload",
    "s3/responses/mod",
    "s3/responses/listing",
    "s3/responses/multipart",
    "s3/responses/delete",
    "s3/responses/error",
    "s3/responses/not_s3",
    "s3/responses/time",
    "s3/responses/url_encoding",
    "s3/xml",
    "s3/clock",
    "s3/quirks",
    "s3/parts",
    "s3/checksum",
    // Worker threads and cancellation.
    "worker_pool",
    "cancel",
    // Errors.
    "error/mod",
    "error/error",
    "error/cause",
    "error/explanation",
    "error/server_message",
    "error/credentials",
    "error/refusal",
    "error/s3_code",
    // Plain data. These files import nothing from the rest of the crate.
    "model/mod",
    "model/attribute",
    "model/contents",
    "model/bucket_url",
    "model/access_point",
    "model/count",
    "model/direction",
    "model/entry",
    "model/etag",
    "model/file_mode",
    "model/fold",
    "model/found",
    "model/links",
    "model/similar",
    "model/skip",
    "model/archive_class",
    "model/escape",
    "model/paths",
    "model/time",
];

#[test]
fn every_import_points_downward() {
    let sources = read_sources();
    let problems = check(ORDER, &sources);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_source_file_has_a_place_in_the_order() {
    let listed: BTreeSet<&str> = ORDER.iter().copied().collect();
    assert_eq!(listed.len(), ORDER.len(), "a file is listed twice");
    let sources = read_sources();
    let found: BTreeSet<&str> = sources.keys().map(String::as_str).collect();
    assert_eq!(listed, found);
}

/// The source files by their names in [`ORDER`].
fn read_sources() -> BTreeMap<String, String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = BTreeMap::new();
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&src).unwrap().with_extension("");
                let source = fs::read_to_string(&path).unwrap();
                sources.insert(name.to_str().unwrap().to_owned(), source);
            }
        }
    }
    sources
}

/// Describes every import that does not point downward in `order`.
fn check(order: &[&str], sources: &BTreeMap<String, String>) -> Vec<String> {
    let position: BTreeMap<&str, usize> =
        order.iter().enumerate().map(|(position, file)| (*file, position)).collect();
    let mut problems = Vec::new();
    for (file, source) in sources {
        let code = without_comments(source);
        if code.replace("use super::*;", "").contains("super::") {
            problems.push(format!("{file} imports by `super::`; use the path from `crate`"));
        }
        if let Some((folder, _)) = file.rsplit_once('/')
            && let Some(parent) = position.get(format!("{folder}/mod").as_str())
            && position.get(file.as_str()) < Some(parent)
        {
            problems.push(format!("{folder}/mod is below its child {file}"));
        }
        for path in paths_after("crate::", &code) {
            let Some(target) = resolve(file, &path, &position) else { continue };
            if target != file && position.get(target) <= position.get(file.as_str()) {
                let path = path.join("::");
                problems
                    .push(format!("{file} imports crate::{path} from {target}, which is above it"));
            }
        }
    }
    problems
}

/// The file that a path from `crate` leads to: that of its longest part that is a module.
fn resolve<'a>(
    importer: &str,
    path: &[String],
    position: &BTreeMap<&'a str, usize>,
) -> Option<&'a str> {
    // The command is a crate of its own.
    let root = if importer.starts_with("bin/s3keep/") { "bin/s3keep/" } else { "" };
    let modules = (1..=path.len()).rev().map(|len| format!("{root}{}", path[..len].join("/")));
    let mut files = modules.flat_map(|module| [format!("{module}/mod"), module]);
    files.find_map(|file| position.get_key_value(file.as_str()).map(|(file, _)| *file))
}

fn without_comments(source: &str) -> String {
    let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    source.lines().map(code).collect::<Vec<_>>().join("\n")
}

/// All paths that follow `start`, groups in braces expanded.
fn paths_after(start: &str, code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices(start) {
        parse_path(&mut code[at + start.len()..].chars().peekable(), Vec::new(), &mut paths);
    }
    paths
}

fn parse_path(
    code: &mut std::iter::Peekable<std::str::Chars>,
    mut path: Vec<String>,
    paths: &mut Vec<Vec<String>>,
) {
    loop {
        while code.next_if(|c| c.is_whitespace()).is_some() {}
        if code.next_if_eq(&'{').is_some() {
            while code.peek().is_some_and(|c| *c != '}') {
                parse_path(code, path.clone(), paths);
                // Skip what follows the path: `as name`, the comma, white space.
                while code.next_if(|c| !matches!(c, ',' | '}')).is_some() {}
                code.next_if_eq(&',');
                while code.next_if(|c| c.is_whitespace()).is_some() {}
            }
            code.next();
            return;
        }
        let mut name = String::new();
        while let Some(c) = code.next_if(|c| c.is_alphanumeric() || matches!(c, '_' | '*')) {
            name.push(c);
        }
        path.push(name);
        if code.next_if_eq(&':').is_none() || code.next_if_eq(&':').is_none() {
            paths.push(path);
            return;
        }
    }
}

// The check itself is checked: each violation that the rule knows is reported.

fn problems(file: &str, source: &str) -> Vec<String> {
    let order = ["lib", "top", "folder/mod", "folder/upper", "folder/lower", "bottom"];
    check(&order, &BTreeMap::from([(file.to_owned(), source.to_owned())]))
}

#[test]
fn downward_import_is_accepted() {
    for (file, source) in [
        ("top", "use crate::{bottom::Thing, folder::{lower::{A, B}, Facade}};"),
        ("folder/mod", "pub use lower::A;\nuse crate::folder::upper::B;"),
        ("folder/upper", "use crate::folder::lower::A; // not crate::top"),
        ("bottom", "use std::io;\nmod tests { use super::*; }"),
        ("bottom", "/// See [`Top`](crate::top::Top).\nstruct A;"),
    ] {
        assert_eq!(problems(file, source), Vec::<String>::new(), "{file}: {source}");
    }
}

#[test]
fn upward_import_is_reported() {
    for (file, source) in [
        ("bottom", "use crate::top::Thing;"),
        ("bottom", "use crate::{\n    folder::{lower::A as B, Facade},\n};"),
        ("bottom", "fn f() { crate::folder::lower::call() }"),
        ("folder/lower", "use crate::folder::upper::A;"),
        ("folder/lower", "#[cfg(test)]\nmod tests { use crate::top::Thing; }"),
        ("folder/upper", "use crate::folder::Facade;"),
        ("folder/upper", "use super::lower::A;"),
        ("folder/upper", "pub(super) use super::Facade;"),
    ] {
        assert!(!problems(file, source).is_empty(), "{file}: {source}");
    }
}
