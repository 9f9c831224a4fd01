//! The answers: from flags, then from the user at a terminal, then the usual ones.

use std::io::BufRead;

use hostler_core::appspec::starter::Starter;
use hostler_core::codes::ExitCode;

use super::SOURCE;
use crate::cli::InitArgs;
use crate::failure::Failure;
use crate::output;

/// Completes the flags. `there` is what lies in the bundle's directory, `asks` whether a user answers.
///
/// # Errors
/// A usage failure where nothing says which part of the bundle is installed; a failure if the user ends the input.
pub fn complete(arguments: InitArgs, name: &str, there: &[String], asks: bool) -> Result<Starter, Failure> {
    let mut ask = Asker { asks, input: std::io::stdin().lock() };
    let source = match (arguments.source, there) {
        (Some(source), _) => plain(&source),
        (None, []) => SOURCE.to_owned(),
        (None, [one]) => one.clone(),
        (None, several) if !asks => {
            let message = format!("which of these is installed? {}", several.join(", "));
            return Err(
                Failure::say(ExitCode::Usage, message).hint("name it with --source; --source . is the whole bundle")
            );
        }
        (None, several) => {
            let question = format!("Which of these is installed ({}; . is the whole bundle)?", several.join(", "));
            plain(&ask.answer(&question, several.first().map_or(".", String::as_str))?)
        }
    };
    let destination = match arguments.destination {
        Some(destination) => destination,
        None => ask.answer("Into which directory of the host?", &format!("/srv/{name}"))?,
    };
    let service = ask.optional(arguments.service, "Which systemd unit is stopped and started (empty: none)?")?;
    let user = ask.optional(arguments.user, "Which user owns the files (empty: root)?")?;
    let check = ask.optional(arguments.check, "Which address or port shows that it works (empty: nothing)?")?;
    Ok(Starter { source, destination, service, user, check })
}

/// The source as an appspec writes it.
fn plain(source: &str) -> String {
    match source.trim_start_matches("./").trim_end_matches('/') {
        "" | "." => "/".to_owned(),
        path => path.to_owned(),
    }
}

struct Asker<R> {
    asks: bool,
    input: R,
}

impl<R: BufRead> Asker<R> {
    /// The user's answer; the usual one where it is empty or where no user answers.
    fn answer(&mut self, question: &str, usual: &str) -> Result<String, Failure> {
        if !self.asks {
            return Ok(usual.to_owned());
        }
        let shown = if usual.is_empty() { String::new() } else { format!(" [{usual}]") };
        output::text(&format!("{question}{shown} "))?;
        let mut line = String::new();
        if self.input.read_line(&mut line)? == 0 {
            return Err(Failure::say(
                ExitCode::Failed,
                "nothing was made, because the input ended before the last answer",
            ));
        }
        let answer = line.trim();
        Ok(if answer.is_empty() { usual } else { answer }.to_owned())
    }

    fn optional(&mut self, given: Option<String>, question: &str) -> Result<Option<String>, Failure> {
        match given {
            Some(given) => Ok(Some(given)),
            None => Ok(Some(self.answer(question, "")?).filter(|answer| !answer.is_empty())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments() -> InitArgs {
        InitArgs { directory: None, source: None, destination: None, service: None, user: None, check: None }
    }

    #[test]
    fn without_a_user_the_usual_answers_count() {
        let starter = complete(arguments(), "web", &[], false).unwrap();
        let usual = (starter.source.as_str(), starter.destination.as_str());
        assert_eq!((usual, starter.service, starter.check), ((SOURCE, "/srv/web"), None, None));
        assert_eq!(complete(arguments(), "web", &["dist".to_owned()], false).unwrap().source, "dist");
        let several = ["a".to_owned(), "b".to_owned()];
        let refused = complete(arguments(), "web", &several, false).unwrap_err();
        assert_eq!(refused.code, ExitCode::Usage);
        assert!(refused.one_line().contains("a, b"), "{}", refused.one_line());
        for (given, source) in [("./a/", "a"), (".", "/"), ("/", "/"), ("a/b", "a/b")] {
            let arguments = InitArgs { source: Some(given.to_owned()), ..arguments() };
            assert_eq!(complete(arguments, "web", &several, false).unwrap().source, source);
        }
    }

    #[test]
    fn a_user_answers_or_takes_what_is_usual() {
        let mut ask = Asker { asks: true, input: &b"\n /opt/web \n\nweb\n"[..] };
        assert_eq!(ask.answer("?", "/srv/web").unwrap(), "/srv/web");
        assert_eq!(ask.answer("?", "/srv/web").unwrap(), "/opt/web");
        assert_eq!(ask.optional(None, "?").unwrap(), None);
        assert_eq!(ask.optional(None, "?").unwrap().as_deref(), Some("web"));
        assert_eq!(ask.optional(Some("given".to_owned()), "?").unwrap().as_deref(), Some("given"));
        let ended = ask.answer("?", "usual").unwrap_err();
        assert!(ended.one_line().contains("the input ended"), "{}", ended.one_line());
    }
}
