//! The permitted contents of a bundle, whatever form it comes in: names, kinds, mode bits and sizes.

use hostler_core::bundle::BundlePath;
use hostler_core::limits::Limits;

use super::error::{ArchiveError, EntryProblem};

/// Most bytes of one name: every usual Linux filesystem accepts these.
const COMPONENT_BYTES: usize = 255;
/// Most bytes of a symbolic link's target that the kernel accepts.
const LINK_TARGET_BYTES: usize = 4095;

const SETUID_OR_SETGID: u32 = 0o6000;
const PERMISSION_BITS: u32 = 0o7777;

/// How an unpack is bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnpackOptions {
    /// The bounds; see each field.
    pub limits: Limits,
    /// Whether files may carry the setuid and setgid bits. They would belong to the agent's user, mostly root.
    pub allow_setuid: bool,
}

/// The path of an entry for use beneath the bundle's top; `None` is the top itself (`./`). Leading slashes are left
/// out, as tar and unzip do.
///
/// Case twins and Unicode-normalisation twins are different names on Linux and stay so.
pub(super) fn entry_path(raw: &[u8], limits: &Limits) -> Result<Option<BundlePath>, ArchiveError> {
    clean_path(raw, limits).map_err(|problem| ArchiveError::entry(raw, problem))
}

fn clean_path(raw: &[u8], limits: &Limits) -> Result<Option<BundlePath>, EntryProblem> {
    if raw.is_empty() {
        return Err(EntryProblem::NoName);
    }
    if raw.contains(&0) {
        return Err(EntryProblem::NulByte);
    }
    let text = std::str::from_utf8(raw).map_err(|_| EntryProblem::NotUtf8)?;
    let mut clean = String::with_capacity(text.len());
    let mut depth = 0;
    for component in text.split('/').filter(|c| !c.is_empty() && *c != ".") {
        if component == ".." {
            return Err(EntryProblem::ParentComponent);
        }
        if component.len() > COMPONENT_BYTES {
            return Err(EntryProblem::PathTooLong { limit: COMPONENT_BYTES });
        }
        if depth > 0 {
            clean.push('/');
        }
        clean.push_str(component);
        depth += 1;
    }
    if clean.len() > limits.path_bytes {
        return Err(EntryProblem::PathTooLong { limit: limits.path_bytes });
    }
    if depth > limits.path_depth {
        return Err(EntryProblem::TooDeep { limit: limits.path_depth });
    }
    Ok(BundlePath::new(clean))
}

/// Whether the name of an entry begins with a slash, which [`entry_path`] leaves out.
pub(super) fn has_leading_slash(raw: &[u8]) -> bool {
    raw.first() == Some(&b'/')
}

/// The target of a symbolic link. It may lead anywhere: nothing is ever written through it.
pub(super) fn link_target(entry: &[u8], target: &[u8]) -> Result<String, ArchiveError> {
    let refuse = |problem| Err(ArchiveError::entry(entry, EntryProblem::LinkTarget { problem }));
    if target.is_empty() {
        return refuse("is empty");
    }
    if target.contains(&0) {
        return refuse("has a NUL byte");
    }
    if target.len() > LINK_TARGET_BYTES {
        return refuse("is longer than 4095 bytes");
    }
    match std::str::from_utf8(target) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => refuse("is not UTF-8"),
    }
}

/// The permission bits of a file. A directory's setgid bit grants no rights, so only files are checked.
pub(super) fn file_mode(entry: &[u8], mode: u32, options: &UnpackOptions) -> Result<u32, ArchiveError> {
    if mode & SETUID_OR_SETGID != 0 && !options.allow_setuid {
        return Err(ArchiveError::entry(entry, EntryProblem::Setuid));
    }
    Ok(mode & PERMISSION_BITS)
}

/// The permission bits of a directory.
pub(super) fn directory_mode(mode: u32) -> u32 {
    mode & PERMISSION_BITS
}

/// Adds up the unpacked size of a bundle and stops it at the limits, before anything is written.
pub(super) struct Meter<'a> {
    limits: &'a Limits,
    bundle_bytes: u64,
    unpacked_bytes: u64,
    entries: u64,
    path_bytes: u64,
}

impl<'a> Meter<'a> {
    /// For a bundle of so many stored bytes. A directory passes `u64::MAX`, because it has no ratio.
    pub(super) fn new(limits: &'a Limits, bundle_bytes: u64) -> Self {
        Self { limits, bundle_bytes, unpacked_bytes: 0, entries: 0, path_bytes: 0 }
    }

    /// Counts an entry that the archive names, or a directory that another entry needs.
    pub(super) fn entry(&mut self, entry: &[u8]) -> Result<(), ArchiveError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(too_large(format!("has {} entries or more", self.entries), self.limits.entries, entry));
        }
        self.path(entry.len() as u64, entry)
    }

    /// Counts the bytes of an entry's path, or of a link's target.
    pub(super) fn path(&mut self, bytes: u64, entry: &[u8]) -> Result<(), ArchiveError> {
        self.path_bytes = self.path_bytes.saturating_add(bytes);
        if self.path_bytes > self.limits.all_path_bytes {
            let what = format!("has paths and link targets of {} bytes or more in all", self.path_bytes);
            return Err(too_large(what, self.limits.all_path_bytes, entry));
        }
        Ok(())
    }

    /// Counts a file's bytes. A hard link counts like a file, because installing it copies it.
    pub(super) fn file(&mut self, bytes: u64, entry: &[u8]) -> Result<(), ArchiveError> {
        self.unpacked_bytes = self.unpacked_bytes.saturating_add(bytes);
        if self.unpacked_bytes > self.limits.unpacked_bytes {
            let what = format!("unpacks to {} bytes or more", self.unpacked_bytes);
            return Err(too_large(what, self.limits.unpacked_bytes, entry));
        }
        self.expansion(self.unpacked_bytes, entry)
    }

    /// Checks the total of bytes from the decompressor, including headers and padding.
    pub(super) fn expansion(&self, bytes: u64, entry: &[u8]) -> Result<(), ArchiveError> {
        let limit = self.bundle_bytes.saturating_mul(self.limits.expansion_ratio);
        if bytes > self.limits.expansion_floor_bytes && bytes > limit {
            let what = format!("expands {} stored bytes to {bytes} or more", self.bundle_bytes);
            return Err(too_large(what, limit, entry));
        }
        Ok(())
    }
}

/// Checks the stored size of a bundle.
pub(super) fn check_bundle_bytes(bytes: u64, limits: &Limits) -> Result<(), ArchiveError> {
    if bytes > limits.bundle_bytes {
        return Err(ArchiveError::TooLarge {
            what: format!("has {bytes} bytes"),
            limit: limits.bundle_bytes,
            entry: None,
        });
    }
    Ok(())
}

fn too_large(what: String, limit: u64, entry: &[u8]) -> ArchiveError {
    ArchiveError::TooLarge { what, limit, entry: Some(String::from_utf8_lossy(entry).into_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_or_refused() {
        let limits = Limits { path_bytes: 20, path_depth: 3, ..Limits::default() };
        let good: [(&str, Option<&str>); 8] = [
            ("a", Some("a")),
            ("./a//b/./c/", Some("a/b/c")),
            (".", None),
            ("././", None),
            ("..a/b..", Some("..a/b..")),
            ("é/É", Some("é/É")),
            ("//etc/passwd", Some("etc/passwd")),
            ("/", None),
        ];
        for (raw, clean) in good {
            let path = entry_path(raw.as_bytes(), &limits).unwrap();
            assert_eq!(path.as_ref().map(|p| p.as_path().to_str().unwrap()), clean, "{raw}");
        }
        let bad: [(&[u8], EntryProblem); 9] = [
            (b"", EntryProblem::NoName),
            (b"/../x", EntryProblem::ParentComponent),
            (b"..", EntryProblem::ParentComponent),
            (b"a/../b", EntryProblem::ParentComponent),
            (b"./..", EntryProblem::ParentComponent),
            (b"a\xff", EntryProblem::NotUtf8),
            (b"a\0b", EntryProblem::NulByte),
            (b"aaaaaaaaaaaaaaaaaaaaa", EntryProblem::PathTooLong { limit: 20 }),
            (b"a/b/c/d", EntryProblem::TooDeep { limit: 3 }),
        ];
        for (raw, expected) in bad {
            match entry_path(raw, &limits) {
                Err(ArchiveError::Entry { problem, .. }) => assert_eq!(problem, expected),
                other => panic!("{raw:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn setuid_needs_the_option() {
        let mut options = UnpackOptions::default();
        assert_eq!(file_mode(b"a", 0o100755, &options).unwrap(), 0o755);
        assert!(file_mode(b"a", 0o4755, &options).is_err());
        assert!(file_mode(b"a", 0o2755, &options).is_err());
        options.allow_setuid = true;
        assert_eq!(file_mode(b"a", 0o4755, &options).unwrap(), 0o4755);
    }

    #[test]
    fn the_meter_knows_ratio_total_and_count() {
        let limits = Limits {
            unpacked_bytes: 10_000,
            expansion_ratio: 10,
            expansion_floor_bytes: 500,
            entries: 2,
            ..Limits::default()
        };
        let mut meter = Meter::new(&limits, 100);
        meter.file(1000, b"a").unwrap();
        assert!(meter.file(1, b"b").unwrap_err().to_string().contains("\"b\""));
        assert!(Meter::new(&limits, 10_000).file(10_001, b"c").is_err());
        assert!(Meter::new(&limits, 1).file(500, b"below the floor").is_ok());
        meter.entry(b"a").unwrap();
        meter.entry(b"b").unwrap();
        assert!(meter.entry(b"c").is_err());

        let limits = Limits { all_path_bytes: 10, ..Limits::default() };
        let mut meter = Meter::new(&limits, 100);
        meter.entry(b"seven/7").unwrap();
        meter.path(3, b"link").unwrap();
        let error = meter.entry(b"one more").unwrap_err().to_string();
        assert!(error.contains("18 bytes") && error.contains("10") && error.contains("one more"), "{error}");
    }
}
