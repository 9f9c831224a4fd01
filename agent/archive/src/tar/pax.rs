//! PAX records: `length key=value\n`, where the length counts itself.

use crate::tree::ModifiedTime;

/// The records that matter for unpacking; owners, access times and extended attributes are not kept.
#[derive(Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) modified: Option<ModifiedTime>,
    /// Whether the file has capabilities.
    pub(super) capabilities: bool,
    pub(super) sparse: SparseRecords,
}

/// GNU tar's description of a sparse file.
#[derive(Default)]
pub(super) struct SparseRecords {
    pub(super) name: Option<Vec<u8>>,
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) real_size: Option<u64>,
    old_form: bool,
}

impl SparseRecords {
    pub(super) fn is_used(&self) -> bool {
        self.old_form || self.major.is_some() || self.minor.is_some() || self.real_size.is_some()
    }
}

impl Records {
    /// Whether a global header with these records would rename, resize or relink entries.
    pub(super) fn changes_entries(&self) -> bool {
        self.path.is_some() || self.link.is_some() || self.size.is_some() || self.sparse.is_used()
    }
}

pub(super) fn parse(mut bytes: &[u8]) -> Result<Records, &'static str> {
    let mut records = Records::default();
    while !bytes.is_empty() {
        let (record, rest) = split_record(bytes).ok_or("a PAX header has a record of a wrong length")?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or("a PAX header has a record without a key")?;
        let (key, value) = record.split_at(equals);
        take(&mut records, key, value.get(1..).unwrap_or_default())?;
        bytes = rest;
    }
    Ok(records)
}

/// The `key=value` of the first record, and the bytes after the record.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(bytes.get(..space)?).ok()?.parse().ok()?;
    let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    Some((record, bytes.get(length..)?))
}

fn take(records: &mut Records, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
    match key {
        // An empty value takes the record back.
        b"path" => records.path = Some(value.to_vec()).filter(|v| !v.is_empty()),
        b"linkpath" => records.link = Some(value.to_vec()).filter(|v| !v.is_empty()),
        b"size" => records.size = Some(number(value)?),
        b"mtime" => records.modified = Some(time(value)?),
        // GNU tar and star; bsdtar writes both.
        b"SCHILY.xattr.security.capability" | b"LIBARCHIVE.xattr.security.capability" => records.capabilities = true,
        b"GNU.sparse.name" => records.sparse.name = Some(value.to_vec()),
        b"GNU.sparse.major" => records.sparse.major = Some(number(value)?),
        b"GNU.sparse.minor" => records.sparse.minor = Some(number(value)?),
        b"GNU.sparse.realsize" => records.sparse.real_size = Some(number(value)?),
        _ if key.starts_with(b"GNU.sparse.") => records.sparse.old_form = true,
        _ => {}
    }
    Ok(())
}

fn number(value: &[u8]) -> Result<u64, &'static str> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok()).ok_or("a PAX header has a number that is none")
}

/// Seconds since 1970 with an optional sign and fraction.
fn time(value: &[u8]) -> Result<ModifiedTime, &'static str> {
    const WRONG: &str = "a PAX header has a time that is none";
    let text = std::str::from_utf8(value).map_err(|_| WRONG)?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().map_err(|_| WRONG)?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(WRONG);
    }
    let nanoseconds = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = nanoseconds.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    // A fraction counts towards later, the sign towards earlier.
    match whole.starts_with('-') && nanoseconds > 0 {
        true => Ok(ModifiedTime { seconds: seconds.saturating_sub(1), nanoseconds: 1_000_000_000 - nanoseconds }),
        false => Ok(ModifiedTime { seconds, nanoseconds }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_cut_by_length_so_that_names_may_hold_newlines() {
        let records = parse(b"17 path=a\nb=c/d\n\n13 size=1234\n22 mtime=1700000000.5\n").map_err(|e| e.to_owned());
        let records = records.unwrap();
        assert_eq!(records.path.unwrap(), b"a\nb=c/d\n");
        assert_eq!(records.size, Some(1234));
        assert_eq!(records.modified, Some(ModifiedTime { seconds: 1_700_000_000, nanoseconds: 500_000_000 }));
    }

    #[test]
    fn times_may_be_negative() {
        assert_eq!(time(b"-1.25"), Ok(ModifiedTime { seconds: -2, nanoseconds: 750_000_000 }));
        assert_eq!(time(b"-0.5"), Ok(ModifiedTime { seconds: -1, nanoseconds: 500_000_000 }));
        assert_eq!(time(b"7"), Ok(ModifiedTime { seconds: 7, nanoseconds: 0 }));
        assert!(time(b"7.x").is_err());
    }

    #[test]
    fn wrong_records_are_refused() {
        let cases: [&[u8]; 6] =
            [b"5 a=b\n", b"99 path=a\n", b"x path=a\n", b"9 path=a\n\n", b"6 pat\n", b"11 size=1x2\n"];
        for case in cases {
            assert!(parse(case).is_err(), "{:?}", String::from_utf8_lossy(case));
        }
    }
}
