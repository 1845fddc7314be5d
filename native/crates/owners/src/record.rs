//! What is written down of one path.

/// Names and values of extended attributes, sorted by name.
pub type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

/// What a path really is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The node that the empty file on disk stands for.
    pub device: Option<Device>,
    /// Attributes that the kernel would not take: access control lists that name other ids. Sorted by name, each once.
    pub attributes: Attributes,
}

/// A device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Character or block.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// The two kinds of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// Character device.
    Char,
    /// Block device.
    Block,
}

impl Record {
    /// An owner and nothing else.
    pub fn owner(uid: u32, gid: u32) -> Self {
        Self { uid, gid, ..Self::default() }
    }

    /// Whether it says nothing that its absence does not say.
    pub fn is_trivial(&self) -> bool {
        *self == Self::default()
    }

    /// The owner of a file that has this owner on disk.
    pub fn owner_over(&self, uid: u32, gid: u32) -> (u32, u32) {
        if (uid, gid) == (0, 0) { (self.uid, self.gid) } else { (uid, gid) }
    }
}
