//! Single fields of a tar header, and whether a block is a header.

use tar::{EntryType, Header};

use super::header::BLOCK_BYTES;

/// Whether these bytes begin with a tar header, by its checksum.
pub(crate) fn is_header(bytes: &[u8]) -> bool {
    let Some(block) = bytes.first_chunk() else { return false };
    Header::from_byte_slice(block).cksum().is_ok_and(|sum| sum == checksum(block))
}

/// The number in a field, which `read` reads. A field of zero bytes is 0, as for GNU tar: node-tar and `tar --label`
/// write such fields. Some tools read a digit behind a zero byte and others do not, so here that is no number.
pub(super) fn number(field: &[u8], read: impl Fn() -> std::io::Result<u64>) -> std::io::Result<u64> {
    match field.iter().all(|byte| *byte == 0) {
        true => Ok(0),
        false => read(),
    }
}

/// User and group of an entry.
pub(super) fn owner(header: &Header) -> Option<(u64, u64)> {
    let user = number(&header.as_old().uid, || header.uid()).ok()?;
    let group = number(&header.as_old().gid, || header.gid()).ok()?;
    Some((user, group))
}

pub(super) fn is_zero(block: &[u8; BLOCK_BYTES]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// The sum of a header's bytes with the checksum's own field taken as spaces.
fn checksum(block: &[u8; BLOCK_BYTES]) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let field = block.get(148..156).unwrap_or_default();
    sum(block) - sum(field) + 8 * u32::from(b' ')
}

pub(super) fn unsupported(kind: EntryType) -> String {
    match kind {
        EntryType::Char => "a character device".to_owned(),
        EntryType::Block => "a block device".to_owned(),
        EntryType::Fifo => "a fifo".to_owned(),
        other => match other.as_byte() {
            // Types of GNU tar's own (its manual, "GNU Extensions to the Archive Format").
            b'D' => "a directory of an incremental archive (`tar --listed-incremental`)".to_owned(),
            b'M' => "a part of an archive in several volumes (`tar --multi-volume`)".to_owned(),
            byte => format!("of the tar type {:?}", char::from(byte)),
        },
    }
}
