//! The host's locale, as in locale.conf(5).

/// The variables of locale.conf(5) in systemd 252. `LC_ALL` is not among them: it would override all the others.
const VARIABLES: [&str; 14] = [
    "LANG",
    "LANGUAGE",
    "LC_CTYPE",
    "LC_NUMERIC",
    "LC_TIME",
    "LC_COLLATE",
    "LC_MONETARY",
    "LC_MESSAGES",
    "LC_PAPER",
    "LC_NAME",
    "LC_ADDRESS",
    "LC_TELEPHONE",
    "LC_MEASUREMENT",
    "LC_IDENTIFICATION",
];

/// Most bytes of a locale's name. Prevents: a file that takes the room of the arguments of every program.
const MOST_NAME_BYTES: usize = 256;

/// The locale variables of a file, and the parts that could not be parsed, each with its line.
///
/// A line is `NAME=value`, the value bare or in quotes, as a shell assigns it; empty lines and those that begin with
/// `#` or `;` are comments. The last line of a variable counts. There is no expansion and no continuation of lines.
pub fn parse_locale(text: &str) -> (Vec<(String, String)>, Vec<String>) {
    let (mut variables, mut faults): (Vec<(String, String)>, Vec<String>) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        match assignment(line) {
            Ok((name, value)) => {
                variables.retain(|(known, _)| known != name);
                if !value.is_empty() {
                    variables.push((name.to_owned(), value.to_owned()));
                }
            }
            Err(fault) => faults.push(format!("line {number}: {fault}")),
        }
    }
    (variables, faults)
}

fn assignment(line: &str) -> Result<(&str, &str), &'static str> {
    // Shells read Debian's file too.
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let (name, value) = line.split_once('=').ok_or("it is no assignment; write NAME=value")?;
    if !VARIABLES.contains(&name) {
        return Err("it sets no variable of locale.conf(5), which has LANG, LANGUAGE and most of LC_*");
    }
    let value = unquoted(value.trim())?;
    let may_be_in_a_name = |c: char| c.is_ascii_alphanumeric() || "_.@:-+,=/".contains(c);
    if value.len() > MOST_NAME_BYTES || !value.chars().all(may_be_in_a_name) {
        return Err("its value is no name of a locale, for example C.UTF-8");
    }
    Ok((name, value))
}

fn unquoted(value: &str) -> Result<&str, &'static str> {
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote) {
            return rest.strip_suffix(quote).ok_or("its quotation mark is not closed");
        }
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Vec<String>, Vec<String>) {
        let (variables, faults) = parse_locale(text);
        (variables.iter().map(|(name, value)| format!("{name}={value}")).collect(), faults)
    }

    #[test]
    fn a_locale_is_read_as_shells_and_systemd_read_it() {
        let text = "# by hand\n; too\n\nLANG=\"de_DE.UTF-8\"\n LC_TIME='C' \nexport LANGUAGE=de:en\nLANG=C.UTF-8\r\nLC_PAPER=\n";
        assert_eq!(parsed(text).0, ["LC_TIME=C", "LANGUAGE=de:en", "LANG=C.UTF-8"]);
        assert!(parsed(text).1.is_empty(), "{:?}", parsed(text).1);
        // An empty value removes an earlier one.
        assert_eq!(parsed("LC_TIME=C\nLC_TIME=").0, [""; 0]);
    }

    #[test]
    fn what_is_no_locale_is_named_with_its_line_and_costs_nothing_else() {
        let text = "LANG\nPATH=/tmp\nLC_ALL=C\nLANG=\"C\nLC_TIME=$(id)\nLC_NAME=\0\nLC_CTYPE=C.UTF-8\n";
        let (variables, faults) = parsed(text);
        assert_eq!(variables, ["LC_CTYPE=C.UTF-8"]);
        let lines: Vec<_> = faults.iter().filter_map(|fault| fault.split(':').next()).collect();
        assert_eq!(lines, ["line 1", "line 2", "line 3", "line 4", "line 5", "line 6"]);
        let long = format!("LANG={}", "x".repeat(MOST_NAME_BYTES + 1));
        assert!(parsed(&long).0.is_empty());
        assert_eq!(parsed("LANG=\"").1.len(), 1);
    }
}
