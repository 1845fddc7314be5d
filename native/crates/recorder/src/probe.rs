//! Whether owners can be recorded here, by trying it on a thread of our own.

use std::{io, thread};

use tsbuild_seccomp::{Action, Filter, Rule};
use tsbuild_sys::{
    seccomp::{self, Answer, Listener},
    tracee,
};

/// Listens to one call of a thread, as to those of a step.
///
/// # Errors
/// The kernel's: `EBUSY` where a filter above us has the only listener, `ENOSYS` and `EINVAL` where it has none at all, and what a
/// container's own filter makes of it.
pub fn probe() -> io::Result<()> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let caller = thread::Builder::new().name("tsbuild-probe".into()).spawn(move || {
        let _ = sender.send(install());
        // The call that is heard of. Without a listener it does what it always does.
        rustix::process::getpriority_user(rustix::process::Uid::ROOT)
            .map(drop)
            .map_err(io::Error::from)
    })?;
    let installed = receiver.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
    let heard = installed.and_then(|listener| {
        let answerer = thread::Builder::new().name("tsbuild-probe".into());
        let answerer = answerer.spawn(move || answer(&listener))?;
        answerer.join().unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::Other)))
    });
    let called = caller.join().unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::Other)));
    heard?;
    called
}

fn install() -> io::Result<Listener> {
    let mut filter = Filter::new(Action::Allow, Action::Allow);
    filter.native_architectures();
    let told = Rule::new("getpriority", Action::Notify);
    let program =
        filter.rule(told).and_then(|filter| filter.compile()).map_err(io::Error::other)?;
    seccomp::no_new_privileges()?;
    Listener::new(seccomp::install_with_listener(&program)?)
}

fn answer(listener: &Listener) -> io::Result<()> {
    tracee::own_file_view()?;
    tracee::change_root(c"/proc/self/root")?;
    listener.wait()?;
    let Some(call) = listener.receive()? else {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    };
    let word = 7_u32;
    let mut bytes = [0; 4];
    tracee::read_memory(call.pid, (&raw const word) as u64, &mut bytes)?;
    tracee::real_time_limit(call.pid)?;
    listener.answer(call.id, Answer::Value(20))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_thread_is_listened_to() {
        super::probe().unwrap();
    }
}
