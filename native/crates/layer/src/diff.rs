//! What a step changed in a flattened tree, as a layer directory in overlayfs form.
//!
//! Nothing but content proves that a file is what it was: a program may write to it and set its time back, and a copy
//! has a change time of its own. So files with equal metadata are compared byte by byte.

use std::{
    collections::{HashMap, HashSet},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{FileType, Mode, futimens, makedev, mknodat, renameat};
use tsbuild_owners::Owners;

use crate::{
    copy,
    disk::{self, Facts},
    error::{Error, Result},
    inside, same,
    union::Union,
    watch::Watch,
    xattr::{self, Attributes, OverlayXattrs},
};

/// What to compare and where to put what differs.
#[derive(Clone, Debug)]
pub struct DiffOptions {
    /// What was flattened, topmost first.
    pub lowers: Vec<PathBuf>,
    /// The tree after the step. Changed entries are moved out of it; it is of no use afterwards.
    pub changed: PathBuf,
    /// The file of its owners. What is the upper's of them is the caller's to write.
    pub owners: Option<PathBuf>,
    /// An existing empty directory on the same filesystem.
    pub upper: PathBuf,
    /// Kept for the form's sake: whiteouts are devices, and no directory that this makes is opaque.
    pub overlay_xattrs: OverlayXattrs,
}

/// Moves what differs to `upper`.
///
/// # Errors
/// `DAMAGED_OWNERS`, `IO`, `CANCELLED`. The two directories are in between then.
pub fn diff_tree(options: &DiffOptions, watch: Watch<'_>) -> Result<()> {
    let changed = disk::open_root(bytes(&options.changed))?;
    let upper = disk::open_root(bytes(&options.upper))?;
    let below = Union::open(&options.lowers)?;
    let facts =
        disk::facts_of(&changed).map_err(|errno| Error::io("cannot examine", b"/", errno))?;
    let attributes = xattr::read(&changed, b"", b"/")?;
    let owners = options.owners.as_deref().map(Owners::read).transpose()?.unwrap_or_default();
    let mut diff = Diff {
        owners: &owners,
        upper: &upper,
        changed: &changed,
        kept_links: HashMap::new(),
        moved_links: HashSet::new(),
        times: Vec::new(),
        watch,
    };
    let mut trail = vec![Step { name: Vec::new(), facts, attributes, made: None }];
    diff.directory(&changed, b"", &below, &mut trail)?;
    diff.complete_links()?;
    // Every move changes the time of its directory; deepest first.
    diff.times.sort_by(|left, right| right.0.cmp(&left.0));
    for (path, facts) in &diff.times {
        let place = inside::open(&upper, path, None)
            .map_err(|errno| Error::io("cannot open directory", path, errno))?;
        futimens(&place.fd, &copy::times(facts))
            .map_err(|errno| Error::io("cannot set the time of", path, errno))?;
    }
    let root = &trail[0];
    copy::set_metadata(&upper, &root.facts, &root.attributes, b"/")?;
    futimens(&upper, &copy::times(&root.facts))
        .map_err(|errno| Error::io("cannot set the time of", b"/", errno))
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

/// A directory on the way down, made in the upper when something in it differs.
struct Step {
    name: Vec<u8>,
    facts: Facts,
    attributes: Attributes,
    made: Option<Arc<OwnedFd>>,
}

struct Diff<'a> {
    owners: &'a Owners,
    upper: &'a OwnedFd,
    changed: &'a OwnedFd,
    /// Unchanged names of files with several: they follow when another name of theirs moves.
    kept_links: HashMap<(u64, u64), Vec<Vec<u8>>>,
    moved_links: HashSet<(u64, u64)>,
    times: Vec<(Vec<u8>, Facts)>,
    watch: Watch<'a>,
}

impl Diff<'_> {
    fn directory(
        &mut self,
        fd: &OwnedFd,
        path: &[u8],
        below: &Union,
        trail: &mut Vec<Step>,
    ) -> Result<()> {
        let names =
            disk::names(fd).map_err(|errno| Error::io("cannot list directory", path, errno))?;
        for name in &names {
            self.watch.poll()?;
            let full = disk::join(path, name);
            let facts =
                disk::facts(fd, name).map_err(|errno| Error::io("cannot examine", &full, errno))?;
            let Some(facts) = facts else { continue };
            self.child(fd, name, &full, &facts, below, trail)?;
        }
        for (name, _) in below.entries(path)? {
            if names.binary_search(&name).is_err() {
                let full = disk::join(path, &name);
                let directory = self.make(trail)?;
                let mode = Mode::from_raw_mode(0o600);
                mknodat(
                    &*directory,
                    name.as_slice(),
                    FileType::CharacterDevice,
                    mode,
                    makedev(0, 0),
                )
                .map_err(|errno| Error::io("cannot make a whiteout at", &full, errno))?;
            }
        }
        Ok(())
    }

    fn child(
        &mut self,
        fd: &OwnedFd,
        name: &[u8],
        path: &[u8],
        facts: &Facts,
        below: &Union,
        trail: &mut Vec<Step>,
    ) -> Result<()> {
        let attributes = xattr::read(fd, name, path)?;
        let real = facts.with(self.owners.get(path));
        let found = below.lookup(name, path)?;
        let unchanged = match &found {
            Some(found) => {
                same::metadata(&real, &attributes, found, name, path)?
                    && same::content(fd, name, &real, found, path, self.watch)?
            }
            None => false,
        };
        if let Some(found) =
            found.as_ref().filter(|found| facts.is_directory() && found.facts.is_directory())
        {
            let merged = below.descend(name, found, path)?;
            let inner = disk::open_directory(fd, name)
                .map_err(|errno| Error::io("cannot open directory", path, errno))?;
            trail.push(Step { name: name.to_vec(), facts: *facts, attributes, made: None });
            if !unchanged {
                self.make(trail)?;
            }
            self.directory(&inner, path, &merged, trail)?;
            trail.pop();
            return Ok(());
        }
        let identity = (facts.dev, facts.ino);
        if unchanged {
            if facts.links > 1 {
                self.kept_links.entry(identity).or_default().push(path.to_vec());
            }
            return Ok(());
        }
        if facts.links > 1 && !facts.is_directory() {
            self.moved_links.insert(identity);
        }
        if facts.is_directory() {
            self.note_links(fd, name, path)?;
        }
        let directory = self.make(trail)?;
        renameat(fd, name, &*directory, name).map_err(|errno| Error::io("cannot move", path, errno))
    }

    /// A new directory moves as a whole; files in it may have other names outside.
    fn note_links(&mut self, fd: &OwnedFd, name: &[u8], path: &[u8]) -> Result<()> {
        let inner = disk::open_directory(fd, name)
            .map_err(|errno| Error::io("cannot open directory", path, errno))?;
        for name in
            disk::names(&inner).map_err(|errno| Error::io("cannot list directory", path, errno))?
        {
            let full = disk::join(path, &name);
            let facts = disk::facts(&inner, &name)
                .map_err(|errno| Error::io("cannot examine", &full, errno))?;
            match facts {
                Some(facts) if facts.is_directory() => self.note_links(&inner, &name, &full)?,
                Some(facts) if facts.links > 1 => {
                    self.moved_links.insert((facts.dev, facts.ino));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The directory in the upper for the end of the trail.
    fn make(&mut self, trail: &mut [Step]) -> Result<Arc<OwnedFd>> {
        let mut path = Vec::new();
        let mut here: Option<Arc<OwnedFd>> = None;
        for step in trail.iter_mut().skip(1) {
            path = disk::join(&path, &step.name);
            if step.made.is_none() {
                let parent: &OwnedFd = here.as_deref().unwrap_or(self.upper);
                let fd = copy::make_directory(parent, &step.name, &path)?;
                copy::set_metadata(&fd, &step.facts, &step.attributes, &path)?;
                self.times.push((path.clone(), step.facts));
                step.made = Some(Arc::new(fd));
            }
            here.clone_from(&step.made);
        }
        match here {
            Some(here) => Ok(here),
            None => rustix::io::fcntl_dupfd_cloexec(self.upper, 0)
                .map(Arc::new)
                .map_err(|errno| Error::io("cannot open", b"/", errno)),
        }
    }

    /// Moves the unchanged names of files of which another name moved, as overlayfs would have copied them up together.
    fn complete_links(&mut self) -> Result<()> {
        let kept = std::mem::take(&mut self.kept_links);
        let mut paths: Vec<Vec<u8>> = kept
            .into_iter()
            .filter(|(identity, _)| self.moved_links.contains(identity))
            .flat_map(|(_, paths)| paths)
            .collect();
        paths.sort();
        for path in paths {
            let (above, name) = disk::split(&path);
            let from = inside::open(self.changed, above, None)
                .map_err(|errno| Error::io("cannot open directory", above, errno))?;
            let to = self.parents_in_upper(above)?;
            renameat(&from.fd, name, &to, name)
                .map_err(|errno| Error::io("cannot move", &path, errno))?;
        }
        Ok(())
    }

    fn parents_in_upper(&mut self, path: &[u8]) -> Result<OwnedFd> {
        let fail = |errno| Error::io("cannot open directory", path, errno);
        let mut here = rustix::io::fcntl_dupfd_cloexec(self.upper, 0).map_err(fail)?;
        let mut source = rustix::io::fcntl_dupfd_cloexec(self.changed, 0).map_err(fail)?;
        let mut so_far = Vec::new();
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            so_far = disk::join(&so_far, name);
            source = disk::open_directory(&source, name).map_err(fail)?;
            here = match disk::open_directory(&here, name) {
                Ok(fd) => fd,
                Err(rustix::io::Errno::NOENT) => {
                    let facts = disk::facts_of(&source).map_err(fail)?;
                    let fd = copy::make_directory(&here, name, &so_far)?;
                    copy::set_metadata(&fd, &facts, &xattr::read(&source, b"", &so_far)?, &so_far)?;
                    self.times.push((so_far.clone(), facts));
                    fd
                }
                Err(errno) => return Err(fail(errno)),
            };
        }
        Ok(here)
    }
}
