//! Builds bundles byte by byte, and looks at the result of unpacking.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use hostler_core::bundle::{BundleListing, BundleType};
use hostler_core::limits::Limits;
use tar::{EntryType, Header};
use tempfile::TempDir;

use crate::{ArchiveError, EntryProblem, UnpackOptions, Unpacked, detect, unpack};

/// A directory in which `destination` may appear, and no other file may be left.
pub struct Room {
    directory: TempDir,
}

impl Room {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub fn destination(&self) -> PathBuf {
        self.directory.path().join("destination")
    }

    pub fn unpack(&self, bytes: &[u8]) -> Result<BundleListing, ArchiveError> {
        self.unpack_with(bytes, &UnpackOptions::default())
    }

    pub fn unpack_with(&self, bytes: &[u8], options: &UnpackOptions) -> Result<BundleListing, ArchiveError> {
        let bundle = file_with(bytes);
        let kind = detect(&bundle)?;
        self.unpack_as(&bundle, kind, options)
    }

    pub fn unpack_as(
        &self,
        bundle: &File,
        kind: BundleType,
        options: &UnpackOptions,
    ) -> Result<BundleListing, ArchiveError> {
        self.unpacked(bundle, kind, options).map(|unpacked| unpacked.listing)
    }

    /// Unpacks, and returns the changes made to entries as well.
    pub fn unpacked(&self, bundle: &File, kind: BundleType, options: &UnpackOptions) -> Result<Unpacked, ArchiveError> {
        let result = unpack(bundle, kind, &self.destination(), options);
        let left: Vec<_> = fs::read_dir(self.directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        match &result {
            Ok(_) => assert_eq!(left, ["destination"]),
            Err(_) => assert!(left.is_empty(), "left behind after an error: {left:?}"),
        }
        result
    }

    /// Unpacks, expects a refusal that names the entry, and returns the problem.
    pub fn refusal(&self, bytes: &[u8], entry: &str) -> EntryProblem {
        match self.unpack(bytes) {
            Err(ArchiveError::Entry { entry: named, problem }) => {
                assert_eq!(named, entry);
                problem
            }
            other => panic!("expected a refusal of {entry:?}, not {other:?}"),
        }
    }
}

pub fn file_with(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

pub fn small_limits() -> UnpackOptions {
    let limits = Limits { expansion_floor_bytes: 10_000, ..Limits::default() };
    UnpackOptions { limits, ..UnpackOptions::default() }
}

/// A tar archive with any names.
#[derive(Default)]
pub struct Tar {
    pub bytes: Vec<u8>,
}

impl Tar {
    pub fn entry(mut self, kind: EntryType, name: &str, link: &str, mode: u32, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_600_000_000);
        header.set_size(content.len() as u64);
        // Straight into the field: the crate's setters refuse the names that matter here.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.padded(content)
    }

    pub fn padded(mut self, content: &[u8]) -> Self {
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, content: &[u8]) -> Self {
        self.entry(EntryType::Regular, name, "", 0o644, content)
    }

    pub fn directory(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, "", 0o755, b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, target, 0o777, b"")
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name, target, 0o644, b"")
    }

    pub fn end(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }
}

/// One entry of a zip archive; every field may lie.
#[derive(Clone)]
pub struct ZipEntry {
    pub name: Vec<u8>,
    pub local_name: Option<Vec<u8>>,
    pub unix_mode: u32,
    pub system: u8,
    pub flags: u16,
    pub method: u16,
    pub crc: u32,
    pub size: u32,
    pub data: Vec<u8>,
    pub offset: Option<u32>,
}

impl ZipEntry {
    pub fn stored(name: &str, unix_mode: u32, content: &[u8]) -> Self {
        let mut crc = flate2::Crc::new();
        crc.update(content);
        Self {
            name: name.into(),
            local_name: None,
            unix_mode,
            system: 3,
            flags: 0,
            method: 0,
            crc: crc.sum(),
            size: content.len() as u32,
            data: content.to_vec(),
            offset: None,
        }
    }

    pub fn deflated(name: &str, content: &[u8]) -> Self {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(content).unwrap();
        Self { method: 8, data: encoder.finish().unwrap(), ..Self::stored(name, 0o100644, content) }
    }

    /// The part that the two headers share: from the flags to the lengths of name and extra field.
    fn common(&self, name: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.flags.to_le_bytes());
        bytes.extend(self.method.to_le_bytes());
        bytes.extend([0, 0, 0x21, 0]);
        bytes.extend(self.crc.to_le_bytes());
        bytes.extend((self.data.len() as u32).to_le_bytes());
        bytes.extend(self.size.to_le_bytes());
        bytes.extend((name.len() as u16).to_le_bytes());
        bytes.extend([0, 0]);
        bytes
    }
}

pub fn zip(entries: &[ZipEntry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut central = Vec::new();
    for entry in entries {
        let offset = entry.offset.unwrap_or(bytes.len() as u32);
        let local_name = entry.local_name.as_ref().unwrap_or(&entry.name);
        bytes.extend(b"PK\x03\x04\x14\0");
        bytes.extend(entry.common(local_name));
        bytes.extend(local_name);
        bytes.extend(&entry.data);
        central.extend(b"PK\x01\x02\x14");
        central.push(entry.system);
        central.extend(b"\x14\0");
        central.extend(entry.common(&entry.name));
        central.extend([0; 6]);
        central.extend((entry.unix_mode << 16).to_le_bytes());
        central.extend(offset.to_le_bytes());
        central.extend(&entry.name);
    }
    let offset = bytes.len() as u32;
    bytes.extend(&central);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend((entries.len() as u16).to_le_bytes());
    bytes.extend((entries.len() as u16).to_le_bytes());
    bytes.extend((central.len() as u32).to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

/// Every path below a directory with kind, mode, time and content, to compare trees.
pub fn snapshot(directory: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for path in names {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let mode = metadata.permissions().mode() & 0o7777;
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if metadata.is_symlink() {
            lines.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
        } else if metadata.is_dir() {
            lines.push(format!("{name}/ {mode:o}"));
            lines.extend(snapshot(&path).into_iter().map(|line| format!("{name}/{line}")));
        } else {
            let content = fs::read(&path).unwrap();
            let digest = hostler_core::ids::Sha256Digest::of(&content).hex();
            lines.push(format!("{name} {mode:o} {} {} {}", metadata.mtime(), content.len(), &digest[..12]));
        }
    }
    lines
}

pub fn read(room: &Room, path: &str) -> String {
    fs::read_to_string(room.destination().join(path)).unwrap()
}
