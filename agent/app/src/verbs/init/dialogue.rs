//! The answers: from flags, then from the user at a terminal, then the usual ones.

use std::io::BufRead;

use hostler_core::appspec::starter::{
    Starter, StarterError, check_check, check_destination, check_service, check_source, check_user,
};
use hostler_core::codes::ExitCode;

use super::SOURCE;
use crate::cli::InitArgs;
use crate::failure::Failure;
use crate::output;

/// Completes the flags. `there` is what lies in the bundle's directory, `is_there` tells of a path in it, and `asks` is
/// whether a user answers: an answer that cannot be used is asked for again.
///
/// # Errors
/// A usage failure where nothing says which part of the bundle is installed, and for a flag that cannot be used; a
/// failure if the user ends the input.
pub fn complete(
    arguments: InitArgs,
    name: &str,
    there: &[String],
    is_there: &dyn Fn(&str) -> bool,
    asks: bool,
) -> Result<Starter, Failure> {
    let mut ask = Asker { asks, input: std::io::stdin().lock() };
    let fits =
        |source: &str| check_source(&plain(source)).map_err(Problem::from).and_then(|()| must_be(source, is_there));
    let source = match (arguments.source, there) {
        (Some(source), _) => {
            fits(&source).map_err(|problem| Failure::say(ExitCode::Usage, problem.0).hint(MAKE_IT))?;
            plain(&source)
        }
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
            plain(&ask.answer(&question, several.first().map_or(".", String::as_str), &fits)?)
        }
    };
    let fits = |destination: &str| Ok(check_destination(destination)?);
    let destination = match arguments.destination {
        Some(destination) => destination,
        None => ask.answer("Into which directory of the host?", &format!("/srv/{name}"), &fits)?,
    };
    let question = "Which systemd unit is stopped and started (empty: none)?";
    let service = ask.optional(arguments.service, question, &|name| Ok(check_service(name)?))?;
    let user =
        ask.optional(arguments.user, "Which user owns the files (empty: root)?", &|name| Ok(check_user(name)?))?;
    let question = "Which address or port shows that it works (empty: nothing)?";
    let check = ask.optional(arguments.check, question, &|check| Ok(check_check(check)?))?;
    Ok(Starter { source, destination, service, user, check })
}

/// Why an answer cannot be used.
#[derive(Debug)]
struct Problem(String);

impl From<StarterError> for Problem {
    fn from(error: StarterError) -> Self {
        Self(error.to_string())
    }
}

const MAKE_IT: &str =
    "name what lies in the bundle's directory; without --source, `hostler init` makes the directory app";

/// Nothing would be installed from a path that the bundle does not have.
fn must_be(source: &str, is_there: &dyn Fn(&str) -> bool) -> Result<(), Problem> {
    let path = plain(source);
    if path == "/" || path == SOURCE || is_there(&path) {
        Ok(())
    } else {
        Err(Problem(format!("the bundle has no {path:?}")))
    }
}

/// The source as an appspec writes it.
fn plain(source: &str) -> String {
    match source.trim_start_matches("./").trim_end_matches('/') {
        "" if source.is_empty() => String::new(),
        "" | "." => "/".to_owned(),
        path => path.to_owned(),
    }
}

struct Asker<R> {
    asks: bool,
    input: R,
}

impl<R: BufRead> Asker<R> {
    /// The user's answer, which `fits`; the usual one where it is empty or where no user answers.
    fn answer(
        &mut self,
        question: &str,
        usual: &str,
        fits: &dyn Fn(&str) -> Result<(), Problem>,
    ) -> Result<String, Failure> {
        if !self.asks {
            return Ok(usual.to_owned());
        }
        let shown = if usual.is_empty() { String::new() } else { format!(" [{usual}]") };
        loop {
            output::text(&format!("{question}{shown} "))?;
            let mut line = String::new();
            if self.input.read_line(&mut line)? == 0 {
                return Err(Failure::say(
                    ExitCode::Failed,
                    "nothing was made, because the input ended before the last answer",
                ));
            }
            let answer = line.trim();
            if answer.is_empty() {
                return Ok(usual.to_owned());
            }
            match fits(answer) {
                Ok(()) => return Ok(answer.to_owned()),
                Err(problem) => output::text(&format!("{}\n", problem.0))?,
            }
        }
    }

    fn optional(
        &mut self,
        given: Option<String>,
        question: &str,
        fits: &dyn Fn(&str) -> Result<(), Problem>,
    ) -> Result<Option<String>, Failure> {
        match given {
            Some(given) => Ok(Some(given)),
            None => Ok(Some(self.answer(question, "", fits)?).filter(|answer| !answer.is_empty())),
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
        let starter = complete(arguments(), "web", &[], &|_| false, false).unwrap();
        let usual = (starter.source.as_str(), starter.destination.as_str());
        assert_eq!((usual, starter.service, starter.check), ((SOURCE, "/srv/web"), None, None));
        assert_eq!(complete(arguments(), "web", &["dist".to_owned()], &|_| false, false).unwrap().source, "dist");
        let several = ["a".to_owned(), "b".to_owned()];
        let refused = complete(arguments(), "web", &several, &|_| false, false).unwrap_err();
        assert_eq!(refused.code, ExitCode::Usage);
        assert!(refused.one_line().contains("a, b"), "{}", refused.one_line());
        for (given, source) in [("./a/", "a"), (".", "/"), ("/", "/"), ("a/b", "a/b")] {
            let arguments = InitArgs { source: Some(given.to_owned()), ..arguments() };
            assert_eq!(complete(arguments, "web", &several, &|_| true, false).unwrap().source, source);
        }
        for (given, why) in
            [("nope", "the bundle has no \"nope\""), ("/etc/passwd", "a path in the bundle"), ("", "a path in")]
        {
            let arguments = InitArgs { source: Some(given.to_owned()), ..arguments() };
            let refused = complete(arguments, "web", &several, &|_| false, false).unwrap_err();
            assert!(refused.code == ExitCode::Usage && refused.one_line().contains(why), "{}", refused.one_line());
        }
    }

    #[test]
    fn a_user_answers_or_takes_what_is_usual() {
        let any = |_: &str| Ok(());
        let mut ask = Asker { asks: true, input: &b"\n /opt/web \n\nweb\n"[..] };
        assert_eq!(ask.answer("?", "/srv/web", &any).unwrap(), "/srv/web");
        assert_eq!(ask.answer("?", "/srv/web", &any).unwrap(), "/opt/web");
        assert_eq!(ask.optional(None, "?", &any).unwrap(), None);
        assert_eq!(ask.optional(None, "?", &any).unwrap().as_deref(), Some("web"));
        assert_eq!(ask.optional(Some("given".to_owned()), "?", &any).unwrap().as_deref(), Some("given"));
        let ended = ask.answer("?", "usual", &any).unwrap_err();
        assert!(ended.one_line().contains("the input ended"), "{}", ended.one_line());
    }

    #[test]
    fn an_answer_that_cannot_be_used_is_asked_for_again() {
        let mut ask = Asker { asks: true, input: &b"srv\n/\n/opt/web\n"[..] };
        let fits = |answer: &str| Ok(check_destination(answer)?);
        assert_eq!(ask.answer("?", "/srv/web", &fits).unwrap(), "/opt/web");
        let mut ask = Asker { asks: true, input: &b"srv\n"[..] };
        assert!(ask.answer("?", "/srv/web", &fits).unwrap_err().one_line().contains("the input ended"));
    }
}
