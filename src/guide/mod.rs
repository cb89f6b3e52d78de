//! The guide to s3keep.
//!
//! Each page is a Markdown file in `src/guide/`. It can be read there, or here as rendered by
//! rustdoc.
//!
//! | page | content |
//! | --- | --- |
//! | [`decision_rule`] | which files are transferred, and what s3keep cannot detect |
//! | [`selecting_files`] | patterns, sizes and ages: what a run looks at |
//! | [`names_and_links`] | which names and file types are stored, symlinks, conflicts |
//! | [`deletion_and_guards`] | what is deleted, in which order, and what prevents it |
//! | [`listing`] | `ls` and `du`, restoring a single object, a prefix without objects |
//! | [`integrity`] | checksums, temporary files, crashes, retries, `verify` |
//! | [`credentials_and_settings`] | all options, the output, credentials, settings |
//! | [`scheduled_jobs`] | cron, systemd, mail, a dead man's switch, containers |
//! | [`stores`] | AWS permissions, S3-compatible stores, addressing, proxies, `aws s3 sync` |
//! | [`cost_and_scale`] | requests, concurrency, memory, listing, the benchmark |
//! | [`embedding`] | s3keep as a library: plans, events, cancellation, guards |
//! | [`promises`] | each promise, and the tests that fail when it breaks |
//! | [`architecture`] | the source code for contributors: flow, layout, how to change it |
//! | [`changelog`] | what changed, by version |

// Where rustdoc finds the pages that a page refers to.
//
// A page links to another one by reference: `[the rule][decision_rule]`. At its end it defines
// `[decision_rule]: decision_rule.md`, which works in a repository browser. Of several definitions,
// Markdown uses the first, so in rustdoc these, in front of each page, take precedence.
macro_rules! links {
    () => {
        "[decision_rule]: crate::guide::decision_rule
[selecting_files]: crate::guide::selecting_files
[names_and_links]: crate::guide::names_and_links
[deletion_and_guards]: crate::guide::deletion_and_guards
[listing]: crate::guide::listing
[integrity]: crate::guide::integrity
[credentials_and_settings]: crate::guide::credentials_and_settings
[scheduled_jobs]: crate::guide::scheduled_jobs
[stores]: crate::guide::stores
[cost_and_scale]: crate::guide::cost_and_scale
[embedding]: crate::guide::embedding
[promises]: crate::guide::promises
[architecture]: crate::guide::architecture
[changelog]: crate::guide::changelog

"
    };
}

#[doc = concat!(links!(), include_str!("decision_rule.md"))]
pub mod decision_rule {}

#[doc = concat!(links!(), include_str!("selecting_files.md"))]
pub mod selecting_files {}

#[doc = concat!(links!(), include_str!("names_and_links.md"))]
pub mod names_and_links {}

#[doc = concat!(links!(), include_str!("deletion_and_guards.md"))]
pub mod deletion_and_guards {}

#[doc = concat!(links!(), include_str!("listing.md"))]
pub mod listing {}

#[doc = concat!(links!(), include_str!("integrity.md"))]
pub mod integrity {}

#[doc = concat!(links!(), include_str!("credentials_and_settings.md"))]
pub mod credentials_and_settings {}

#[doc = concat!(links!(), include_str!("scheduled_jobs.md"))]
pub mod scheduled_jobs {}

#[doc = concat!(links!(), include_str!("stores.md"))]
pub mod stores {}

#[doc = concat!(links!(), include_str!("cost_and_scale.md"))]
pub mod cost_and_scale {}

#[doc = concat!(links!(), include_str!("embedding.md"))]
pub mod embedding {}

#[doc = concat!(links!(), include_str!("promises.md"))]
pub mod promises {}

#[doc = concat!(links!(), include_str!("architecture.md"))]
pub mod architecture {}

#[doc = concat!(links!(), include_str!("changelog.md"))]
pub mod changelog {}
