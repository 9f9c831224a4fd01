//! A page of section 5, which explains a file: headings, paragraphs, keys with what they mean, and examples.

use std::io;

use clap_mangen::roff::{Inline, Roff, bold, roman};

pub struct Page {
    name: &'static str,
    roff: Roff,
}

impl Page {
    /// A page with its first section.
    pub fn new(name: &'static str, about: &str) -> Self {
        let mut page = Self { name, roff: Roff::new() };
        page.heading("NAME");
        page.roff.text([roman(format!("{name} - {about}"))]);
        page
    }

    pub fn heading(&mut self, name: &str) {
        self.roff.control("SH", [name]);
    }

    /// The heading of a place in the file.
    pub fn place(&mut self, place: &str) {
        self.roff.control("SS", [place]);
    }

    pub fn paragraph(&mut self, text: &str) {
        self.roff.control("PP", []).text(inlines(text));
    }

    /// A name with its type, and sentences about it.
    pub fn key(&mut self, name: &str, value: &str, says: &str) {
        self.roff.control("TP", []);
        let separator = if value.is_empty() { "" } else { "  " };
        self.roff.text([vec![bold(name), roman(separator)], inlines(value)].concat());
        self.roff.text(inlines(says));
    }

    pub fn example(&mut self, text: &str) {
        self.roff.control("PP", []).control("nf", []);
        text.lines().for_each(|line| {
            self.roff.text([roman(line)]);
        });
        self.roff.control("fi", []);
    }

    pub fn file_name(&self) -> String {
        format!("{}.5", self.name)
    }

    pub fn write(&self, to: &mut Vec<u8>) -> io::Result<()> {
        super::title(to, self.name, 5)?;
        self.roff.to_writer(to)
    }
}

/// Text in which backticks mark what is typed as it is.
fn inlines(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    parts.map(|(index, part)| if index % 2 == 1 { bold(part) } else { roman(part) }).collect()
}
