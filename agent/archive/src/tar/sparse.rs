//! Where the stored bytes of a file with holes belong.

use super::header::BLOCK_BYTES;

/// More pieces than real files have; bounds the memory of a map.
const EXTENTS: usize = 1 << 16;

/// The pieces of a sparse file that are stored: ascending, apart, and within its size.
#[derive(Debug)]
pub(super) struct Map {
    /// Length of the file in bytes, holes included.
    pub(super) size: u64,
    extents: Vec<(u64, u64)>,
}

impl Map {
    pub(super) fn new(size: u64) -> Self {
        Self { size, extents: Vec::new() }
    }

    pub(super) fn push(&mut self, offset: u64, length: u64) -> Result<(), &'static str> {
        if self.extents.len() >= EXTENTS {
            return Err("has more than 65536 pieces");
        }
        let after_last = self.extents.last().map_or(0, |(offset, length)| offset + length);
        let end = offset.checked_add(length).filter(|end| *end <= self.size);
        if offset < after_last || end.is_none() {
            return Err("has pieces that overlap, are out of order or lie behind the file's end");
        }
        self.extents.push((offset, length));
        Ok(())
    }

    /// Whether the total length of the pieces is the length of the stored content.
    pub(super) fn check(&self, stored: u64) -> Result<(), &'static str> {
        match self.extents.iter().map(|(_, length)| length).sum::<u64>() == stored {
            true => Ok(()),
            false => Err("does not fit the size of the content"),
        }
    }

    pub(super) fn offsets(&self) -> Offsets<'_> {
        Offsets { extents: &self.extents, done: 0 }
    }
}

/// Deals out where the next stored bytes go.
pub(super) struct Offsets<'a> {
    extents: &'a [(u64, u64)],
    done: u64,
}

impl Offsets<'_> {
    /// The offset for the next bytes, and how many of the `available` ones belong there. `None` if there are none.
    pub(super) fn take(&mut self, available: usize) -> Option<(u64, usize)> {
        while let Some((offset, length)) = self.extents.first().copied().filter(|_| available > 0) {
            let left = length - self.done;
            if left > 0 {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(available);
                let at = offset + self.done;
                self.done += count as u64;
                return Some((at, count));
            }
            self.extents = self.extents.get(1..).unwrap_or_default();
            self.done = 0;
        }
        None
    }
}

/// Reads a map of PAX form 1.0: decimal lines (how many pieces, then offset and length of each), padded to a block.
pub(super) struct Parser {
    map: Map,
    line: u64,
    digits: bool,
    expected: Option<u64>,
    offset: Option<u64>,
}

impl Parser {
    pub(super) fn new(size: u64) -> Self {
        Self { map: Map::new(size), line: 0, digits: false, expected: None, offset: None }
    }

    /// Takes one more block; the map once it is complete.
    pub(super) fn block(&mut self, block: &[u8; BLOCK_BYTES]) -> Result<Option<Map>, &'static str> {
        const NO_NUMBER: &str = "has something that is no number";
        for byte in block {
            match byte {
                b'0'..=b'9' => {
                    let grown = self.line.checked_mul(10).and_then(|n| n.checked_add(u64::from(byte - b'0')));
                    self.line = grown.ok_or(NO_NUMBER)?;
                    self.digits = true;
                }
                b'\n' if self.digits => {
                    self.digits = false;
                    self.number()?;
                }
                _ => return Err(NO_NUMBER),
            }
            if self.expected == Some(0) {
                return Ok(Some(std::mem::replace(&mut self.map, Map::new(0))));
            }
        }
        Ok(None)
    }

    fn number(&mut self) -> Result<(), &'static str> {
        let number = std::mem::take(&mut self.line);
        match (self.expected, self.offset.take()) {
            (None, _) => self.expected = Some(number),
            (Some(_), None) => self.offset = Some(number),
            (Some(expected), Some(offset)) => {
                self.map.push(offset, number)?;
                self.expected = Some(expected - 1);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_where_the_map_says() {
        let mut map = Map::new(100);
        map.push(0, 0).unwrap();
        map.push(10, 5).unwrap();
        map.push(20, 3).unwrap();
        let mut offsets = map.offsets();
        assert_eq!(offsets.take(4), Some((10, 4)));
        assert_eq!(offsets.take(4), Some((14, 1)));
        assert_eq!(offsets.take(9), Some((20, 3)));
        assert_eq!(offsets.take(9), None);
        assert!(map.check(8).is_ok());
        assert!(map.check(9).is_err());
    }

    #[test]
    fn maps_that_make_no_sense_are_refused() {
        for (offset, length) in [(4, 1), (90, 11), (u64::MAX, 2)] {
            let mut map = Map::new(100);
            map.push(0, 5).unwrap();
            assert!(map.push(offset, length).is_err(), "{offset} {length}");
        }
    }

    #[test]
    fn a_written_map_may_span_blocks() {
        let mut text = String::from("100\n");
        for piece in 0..100 {
            text.push_str(&format!("{}\n1\n", piece * 10));
        }
        let mut bytes = text.into_bytes();
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
        let mut parser = Parser::new(1000);
        let mut maps = bytes.chunks(BLOCK_BYTES).map(|block| parser.block(block.try_into().unwrap()).unwrap());
        let map = maps.find_map(|map| map).unwrap();
        assert!(map.check(100).is_ok());
        assert!(Parser::new(9).block(&[b'x'; BLOCK_BYTES]).is_err());
    }
}
