//! The control archive of a package, and what dpkg's database says of it.

use std::collections::BTreeMap;

/// Scripts and lists of a package, and its control stanza.
#[derive(Debug, Default)]
pub struct Control {
    /// The stanza, without a newline at its end.
    pub stanza: String,
    /// Every other file of the control archive: name, permission bits, modification time in seconds, content.
    pub files: Vec<ControlFile>,
}

/// A maintainer script, or a list such as `conffiles`.
#[derive(Debug)]
pub struct ControlFile {
    /// `postinst`, `md5sums`, …
    pub name: String,
    /// Permission bits.
    pub mode: u32,
    /// Seconds since the epoch.
    pub mtime: i64,
    /// As it is.
    pub content: Vec<u8>,
}

impl Control {
    /// The value of a field that fits on one line.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.stanza.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The file of that name.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.iter().find(|file| file.name == name).map(|file| file.content.as_slice())
    }

    /// Name of the package. Checked when the package is read.
    pub fn name(&self) -> &str {
        self.field("Package").unwrap_or_default()
    }

    /// What dpkg calls the package where several architectures of it may be installed side by side.
    pub fn info_name(&self) -> String {
        match (self.field("Multi-Arch"), self.field("Architecture")) {
            (Some("same"), Some(architecture)) => format!("{}:{architecture}", self.name()),
            _ => self.name().to_owned(),
        }
    }

    /// Whether the package says that it replaces files of `other`. Versions are not looked at: on a first
    /// installation the archive's own packages stand side by side, and the relation is about an older version.
    pub fn replaces(&self, other: &Control) -> bool {
        self.field("Replaces").is_some_and(|list| {
            list.split([',', '|'])
                .filter_map(|part| part.trim().split([' ', '(', ':']).next())
                .any(|name| name == other.name())
        })
    }

    /// Absolute paths of the configuration files, with the flag that may stand before them.
    pub fn conffiles(&self) -> Vec<(Option<String>, String)> {
        let text = String::from_utf8_lossy(self.file("conffiles").unwrap_or_default()).into_owned();
        text.lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(|line| match line.split_once(char::is_whitespace) {
                Some((flag, path)) if !flag.starts_with('/') => {
                    (Some(flag.to_owned()), path.trim().to_owned())
                }
                _ => (None, line.to_owned()),
            })
            .collect()
    }

    /// The stanza as `dpkg --unpack` leaves it in the status file. `md5` has the digests of the configuration files by
    /// path. dpkg itself would write `newconffile` and rename the file when the package is configured; with the file in
    /// place and its digest recorded, it finds nothing left to do and asks nothing.
    pub fn status_stanza(&self, md5: &BTreeMap<String, String>) -> String {
        let mut stanza = String::with_capacity(self.stanza.len() + 256);
        for line in self.stanza.lines() {
            stanza.push_str(line);
            stanza.push('\n');
            if line.split_once(':').is_some_and(|(key, _)| key.eq_ignore_ascii_case("Package")) {
                stanza.push_str("Status: install ok unpacked\n");
            }
        }
        let conffiles = self.conffiles();
        if !conffiles.is_empty() {
            stanza.push_str("Conffiles:\n");
            for (flag, path) in conffiles {
                let digest = md5.get(&path).map_or("newconffile", String::as_str);
                stanza.push_str(&format!(" {path} {digest}"));
                if let Some(flag) = flag {
                    stanza.push_str(&format!(" {flag}"));
                }
                stanza.push('\n');
            }
        }
        stanza
    }

    /// The triggers that the package wants to be told of: name, and the package as dpkg's trigger lists name it.
    pub fn interests(&self) -> Vec<(String, String)> {
        let text = String::from_utf8_lossy(self.file("triggers").unwrap_or_default()).into_owned();
        text.lines()
            .filter_map(|line| {
                let mut words = line.split('#').next()?.split_whitespace();
                let suffix = match words.next()? {
                    "interest" | "interest-await" => "",
                    "interest-noawait" => "/noawait",
                    _ => return None,
                };
                Some((words.next()?.to_owned(), format!("{}{suffix}", self.info_name())))
            })
            .collect()
    }

    /// A script that must run before the files are there, because it moves others out of their way.
    pub fn must_precede_files(&self) -> bool {
        let script = String::from_utf8_lossy(self.file("preinst").unwrap_or_default()).into_owned();
        script
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .any(|line| line.contains("dpkg-divert") || line.contains("dpkg-statoverride"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(stanza: &str, files: &[(&str, &str)]) -> Control {
        Control {
            stanza: stanza.to_owned(),
            files: files
                .iter()
                .map(|(name, content)| ControlFile {
                    name: (*name).to_owned(),
                    mode: 0o644,
                    mtime: 0,
                    content: content.as_bytes().to_vec(),
                })
                .collect(),
        }
    }

    #[test]
    fn names_packages_as_dpkg_does() {
        assert_eq!(
            control("Package: a\nArchitecture: amd64\nMulti-Arch: same", &[]).info_name(),
            "a:amd64"
        );
        assert_eq!(
            control("Package: a\nArchitecture: amd64\nMulti-Arch: foreign", &[]).info_name(),
            "a"
        );
        assert_eq!(control("Package: a\nArchitecture: all", &[]).info_name(), "a");
    }

    #[test]
    fn records_configuration_files() {
        let package = control(
            "Package: a\nVersion: 1\nDescription: x\n y",
            &[("conffiles", "/etc/a\nremove-on-upgrade /etc/old\n")],
        );
        let md5 = BTreeMap::from([("/etc/a".to_owned(), "0123".to_owned())]);
        assert_eq!(
            package.status_stanza(&md5),
            "Package: a\nStatus: install ok unpacked\nVersion: 1\nDescription: x\n y\n\
             Conffiles:\n /etc/a 0123\n /etc/old newconffile remove-on-upgrade\n"
        );
    }

    #[test]
    fn reads_triggers_and_relations() {
        let package = control(
            "Package: a\nReplaces: b (<< 2), c:any | d",
            &[(
                "triggers",
                "# a comment\ninterest ldconfig\ninterest-noawait /usr/share/x # why\nactivate y\n",
            )],
        );
        assert_eq!(
            package.interests(),
            [
                ("ldconfig".to_owned(), "a".to_owned()),
                ("/usr/share/x".to_owned(), "a/noawait".to_owned())
            ]
        );
        for (other, expected) in
            [("b", true), ("c", true), ("d", true), ("a", false), ("bb", false)]
        {
            assert_eq!(
                package.replaces(&control(&format!("Package: {other}"), &[])),
                expected,
                "{other}"
            );
        }
    }
}
