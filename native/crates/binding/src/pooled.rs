//! Runs a closure off the JavaScript thread and gives its result as a promise.

use napi::{
    Env, Result, Task,
    bindgen_prelude::{AsyncTask, ToNapiValue, TypeName},
};

/// Work that has not run yet.
pub struct Work<T> {
    run: Option<Box<dyn FnOnce() -> Result<T> + Send>>,
}

/// A promise of what `run` returns.
pub fn work<T, F>(run: F) -> AsyncTask<Work<T>>
where
    T: Send + ToNapiValue + TypeName + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    AsyncTask::new(Work { run: Some(Box::new(run)) })
}

impl<T: Send + ToNapiValue + TypeName + 'static> Task for Work<T> {
    type Output = T;
    type JsValue = T;

    fn compute(&mut self) -> Result<T> {
        self.run.take().expect("Node-API computes a task once")()
    }

    fn resolve(&mut self, _env: Env, output: T) -> Result<T> {
        Ok(output)
    }
}
