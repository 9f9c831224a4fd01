use super::*;

const ANY: RangeInclusive<u64> = 0..=u64::MAX;

#[test]
fn durations_are_seconds_or_numbers_with_units() {
    for (text, expected) in [
        ("90", 90),
        ("90s", 90),
        ("090s", 90),
        ("5m", 300),
        (" 2h ", 7200),
        ("1d", 86_400),
        ("1h30m", 5400),
        ("1d2h3m4s", 93_784),
        ("366d", YEAR_SECONDS),
    ] {
        assert_eq!(duration(text, &(1..=YEAR_SECONDS)), Ok(expected), "{text}");
    }
    for text in
        ["", "s", "0", "0s", "-1", "+1", "1.5m", "5 m", "5w", "30m1h", "1m1m", "1h30", "99999999999999999999", "367d"]
    {
        let unfit = duration(text, &(1..=YEAR_SECONDS)).unwrap_err();
        assert_eq!(unfit.expected, "a duration from 1s to 366d", "{text:?}");
        assert!(unfit.help.is_some_and(|help| help.contains("`5m`")), "{text:?}");
    }
}

#[test]
fn plain_numbers_of_the_awslogs_agents_keys_are_milliseconds() {
    for (text, expected) in [("5000", 5000), ("5s", 5000), ("1m", 60_000)] {
        assert_eq!(milliseconds(text, &(100..=60_000)), Ok(expected), "{text}");
    }
    for text in ["99", "61s", "soon", "99999999999999999s"] {
        assert_eq!(milliseconds(text, &(100..=60_000)).unwrap_err().expected, "100 to 60000 milliseconds", "{text}");
    }
}

#[test]
fn sizes_are_bytes_or_powers_of_1024() {
    for (text, expected) in [
        ("512", 512),
        ("0", 0),
        ("007", 7),
        ("+7", 7),
        ("512K", 512 << 10),
        ("2M", 2 << 20),
        ("2G", 2 << 30),
        (" 3T ", 3 << 40),
        ("8KiB", 8 << 10),
        ("1GiB", 1 << 30),
    ] {
        assert_eq!(size(text, &ANY), Ok(expected), "{text}");
    }
    for text in ["", "K", "iB", "5iB", "1.5G", "2 G", "2g", "2GB", "-1", "16777216T", "18446744073709551616"] {
        assert_eq!(size(text, &ANY).unwrap_err().expected, "a size", "{text:?}");
    }
    assert_eq!(size("0", &(1..=u64::MAX)).unwrap_err().expected, "a size from 1 byte");
    assert_eq!(size("2M", &(1024..=1 << 20)).unwrap_err().expected, "a size from 1K to 1M");
}

#[test]
fn what_is_written_is_read_again() {
    for seconds in [1, 59, 60, 90, 3600, 86_400, 90_000, YEAR_SECONDS] {
        assert_eq!(duration(&spelled_duration(seconds), &ANY), Ok(seconds));
    }
    for bytes in [1 << 10, 3 << 20, 256 << 20, 1 << 30, 5 << 40] {
        assert_eq!(size(&spelled_size(bytes), &ANY), Ok(bytes));
    }
    assert_eq!((spelled_duration(0), spelled_size(1000)), ("0s".to_owned(), "1000 bytes".to_owned()));
}

#[test]
fn truth_values_are_words_in_any_case() {
    for text in ["true", "True", "TRUE", "yes", "on", " true "] {
        assert_eq!(boolean(text), Ok(true), "{text}");
    }
    for text in ["false", "no", "OFF"] {
        assert_eq!(boolean(text), Ok(false), "{text}");
    }
    for text in ["", "1", "y", "n", "maybe", "~"] {
        assert_eq!(boolean(text).unwrap_err().expected, "true or false", "{text}");
    }
}

#[test]
fn whole_numbers_have_bounds() {
    for (text, expected) in [("7", 7), ("007", 7), ("+7", 7), (" 7 ", 7)] {
        assert_eq!(whole(text, &(1..=7)), Ok(expected), "{text}");
    }
    for text in ["", "0", "8", "-7", "7.0", "0x7", "++7", "seven", "18446744073709551616"] {
        assert_eq!(whole(text, &(1..=7)).unwrap_err().expected, "a whole number from 1 to 7", "{text}");
    }
    assert_eq!(whole("x", &(1..=u64::MAX)).unwrap_err().expected, "a whole number from 1");
}

#[test]
fn words_and_keys_come_with_the_nearest() {
    let words = [("none", 0), ("standby", 1), ("target_groups", 2)];
    assert_eq!(word("standby", &words), Ok(1));
    let near = word("stanby", &words).unwrap_err();
    assert_eq!(
        (near.expected.as_str(), near.help.as_deref()),
        ("none, standby or target_groups", Some("did you mean `standby`?"))
    );
    assert_eq!(word("drain", &words).unwrap_err().help, None);
    assert_eq!(known_keys_help("pol", &["poll", "aws"]), "did you mean `poll`?");
    assert_eq!(known_keys_help("signatures", &["poll", "aws"]), "the keys are poll, aws");
    assert_eq!(listed(&["a"], "and"), "a");
}
