//! Which user a process pretends to be, and what it may become, by the kernel's rules for a process of that user
//! (credentials(7), setresuid(2), setfsuid(2)). Root is whoever has the effective user id 0.

use std::collections::HashMap;

/// No change, in calls that take several ids.
pub const KEEP: u32 = u32::MAX;
/// What the kernel takes of supplementary groups.
pub const MAX_GROUPS: usize = 65_536;

/// The ids of one process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// User ids.
    pub user: Ids,
    /// Group ids.
    pub group: Ids,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// The next change of user leaves it root's capabilities, if it is still this program (`PR_SET_KEEPCAPS`).
    pub keeps: Option<Program>,
    /// It has root's capabilities as long as it is this program.
    pub kept: Option<Program>,
}

/// What a process executes: places in its memory that each exec chooses anew and fork keeps.
pub type Program = (u64, u64);

/// Four ids that a process has of each sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ids {
    /// Who started it.
    pub real: u32,
    /// What it acts as.
    pub effective: u32,
    /// What it may become again.
    pub saved: u32,
    /// What it acts as with files.
    pub filesystem: u32,
}

/// A change that is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// EPERM.
    NotPermitted,
    /// EINVAL.
    Invalid,
}

impl Ids {
    /// All the same.
    pub fn all(id: u32) -> Self {
        Self { real: id, effective: id, saved: id, filesystem: id }
    }

    fn has(&self, id: u32) -> bool {
        id == self.real || id == self.effective || id == self.saved
    }

    /// setuid(2), setgid(2).
    fn set(self, id: u32, root: bool) -> Result<Self, Refused> {
        if id == KEEP {
            Err(Refused::Invalid)
        } else if root {
            Ok(Self::all(id))
        } else if id == self.real || id == self.saved {
            Ok(Self { effective: id, filesystem: id, ..self })
        } else {
            Err(Refused::NotPermitted)
        }
    }

    /// setreuid(2), setregid(2).
    fn set_two(self, real: u32, effective: u32, root: bool) -> Result<Self, Refused> {
        if !root
            && (real != KEEP && real != self.real && real != self.effective
                || effective != KEEP && !self.has(effective))
        {
            return Err(Refused::NotPermitted);
        }
        let next =
            Self { real: or(real, self.real), effective: or(effective, self.effective), ..self };
        let saves = real != KEEP || effective != KEEP && effective != self.real;
        let saved = if saves { next.effective } else { self.saved };
        Ok(Self { saved, filesystem: next.effective, ..next })
    }

    /// setresuid(2), setresgid(2).
    fn set_three(self, ids: [u32; 3], root: bool) -> Result<Self, Refused> {
        if !root && ids.iter().any(|id| *id != KEEP && !self.has(*id)) {
            return Err(Refused::NotPermitted);
        }
        let [real, effective, saved] = ids;
        let effective = or(effective, self.effective);
        Ok(Self {
            real: or(real, self.real),
            effective,
            saved: or(saved, self.saved),
            filesystem: effective,
        })
    }

    /// setfsuid(2), setfsgid(2): what cannot be is not done.
    fn set_filesystem(self, id: u32, root: bool) -> Self {
        if id != KEEP && (root || self.has(id) || id == self.filesystem) {
            Self { filesystem: id, ..self }
        } else {
            self
        }
    }
}

fn or(id: u32, present: u32) -> u32 {
    if id == KEEP { present } else { id }
}

impl Credentials {
    /// Of a user.
    pub fn new(uid: u32, gid: u32, groups: Vec<u32>) -> Self {
        let mut groups = groups;
        groups.sort_unstable();
        Self { user: Ids::all(uid), group: Ids::all(gid), groups, keeps: None, kept: None }
    }

    /// As they are for a process that executes `program`, which is asked for only where it counts.
    ///
    /// # Errors
    /// Those of asking.
    pub fn in_program<E>(
        mut self,
        program: impl FnOnce() -> Result<Program, E>,
    ) -> Result<Self, E> {
        if self.keeps.is_some() || self.kept.is_some() {
            let program = Some(program()?);
            self.keeps = self.keeps.filter(|_| self.keeps == program);
            self.kept = self.kept.filter(|_| self.kept == program);
        }
        Ok(self)
    }

    /// Whether it may do what root may.
    pub fn is_root(&self) -> bool {
        self.user.effective == 0 || self.kept.is_some()
    }

    /// Whether it acts as a member of the group.
    pub fn is_in_group(&self, gid: u32) -> bool {
        gid == self.group.filesystem || self.groups.contains(&gid)
    }

    /// Whether files that it makes are root's.
    pub fn makes_files_of_root(&self) -> bool {
        self.user.filesystem == 0 && self.group.filesystem == 0
    }

    /// What becomes of it.
    ///
    /// # Errors
    /// The kernel's reason not to.
    pub fn after(&self, change: &Change) -> Result<Self, Refused> {
        let root = self.is_root();
        let mut next = self.clone();
        match *change {
            Change::User(id) => next.user = self.user.set(id, root)?,
            Change::Group(id) => next.group = self.group.set(id, root)?,
            Change::TwoUsers(real, effective) => {
                next.user = self.user.set_two(real, effective, root)?;
            }
            Change::TwoGroups(real, effective) => {
                next.group = self.group.set_two(real, effective, root)?;
            }
            Change::ThreeUsers(ids) => next.user = self.user.set_three(ids, root)?,
            Change::ThreeGroups(ids) => next.group = self.group.set_three(ids, root)?,
            Change::FilesystemUser(id) => next.user = self.user.set_filesystem(id, root),
            Change::FilesystemGroup(id) => next.group = self.group.set_filesystem(id, root),
            Change::Groups(ref groups) => {
                if !root {
                    return Err(Refused::NotPermitted);
                }
                if groups.contains(&KEEP) {
                    return Err(Refused::Invalid);
                }
                next.groups.clone_from(groups);
                // As the kernel keeps them.
                next.groups.sort_unstable();
            }
            Change::Keep(program) => next.keeps = program,
        }
        if self.user.has(0) && !next.user.has(0) {
            next.kept = self.keeps;
        }
        Ok(next)
    }

    /// The owner and group of a file of `owner` after chown(2) to these, either of which may be [`KEEP`].
    ///
    /// # Errors
    /// `NotPermitted` where only root may.
    pub fn chown(&self, owner: (u32, u32), uid: u32, gid: u32) -> Result<(u32, u32), Refused> {
        let next = (or(uid, owner.0), or(gid, owner.1));
        if !self.is_root() {
            let own = self.user.filesystem == owner.0;
            let keeps_user = uid == KEEP || uid == owner.0;
            let keeps_group = gid == KEEP || gid == owner.1 || self.is_in_group(gid);
            if !(own && keeps_user && keeps_group) {
                return Err(Refused::NotPermitted);
            }
        }
        Ok(next)
    }
}

/// One of the calls that change ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// setuid(2)
    User(u32),
    /// setgid(2)
    Group(u32),
    /// setreuid(2)
    TwoUsers(u32, u32),
    /// setregid(2)
    TwoGroups(u32, u32),
    /// setresuid(2)
    ThreeUsers([u32; 3]),
    /// setresgid(2)
    ThreeGroups([u32; 3]),
    /// setfsuid(2)
    FilesystemUser(u32),
    /// setfsgid(2)
    FilesystemGroup(u32),
    /// setgroups(2)
    Groups(Vec<u32>),
    /// prctl(2) with `PR_SET_KEEPCAPS`
    Keep(Option<Program>),
}

/// The credentials of all processes of a step, each set once. A process carries the number of its set in the soft limit of
/// its real-time CPU time: fork and exec pass that on, nothing else uses it, and it can be changed from outside, so that no race
/// with a process that comes or goes makes it wrong. Where it was never set the process is as the step began.
pub struct Sets {
    sets: Vec<Credentials>,
    numbers: HashMap<Credentials, usize>,
}

/// Microseconds that no process ever uses: two and a half thousand years. Lower limits are real ones.
const FIRST: u64 = 1 << 56;

impl Sets {
    /// The user that the step runs as.
    pub fn new(initial: Credentials) -> Self {
        Self { sets: vec![initial], numbers: HashMap::new() }
    }

    /// Of a process with this limit. Whoever sets a limit of its own is as the step began.
    pub fn of_limit(&self, limit: Option<u64>) -> &Credentials {
        let index = limit.and_then(|limit| limit.checked_sub(FIRST)).unwrap_or(0);
        usize::try_from(index).ok().and_then(|index| self.sets.get(index)).unwrap_or(&self.sets[0])
    }

    /// The limit that stands for these. `None` when a step has made more than it can ever need.
    pub fn limit_of(&mut self, credentials: Credentials) -> Option<u64> {
        const MAX_SETS: usize = 65_536;
        let index = match self.numbers.get(&credentials) {
            Some(index) => *index,
            None if self.sets.len() < MAX_SETS => {
                let index = self.sets.len();
                self.numbers.insert(credentials.clone(), index);
                self.sets.push(credentials);
                index
            }
            None => return None,
        };
        Some(FIRST + index as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(real: u32, effective: u32, saved: u32) -> Ids {
        Ids { real, effective, saved, filesystem: effective }
    }

    fn root() -> Credentials {
        Credentials::new(0, 0, vec![])
    }

    fn after(credentials: &Credentials, changes: &[Change]) -> Result<Credentials, Refused> {
        changes.iter().try_fold(credentials.clone(), |now, change| now.after(change))
    }

    #[test]
    fn root_drops_for_good_or_for_a_while() {
        let gone = after(&root(), &[Change::User(42)]).unwrap();
        assert_eq!(gone.user, Ids::all(42));
        assert_eq!(gone.after(&Change::User(0)), Err(Refused::NotPermitted));
        let away = after(&root(), &[Change::ThreeUsers([KEEP, 42, KEEP])]).unwrap();
        assert_eq!(away.user, user(0, 42, 0));
        assert!(!away.is_root());
        assert_eq!(away.after(&Change::User(0)).unwrap().user, user(0, 0, 0));
        assert_eq!(away.after(&Change::Groups(vec![])), Err(Refused::NotPermitted));
        let two = after(&root(), &[Change::TwoUsers(KEEP, 42)]).unwrap();
        assert_eq!(two.user, user(0, 42, 42));
        assert_eq!(two.after(&Change::TwoUsers(42, 42)).unwrap().user, Ids::all(42));
        assert_eq!(two.after(&Change::TwoUsers(KEEP, 0)).unwrap().user, user(0, 0, 42));
    }

    #[test]
    fn what_a_package_manager_checks_after_it_dropped_holds() {
        let dropped = after(
            &root(),
            &[
                Change::Groups(vec![65_534]),
                Change::ThreeGroups([65_534; 3]),
                Change::ThreeUsers([100; 3]),
            ],
        )
        .unwrap();
        assert_eq!((dropped.user, dropped.group), (Ids::all(100), Ids::all(65_534)));
        assert_eq!(dropped.groups, [65_534]);
        for back in [Change::User(0), Change::ThreeUsers([0, 0, 0]), Change::TwoUsers(0, 0)] {
            assert_eq!(dropped.after(&back), Err(Refused::NotPermitted), "{back:?}");
        }
        assert_eq!(dropped.after(&Change::Group(0)), Err(Refused::NotPermitted));
        assert_eq!(dropped.after(&Change::FilesystemUser(0)).unwrap(), dropped);
    }

    #[test]
    fn capabilities_can_be_kept_until_the_next_program() {
        let here = (1, 2);
        let changes = [Change::Keep(Some(here)), Change::ThreeUsers([33; 3])];
        let kept = after(&root(), &changes).unwrap();
        let program = |program| kept.clone().in_program(|| Ok::<_, ()>(program)).unwrap();
        assert!(program(here).after(&Change::ThreeGroups([34; 3])).is_ok());
        assert_eq!(program((1, 3)).after(&Change::Group(34)), Err(Refused::NotPermitted));
        let without =
            after(&root(), &[Change::Keep(Some(here)), Change::Keep(None), Change::User(33)]);
        assert!(!without.unwrap().is_root());
    }

    #[test]
    fn files_change_hands_by_the_kernels_rules() {
        assert_eq!(root().chown((5, 6), 7, KEEP), Ok((7, 6)));
        let app = Credentials::new(1000, 1000, vec![50]);
        assert_eq!(app.chown((1000, 1000), KEEP, 50), Ok((1000, 50)));
        assert_eq!(app.chown((1000, 1000), 1000, 1000), Ok((1000, 1000)));
        assert_eq!(app.chown((1000, 1000), KEEP, 51), Err(Refused::NotPermitted));
        assert_eq!(app.chown((1000, 1000), 0, KEEP), Err(Refused::NotPermitted));
        assert_eq!(app.chown((0, 0), KEEP, 50), Err(Refused::NotPermitted));
    }

    #[test]
    fn a_process_carries_the_number_of_its_set() {
        let mut sets = Sets::new(root());
        let app = Credentials::new(1000, 1000, vec![]);
        let limit = sets.limit_of(app.clone()).unwrap();
        assert_eq!(sets.limit_of(app.clone()).unwrap(), limit);
        assert_eq!(sets.of_limit(Some(limit)), &app);
        for other in [None, Some(0), Some(1_000_000), Some(limit + 1), Some(u64::MAX)] {
            assert_eq!(sets.of_limit(other), &root(), "{other:?}");
        }
    }

    #[test]
    fn ids_that_mean_no_change_cannot_be_set() {
        assert_eq!(root().after(&Change::User(KEEP)), Err(Refused::Invalid));
        assert_eq!(root().after(&Change::Groups(vec![1, KEEP])), Err(Refused::Invalid));
        assert_eq!(root().after(&Change::ThreeUsers([KEEP; 3])).unwrap(), root());
    }
}
