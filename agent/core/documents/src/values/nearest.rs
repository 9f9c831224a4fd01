//! The name that a writer probably meant.

/// The name nearest to `text`, if it is near enough to be a likely correction.
pub fn nearest<'n>(text: &str, names: &[&'n str]) -> Option<&'n str> {
    const LONGEST: usize = 40;
    let text: Vec<char> = text.chars().take(LONGEST + 1).flat_map(char::to_lowercase).collect();
    if text.is_empty() || text.len() > LONGEST {
        return None;
    }
    names
        .iter()
        .map(|name| (distance(&text, name), *name))
        .filter(|(distance, name)| *distance <= (name.len().max(text.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The name that `text` plainly means: it differs in case alone, by one letter, or by letters in another order. A name
/// that was put aside by a mark before it (`_hooks`, `.hooks`, `x-hooks`) is meant as it is.
pub fn misspelt<'n>(text: &str, names: &[&'n str]) -> Option<&'n str> {
    const LONGEST: usize = 40;
    const SHORTEST: usize = 4;
    let marks = ["", "_", ".", "-", "#", "x-"];
    let is_aside = |name: &&str| text.strip_suffix(name).is_some_and(|mark| marks.contains(&mark));
    let letters: Vec<char> = text.chars().take(LONGEST + 1).flat_map(char::to_lowercase).collect();
    if letters.len() > LONGEST || names.iter().any(is_aside) {
        return None;
    }
    let is_meant = |name: &&&str| match distance(&letters, name) {
        0 => true,
        1 => name.len() >= SHORTEST,
        2 => name.len() >= SHORTEST && is_swapped(&letters, name),
        _ => false,
    };
    names.iter().filter(is_meant).min_by_key(|name| distance(&letters, name)).copied()
}

/// Whether the same letters stand in another order.
fn is_swapped(text: &[char], name: &str) -> bool {
    let sorted = |mut letters: Vec<char>| {
        letters.sort_unstable();
        letters
    };
    sorted(text.to_vec()) == sorted(name.chars().flat_map(char::to_lowercase).collect())
}

/// Levenshtein distance, one row at a time; case does not count.
fn distance(text: &[char], name: &str) -> usize {
    let mut row: Vec<usize> = (0..=text.len()).collect();
    for (i, letter) in name.chars().flat_map(char::to_lowercase).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, of_text) in row.iter_mut().skip(1).zip(text) {
            let substituted = diagonal + usize::from(letter != *of_text);
            diagonal = *cell;
            left = substituted.min(left + 1).min(diagonal + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &[&str] = &["location", "timeout", "runas", "sudo", "files", "ApplicationStart", "ValidateService"];

    #[test]
    fn the_nearest_name_is_one_that_may_have_been_meant() {
        assert_eq!(nearest("ApplicatiionStart", KEYS), Some("ApplicationStart"));
        assert_eq!(nearest("file", KEYS), Some("files"));
        assert_eq!(nearest("run_as", KEYS), Some("runas"));
        assert_eq!(nearest("TIMEOUT", KEYS), Some("timeout"));
        assert_eq!(nearest("x", KEYS), None);
        assert_eq!(nearest("branch_config", KEYS), None);
        assert_eq!(nearest("", KEYS), None);
        assert_eq!(nearest(&"o".repeat(100_000), KEYS), None);
    }

    #[test]
    fn a_slip_of_the_hand_plainly_means_a_name_and_another_word_does_not() {
        for (text, name) in [
            ("hook", "hooks"),
            ("hoosk", "hooks"),
            ("timout", "timeout"),
            ("run_as", "runas"),
            ("Location", "location"),
            ("OS", "os"),
            ("applicationStart", "ApplicationStart"),
            ("ApplicatoinStart", "ApplicationStart"),
            ("AfterInstal", "AfterInstall"),
        ] {
            assert_eq!(
                misspelt(text, &["os", "hooks", "timeout", "runas", "location", "AfterInstall", "ApplicationStart"]),
                Some(name)
            );
        }
        for text in
            ["_hooks", ".hooks", "x-hooks", "hooks", "hosts", "on", "o", "description", "BeforeStart", "Restart", ""]
        {
            assert_eq!(
                misspelt(text, &["os", "hooks", "files", "ApplicationStart", "ApplicationStop"]),
                None,
                "{text}"
            );
        }
    }
}
