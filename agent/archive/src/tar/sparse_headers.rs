//! The maps of sparse files in headers.

use std::io::BufRead;

use tar::Header;

use super::fields::number;
use super::header::{BLOCK_BYTES, Stream};
use super::pax::Records;
use super::sparse::{self, Map};
use crate::error::{ArchiveError, EntryProblem};

impl<R: BufRead + ?Sized> Stream<'_, R> {
    /// The map of a sparse file in GNU tar's old form: in the header and in blocks behind it.
    pub(super) fn gnu_sparse(&mut self, header: &Header, path: &[u8], stored: u64) -> Result<Map, ArchiveError> {
        let refuse = |problem| ArchiveError::entry(path, EntryProblem::SparseMap { problem });
        let gnu = header.as_gnu().ok_or_else(|| refuse("is missing"))?;
        let size = number(&gnu.realsize, || gnu.real_size()).map_err(|_| refuse("has a size that is no number"))?;
        let mut map = Map::new(size);
        let add = |map: &mut Map, extents: &[tar::GnuSparseHeader]| {
            for extent in extents.iter().filter(|extent| !extent.is_empty()) {
                let (Ok(offset), Ok(length)) = (extent.offset(), extent.length()) else {
                    return Err(refuse("has something that is no number"));
                };
                map.push(offset, length).map_err(refuse)?;
            }
            Ok(())
        };
        add(&mut map, &gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let block = self.block()?.ok_or_else(|| ArchiveError::cut_short(self.place(), " in a sparse map"))?;
            let mut extension = tar::GnuExtSparseHeader::new();
            extension.as_mut_bytes().copy_from_slice(&block);
            add(&mut map, extension.sparse())?;
            more = extension.is_extended();
        }
        map.check(stored).map_err(refuse)?;
        Ok(map)
    }

    /// The map of a sparse file in PAX form 1.0, which is at the beginning of its content, and the map's length.
    pub(super) fn pax_sparse(
        &mut self,
        pax: &Records,
        path: &[u8],
        size: u64,
    ) -> Result<(Option<Map>, u64), ArchiveError> {
        let refuse = |problem| ArchiveError::entry(path, EntryProblem::SparseMap { problem });
        if !pax.sparse.is_used() {
            return Ok((None, 0));
        }
        if (pax.sparse.major, pax.sparse.minor) != (Some(1), Some(0)) {
            return Err(refuse(
                "is of another version than 1.0; pack with `--sparse-version=1.0` or without `--sparse`",
            ));
        }
        let mut parser = sparse::Parser::new(pax.sparse.real_size.ok_or_else(|| refuse("has no size"))?);
        let mut map_bytes = 0;
        loop {
            if map_bytes + BLOCK_BYTES as u64 > size {
                return Err(refuse("is longer than the content"));
            }
            let block = self.block()?.ok_or_else(|| ArchiveError::cut_short(self.place(), " in a sparse map"))?;
            map_bytes += BLOCK_BYTES as u64;
            if let Some(map) = parser.block(&block).map_err(refuse)? {
                map.check(size - map_bytes).map_err(refuse)?;
                return Ok((Some(map), map_bytes));
            }
        }
    }
}
