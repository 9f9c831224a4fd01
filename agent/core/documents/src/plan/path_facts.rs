//! The state of each examined path, in little memory: most of a hundred thousand paths are like their neighbours.

use std::path::Path;

use super::facts::PathFact;
use crate::shared_path::SharedPath;

/// Number of recent facts that a new one is compared with.
const NEIGHBOURS: usize = 8;

/// Facts by path. They may come in any order; path order is the cheapest.
#[derive(Debug, Clone, Default)]
pub struct PathFacts {
    /// Ordered by path, each with its index in `facts`.
    paths: Vec<(SharedPath, u32)>,
    facts: Vec<PathFact>,
}

impl PathFacts {
    /// Reserves room for this many paths.
    pub fn with_capacity(paths: usize) -> Self {
        Self { paths: Vec::with_capacity(paths), facts: Vec::new() }
    }

    /// Notes the state of a path, replacing an earlier note.
    pub fn insert(&mut self, path: impl Into<SharedPath>, fact: PathFact) {
        let path = path.into();
        let fact = self.place_of(fact);
        if self.paths.last().is_none_or(|(last, _)| *last < path) {
            self.paths.push((path, fact));
            return;
        }
        match self.find(&path) {
            Ok(at) => self.paths.get_mut(at).into_iter().for_each(|known| known.1 = fact),
            Err(at) => self.paths.insert(at, (path, fact)),
        }
    }

    /// The state of a path, if it was examined and exists.
    pub fn get(&self, path: &Path) -> Option<&PathFact> {
        let (_, fact) = self.paths.get(self.find(path).ok()?)?;
        self.facts.get(*fact as usize)
    }

    /// All facts, ordered by path.
    pub fn iter(&self) -> impl Iterator<Item = (&SharedPath, &PathFact)> {
        self.paths.iter().filter_map(|(path, fact)| Some((path, self.facts.get(*fact as usize)?)))
    }

    fn find(&self, path: &Path) -> Result<usize, usize> {
        self.paths.binary_search_by(|(known, _)| known.as_path().cmp(path))
    }

    fn place_of(&mut self, fact: PathFact) -> u32 {
        let beyond = self.facts.len().saturating_sub(NEIGHBOURS);
        let same = self.facts.iter().skip(beyond).position(|known| *known == fact).map(|at| beyond + at);
        let place = same.unwrap_or_else(|| {
            self.facts.push(fact);
            self.facts.len() - 1
        });
        u32::try_from(place).unwrap_or(u32::MAX)
    }
}

impl PartialEq for PathFacts {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for PathFacts {}

impl<P: Into<SharedPath>> Extend<(P, PathFact)> for PathFacts {
    fn extend<I: IntoIterator<Item = (P, PathFact)>>(&mut self, facts: I) {
        facts.into_iter().for_each(|(path, fact)| self.insert(path, fact));
    }
}

impl<P: Into<SharedPath>> FromIterator<(P, PathFact)> for PathFacts {
    fn from_iter<I: IntoIterator<Item = (P, PathFact)>>(facts: I) -> Self {
        let mut all = Self::default();
        all.extend(facts);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::DirectoryFact;
    use super::*;

    fn directory(device: u64) -> PathFact {
        PathFact::Directory(DirectoryFact { mode: 0o755, writable: true, device })
    }

    #[test]
    fn each_path_has_its_fact_in_whichever_order_they_come() {
        let all = [("/b", directory(1)), ("/a", PathFact::File), ("/c", directory(2)), ("/a/b", PathFact::Other)];
        let facts: PathFacts = all.clone().into_iter().collect();
        for (path, fact) in &all {
            assert_eq!(facts.get(Path::new(path)), Some(fact), "{path}");
        }
        assert_eq!(facts.get(Path::new("/b/c")), None);
        let order: Vec<_> = facts.iter().map(|(path, _)| path.as_path()).collect();
        assert_eq!(order, ["/a", "/a/b", "/b", "/c"].map(Path::new));
        assert_eq!(facts, all.into_iter().rev().collect());
    }

    #[test]
    fn the_later_fact_of_a_path_counts() {
        let mut facts = PathFacts::with_capacity(1);
        facts.insert("/a", PathFact::File);
        facts.insert("/b", PathFact::File);
        facts.insert("/a", directory(1));
        assert_eq!(facts.get(Path::new("/a")), Some(&directory(1)));
        assert_eq!(facts.get(Path::new("/b")), Some(&PathFact::File));
        assert_eq!(facts.iter().count(), 2);
    }

    #[test]
    fn neighbours_that_are_alike_are_noted_once() {
        let mut facts = PathFacts::default();
        for number in 0..1000 {
            facts.insert(format!("/d{number:04}").as_str(), directory(number % 2));
            facts.insert(format!("/d{number:04}/file").as_str(), PathFact::File);
        }
        assert_eq!(facts.facts.len(), 3);
    }
}
