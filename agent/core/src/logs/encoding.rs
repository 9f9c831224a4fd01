//! The encodings of log files, by the names that Python and the web have for them.

use std::borrow::Cow;

use encoding_rs::Encoding as Table;

use super::lines::Newline;

/// The encoding of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding(&'static Table);

impl Default for Encoding {
    fn default() -> Self {
        Self(encoding_rs::UTF_8)
    }
}

impl Encoding {
    /// The encoding with a name such as `utf_8`, `latin_1`, `cp1252`, `euc-jp` or `utf_16_le`; `None` for an unknown
    /// name.
    pub fn named(name: &str) -> Option<Self> {
        let plain = name.trim().to_ascii_lowercase().replace('_', "-");
        let label = match plain.as_str() {
            "utf8" | "u8" | "utf-8-sig" => "utf-8",
            "latin-1" | "latin1" | "l1" | "iso8859-1" | "8859" => "iso-8859-1",
            "utf-16" | "utf16" | "utf-16-le" => "utf-16le",
            "utf-16-be" => "utf-16be",
            "sjis" | "s-jis" | "shift-jis" | "cp932" | "ms932" => "shift_jis",
            "euc-kr" | "cp949" => "euc-kr",
            "big5-hkscs" => "big5-hkscs",
            "gb2312" | "cp936" | "gbk" => "gbk",
            other => other.strip_prefix("iso8859-").map_or(other, |_| other),
        };
        let found = Table::for_label(label.as_bytes())
            .or_else(|| {
                label.strip_prefix("cp").and_then(|page| Table::for_label(format!("windows-{page}").as_bytes()))
            })
            .or_else(|| {
                label.strip_prefix("iso8859-").and_then(|part| Table::for_label(format!("iso-8859-{part}").as_bytes()))
            });
        found.map(Self)
    }

    /// The newline of the encoding.
    pub fn newline(self) -> Newline {
        match self.0 {
            table if table == encoding_rs::UTF_16LE => Newline::Utf16Le,
            table if table == encoding_rs::UTF_16BE => Newline::Utf16Be,
            _ => Newline::OneByte,
        }
    }

    /// Decodes bytes. Invalid bytes become U+FFFD; a byte-order mark is dropped.
    pub fn decode(self, bytes: &[u8]) -> Cow<'_, str> {
        let text = if self.0 == encoding_rs::UTF_8 {
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            // Logs are usually valid text, and checking that is faster than finding invalid bytes.
            std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
        } else {
            self.0.decode_with_bom_removal(bytes).0
        };
        match text {
            Cow::Borrowed(text) if self.newline() != Newline::OneByte => Cow::Borrowed(text.trim_end_matches('\r')),
            Cow::Owned(mut text) if self.newline() != Newline::OneByte => {
                text.truncate(text.trim_end_matches('\r').len());
                Cow::Owned(text)
            }
            text => text,
        }
    }
}
