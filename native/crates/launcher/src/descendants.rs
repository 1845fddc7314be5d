//! Ends whatever a process has left behind where no pid namespace does it: orphans come to the nearest subreaper, which
//! is us.

use std::fs;

use tsbuild_sys::process;

const SIGKILL: i32 = 9;

/// Kills and reaps every child of ours but `spared`, and theirs, which become ours when their parents end. A process that
/// has made itself a daemon is a child like any other.
///
/// Only children are killed: their pids are not used again before we have waited for them.
pub fn kill_all_but(spared: Option<i32>) {
    loop {
        let mut found = false;
        for pid in children() {
            if Some(pid) != spared {
                found = true;
                process::kill(pid, SIGKILL);
                let _ = process::wait(pid);
            }
        }
        if !found {
            return;
        }
    }
}

fn children() -> Vec<i32> {
    let own = process::pid();
    match fs::read_to_string(format!("/proc/self/task/{own}/children")) {
        Ok(text) => text.split_whitespace().filter_map(|word| word.parse().ok()).collect(),
        // A kernel without CONFIG_PROC_CHILDREN.
        Err(_) => fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| parent_of(*pid) == Some(own))
            .collect(),
    }
}

/// proc(5): the name of the program is in parentheses, and may hold some itself.
fn parent_of(pid: i32) -> Option<i32> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let after = String::from_utf8_lossy(&text[end + 1..]);
    after.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parent_of_this_process() {
        assert_eq!(parent_of(process::pid()), Some(process::parent_pid()));
    }
}
