//! Work off the JavaScript thread, on a thread of its own: libuv's pool has four, which a few builds would fill.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    thread,
    time::{Duration, Instant},
};

use napi::{
    Env, Status,
    bindgen_prelude::{Function, Object, ToNapiValue},
    threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode},
};

use crate::{cancel::CancelToken, error::Failure};

/// Runs `work` on a new thread and gives a promise of `convert`ed results.
pub fn promise<'env, T, O>(
    env: &'env Env,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    convert: fn(T) -> O,
) -> napi::Result<Object<'env>>
where
    T: Send + 'static,
    O: ToNapiValue + 'static,
{
    let (deferred, promise) = env.create_deferred()?;
    thread::Builder::new()
        .name("tsbuild-native".into())
        .spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
                let text = panic
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                    .unwrap_or_default();
                Err(Failure {
                    code: "INTERNAL",
                    errno: None,
                    path: None,
                    message: format!("the native helper panicked: {text}"),
                })
            });
            match result {
                Ok(value) => deferred.resolve(move |_| Ok(convert(value))),
                Err(failure) => deferred.reject(failure.into()),
            }
        })
        .map_err(|error| {
            napi::Error::from(Failure {
                code: "IO",
                errno: None,
                path: None,
                message: format!("cannot start a thread: {error}"),
            })
        })?;
    Ok(promise)
}

/// The flag of a token, or one that nobody sets.
pub fn flag(cancel: Option<&CancelToken>) -> Arc<AtomicBool> {
    cancel.map_or_else(Arc::default, CancelToken::flag)
}

/// Does not keep the process alive.
type Callback = ThreadsafeFunction<f64, (), f64, Status, false, true>;

/// Passes on at most ten counts a second, and the last.
pub struct Progress {
    callback: Option<Callback>,
    state: Mutex<(Instant, u64, u64)>,
}

const INTERVAL: Duration = Duration::from_millis(100);

impl Progress {
    /// `None` swallows everything.
    pub fn new(callback: Option<Function<'_, f64, ()>>) -> napi::Result<Self> {
        let callback = match callback {
            Some(callback) => Some(callback.build_threadsafe_function().weak::<true>().build()?),
            None => None,
        };
        Ok(Self { callback, state: Mutex::new((Instant::now(), 0, 0)) })
    }

    /// Counts of different threads may arrive out of order; they never go back.
    pub fn report(&self, done: u64) {
        let Some(callback) = &self.callback else { return };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 = state.1.max(done);
        if state.0.elapsed() >= INTERVAL {
            state.0 = Instant::now();
            state.2 = state.1;
            callback.call(state.1 as f64, ThreadsafeFunctionCallMode::NonBlocking);
        }
    }

    /// The last count, unless it was passed on.
    pub fn finish(&self) {
        let Some(callback) = &self.callback else { return };
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.1 != state.2 {
            callback.call(state.1 as f64, ThreadsafeFunctionCallMode::NonBlocking);
        }
    }
}
