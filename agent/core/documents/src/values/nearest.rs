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
}
