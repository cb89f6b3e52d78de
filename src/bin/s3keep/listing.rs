//! The results of `ls` and `du`.

use bytesize::ByteSize;
use indicatif::HumanCount;
use s3keep::{Contents, Count, Escaped, Usage, exit};
use serde_json::{Value, json};

use crate::{output::Printer, request::Sizes};

/// Prints what `ls` lists: directories and objects in one order, then the totals.
pub fn print_contents(printer: &mut Printer, contents: &Contents, sizes: Sizes) {
    printer.end_progress();
    let key = |path: &str| contents.bucket.key(path);
    let mut directories = contents.directories.iter().peekable();
    let mut objects = contents.objects.iter().peekable();
    loop {
        // Both are in tree order, in which a directory precedes what is below it.
        let directory = directories.next_if(|directory| {
            objects.peek().is_none_or(|object| is_before(directory, &object.path))
        });
        if let Some(path) = directory {
            printer.line(
                format_args!("{:20}  {}  {}", "", sizes.column("-"), Escaped(path)),
                || json!({"type": "directory", "path": path, "key": key(path)}),
            );
        } else if let Some(object) = objects.next() {
            let (time, size) = (object.modified.to_string(), sizes.format(object.size));
            // The key may be the prefix itself, with a slash at its end.
            let name = if object.path.is_empty() { "./" } else { &*object.path };
            let etag = Some(object.etag.to_string()).filter(|etag| !etag.is_empty());
            printer.line(
                format_args!("{time:20}  {}  {}", sizes.column(&size), Escaped(name)),
                || {
                    json!({
                        "type": "object", "path": &*object.path, "key": key(&object.path),
                        "size": object.size, "modified": time, "etag": etag,
                    })
                },
            );
        } else {
            break;
        }
    }
    let total = contents.total();
    let directories = contents.directories.len() as u64;
    let text = format!(
        "{} ({}), {}",
        count(total.entries, "object", "objects"),
        sizes.in_text(total.bytes),
        count(directories, "directory", "directories")
    );
    printer.line(text, || summary(total, directories));
    printer.flush();
}

/// Prints the size of each directory of at most `max_depth` levels, then the total.
pub fn print_usage(printer: &mut Printer, usage: &Usage, max_depth: Option<usize>, sizes: Sizes) {
    printer.end_progress();
    let is_shown = |path: &str| max_depth.is_none_or(|max| path.matches('/').count() <= max);
    for (path, size) in usage.directories.iter().filter(|(path, _)| is_shown(path)) {
        printer.line(usage_line(*size, Escaped(path), sizes), || {
            json!({
                "type": "usage", "path": path, "key": usage.bucket.key(path), "objects": size,
            })
        });
    }
    let directories = usage.directories.len() as u64;
    let text = usage_line(usage.total, "total", sizes);
    printer.line(text, || summary(usage.total, directories));
    printer.flush();
}

fn usage_line(size: Count, name: impl std::fmt::Display, sizes: Sizes) -> String {
    let bytes = sizes.format(size.bytes);
    let objects = count(size.entries, "object ", "objects");
    format!("{}  {objects:>17}  {name}", sizes.column(&bytes))
}

fn summary(total: Count, directories: u64) -> Value {
    json!({
        "type": "summary", "objects": total, "directories": directories,
        "exit_code": exit::SUCCESS,
    })
}

/// Whether the path of a directory comes before that of an object. `/` sorts before all other bytes.
fn is_before(directory: &str, object: &str) -> bool {
    let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
    directory.bytes().map(rank).lt(object.bytes().map(rank))
}

fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", HumanCount(number), if number == 1 { one } else { many })
}

impl Sizes {
    fn format(self, bytes: u64) -> String {
        match self {
            Sizes::Rounded => ByteSize(bytes).to_string(),
            Sizes::Exact => bytes.to_string(),
        }
    }

    fn in_text(self, bytes: u64) -> String {
        match self {
            Sizes::Rounded => self.format(bytes),
            Sizes::Exact => format!("{bytes} bytes"),
        }
    }

    /// Aligns a size to the right.
    fn column(self, size: &str) -> String {
        match self {
            Sizes::Rounded => format!("{size:>10}"),
            Sizes::Exact => format!("{size:>15}"),
        }
    }
}
