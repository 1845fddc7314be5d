//! A walk that begins before anybody asks for it: the kernel looks at a tree while its caller still starts.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{Result, check_cancel, tree_index::Walked};

/// How often a wait looks whether it is to be given up.
const POLL: Duration = Duration::from_millis(10);

/// What was asked for: paths to skip, each followed by NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Where the walk begins.
    pub root: PathBuf,
    /// As of [`Walked::of`], in one text.
    pub skip: String,
}

struct Begun {
    asked: Asked,
    cancel: Arc<AtomicBool>,
    walked: Receiver<Result<Walked>>,
}

/// One program has one command line, and that one context.
static BEGUN: Mutex<Option<Begun>> = Mutex::new(None);
static LAST: Mutex<Option<(Asked, Duration)>> = Mutex::new(None);

/// Begins a walk for the next who asks for the same. Where no thread can be had, nobody has begun.
pub fn begin(asked: Asked) {
    let cancel = Arc::new(AtomicBool::new(false));
    let (sender, walked) = sync_channel(1);
    let (next, flag) = (asked.clone(), cancel.clone());
    let started = thread::Builder::new().name("tsbuild-ahead".into()).spawn(move || {
        // Nobody listens any more where another walk was asked for.
        let _ = sender.send(walk(&next, &flag));
    });
    if started.is_ok() {
        *BEGUN.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Begun { asked, cancel, walked });
    }
}

/// As [`Walked::of`]: what was begun for this, once, or else a walk that begins now.
///
/// # Errors
/// As [`Walked::of`].
pub fn walked(asked: Asked, cancel: &AtomicBool) -> Result<Walked> {
    let begun =
        BEGUN.lock().unwrap_or_else(PoisonError::into_inner).take_if(|begun| begun.asked == asked);
    if let Some(begun) = begun
        && let Some(walked) = begun.wait(cancel)?
    {
        return Ok(walked);
    }
    let start = Instant::now();
    let walked = walk(&asked, cancel)?;
    *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some((asked, start.elapsed()));
    Ok(walked)
}

/// The last walk that nobody had begun before it was asked for, and how long it took.
pub fn last() -> Option<(Asked, Duration)> {
    LAST.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Begun {
    /// `None` where it came to nothing: who walks again hears why.
    fn wait(self, cancel: &AtomicBool) -> Result<Option<Walked>> {
        loop {
            match self.walked.recv_timeout(POLL) {
                Ok(outcome) => return Ok(outcome.ok()),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(error) = check_cancel(cancel) {
                        self.cancel.store(true, Ordering::Relaxed);
                        return Err(error);
                    }
                }
            }
        }
    }
}

fn walk(Asked { root, skip }: &Asked, cancel: &AtomicBool) -> Result<Walked> {
    let skip: HashSet<Vec<u8>> =
        skip.split_terminator('\0').map(|path| path.as_bytes().to_vec()).collect();
    Walked::of(Path::new(root), &skip, cancel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_a_walk_that_was_begun_once_and_to_who_asks_for_it() {
        let root = std::env::temp_dir().join(format!("tsbuild-ahead-{}", std::process::id()));
        std::fs::create_dir_all(root.join("d")).unwrap();
        let asked = |skip: &str| Asked { root: root.clone(), skip: skip.into() };
        let look = |skip: &str| walked(asked(skip), &AtomicBool::new(false)).unwrap().fingerprint;
        let before = look("");
        assert_eq!(last().unwrap().0, asked(""));
        begin(asked(""));
        // As it was when the walk began, which is over by then.
        while BEGUN
            .lock()
            .unwrap()
            .as_ref()
            .is_none_or(|begun| Arc::strong_count(&begun.cancel) > 1)
        {
            thread::yield_now();
        }
        std::fs::write(root.join("d/f"), "").unwrap();
        assert_eq!(look(""), before);
        let after = look("");
        assert_ne!(after, before);
        // What was begun for others is left to them.
        begin(asked("d\0"));
        assert_eq!(look(""), after);
        assert_ne!(look("d\0"), after);
        assert_eq!(last().unwrap().0, asked(""));
        // A failure is told by the walk that was asked for.
        std::fs::remove_dir_all(&root).unwrap();
        begin(asked(""));
        assert_eq!(walked(asked(""), &AtomicBool::new(false)).err().unwrap().code, "IO");
    }
}
