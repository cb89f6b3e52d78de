//! The user of a directory, who changes it before and during runs and remembers what must be in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use crate::{
    support::{files, noise, write},
    worlds::promise::case::{DIRECTORIES, Edit, Mtime},
};

pub type Tree = BTreeMap<String, Vec<u8>>;

/// A file as the user remembers it.
#[derive(Clone, Debug)]
struct Remembered {
    content: Vec<u8>,
    /// For a file that exists since [`User::begin`]: its content then, and its paths since.
    origin: Option<Origin>,
}

/// A content that existed at one moment, under one or more paths since then.
#[derive(Clone, Debug)]
pub struct Origin {
    pub content: Vec<u8>,
    pub paths: BTreeSet<String>,
}

pub struct User {
    dir: PathBuf,
    files: BTreeMap<String, Remembered>,
    /// The number of contents so far. Each is different.
    contents: u64,
}

impl User {
    pub fn new(dir: &Path) -> User {
        fs::create_dir_all(dir).unwrap();
        User { dir: dir.to_owned(), files: BTreeMap::new(), contents: 0 }
    }

    /// What the directory must hold.
    pub fn tree(&self) -> Tree {
        self.files.iter().map(|(path, file)| (path.clone(), file.content.clone())).collect()
    }

    /// What the directory holds, without the temporary files of s3keep.
    pub fn tree_on_disk(&self) -> Tree {
        let is_temporary = |path: &str| path.rsplit('/').next().unwrap().starts_with(".s3keep-");
        files(&self.dir).into_iter().filter(|(path, _)| !is_temporary(path)).collect()
    }

    /// Reads the directory after a restore has changed it.
    pub fn reload(&mut self) {
        let remember = |content| Remembered { content, origin: None };
        self.files =
            self.tree_on_disk().into_iter().map(|(path, file)| (path, remember(file))).collect();
    }

    /// Remembers the present contents, to tell later which of them existed throughout.
    pub fn begin(&mut self) {
        for (path, file) in &mut self.files {
            let (content, paths) = (file.content.clone(), BTreeSet::from([path.clone()]));
            file.origin = Some(Origin { content, paths });
        }
    }

    /// The contents that have existed since `begin`: in files that were only renamed or appended to.
    pub fn throughout(&self) -> Vec<Origin> {
        self.files.values().filter_map(|file| file.origin.clone()).collect()
    }

    /// New content. It is different from every other content of at least eight bytes.
    pub fn new_content(&mut self, size: usize) -> Vec<u8> {
        self.contents += 1;
        let mut content = noise(1, size);
        for (byte, number) in content.iter_mut().zip(self.contents.to_be_bytes()) {
            *byte = number;
        }
        content
    }

    pub fn create(&mut self, path: &str, size: usize, mtime: Mtime) {
        let content = self.new_content(size);
        write(&self.dir.join(path), &content);
        set_mtime(&self.dir.join(path), mtime);
        self.files.insert(path.to_owned(), Remembered { content, origin: None });
    }

    /// Removes all files in a directory. An empty name is the root.
    pub fn lose(&mut self, dir: &str) {
        let lost: Vec<String> =
            self.files.keys().filter(|path| path.starts_with(dir)).cloned().collect();
        for path in lost {
            self.remove(&path);
        }
    }

    fn remove(&mut self, path: &str) {
        fs::remove_file(self.dir.join(path)).unwrap();
        self.files.remove(path);
    }

    pub fn edit(&mut self, edit: &Edit) {
        let paths: Vec<String> = self.files.keys().cloned().collect();
        match edit {
            Edit::Create(path, size, mtime) => self.create(path, *size, *mtime),
            Edit::SwapDirectories => {
                self.rename_directory("d0/", "swapped/");
                self.rename_directory("d1/", "d0/");
                self.rename_directory("swapped/", "d1/");
            }
            Edit::RenameDirectory(from, to) => {
                let (from, to): (&&str, &&str) = (from.get(&DIRECTORIES), to.get(&DIRECTORIES));
                self.rename_directory(from, to);
            }
            _ if paths.is_empty() => {}
            Edit::Rewrite(n, size, mtime) => {
                let path = n.get::<String>(&paths);
                self.create(path, size.unwrap_or(self.files[path].content.len()), *mtime);
            }
            Edit::RewriteSilently(n) => {
                let path = n.get::<String>(&paths);
                let before = self.dir.join(path).metadata().unwrap().modified().unwrap();
                self.create(path, self.files[path].content.len(), Mtime::Now);
                let file = fs::File::options().write(true).open(self.dir.join(path)).unwrap();
                file.set_modified(before).unwrap();
            }
            Edit::Append(n, len) => {
                let path = n.get::<String>(&paths);
                let added = noise(2, *len);
                let mut file = fs::File::options().append(true).open(self.dir.join(path)).unwrap();
                file.write_all(&added).unwrap();
                self.files.get_mut(path).unwrap().content.extend(added);
            }
            Edit::Rename(n, to) => self.rename(n.get::<String>(&paths), to),
            Edit::Remove(n) => self.remove(n.get::<String>(&paths)),
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        fs::create_dir_all(self.dir.join(to).parent().unwrap()).unwrap();
        fs::rename(self.dir.join(from), self.dir.join(to)).unwrap();
        self.moved(from, to);
    }

    /// Renames a directory, unless the kernel refuses it.
    fn rename_directory(&mut self, from: &str, to: &str) {
        if from.is_empty() || fs::rename(self.dir.join(from), self.dir.join(to)).is_err() {
            return;
        }
        let inside: Vec<String> =
            self.files.keys().filter(|path| path.starts_with(from)).cloned().collect();
        for path in inside {
            self.moved(&path, &format!("{to}{}", &path[from.len()..]));
        }
    }

    fn moved(&mut self, from: &str, to: &str) {
        if let Some(mut file) = self.files.remove(from) {
            if let Some(origin) = &mut file.origin {
                origin.paths.insert(to.to_owned());
            }
            self.files.insert(to.to_owned(), file);
        }
    }
}

fn set_mtime(path: &Path, mtime: Mtime) {
    let now = SystemTime::now();
    let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let time = match mtime {
        Mtime::Now => now,
        Mtime::Past => now - Duration::from_secs(300 * 86_400),
        Mtime::ThisSecond => SystemTime::UNIX_EPOCH + Duration::from_secs(since_1970.as_secs()),
    };
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}
