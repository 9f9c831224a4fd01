//! Which of the files that a plan replaces have the new content already.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use hostler_core::plan::ContentComparison;
use hostler_core::plan::actions::{Action, Plan};

use super::{ObserveError, below};

/// Compares the files that a plan replaces with the new ones: size first, then bytes; for links the target.
///
/// `archive` is the unpacked bundle. Files that have changed since the plan was made count as different.
///
/// # Errors
/// When a file exists and cannot be read.
pub fn compare_contents(plan: &Plan, archive: &Path, root: &Path) -> Result<ContentComparison, ObserveError> {
    let mut compared = ContentComparison::default();
    for action in &plan.actions {
        let (path, same) = match action {
            Action::PutFile { source, path, replaces: true, .. } => {
                (path, same_file(&archive.join(source), &below(root, path))?)
            }
            Action::PutLink { target, path, replaces: true, .. } => {
                (path, std::fs::read_link(below(root, path)).is_ok_and(|there| there == Path::new(target)))
            }
            _ => continue,
        };
        if same {
            compared.same.insert(path.clone())
        } else {
            compared.different.insert(path.clone())
        };
    }
    Ok(compared)
}

fn same_file(new: &Path, old: &Path) -> Result<bool, ObserveError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| ObserveError::Compare(path, error)
    };
    let size = std::fs::symlink_metadata(new).map_err(failed(new))?.len();
    match std::fs::symlink_metadata(old) {
        Ok(there) if !there.is_file() || there.len() != size => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other.map_err(failed(old))?,
    };
    let mut new_file = File::open(new).map_err(failed(new))?;
    let mut old_file = File::open(old).map_err(failed(old))?;
    let (mut one, mut two) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let filled = fill(&mut new_file, &mut one).map_err(failed(new))?;
        if filled != fill(&mut old_file, &mut two).map_err(failed(old))? || one.get(..filled) != two.get(..filled) {
            return Ok(false);
        }
        if filled < one.len() {
            return Ok(true);
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
