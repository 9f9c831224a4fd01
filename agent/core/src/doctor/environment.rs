//! The environment of the agent, as far as it decides how AWS is reached: `doctor` asks with it what the agent asks.

/// A variable and its value.
pub type Variable = (String, String);

/// The variables of a process, as `/proc/PID/environ` has them. What is not UTF-8 is left out.
pub fn of_process(environ: &[u8]) -> Vec<Variable> {
    environ.split(|byte| *byte == 0).filter_map(|entry| variable(str::from_utf8(entry).ok()?)).collect()
}

/// The variables of a unit, as `systemctl show` prints its property `Environment`: words, some in quotes.
pub fn of_unit(property: &str) -> Vec<Variable> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    let mut rest = property.chars();
    while let Some(c) = rest.next() {
        match (c, quote) {
            ('\\', _) => word.extend(rest.next()),
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => quote = Some(c),
            (' ', None) => words.push(std::mem::take(&mut word)),
            (c, _) => word.push(c),
        }
    }
    words.push(word);
    words.iter().filter_map(|word| variable(word)).collect()
}

/// The variables of a file that a unit names in `EnvironmentFile=`: one a line, comments, values in quotes.
pub fn of_file(text: &str) -> Vec<Variable> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    lines
        .filter_map(variable)
        .map(|(name, value)| {
            let inner = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
            (name.trim_end().to_owned(), inner.map_or_else(|| value.trim_start().to_owned(), str::to_owned))
        })
        .collect()
}

/// The files that a unit takes variables from, as `systemctl show` prints its property `EnvironmentFiles`: one a line.
pub fn files_of_unit(property: &str) -> Vec<&str> {
    let paths = property.lines().map(|line| line.rsplit_once(" (ignore_errors=").map_or(line, |(path, _)| path));
    paths.filter(|path| path.starts_with('/')).collect()
}

fn variable(text: &str) -> Option<Variable> {
    let (name, value) = text.split_once('=')?;
    (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
}

/// Whether a variable decides how AWS is reached.
fn reaches_aws(name: &str) -> bool {
    let proxies = ["http_proxy", "https_proxy", "no_proxy", "all_proxy"];
    name.starts_with("AWS_") || name.starts_with("SSL_CERT_") || proxies.contains(&name.to_lowercase().as_str())
}

/// Whether a variable says whose credentials are used: with one, a caller asks about its own. Others, such as AWS_REGION
/// and AWS_PAGER, are often set for every user of a host.
fn names_credentials(name: &str) -> bool {
    let names = [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_CONFIG_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_ROLE_ARN",
    ];
    names.contains(&name) || name.starts_with("AWS_CONTAINER_")
}

/// The agent's variables that the caller lacks. None where the caller has credentials or a profile of its own: then the
/// question is about those.
pub fn missing<'n>(own: impl IntoIterator<Item = &'n str>, agents: Vec<Variable>) -> Vec<Variable> {
    let own: Vec<&str> = own.into_iter().collect();
    if own.iter().any(|name| names_credentials(name)) {
        return Vec::new();
    }
    agents.into_iter().filter(|(name, _)| reaches_aws(name) && !own.contains(&name.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(found: &[Variable]) -> Vec<(&str, &str)> {
        found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    #[test]
    fn variables_are_read_from_a_process_a_unit_and_a_file() {
        assert_eq!(named(&of_process(b"A=1\0B=x=y\0=z\0\xff=1\0\0")), [("A", "1"), ("B", "x=y")]);
        let unit = r#"AWS_REGION=eu-west-1 "AWS_SECRET_ACCESS_KEY=a b\"c" 'X=it is'"#;
        let expected = [("AWS_REGION", "eu-west-1"), ("AWS_SECRET_ACCESS_KEY", "a b\"c"), ("X", "it is")];
        assert_eq!(named(&of_unit(unit)), expected);
        assert_eq!(named(&of_unit("")), []);
        let file = "# A=0\n\nA = 1\nB=\"two words\"\n ; C=3\nD='4'\n";
        assert_eq!(named(&of_file(file)), [("A", "1"), ("B", "two words"), ("D", "4")]);
    }

    #[test]
    fn the_files_of_a_unit_are_found() {
        assert_eq!(files_of_unit("/etc/default/hostler (ignore_errors=yes)"), ["/etc/default/hostler"]);
        let two = "/etc/a b (ignore_errors=no)\n/etc/c (ignore_errors=yes)";
        assert_eq!(files_of_unit(two), ["/etc/a b", "/etc/c"]);
        assert_eq!(files_of_unit(""), [""; 0]);
    }

    #[test]
    fn only_what_the_caller_lacks_and_what_leads_to_aws_is_taken() {
        let agents = || of_process(b"AWS_REGION=eu-west-1\0https_proxy=http://p\0PATH=/bin\0NO_PROXY=x");
        assert_eq!(
            named(&missing(["PATH", "NO_PROXY"], agents())),
            [("AWS_REGION", "eu-west-1"), ("https_proxy", "http://p")]
        );
        for own in
            ["AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"]
        {
            assert_eq!(missing([own], agents()), [], "{own}");
        }
        let agents = of_process(b"AWS_ACCESS_KEY_ID=a\0AWS_SECRET_ACCESS_KEY=b\0AWS_REGION=eu-west-1");
        let filled = missing(["AWS_PAGER", "AWS_REGION"], agents);
        assert_eq!(named(&filled), [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")]);
    }
}
