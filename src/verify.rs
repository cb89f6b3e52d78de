//! Verifying: every file against its object, by content. Nothing is changed on either side.

use std::{cell::Cell, fs::File as OpenFile};

use rayon::prelude::*;

use crate::{
    cancel::Cancel,
    config::Config,
    content::{self, Answer, Comparing, Proof},
    entry::{File, Object, Skipped},
    error::{Cause, Error, Result},
    list::Listing,
    names::tree_order,
    plan::{Count, Merge},
    pool::for_each,
    report::{Event, Stage, exit},
    root::{Root, State},
    s3::Client,
    scan::Scan,
};

/// How a file and its object differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// There is a file and no object.
    OnlyLocal,
    /// There is an object and no file.
    OnlyRemote,
    /// The sizes differ.
    Size,
    /// The content differs.
    Content,
    /// Nothing that the server says tells whether they are the same; `read_data` would.
    Unknown,
}

impl Difference {
    /// One word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Difference::OnlyLocal => "only local",
            Difference::OnlyRemote => "only remote",
            Difference::Size => "size",
            Difference::Content => "content",
            Difference::Unknown => "unknown",
        }
    }
}

/// What a verification found.
#[derive(Debug, Default)]
pub struct Verification {
    /// Files and objects whose content is the same.
    pub same: Count,
    /// Paths that differ, or of which it can't be told, in tree order.
    pub differences: Vec<(String, Difference)>,
    /// What was left out on either side.
    pub skipped: Vec<Skipped>,
    /// What could not be looked at.
    pub failures: Vec<Error>,
}

impl Verification {
    /// 0 where everything was compared and is the same; 2 otherwise.
    pub fn exit_code(&self) -> u8 {
        let same =
            self.differences.is_empty() && self.skipped.is_empty() && self.failures.is_empty();
        if same { exit::DONE } else { exit::PARTLY }
    }
}

/// What verifying works with.
pub(crate) struct Context<'a> {
    pub config: &'a Config,
    pub client: &'a Client,
    pub root: &'a Root,
    pub files: &'a rayon::ThreadPool,
    pub cancel: &'a Cancel,
    /// Download what can't be told otherwise.
    pub read_data: bool,
}

/// Compares what was found on both sides.
pub(crate) fn verify(
    context: &Context,
    scan: Scan,
    listing: Listing,
    on_event: &mut dyn FnMut(Event),
) -> Result<Verification> {
    let mut found = Verification::default();
    found.skipped.extend(scan.skipped);
    found.skipped.extend(listing.skipped);
    let mut pairs = Vec::new();
    let mut merged = Merge::new(scan.files, listing.objects);
    while let Some(pair) = merged.next() {
        match pair {
            (Some(file), Some(object)) if file.size == object.size => pairs.push((file, object)),
            (Some(file), Some(_)) => found.differ(&file.path, Difference::Size),
            (Some(file), None) => found.differ(&file.path, Difference::OnlyLocal),
            (None, Some(object)) => found.differ(&object.path, Difference::OnlyRemote),
            (None, None) => {}
        }
    }
    let bytes = pairs.iter().map(|(file, _)| file.size).sum();
    on_event(Event::Stage(Stage::Comparing { entries: pairs.len() as u64, bytes }));

    // The listing's ETags speak for most; only the rest costs requests.
    let by_etag = |(file, object): &(File, Object)| {
        context
            .content(file, &Proof::of_etag(&object.etag))
            .map(|answer| if file.size == 0 { Answer::Same } else { answer })
    };
    let answers: Vec<_> = context.files.install(|| pairs.par_iter().map(by_etag).collect());
    context.cancel.check()?;
    let mut open = Vec::new();
    for ((file, object), answer) in pairs.into_iter().zip(answers) {
        match answer {
            Ok(Answer::Same) => found.same.add(file.size),
            // An ETag that is no MD5 differs from every MD5.
            Ok(Answer::Different | Answer::Unknown) => open.push((file, object)),
            Err(error) => found.fail(error, on_event)?,
        }
    }
    let fatal: Cell<Option<Error>> = Cell::new(None);
    let stopped = Cell::new(false);
    let ask = |(file, object): (File, Object)| {
        let answer = context.ask(&file, &object);
        (file, answer)
    };
    let open = open.into_iter().take_while(|_| !context.cancel.is_cancelled() && !stopped.get());
    let workers = context.config.transfer.workers;
    context.client.begin(workers);
    let limit = || context.client.limit();
    for_each(workers, &limit, open, &ask, |(file, answer)| match answer {
        Ok(Answer::Same) => found.same.add(file.size),
        Ok(Answer::Different) => found.differ(&file.path, Difference::Content),
        Ok(Answer::Unknown) => found.differ(&file.path, Difference::Unknown),
        Err(error) => {
            if let Err(error) = found.fail(error, on_event) {
                stopped.set(true);
                fatal.set(fatal.take().or(Some(error)));
            }
        }
    });
    context.cancel.check()?;
    found.differences.sort_by(|a, b| tree_order(&a.0, &b.0));
    found.skipped.sort_by(|a, b| tree_order(&a.path, &b.path));
    fatal.take().map_or(Ok(found), Err)
}

impl Verification {
    fn differ(&mut self, path: &str, difference: Difference) {
        self.differences.push((path.to_owned(), difference));
    }

    fn fail(&mut self, error: Error, on_event: &mut dyn FnMut(Event)) -> Result<()> {
        if error.is_fatal() {
            return Err(error);
        }
        on_event(Event::Failed(&error));
        self.failures.push(error);
        Ok(())
    }
}

impl Context<'_> {
    /// What the server says of the object when asked for it alone and, if that isn't enough and it is
    /// wanted, what it sends.
    fn ask(&self, file: &File, object: &Object) -> Result<Answer> {
        let key = self.config.bucket.key(&object.path);
        let answer = self.content(file, &Proof::of_head(&self.client.head(&key)?))?;
        if answer != Answer::Unknown || !self.read_data {
            return Ok(answer);
        }
        let open = self.open(file)?;
        let mut sink = Comparing::with(&open);
        self.client.get(&key, &object.etag, object.size, 0..object.size, &mut sink)?;
        unchanged(file, &open)?;
        Ok(if sink.differs { Answer::Different } else { Answer::Same })
    }

    fn open(&self, file: &File) -> Result<OpenFile> {
        let open = self.root.read(file.source()).map(|(open, _)| open);
        open.map_err(|error| Error::new("read", &*file.path, error))
    }

    fn content(&self, file: &File, proof: &Proof) -> Result<Answer> {
        let open = self.open(file)?;
        let fail = |cause| Error::new("read", &*file.path, cause);
        let part_size = self.config.transfer.part_size;
        let answer =
            content::compare(&open, file.size, proof, part_size, self.cancel).map_err(fail)?;
        unchanged(file, &open)?;
        Ok(answer)
    }
}

/// An error if what was read is no longer what the scan saw.
fn unchanged(file: &File, open: &OpenFile) -> Result<()> {
    let fail = |cause| Error::new("read", &*file.path, cause);
    match State::of(open) {
        Ok(now) if now == State::seen(file) => Ok(()),
        Ok(_) => Err(fail(Cause::Changed("the file was changed while it was read"))),
        Err(error) => Err(fail(error.into())),
    }
}
