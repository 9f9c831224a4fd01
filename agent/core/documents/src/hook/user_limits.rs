//! The limits of a user's sessions, from limits.conf(5), as pam_limits(8) of Linux-PAM 1.5.2 reads them.

use std::collections::BTreeMap;

/// No limit.
pub const UNLIMITED: u64 = u64::MAX;

/// A limited resource of a process: getrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// RLIMIT_AS, bytes.
    AddressSpace,
    /// RLIMIT_CORE, bytes.
    Core,
    /// RLIMIT_CPU, seconds.
    Cpu,
    /// RLIMIT_DATA, bytes.
    Data,
    /// RLIMIT_FSIZE, bytes.
    FileSize,
    /// RLIMIT_LOCKS.
    Locks,
    /// RLIMIT_MEMLOCK, bytes.
    LockedMemory,
    /// RLIMIT_MSGQUEUE, bytes.
    MessageQueues,
    /// RLIMIT_NICE: 20 less the least nice value.
    Nice,
    /// RLIMIT_NOFILE.
    OpenFiles,
    /// RLIMIT_NPROC.
    Processes,
    /// RLIMIT_RSS, bytes.
    Resident,
    /// RLIMIT_RTPRIO.
    RealTimePriority,
    /// RLIMIT_SIGPENDING.
    PendingSignals,
    /// RLIMIT_STACK, bytes.
    Stack,
}

/// An item of limits.conf, and the number of getrlimit(2) units in its unit.
const ITEMS: [(&str, Resource, u64); 15] = [
    ("as", Resource::AddressSpace, 1024),
    ("core", Resource::Core, 1024),
    ("cpu", Resource::Cpu, 60),
    ("data", Resource::Data, 1024),
    ("fsize", Resource::FileSize, 1024),
    ("locks", Resource::Locks, 1),
    ("memlock", Resource::LockedMemory, 1024),
    ("msgqueue", Resource::MessageQueues, 1),
    ("nice", Resource::Nice, 1),
    ("nofile", Resource::OpenFiles, 1),
    ("nproc", Resource::Processes, 1),
    ("rss", Resource::Resident, 1024),
    ("rtprio", Resource::RealTimePriority, 1),
    ("sigpending", Resource::PendingSignals, 1),
    ("stack", Resource::Stack, 1024),
];

/// Items that count sessions or change a session's view: a hook is not a session.
const OF_SESSIONS: [&str; 3] = ["maxlogins", "maxsyslogins", "chroot"];

/// The user whose limits are read.
pub struct LimitedUser<'a> {
    /// The name in the user database.
    pub name: &'a str,
    /// The user's number.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// All groups.
    pub groups: &'a [u32],
    /// The number of a group.
    pub group_named: &'a dyn Fn(&str) -> Option<u32>,
}

/// The precedence of an entry: a lower one changes nothing that a higher one has set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    Everyone,
    Group,
    User,
}

/// A soft and a hard limit, each only if an entry sets it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    soft: Option<(Weight, u64)>,
    hard: Option<(Weight, u64)>,
}

impl Bounds {
    /// The soft limit.
    pub fn soft(self) -> Option<u64> {
        self.soft.map(|(_, value)| value)
    }

    /// The hard limit.
    pub fn hard(self) -> Option<u64> {
        self.hard.map(|(_, value)| value)
    }

    fn set(&mut self, which: Which, weight: Weight, value: u64) {
        let may_set = |set: Option<(Weight, u64)>| set.is_none_or(|(before, _)| before <= weight);
        if which != Which::Hard {
            if !may_set(self.soft) {
                return;
            }
            self.soft = Some((weight, value));
        }
        if which != Which::Soft && may_set(self.hard) {
            self.hard = Some((weight, value));
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Soft,
    Hard,
    Both,
}

/// The limits of one user, from one file after another.
#[derive(Debug, Default)]
pub struct UserLimits {
    /// The limits that are set.
    pub bounds: BTreeMap<Resource, Bounds>,
    /// The nice value to run with.
    pub priority: Option<i32>,
    /// The parts that could not be parsed, each with its file and line.
    pub faults: Vec<String>,
    /// `USER -`: no limits apply to the user.
    exempt: bool,
}

impl UserLimits {
    /// Reads the next file. `file` is its name in faults.
    pub fn read(&mut self, file: &str, text: &str, user: &LimitedUser<'_>) {
        for (number, line) in (1..).zip(text.lines()) {
            if self.exempt {
                return;
            }
            let line = line.split('#').next().unwrap_or_default();
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            if let Err(fault) = self.take(&fields, user) {
                self.faults.push(format!("{file}, line {number}: {fault}"));
            }
        }
    }

    fn take(&mut self, fields: &[&str], user: &LimitedUser<'_>) -> Result<(), String> {
        match fields {
            [] => Ok(()),
            [domain, kind] if kind.starts_with('-') => {
                // For all users it would have no meaning.
                if weight(domain, user)?.is_some_and(|weight| weight > Weight::Everyone) {
                    *self = Self { exempt: true, faults: std::mem::take(&mut self.faults), ..Self::default() };
                }
                Ok(())
            }
            [domain, kind, item, value, ..] => match weight(domain, user)? {
                Some(weight) => self.set(weight, kind, &item.to_ascii_lowercase(), &value.to_ascii_lowercase()),
                None if domain.starts_with('%') && !OF_SESSIONS.contains(item) => {
                    Err(format!("{domain:?} counts logins together, and is for maxlogins alone"))
                }
                None => Ok(()),
            },
            _ => Err("it needs four words: whose, soft or hard or -, what, and how much".to_owned()),
        }
    }

    fn set(&mut self, weight: Weight, kind: &str, item: &str, value: &str) -> Result<(), String> {
        if OF_SESSIONS.contains(&item) {
            return Ok(());
        }
        let which = match kind.to_ascii_lowercase().as_str() {
            "soft" => Which::Soft,
            "hard" => Which::Hard,
            "-" => Which::Both,
            _ => return Err(format!("{kind:?} is not soft, hard or -")),
        };
        if item == "priority" {
            self.priority = Some(nice_value(value)?);
            return Ok(());
        }
        let known = ITEMS.iter().find(|(name, ..)| *name == item);
        let (_, resource, unit) = known.ok_or_else(|| format!("{item:?} is not known, or has no effect on hooks"))?;
        let value = match resource {
            Resource::Nice => u64::try_from(20 - nice_value(value)?).unwrap_or_default(),
            _ => amount(value)?.checked_mul(*unit).unwrap_or(UNLIMITED),
        };
        self.bounds.entry(*resource).or_default().set(which, weight, value);
        Ok(())
    }
}

/// The precedence of an entry with this domain for the user; `None` if it is for others. Root is matched by name only:
/// a limit for all users must not keep an administrator out (pam_limits of Debian, and limits.conf(5)).
fn weight(domain: &str, user: &LimitedUser<'_>) -> Result<Option<Weight>, String> {
    let (group, of) = match domain.strip_prefix('@') {
        Some(group) => (true, group),
        None => (false, domain),
    };
    let range = if domain.starts_with('%') { None } else { range(of)? };
    if domain == user.name {
        return Ok(Some(Weight::User));
    }
    if user.uid == 0 || domain.starts_with('%') {
        return Ok(None);
    }
    let (matches, weight) = match (group, range) {
        (true, None) => ((user.group_named)(of).is_some_and(|gid| user.groups.contains(&gid)), Weight::Group),
        (true, Some(Range::One(gid))) => (user.gid == gid || user.groups.contains(&gid), Weight::Group),
        // Of several groups only the primary one is checked.
        (true, Some(range)) => (range.contains(user.gid), Weight::Group),
        (false, Some(range)) => (range.contains(user.uid), Weight::User),
        (false, None) => (domain == "*", Weight::Everyone),
    };
    Ok(matches.then_some(weight))
}

enum Range {
    /// `:MAX`.
    One(u32),
    /// `MIN:` and `MIN:MAX`.
    From(u32, Option<u32>),
}

impl Range {
    fn contains(&self, id: u32) -> bool {
        match self {
            Self::One(one) => *one == id,
            Self::From(least, most) => *least <= id && most.is_none_or(|most| id <= most),
        }
    }
}

fn range(text: &str) -> Result<Option<Range>, String> {
    let Some((least, most)) = text.split_once(':') else { return Ok(None) };
    let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is no number of a user or group"));
    match (least, most) {
        ("", most) => Ok(Some(Range::One(number(most)?))),
        (least, "") => Ok(Some(Range::From(number(least)?, None))),
        (least, most) => Ok(Some(Range::From(number(least)?, Some(number(most)?)))),
    }
}

/// Text after the digits is ignored, as in pam_limits.
fn amount(value: &str) -> Result<u64, String> {
    if ["-1", "-", "unlimited", "infinity"].contains(&value) {
        return Ok(UNLIMITED);
    }
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    match value.get(..digits).filter(|digits| !digits.is_empty()) {
        Some(digits) => Ok(digits.parse().unwrap_or(UNLIMITED)),
        None => Err(format!("{value:?} is no amount; write a number or unlimited")),
    }
}

fn nice_value(value: &str) -> Result<i32, String> {
    let nice: i32 = value.parse().map_err(|_| format!("{value:?} is no nice value; write -20 to 19"))?;
    Ok(nice.clamp(-20, 19))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits_of(name: &str, uid: u32, texts: &[&str]) -> UserLimits {
        let group_named = |name: &str| [("web", 33), ("adm", 4)].iter().find(|(n, _)| *n == name).map(|(_, gid)| *gid);
        let user = LimitedUser { name, uid, gid: 1001, groups: &[1001, 33], group_named: &group_named };
        let mut limits = UserLimits::default();
        for text in texts {
            limits.read("F", text, &user);
        }
        limits
    }

    fn open_files(texts: &[&str]) -> (Option<u64>, Option<u64>) {
        let bounds = limits_of("app", 1500, texts).bounds.get(&Resource::OpenFiles).copied().unwrap_or_default();
        (bounds.soft(), bounds.hard())
    }

    #[test]
    fn an_entry_is_for_a_user_a_group_a_range_or_everyone() {
        for (domain, is_meant) in [
            ("app", true),
            ("App", false),
            ("other", false),
            ("@web", true),
            ("@adm", false),
            ("@none", false),
            ("*", true),
            ("1500:", true),
            ("1501:", false),
            ("1000:2000", true),
            ("1000:1499", false),
            (":1500", true),
            (":1501", false),
            ("@:33", true),
            ("@:1001", true),
            // A range of groups is about the primary one.
            ("@30:40", false),
            ("@1000:", true),
            ("%web", false),
        ] {
            let expected = if is_meant { (Some(7), Some(7)) } else { (None, None) };
            assert_eq!(open_files(&[&format!("{domain} - nofile 7\n")]), expected, "{domain}");
        }
    }

    #[test]
    fn the_user_counts_more_than_the_group_and_that_more_than_everyone_in_whichever_order() {
        let lines = ["* - nofile 1", "@web - nofile 2", "app - nofile 3"];
        assert_eq!(open_files(&lines), (Some(3), Some(3)));
        assert_eq!(open_files(&[lines[2], lines[1], lines[0]]), (Some(3), Some(3)));
        assert_eq!(open_files(&[lines[1], lines[0]]), (Some(2), Some(2)));
        // Of two entries with equal precedence the later one counts.
        assert_eq!(open_files(&["app - nofile 3\n1000:2000 soft nofile 4", "app hard nofile 9"]), (Some(4), Some(9)));
        // An entry that cannot set the soft limit sets none, as in pam_limits.
        assert_eq!(open_files(&["app soft nofile 3", "* - nofile 9"]), (Some(3), None));
    }

    #[test]
    fn every_item_is_known_with_its_unit() {
        for (item, resource, value) in [
            ("as", Resource::AddressSpace, 3072),
            ("core", Resource::Core, 3072),
            ("cpu", Resource::Cpu, 180),
            ("data", Resource::Data, 3072),
            ("fsize", Resource::FileSize, 3072),
            ("locks", Resource::Locks, 3),
            ("memlock", Resource::LockedMemory, 3072),
            ("msgqueue", Resource::MessageQueues, 3),
            ("nice", Resource::Nice, 17),
            ("nofile", Resource::OpenFiles, 3),
            ("nproc", Resource::Processes, 3),
            ("rss", Resource::Resident, 3072),
            ("rtprio", Resource::RealTimePriority, 3),
            ("sigpending", Resource::PendingSignals, 3),
            ("stack", Resource::Stack, 3072),
        ] {
            let limits = limits_of("app", 1500, &[&format!("app soft {item} 3")]);
            let found: Vec<_> = limits.bounds.iter().map(|(r, b)| (*r, b.soft(), b.hard())).collect();
            assert_eq!(found, [(resource, Some(value), None)], "{item}");
        }
        let nice =
            |value: &str| limits_of("app", 1500, &[&format!("app - nice {value}")]).bounds[&Resource::Nice].hard();
        assert_eq!([nice("-5"), nice("-99"), nice("99")], [Some(25), Some(40), Some(1)]);
        assert_eq!(limits_of("app", 1500, &["app - priority -3\n* - priority 4"]).priority, Some(4));
    }

    #[test]
    fn amounts_are_read_as_pam_reads_them() {
        for value in ["unlimited", "INFINITY", "-1", "-", "99999999999999999999"] {
            assert_eq!(open_files(&[&format!("app - nofile {value}")]), (Some(UNLIMITED), Some(UNLIMITED)), "{value}");
        }
        assert_eq!(open_files(&["app HARD NoFile 12k # more"]), (None, Some(12)));
        let core = limits_of("app", 1500, &["app hard core 99999999999999999"]).bounds[&Resource::Core];
        assert_eq!(core.hard(), Some(UNLIMITED));
    }

    #[test]
    fn root_is_meant_by_its_name_alone() {
        let others = "* - nofile 1\n@root - nofile 2\n@:0 - nofile 3\n0: - nofile 4\n@web - nofile 5\n";
        assert!(limits_of("root", 0, &[others]).bounds.is_empty());
        let own = limits_of("root", 0, &[others, "root soft nofile 6"]).bounds;
        assert_eq!(own[&Resource::OpenFiles].soft(), Some(6));
    }

    #[test]
    fn a_user_may_be_free_of_all_limits() {
        for free in ["app -", "@web -", "1000: -"] {
            let limits = limits_of("app", 1500, &["* - nofile 1", free, "app - nofile 2"]);
            assert!(limits.bounds.is_empty(), "{free}");
        }
        assert_eq!(open_files(&["other -\n* -\n@adm -", "* - nofile 1"]), (Some(1), Some(1)));
    }

    #[test]
    fn what_is_not_understood_is_named_with_its_line_and_costs_nothing_else() {
        let text = "# a comment\n\napp soft nofile\napp both nofile 1\napp - speed 1\napp - nofile many\n\
                    app - nice unlimited\n%web - nofile 1\nx:2 - nofile 1\napp - nofile 5\n* hard maxlogins 3\n";
        let limits = limits_of("app", 1500, &[text]);
        assert_eq!(limits.bounds[&Resource::OpenFiles].soft(), Some(5));
        let lines: Vec<_> = limits.faults.iter().filter_map(|fault| fault.split(':').next()).collect();
        assert_eq!(lines, ["F, line 3", "F, line 4", "F, line 5", "F, line 6", "F, line 7", "F, line 8", "F, line 9"]);
    }
}
