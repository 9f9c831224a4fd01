//! A root prefix outside of the bundle. What hostler keeps below its root would be packed and deployed with the bundle, and
//! the next deployment would find it there.

use std::path::{Path, PathBuf};

use hostler_core::codes::ExitCode;

use crate::failure::Failure;
use crate::setup::Setup;

/// A root prefix for a trial of the bundle in `directory`, for a shell in `here`. Both are real paths. It is outside of
/// the bundle: beside it, where that directory can be written to, or a scratch directory.
pub fn trial_root(here: &Path, directory: &Path, may_write: impl Fn(&Path) -> bool) -> String {
    let Ok(below) = here.strip_prefix(directory) else { return "./host".to_owned() };
    match directory.parent().filter(|parent| parent.parent().is_some() && may_write(parent)) {
        Some(_) => format!("{}host", "../".repeat(below.components().count() + 1)),
        None => "\"$(mktemp -d)\"".to_owned(),
    }
}

/// Refuses a root prefix or a state directory inside of the bundle's directory. `shown` is the bundle as the user gave it.
///
/// # Errors
/// A usage failure with the remedy.
pub fn must_be_outside(setup: &Setup, directory: &Path, shown: &Path) -> Result<(), Failure> {
    for (flag, place) in [("--root", setup.layout.root()), ("--state-dir", setup.layout.state())] {
        if real(place).starts_with(directory) {
            let message = format!(
                "{flag} {} lies in the bundle {}, so the bundle would contain what hostler keeps there",
                place.display(),
                shown.display()
            );
            let remedy =
                format!("name a directory outside of the bundle, such as {flag} {}", beside(directory).display());
            return Err(Failure::say(ExitCode::Usage, message).hint(remedy));
        }
    }
    Ok(())
}

fn beside(directory: &Path) -> PathBuf {
    directory.parent().map_or_else(|| PathBuf::from("/tmp/host"), |parent| parent.join("host"))
}

/// The real path of a place that may not exist yet.
fn real(place: &Path) -> PathBuf {
    let there = place.ancestors().find_map(|above| Some((above, std::fs::canonicalize(above).ok()?)));
    match there {
        Some((above, real)) => place.strip_prefix(above).map_or_else(|_| real.clone(), |rest| real.join(rest)),
        None => place.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_a_trial_is_never_in_the_bundle() {
        let of = |here: &str, directory: &str| trial_root(Path::new(here), Path::new(directory), |_| true);
        assert_eq!(of("/home/me", "/home/me/web"), "./host");
        assert_eq!(of("/home/me/web", "/home/me/web"), "../host");
        assert_eq!(of("/home/me/web/a/b", "/home/me/web"), "../../../host");
        assert_eq!(of("/home/me/web2", "/home/me/web"), "./host");
        let closed = trial_root(Path::new("/data/web"), Path::new("/data/web"), |parent| parent != Path::new("/data"));
        assert_eq!(closed, "\"$(mktemp -d)\"");
        assert_eq!(of("/web", "/web"), "\"$(mktemp -d)\"", "not at the top of the machine");
    }

    #[test]
    fn a_place_that_does_not_exist_is_where_its_links_lead() {
        let scratch = tempfile::tempdir().unwrap();
        let top = std::fs::canonicalize(scratch.path()).unwrap();
        std::fs::create_dir(top.join("bundle")).unwrap();
        std::os::unix::fs::symlink("bundle", top.join("link")).unwrap();
        assert_eq!(real(&top.join("link/host/x")), top.join("bundle/host/x"));
        assert_eq!(real(&top.join("bundle")), top.join("bundle"));
    }
}
