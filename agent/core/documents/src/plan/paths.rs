//! Paths as the appspec writes them, made absolute and plain without asking a file system.

use std::path::{Component, Path, PathBuf};

/// The longest path that Linux accepts, without the terminating NUL.
const PATH_BYTES: usize = 4095;
/// The longest name of one entry.
const NAME_BYTES: usize = 255;

/// Makes a destination or object absolute, as text: relative ones are below `/`, `.` and empty components vanish, and
/// `..` removes the component before it.
pub(super) fn absolute(text: &str) -> Result<PathBuf, &'static str> {
    if text.contains('\0') {
        return Err("holds a NUL character");
    }
    if text.starts_with('~') {
        return Err("begins with ~, which is not expanded");
    }
    let mut path = PathBuf::from("/");
    for component in text.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                path.pop();
            }
            name => path.push(name),
        }
    }
    check_length(&path)?;
    Ok(path)
}

/// Checks that the kernel accepts it.
pub(super) fn check_length(path: &Path) -> Result<(), &'static str> {
    if path.as_os_str().len() > PATH_BYTES {
        return Err("has more than 4095 bytes");
    }
    // Hardly any path is longer than one name may be.
    if path.as_os_str().len() > NAME_BYTES && path.components().any(|c| c.as_os_str().len() > NAME_BYTES) {
        return Err("has a name of more than 255 bytes");
    }
    Ok(())
}

/// Whether it is absolute, of plain names, and not `/` itself: a possible installed path.
pub(super) fn is_plain_absolute(path: &Path) -> bool {
    let mut components = path.components();
    components.next() == Some(Component::RootDir)
        && components.clone().next().is_some()
        && components.all(|c| matches!(c, Component::Normal(_)))
        // `/a//b` and `/a/./b` have the same components as `/a/b` and would be a second name for it.
        && path.as_os_str().len() == path.components().collect::<PathBuf>().as_os_str().len()
}

/// The ancestors of an absolute path from the top, without `/` and without itself.
pub(super) fn ancestors(path: &Path) -> impl Iterator<Item = &Path> {
    let mut above: Vec<&Path> = path.ancestors().skip(1).filter(|p| p.parent().is_some()).collect();
    above.reverse();
    above.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_become_absolute_and_plain() {
        for (text, expected) in [
            ("/srv/app", "/srv/app"),
            ("/srv//app/./", "/srv/app"),
            ("", "/"),
            ("/", "/"),
            (".", "/"),
            ("srv/app", "/srv/app"),
            ("/srv/../etc", "/etc"),
            ("/../../etc", "/etc"),
            ("/srv/~app", "/srv/~app"),
        ] {
            assert_eq!(absolute(text), Ok(PathBuf::from(expected)), "{text:?}");
        }
        for text in ["~", "~/x", "~www/x", "/a\0b", &format!("/{}", "x".repeat(256)), &"/x".repeat(2048)] {
            assert!(absolute(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn installed_paths_are_plain() {
        for good in ["/a", "/a/b c"] {
            assert!(is_plain_absolute(Path::new(good)), "{good}");
        }
        for bad in ["", "/", "a", "/a/../b", "/a/./b", "/a//b", "/a/"] {
            assert!(!is_plain_absolute(Path::new(bad)), "{bad}");
        }
    }

    #[test]
    fn ancestors_come_from_the_top() {
        let all: Vec<&Path> = ancestors(Path::new("/a/b/c")).collect();
        assert_eq!(all, [Path::new("/a"), Path::new("/a/b")]);
        assert_eq!(ancestors(Path::new("/a")).count(), 0);
        assert_eq!(ancestors(Path::new("/")).count(), 0);
    }
}
