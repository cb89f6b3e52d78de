//! Both sides in tree order, paired by path.

use std::{cmp::Ordering, iter};

use crate::model::{
    entry::{File, Object},
    paths::{is_under, tree_order},
};

/// Pairs the files and objects of equal path. Both lists must be in tree order.
pub(crate) struct Merge {
    files: std::vec::IntoIter<File>,
    objects: std::vec::IntoIter<Object>,
}

impl Merge {
    pub(crate) fn new(files: Vec<File>, objects: Vec<Object>) -> Merge {
        Merge { files: files.into_iter(), objects: objects.into_iter() }
    }

    /// The path of the next file.
    pub(crate) fn next_file(&self) -> Option<&str> {
        self.files.as_slice().first().map(|file| &*file.path)
    }

    /// Whether the next object is below `path`.
    pub(crate) fn next_object_is_under(&self, path: &str) -> bool {
        self.objects.as_slice().first().is_some_and(|object| is_under(&object.path, path))
    }
}

/// Whether each file has an object of the same path, and the reverse. Both lists must be in tree order.
pub(crate) fn have_same_paths(files: &[File], objects: &[Object]) -> bool {
    let files = files.iter().map(|file| &file.path);
    files.eq(objects.iter().map(|object| &object.path))
}

/// The same pairs as those of [`Merge`], by reference.
pub(crate) fn pairs<'a>(
    files: &'a [File],
    objects: &'a [Object],
) -> impl Iterator<Item = (Option<&'a File>, Option<&'a Object>)> {
    let (mut files, mut objects) = (files.iter(), objects.iter());
    iter::from_fn(move || {
        let order = order(files.as_slice().first(), objects.as_slice().first())?;
        Some(take(order, &mut files, &mut objects))
    })
}

impl Iterator for Merge {
    type Item = (Option<File>, Option<Object>);

    /// A file, an object, or both if their paths are equal.
    fn next(&mut self) -> Option<Self::Item> {
        let order = order(self.files.as_slice().first(), self.objects.as_slice().first())?;
        Some(take(order, &mut self.files, &mut self.objects))
    }
}

/// Which of the next file and the next object comes first. `None` if both lists have ended.
fn order(file: Option<&File>, object: Option<&Object>) -> Option<Ordering> {
    match (file, object) {
        (None, None) => None,
        (Some(file), Some(object)) => Some(tree_order(&file.path, &object.path)),
        (Some(_), None) => Some(Ordering::Less),
        (None, Some(_)) => Some(Ordering::Greater),
    }
}

/// Takes the one that comes first, or both if their paths are equal.
fn take<F, O>(
    order: Ordering,
    files: &mut impl Iterator<Item = F>,
    objects: &mut impl Iterator<Item = O>,
) -> (Option<F>, Option<O>) {
    let file = if order.is_le() { files.next() } else { None };
    let object = if order.is_ge() { objects.next() } else { None };
    (file, object)
}
