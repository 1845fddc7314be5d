//! `tsbuild_sys::tree_index` for JavaScript. Lists of paths cross as one buffer or text, each path followed by NUL.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use napi::{
    Env, Error, Result,
    bindgen_prelude::{Buffer, Object},
};
use napi_derive::napi;
use tsbuild_sys::{
    ahead::{self, Asked},
    tree_index::{Chosen, Contents, Hashed, TreeIndex, Walked},
};

use crate::{
    cancel::CancelToken,
    error::Failure,
    fs::number_of,
    work::{flag, promise},
};

/// What a walk of a directory saw; an index can be made of it once.
#[napi]
pub struct NativeWalk {
    walked: Option<Walked>,
    fingerprint: String,
    names: String,
    newest_ns: String,
}

#[napi(ts_return_type = "Promise<NativeWalk>")]
pub fn walk_tree<'env>(
    env: &'env Env,
    root: String,
    skip: String,
    cancel: Option<&CancelToken>,
) -> Result<Object<'env>> {
    let cancel = flag(cancel);
    let asked = Asked { root: root.into(), skip };
    promise(
        env,
        move || Ok(ahead::walked(asked, &cancel)?),
        |walked| NativeWalk {
            fingerprint: walked.fingerprint.clone(),
            names: walked.names.clone(),
            newest_ns: walked.newest_ns.to_string(),
            walked: Some(walked),
        },
    )
}

#[napi]
pub fn begin_walk(root: String, skip: String) {
    ahead::begin(Asked { root: root.into(), skip });
}

#[napi(object)]
pub struct LastWalk {
    pub root: String,
    pub skip: String,
    pub took_ms: f64,
}

#[napi]
pub fn last_walk() -> Option<LastWalk> {
    let (asked, took) = ahead::last()?;
    let root = asked.root.into_os_string().into_string().ok()?;
    Some(LastWalk { root, skip: asked.skip, took_ms: took.as_secs_f64() * 1000.0 })
}

#[napi]
impl NativeWalk {
    #[napi(getter)]
    pub fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    #[napi(getter)]
    pub fn names(&self) -> String {
        self.names.clone()
    }

    #[napi(getter)]
    pub fn newest_ns(&self) -> String {
        self.newest_ns.clone()
    }

    /// `known` are files of earlier indexes; one that cannot be read is as good as none.
    #[napi(ts_return_type = "Promise<NativeTreeIndex>")]
    pub fn index<'env>(
        &mut self,
        env: &'env Env,
        hidden: String,
        known: Vec<String>,
    ) -> Result<Object<'env>> {
        let walked =
            self.walked.take().ok_or_else(|| Error::from_reason("an index was made before"))?;
        let hidden: HashSet<Vec<u8>> =
            hidden.split_terminator('\0').map(|path| path.as_bytes().to_vec()).collect();
        promise(
            env,
            move || {
                let mut index = walked.index(&hidden);
                for path in known {
                    if let Ok(known) = TreeIndex::open(Path::new(&path)) {
                        index.adopt(&known);
                    }
                }
                Ok(index)
            },
            NativeTreeIndex::from,
        )
    }
}

/// All that is known of the files below a directory.
#[napi]
pub struct NativeTreeIndex {
    index: Arc<RwLock<TreeIndex>>,
}

impl From<TreeIndex> for NativeTreeIndex {
    fn from(index: TreeIndex) -> Self {
        Self { index: Arc::new(RwLock::new(index)) }
    }
}

#[napi(object)]
pub struct HashedChoice {
    pub files_read: f64,
    pub is_as_seen: bool,
}

/// Of what is carried of a choice.
#[napi(object)]
pub struct ChoiceSummary {
    pub content_digest: String,
    pub left_out: String,
    pub not_text: Option<String>,
}

#[napi(ts_return_type = "Promise<NativeTreeIndex>")]
pub fn open_tree_index(env: &Env, path: String) -> Result<Object<'_>> {
    promise(env, move || Ok(TreeIndex::open(Path::new(&path))?), NativeTreeIndex::from)
}

#[napi]
impl NativeTreeIndex {
    /// The same index, for native code.
    pub(crate) fn shared(&self) -> Arc<RwLock<TreeIndex>> {
        Arc::clone(&self.index)
    }

    fn read(&self) -> RwLockReadGuard<'_, TreeIndex> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// With those that are left out.
    fn chosen(&self, choice: &[u8]) -> Result<(RwLockReadGuard<'_, TreeIndex>, Chosen)> {
        let index = self.read();
        let chosen = index.choose(choice).map_err(|error| Error::from(Failure::from(error)))?;
        Ok((index, chosen))
    }

    fn carried(&self, choice: &[u8]) -> Result<(RwLockReadGuard<'_, TreeIndex>, Chosen)> {
        let (index, chosen) = self.chosen(choice)?;
        let carried = index.carried(&chosen);
        Ok((index, carried))
    }

    #[napi(getter)]
    pub fn root(&self) -> String {
        self.read().root().display().to_string()
    }

    #[napi]
    pub fn denied(&self) -> Vec<Buffer> {
        self.read().denied().iter().map(|path| path.clone().into()).collect()
    }

    #[napi]
    pub fn entry(&self, path: Buffer) -> Option<String> {
        self.read().entry_json(&path)
    }

    #[napi]
    pub fn children(&self, directory: Buffer) -> String {
        self.read().children_json(&directory)
    }

    #[napi]
    pub fn modes(&self, directory: Buffer) -> String {
        self.read().modes_json(&directory)
    }

    #[napi(ts_return_type = "Promise<HashedChoice>")]
    pub fn hash<'env>(
        &self,
        env: &'env Env,
        choice: Buffer,
        settled_ns: String,
        cancel: Option<&CancelToken>,
    ) -> Result<Object<'env>> {
        let (index, cancel) = (self.shared(), flag(cancel));
        let settled_ns = number_of(&settled_ns)?;
        let choice = choice.to_vec();
        promise(
            env,
            move || {
                let unknown = {
                    let index = index.read().unwrap_or_else(PoisonError::into_inner);
                    let chosen = index.choose(&choice)?;
                    index.unknown(&chosen)
                };
                // Whoever only asks does not wait meanwhile.
                let read = unknown.hash(&cancel)?;
                let mut index = index.write().unwrap_or_else(PoisonError::into_inner);
                let files_read = read.len();
                Ok((files_read, index.learn(read, settled_ns)))
            },
            |(files_read, hashed)| HashedChoice {
                files_read: files_read as f64,
                is_as_seen: hashed == Hashed::AsSeen,
            },
        )
    }

    #[napi]
    pub fn summarize(&self, choice: Buffer) -> Result<ChoiceSummary> {
        let (index, chosen) = self.chosen(&choice)?;
        let carried = index.carried(&chosen);
        let summary = index.summary_json(&carried);
        Ok(ChoiceSummary {
            content_digest: TreeIndex::content_digest(&summary),
            left_out: index.left_out_json(&chosen),
            not_text: index.not_text_json(&carried),
        })
    }

    #[napi]
    pub fn summary(&self, choice: Buffer) -> Result<String> {
        let (index, carried) = self.carried(&choice)?;
        Ok(index.summary_json(&carried))
    }

    #[napi]
    pub fn listing(&self, choice: Buffer) -> Result<String> {
        let (index, carried) = self.carried(&choice)?;
        Ok(index.listing(&carried))
    }

    #[napi]
    pub fn files(&self, choice: Buffer) -> Result<String> {
        let (index, carried) = self.carried(&choice)?;
        Ok(index.files_json(&carried))
    }

    #[napi]
    pub fn later(&self, choice: Buffer, ns: String) -> Result<String> {
        let ns = number_of(&ns)?;
        let (index, carried) = self.carried(&choice)?;
        Ok(index.later_json(&carried, ns))
    }

    /// Into a new file. With `settled`, only contents that a later walk may trust.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn save<'env>(&self, env: &'env Env, path: String, settled: bool) -> Result<Object<'env>> {
        let index = self.shared();
        let contents = if settled { Contents::Settled } else { Contents::All };
        promise(
            env,
            move || {
                let index = index.read().unwrap_or_else(PoisonError::into_inner);
                Ok(index.save(&PathBuf::from(path), contents)?)
            },
            |()| (),
        )
    }
}
