//! The mistakes in a document, their places and remedies: first as data, then as text.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use super::codes::Code;
use crate::values::misspelt;
use crate::yaml::{Mapping, Position};

#[cfg(test)]
mod tests;

/// Whether a document can be used despite its findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It cannot be used.
    Error,
    /// It can be used, and its effect will probably surprise.
    Warning,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Stable name of the kind of finding.
    pub code: Code,
    /// The severity.
    pub severity: Severity,
    /// The document: its name or path in the message.
    pub file: String,
    /// The place; `None` for the whole document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Position>,
    /// The mistake.
    pub message: String,
    /// The remedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Related places.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<Related>,
    /// Whether the rest of the line may be a secret that the excerpt must not show: excerpts end up in build logs.
    #[serde(skip)]
    pub conceal: bool,
}

/// A place that is related to a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Related {
    /// The place.
    pub at: Position,
    /// The content of the place.
    pub message: String,
}

impl Diagnostic {
    /// Adds a remedy.
    pub fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// Limits the excerpt to the place itself.
    pub fn conceal(&mut self) -> &mut Self {
        self.conceal = true;
        self
    }

    /// Adds a related place.
    pub fn related(&mut self, at: Position, message: impl Into<String>) -> &mut Self {
        self.related.push(Related { at, message: message.into() });
        self
    }
}

/// Collects the findings of one document, up to its limit.
#[derive(Debug)]
pub struct Findings {
    file: String,
    limit: usize,
    list: Vec<Diagnostic>,
    left_out: usize,
    has_errors: bool,
    /// Whether a name that plainly means another one is an error.
    pub(super) refuse_misspelt: bool,
    /// While a harmless part is read: whether one of its findings would be an error elsewhere.
    harmless: Option<bool>,
    /// The destination of findings beyond the limit.
    spare: Diagnostic,
}

impl Findings {
    /// An empty collection for the document called `file`.
    pub fn new(file: &str, limit: usize) -> Self {
        Self {
            file: file.to_owned(),
            limit,
            list: Vec::new(),
            left_out: 0,
            has_errors: false,
            refuse_misspelt: false,
            harmless: None,
            spare: Diagnostic {
                code: Code::Empty,
                severity: Severity::Error,
                file: String::new(),
                at: None,
                message: String::new(),
                help: None,
                related: Vec::new(),
                conceal: false,
            },
        }
    }

    /// Adds a finding, and returns it so that help and related places can be added.
    pub fn add(&mut self, code: Code, at: Option<Position>, message: impl Into<String>) -> &mut Diagnostic {
        let severity = match (&mut self.harmless, code.severity()) {
            (Some(would_be), Severity::Error) => {
                *would_be = true;
                Severity::Warning
            }
            (_, severity) => severity,
        };
        self.has_errors |= severity == Severity::Error;
        let at = at.filter(|at| at.line > 0);
        let finding = Diagnostic {
            code,
            severity,
            file: self.file.clone(),
            at,
            message: message.into(),
            help: None,
            related: Vec::new(),
            conceal: false,
        };
        if self.list.len() >= self.limit {
            self.left_out = self.left_out.saturating_add(1);
            self.spare = finding;
            return &mut self.spare;
        }
        self.list.push(finding);
        // The element that was just pushed; the spare one only satisfies the type.
        self.list.last_mut().unwrap_or(&mut self.spare)
    }

    /// Reads a harmless part, with warnings in place of errors. Returns the part, and whether it would be unusable if
    /// it were needed.
    pub fn harmless<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> (T, bool) {
        let outer = self.harmless.replace(false);
        let read = read(self);
        (read, std::mem::replace(&mut self.harmless, outer).unwrap_or_default())
    }

    /// The name that an unknown one plainly means, if that is to be refused: not one that stands beside it, because then
    /// the other was put aside or copied.
    pub(super) fn misspelt<'n>(&self, name: &str, beside: &Mapping, names: &[&'n str]) -> Option<&'n str> {
        misspelt(name, names).filter(|meant| self.refuse_misspelt && beside.get(meant).is_none())
    }

    /// Whether one of them is an error.
    pub fn has_errors(&self) -> bool {
        self.has_errors
    }

    /// The findings by position, those about the whole document first.
    pub fn into_list(mut self) -> Vec<Diagnostic> {
        self.list.sort_by_key(|finding| finding.at.map(|at| (at.line, at.column)));
        if let (Some(last), true) = (self.list.last_mut(), self.left_out > 0) {
            last.message = format!("{} (and {} more findings, which are left out)", last.message, self.left_out);
        }
        self.list
    }
}

/// `text` for a message: in backticks, control characters escaped, long text cut.
pub fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String = text.chars().take(SHOWN).flat_map(visible).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// Invisible characters that change how a line is shown; three bytes each in UTF-8.
fn is_hidden(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn visible(c: char) -> impl Iterator<Item = char> {
    let (escaped, plain) =
        if c.is_control() || is_hidden(c) { (Some(c.escape_default()), None) } else { (None, Some(c)) };
    escaped.into_iter().flatten().chain(plain)
}

/// One finding on one line, for narrow places: `file:line:column: message; help`.
pub fn one_line(diagnostic: &Diagnostic) -> String {
    let mut text = diagnostic.file.clone();
    if let Some(at) = diagnostic.at {
        text.push_str(&format!(":{}:{}", at.line, at.column));
    }
    text.push_str(&format!(": {}", diagnostic.message));
    if let Some(help) = &diagnostic.help {
        text.push_str(&format!("; {help}"));
    }
    text
}

/// The findings as text: severity, code, file, line, column, the line with carets, and the remedy.
///
/// `source` is the document's text; an empty text leaves the lines out.
pub fn render(diagnostics: &[Diagnostic], source: &str) -> String {
    render_all(diagnostics.iter().map(View::from), source)
}

/// The name of a bundle as the file of a finding, since an unpacked bundle has no name of its own.
pub const BUNDLE: &str = "bundle";

/// The parts of any finding that text output shows.
#[derive(Debug, Clone, Copy)]
pub struct View<'f> {
    /// The severity.
    pub severity: Severity,
    /// Stable name of the kind of finding.
    pub code: &'f str,
    /// The document.
    pub file: &'f str,
    /// The place; `None` for the whole document.
    pub at: Option<Position>,
    /// The mistake.
    pub message: &'f str,
    /// The remedy.
    pub help: Option<&'f str>,
    /// Related places.
    pub related: &'f [Related],
    /// See [`Diagnostic::conceal`].
    pub conceal: bool,
}

impl<'f> From<&'f Diagnostic> for View<'f> {
    fn from(diagnostic: &'f Diagnostic) -> Self {
        Self {
            severity: diagnostic.severity,
            code: diagnostic.code.name(),
            file: &diagnostic.file,
            at: diagnostic.at,
            message: &diagnostic.message,
            help: diagnostic.help.as_deref(),
            related: &diagnostic.related,
            conceal: diagnostic.conceal,
        }
    }
}

/// As [`render`], for findings of any kind in one document.
pub fn render_all<'f>(views: impl Iterator<Item = View<'f>>, source: &str) -> String {
    let source = Source::new(source);
    let renderer = Renderer::plain();
    let mut text = String::new();
    for view in views {
        render_one(&view, &source, &renderer, &mut text);
        text.push_str("\n\n");
    }
    text
}

fn render_one(view: &View<'_>, source: &Source, renderer: &Renderer, text: &mut String) {
    let level = match view.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(view.message).id(view.code);
    let path = view.file;
    let picture = view.at.and_then(|at| source.picture(at, view.conceal));
    let mut group = match (&picture, view.at) {
        (Some(picture), _) => title.element(picture.snippet(path, AnnotationKind::Primary, None)),
        // It is about the files of the bundle, and no line of the appspec has to do with it.
        (None, None) if view.file == BUNDLE || view.code == Code::Leftovers.name() => Group::with_title(title),
        (None, None) => title.element(Origin::path(path)),
        (None, Some(at)) => title.element(Origin::path(path).line(wide(at.line)).char_column(wide(at.column))),
    };
    let related: Vec<(Picture, &Related)> =
        view.related.iter().filter_map(|related| Some((source.picture(related.at, view.conceal)?, related))).collect();
    for (picture, related) in &related {
        group = group.element(picture.snippet(path, AnnotationKind::Context, Some(related.message.as_str())));
    }
    if let Some(help) = view.help {
        group = group.element(Level::HELP.message(help));
    }
    text.push_str(&renderer.render(&[group]));
}

fn wide(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A text and where its lines begin.
struct Source {
    text: String,
    lines: Vec<Range<usize>>,
}

impl Source {
    fn new(text: &str) -> Self {
        // A lone carriage return ends a line in YAML and must do so in the excerpt too; the lengths stay the same. The
        // same goes for every other character that a terminal would act on.
        let without_mark = text.strip_prefix('\u{feff}').unwrap_or(text);
        let text: String = without_mark
            .replace("\r\n", " \n")
            .chars()
            .map(|c| match c {
                '\r' => '\n',
                '\n' | '\t' => c,
                c if c.is_ascii_control() => ' ',
                // The replacement is as long in UTF-8 as the original.
                c if c.is_control() => '\u{a0}',
                c if is_hidden(c) => '\u{fffd}',
                c => c,
            })
            .collect();
        let mut start = 0;
        let lines = text
            .split('\n')
            .map(|line| {
                let range = start..start + line.len();
                start = range.end + 1;
                range
            })
            .collect();
        Self { text, lines }
    }

    /// One line and a place in it; `None` if the line does not exist or is too long to show.
    fn picture(&self, at: Position, conceal: bool) -> Option<Picture> {
        const LONGEST: usize = 2000;
        let line = self.lines.get(wide(at.line).checked_sub(1)?)?;
        let content = self.text.get(line.clone())?;
        if self.text.is_empty() || content.len() > LONGEST {
            return None;
        }
        let mut edges = content.char_indices().map(|(offset, _)| offset).chain([content.len()]);
        let start = edges.nth(wide(at.column).saturating_sub(1)).unwrap_or(content.len());
        let end = edges.nth(wide(at.width.max(1)) - 1).unwrap_or(content.len()).max(start);
        let text = if conceal {
            let before = content.get(..start).unwrap_or_default();
            let shown = content.get(start..end).unwrap_or_default();
            format!("{}{shown}: …", " ".repeat(before.len()))
        } else {
            content.to_owned()
        };
        Some(Picture { line: wide(at.line), text, range: start..end })
    }
}

/// One line of a document and its marked bytes.
struct Picture {
    line: usize,
    text: String,
    range: Range<usize>,
}

impl Picture {
    fn snippet<'p>(
        &'p self,
        path: &'p str,
        kind: AnnotationKind,
        label: Option<&'p str>,
    ) -> Snippet<'p, annotate_snippets::Annotation<'p>> {
        let annotation = kind.span(self.range.clone()).label(label);
        Snippet::source(self.text.as_str()).path(path).line_start(self.line).annotation(annotation)
    }
}
