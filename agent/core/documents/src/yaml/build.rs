//! From parser events to nodes, on an explicit stack, so that nesting costs no call depth.

use granit_parser::{self, ErrorKind, Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput, StructureStyle};

use super::tabs::Tabs;
use super::*;

/// The cost of a finished node for each alias to it.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    nodes: usize,
    bytes: usize,
    height: usize,
}

struct Built {
    node: Rc<Node>,
    cost: Cost,
}

enum PendingKey {
    Text { key: Scalar, at: Position },
    NotText,
}

enum Collection {
    Sequence(Vec<Rc<Node>>),
    Mapping { entries: Vec<Entry>, index: HashMap<String, usize>, pending: Option<PendingKey> },
}

/// An unfinished list or mapping.
struct Frame {
    at: Position,
    anchor: usize,
    is_flow: bool,
    cost: Cost,
    collection: Collection,
}

pub(super) struct Builder<'t> {
    text: &'t str,
    parser: Parser<'t, StrInput<'t>>,
    limits: &'t Limits,
    stack: Vec<Frame>,
    root: Option<Rc<Node>>,
    anchors: HashMap<usize, Built>,
    total: Cost,
    notes: Vec<Note>,
    alias_seen: bool,
    tabs: Tabs,
}

impl<'t> Builder<'t> {
    pub(super) fn new(text: &'t str, limits: &'t Limits) -> Self {
        let options = granit_parser::options! {
            flow_nesting_limit: limits.yaml_depth,
            block_nesting_limit: limits.yaml_depth,
        };
        Self {
            text,
            parser: Parser::new_from_str_with_options(text, options),
            limits,
            stack: Vec::new(),
            root: None,
            anchors: HashMap::new(),
            total: Cost::default(),
            notes: Vec::new(),
            alias_seen: false,
            tabs: Tabs::default(),
        }
    }

    pub(super) fn document(mut self) -> Result<Document, YamlError> {
        while let Some(event) = self.parser.next_event() {
            let (event, span) = event.map_err(|error| self.syntax(&error))?;
            match event {
                Event::DocumentEnd => {
                    let another = self.look_for_another();
                    let end = if another { span.start.line() } else { usize::MAX };
                    if let Some(at) = self.tabs.first_refused(self.text, end) {
                        return Err(YamlError { at, problem: YamlProblem::Tab });
                    }
                    break;
                }
                Event::StreamEnd => break,
                event => self.accept(event, &span)?,
            }
        }
        Ok(Document { root: self.root, notes: self.notes })
    }

    /// Only the first document counts; the text after it may even be broken.
    fn look_for_another(&mut self) -> bool {
        let at = match self.parser.next_event() {
            None | Some(Ok((Event::StreamEnd, _))) => return false,
            Some(Ok((_, span))) => self.position(&span),
            Some(Err(error)) => self.point(error.marker()),
        };
        self.notes.push(Note::AnotherDocument(at));
        true
    }

    fn accept(&mut self, event: Event<'t>, span: &Span) -> Result<(), YamlError> {
        let at = self.position(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.map(|tag| format!("{}{}", tag.handle(), tag.suffix()));
                self.note_tag(tag.as_deref(), at);
                let scalar = Scalar {
                    text: text.into_owned(),
                    style: match style {
                        ScalarStyle::Plain => Style::Plain,
                        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
                        ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
                    },
                    tag,
                };
                if scalar.style != Style::Plain {
                    self.tabs.allow(span.start.line(), span.end.line());
                }
                if at.width == 0 && self.is_missing_key(span) {
                    let problem = YamlProblem::Syntax("a key is missing before the colon".to_owned());
                    return Err(YamlError { at: Position { width: 1, ..at }, problem });
                }
                let cost = Cost { nodes: 1, bytes: scalar.text.len(), height: 0 };
                self.charge(cost, at)?;
                self.finish(Built { node: Rc::new(Node { at, value: Value::Scalar(scalar) }), cost }, anchor);
                Ok(())
            }
            Event::SequenceStart(style, anchor, tag) => {
                self.note_tag(tag.map(|tag| format!("{}{}", tag.handle(), tag.suffix())).as_deref(), at);
                self.open(at, anchor, style == StructureStyle::Flow, Collection::Sequence(Vec::new()))
            }
            Event::MappingStart(style, anchor, tag) => {
                self.note_tag(tag.map(|tag| format!("{}{}", tag.handle(), tag.suffix())).as_deref(), at);
                let empty = Collection::Mapping { entries: Vec::new(), index: HashMap::new(), pending: None };
                self.open(at, anchor, style == StructureStyle::Flow, empty)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.close(span);
                Ok(())
            }
            Event::Alias(anchor) => self.alias(anchor, at),
            // Stream and document starts, and presentation events that were not requested.
            _ => Ok(()),
        }
    }

    fn note_tag(&mut self, tag: Option<&str>, at: Position) {
        if let Some(tag) = tag.and_then(unusual) {
            self.notes.push(Note::Tag { tag, at });
        }
    }

    /// Whether a bare colon is in the place of a block mapping's key; libyaml refuses that, and it is a mistake.
    fn is_missing_key(&self, span: &Span) -> bool {
        let awaits_key = self.stack.last().is_some_and(|frame| {
            !frame.is_flow && matches!(frame.collection, Collection::Mapping { pending: None, .. })
        });
        let rest = span.start.byte_offset().and_then(|offset| self.text.get(offset..));
        awaits_key && rest.is_some_and(|rest| rest.starts_with(':'))
    }

    fn open(&mut self, at: Position, anchor: usize, is_flow: bool, collection: Collection) -> Result<(), YamlError> {
        let cost = Cost { nodes: 1, bytes: 0, height: 1 };
        self.charge(cost, at)?;
        self.stack.push(Frame { at, anchor, is_flow, cost, collection });
        Ok(())
    }

    fn close(&mut self, span: &Span) {
        let Some(frame) = self.stack.pop() else { return };
        if frame.is_flow {
            self.tabs.allow(usize::try_from(frame.at.line).unwrap_or(usize::MAX), span.end.line());
        }
        let value = match frame.collection {
            Collection::Sequence(items) => Value::Sequence(items),
            Collection::Mapping { entries, .. } => Value::Mapping(merged(entries, &mut self.notes)),
        };
        self.finish(Built { node: Rc::new(Node { at: frame.at, value }), cost: frame.cost }, frame.anchor);
    }

    fn alias(&mut self, anchor: usize, at: Position) -> Result<(), YamlError> {
        if !self.alias_seen {
            self.alias_seen = true;
            self.notes.push(Note::Alias(at));
        }
        let Some(built) = self.anchors.get(&anchor) else {
            return Err(YamlError { at, problem: YamlProblem::AliasInsideItself });
        };
        let (node, cost) = (Rc::clone(&built.node), built.cost);
        self.charge(cost, at)?;
        self.finish(Built { node, cost }, 0);
        Ok(())
    }

    fn charge(&mut self, cost: Cost, at: Position) -> Result<(), YamlError> {
        self.total.nodes = self.total.nodes.saturating_add(cost.nodes);
        self.total.bytes = self.total.bytes.saturating_add(cost.bytes);
        let problem = if self.stack.len().saturating_add(cost.height) > self.limits.yaml_depth {
            YamlProblem::TooDeep(self.limits.yaml_depth)
        } else if self.total.nodes > self.limits.yaml_nodes {
            YamlProblem::TooManyNodes(self.limits.yaml_nodes)
        } else if self.total.bytes > self.limits.yaml_bytes {
            YamlProblem::TooMuchText(self.limits.yaml_bytes)
        } else {
            return Ok(());
        };
        Err(YamlError { at, problem })
    }

    /// Puts a finished node in its place: a key, a value, an item or the root.
    fn finish(&mut self, built: Built, anchor: usize) {
        let Built { node, cost } = built;
        if anchor != 0 {
            self.anchors.insert(anchor, Built { node: Rc::clone(&node), cost });
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return;
        };
        frame.cost.nodes = frame.cost.nodes.saturating_add(cost.nodes);
        frame.cost.bytes = frame.cost.bytes.saturating_add(cost.bytes);
        frame.cost.height = frame.cost.height.max(cost.height.saturating_add(1));
        match &mut frame.collection {
            Collection::Sequence(items) => items.push(node),
            Collection::Mapping { entries, index, pending } => match pending.take() {
                None => {
                    *pending = Some(match &node.value {
                        Value::Scalar(key) => PendingKey::Text { key: key.clone(), at: node.at },
                        Value::Sequence(_) | Value::Mapping(_) => {
                            self.notes.push(Note::KeyIsNotText(node.at));
                            PendingKey::NotText
                        }
                    });
                }
                Some(PendingKey::NotText) => {}
                Some(PendingKey::Text { key, at }) => {
                    let known = index.get(&key.text).copied();
                    match known.and_then(|place| entries.get_mut(place)) {
                        Some(entry) => {
                            self.notes.push(Note::DuplicateKey {
                                key: key.text.clone(),
                                first: entry.key_at,
                                again: at,
                            });
                            *entry = Entry { key, key_at: at, value: node };
                        }
                        None => {
                            index.insert(key.text.clone(), entries.len());
                            entries.push(Entry { key, key_at: at, value: node });
                        }
                    }
                }
            },
        }
    }

    fn syntax(&self, error: &ScanError) -> YamlError {
        let problem = match error.kind() {
            ErrorKind::RecursionLimitExceeded => YamlProblem::TooDeep(self.limits.yaml_depth),
            _ => YamlProblem::Syntax(error.info()),
        };
        YamlError { at: self.point(error.marker()), problem }
    }

    fn point(&self, marker: &Marker) -> Position {
        Position { line: count(marker.line()), column: count(marker.col()).saturating_add(1), width: 0 }
    }

    fn position(&self, span: &Span) -> Position {
        let width = if span.start.line() == span.end.line() {
            span.end.col().saturating_sub(span.start.col())
        } else {
            let rest = span.start.byte_offset().and_then(|offset| self.text.get(offset..)).unwrap_or_default();
            rest.lines().next().unwrap_or_default().trim_end().chars().count()
        };
        Position { width: count(width), ..self.point(&span.start) }
    }
}

/// The prefix of YAML's own tags in full.
const OWN: &str = "tag:yaml.org,2002:";

/// The short form of a tag, if it may change its value. Readers ignore unknown tags (`!mine`), and those of YAML's
/// usual kinds do not change the value.
fn unusual(tag: &str) -> Option<String> {
    const USUAL: [&str; 9] = ["map", "seq", "str", "int", "float", "bool", "null", "timestamp", "merge"];
    let own = tag.strip_prefix(OWN).or_else(|| tag.strip_prefix("!!"));
    if let Some(name) = own {
        return (!USUAL.contains(&name)).then(|| format!("!!{name}"));
    }
    let local = tag.strip_prefix('!')?;
    let known = ["set", "omap", "pairs", "binary"].contains(&local);
    // `!map:Name`, `!seq:Name` and `!str:Name` name a class.
    let class = ["ruby/", "map:", "seq:", "str:"].iter().any(|start| local.starts_with(start));
    (known || class).then(|| tag.to_owned())
}

/// Applies a merge key (`<<: *defaults`): its entries count for keys that the mapping itself lacks.
fn merged(mut entries: Vec<Entry>, notes: &mut Vec<Note>) -> Mapping {
    let Some(place) = entries.iter().position(|entry| entry.key.text == "<<" && !entry.key.is_text()) else {
        return Mapping { entries };
    };
    let sources: Vec<Rc<Node>> = match entries.get(place).map(|entry| &entry.value.value) {
        Some(Value::Mapping(_)) => entries.get(place).map(|entry| Rc::clone(&entry.value)).into_iter().collect(),
        Some(Value::Sequence(items)) if items.iter().all(|item| item.as_mapping().is_some()) => items.clone(),
        _ => return Mapping { entries },
    };
    let merge = entries.remove(place).key_at;
    let mut known: HashMap<String, usize> =
        entries.iter().enumerate().map(|(index, entry)| (entry.key.text.clone(), index)).collect();
    let own = entries.len();
    let mut judged = std::collections::HashSet::new();
    for entry in sources.iter().filter_map(|node| node.as_mapping()).flat_map(Mapping::entries) {
        match known.get(&entry.key.text).copied() {
            None => {
                known.insert(entry.key.text.clone(), entries.len());
                entries.push(entry.clone());
            }
            // Of several merged values the first one counts for every reader.
            Some(index) if index < own && judged.insert(index) => {
                let Some(mine) = entries.get(index) else { continue };
                if mine.key_at < merge && !mine.value.says_the_same(&entry.value) {
                    notes.push(Note::BeforeMerge { key: mine.key.text.clone(), at: mine.key_at, merge });
                }
            }
            Some(_) => {}
        }
    }
    Mapping { entries }
}
