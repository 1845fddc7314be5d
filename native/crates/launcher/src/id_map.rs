//! Which subordinate ids the user has, and the maps made of them.

use std::process::Command;

/// Ids `start .. start + count` of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First.
    pub start: u32,
    /// How many.
    pub count: u32,
}

/// Source: subuid(5). `owner` is the name or the number of the user; lines that cannot be read are passed over, as
/// shadow's tools do.
pub fn parse_ranges(text: &str, owners: &[String]) -> Vec<Range> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            if !owners.iter().any(|one| one == owner) {
                return None;
            }
            let start = fields.next()?.parse().ok()?;
            let count: u32 = fields.next()?.parse().ok()?;
            (count > 0).then_some(Range { start, count })
        })
        .collect()
}

/// What `getsubids` prints: `0: NAME START COUNT`.
fn parse_getsubids(text: &str) -> Vec<Range> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().rev();
            let count = words.next()?.parse().ok()?;
            let start = words.next()?.parse().ok()?;
            Some(Range { start, count })
        })
        .collect()
}

/// Subordinate user ids and group ids of `uid`: from the files, else from `getsubids`, which asks the name services.
pub fn subordinate_ids(uid: u32) -> (Vec<Range>, Vec<Range>) {
    let mut owners = vec![uid.to_string()];
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    owners.extend(names_of(&passwd, uid));
    let read =
        |path: &str| parse_ranges(&std::fs::read_to_string(path).unwrap_or_default(), &owners);
    let (mut uids, mut gids) = (read("/etc/subuid"), read("/etc/subgid"));
    if uids.is_empty() || gids.is_empty() {
        if owners.len() == 1 {
            // A user of LDAP or the like: only the name services know the name.
            owners.extend(output("id", &["-un"]).map(|name| name.trim().to_owned()));
        }
        if let Some(name) = owners.get(1) {
            if uids.is_empty() {
                uids = output("getsubids", &[name])
                    .map(|text| parse_getsubids(&text))
                    .unwrap_or_default();
            }
            if gids.is_empty() {
                gids = output("getsubids", &["-g", name])
                    .map(|text| parse_getsubids(&text))
                    .unwrap_or_default();
            }
        }
    }
    (uids, gids)
}

fn names_of(passwd: &str, uid: u32) -> Vec<String> {
    passwd
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
        })
        .collect()
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The arguments of newuidmap after the pid: inside 0 is the user, then the ranges in order from 1 on.
pub fn map_arguments(own: u32, ranges: &[Range]) -> Vec<String> {
    let mut words = vec!["0".to_owned(), own.to_string(), "1".to_owned()];
    let mut inside = 1u32;
    for range in ranges {
        words.extend([inside.to_string(), range.start.to_string(), range.count.to_string()]);
        inside = inside.saturating_add(range.count);
    }
    words
}

/// A map of the ids in `own`, a `/proc/PID/uid_map`, to themselves. Of all that there are the last is left out: so the map is
/// not taken for that of the machine's own user namespace.
pub fn identity(own: &str) -> String {
    own.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (inside, _) = (words.next()?, words.next()?);
            let count = words.next()?.parse::<u32>().ok()?.min(u32::MAX - 1);
            Some(format!("{inside} {inside} {count}\n"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_name_or_number_and_several() {
        let owners = ["1000".to_owned(), "eva".to_owned()];
        let text = "root:1:2\neva:100000:65536\n# no\n1000:300000:10\neva:x:1\neva:5:0\nevan:7:7\n";
        let ranges = parse_ranges(text, &owners);
        assert_eq!(
            ranges,
            [Range { start: 100_000, count: 65_536 }, Range { start: 300_000, count: 10 }]
        );
        assert_eq!(
            map_arguments(1000, &ranges).join(" "),
            "0 1000 1 1 100000 65536 65537 300000 10"
        );
        assert_eq!(
            identity("         0       1000          1\n  1 100000 65536\n"),
            "0 0 1\n1 1 65536\n"
        );
        assert_eq!(identity("0 0 4294967295\n"), "0 0 4294967294\n");
        assert_eq!(parse_getsubids("0: eva 100000 65536\n"), ranges[..1]);
        assert_eq!(
            names_of("root:x:0:0::/root:/bin/sh\neva:x:1000:1000::/:/bin/sh\n", 1000),
            ["eva"]
        );
    }
}
