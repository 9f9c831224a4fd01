//! The lines of `scripts.log`, read back for people.

use super::output::Stream;

/// Reads the lines of one log in their order: each belongs to the event and the script that the lines before it began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScriptsLog {
    event: Option<String>,
    script: Option<String>,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptsLogLine<'l> {
    /// When it was written, as the log says it: local time, no zone. Empty where the line has none.
    pub at: &'l str,
    /// The lifecycle event to which it belongs.
    pub event: Option<String>,
    /// The script to which it belongs, as the appspec writes it; `None` for the line that begins an event.
    pub script: Option<String>,
    /// The output of the script from which it is; `None` for what the agent writes.
    pub stream: Option<Stream>,
    /// The line without its time and without the mark of its stream.
    pub text: &'l str,
}

/// Bytes of `2026-11-30 18:20:18`.
const TIME: usize = 19;

impl ScriptsLog {
    /// Reads the next line, without its newline.
    pub fn line<'l>(&mut self, line: &'l str) -> ScriptsLogLine<'l> {
        let (at, entry) = match line.split_at_checked(TIME) {
            Some((at, rest)) if is_time(at) => (at, rest.strip_prefix(' ').unwrap_or(rest)),
            _ => ("", line),
        };
        if let Some(event) = entry.strip_prefix("LifecycleEvent - ") {
            (self.event, self.script) = (Some(event.to_owned()), None);
        } else if let Some(script) = entry.strip_prefix("Script - ") {
            self.script = Some(script.to_owned());
        }
        let mut marked = [Stream::Stdout, Stream::Stderr].into_iter();
        let marked = marked.find_map(|stream| Some((Some(stream), entry.strip_prefix(&stream.entry(""))?)));
        let (stream, text) = marked.unwrap_or((None, entry));
        ScriptsLogLine { at, event: self.event.clone(), script: self.script.clone(), stream, text }
    }
}

fn is_time(text: &str) -> bool {
    let is_fit = |(place, byte): (usize, u8)| match place {
        4 | 7 => byte == b'-',
        10 => byte == b' ',
        13 | 16 => byte == b':',
        _ => byte.is_ascii_digit(),
    };
    text.bytes().enumerate().all(is_fit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_belongs_to_the_event_and_the_script_that_began_before_it() {
        let mut log = ScriptsLog::default();
        let mut read = |line| {
            let line = log.line(line);
            (line.at.to_owned(), line.event, line.script, line.stream, line.text.to_owned())
        };
        let (event, script) = (Some("AfterInstall".to_owned()), Some("a b.sh".to_owned()));
        let at = "2026-11-30 18:20:18".to_owned();
        let begun = (at.clone(), event.clone(), None, None, "LifecycleEvent - AfterInstall".to_owned());
        assert_eq!(read("2026-11-30 18:20:18 LifecycleEvent - AfterInstall"), begun);
        let begun = (at.clone(), event.clone(), script.clone(), None, "Script - a b.sh".to_owned());
        assert_eq!(read("2026-11-30 18:20:18 Script - a b.sh"), begun);
        let printed = (at.clone(), event.clone(), script.clone(), Some(Stream::Stderr), " Script - x".to_owned());
        assert_eq!(read("2026-11-30 18:20:18 [stderr] Script - x"), printed, "what a script prints begins nothing");
        let note = (at.clone(), event.clone(), script, None, "[hostler]3 lines were left out".to_owned());
        assert_eq!(read("2026-11-30 18:20:18 [hostler]3 lines were left out"), note);
        let next =
            (at, Some("ApplicationStart".to_owned()), None, None, "LifecycleEvent - ApplicationStart".to_owned());
        assert_eq!(read("2026-11-30 18:20:18 LifecycleEvent - ApplicationStart"), next);
    }

    #[test]
    fn a_line_without_a_time_is_text() {
        for text in ["", "äöü", "2026-11-30 18:20", "2026-11-30T18:20:18 [stdout]x"] {
            let line = ScriptsLog::default().line(text);
            assert_eq!((line.at, line.text, line.event), ("", text, None));
        }
    }
}
