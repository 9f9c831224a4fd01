//! Workflow commands of GitHub Actions: `::error file=…,line=…,col=…,title=…::message`. GitHub shows each as an annotation at
//! its line.

use crate::appspec::diagnose::View;

use super::{level, sentence};

/// One command a line, in the order of the findings. A finding without a place has only its file.
pub fn render<'f>(views: impl Iterator<Item = View<'f>>) -> String {
    views.map(|view| command(&view)).collect()
}

fn command(view: &View<'_>) -> String {
    let place = view.at.map_or_else(String::new, |at| format!(",line={},col={}", at.line, at.column));
    let (file, title) = (property(view.file), property(view.code));
    format!("::{} file={file}{place},title={title}::{}\n", level(view.severity), data(&sentence(view, "\n")))
}

/// Text after the second `::`. The percent sign comes first, because it begins the others.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of a property, which a colon or a comma would end.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
