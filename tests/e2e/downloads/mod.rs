//! Downloads from stores that serve objects in other ways than S3.

mod encodings;
mod etags;
mod part_sizes;
mod ranges;
