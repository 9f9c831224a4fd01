//! A first appspec with its scripts, from a few answers.

use super::diagnose::{Diagnostic, Severity};
use super::read;
use crate::limits::Limits;

/// What the author says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Starter {
    /// The file or directory of the bundle that is installed; `/` is the whole bundle.
    pub source: String,
    /// The directory on the host, as an absolute path.
    pub destination: String,
    /// The systemd unit to stop and to start.
    pub service: Option<String>,
    /// The user that owns the installed files.
    pub user: Option<String>,
    /// What shows that the application works: an address (`http://…`, `https://…`) or a TCP port of the host.
    pub check: Option<String>,
}

/// A file of the bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StarterFile {
    /// Its path in the bundle.
    pub path: &'static str,
    /// Its content.
    pub text: String,
    /// Whether it is a script.
    pub executable: bool,
}

/// Why an answer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StarterError {
    /// It is not of the form that is needed.
    #[error("{what} must be {needed}, not `{given}`")]
    Unfit {
        /// The flag.
        what: &'static str,
        /// The form.
        needed: &'static str,
        /// The answer.
        given: String,
    },
    /// The appspec would be wrong.
    #[error("the appspec would not be good: {}", .0.message)]
    Wrong(Box<Diagnostic>),
}

impl Starter {
    /// The files of the bundle: the appspec first.
    ///
    /// # Errors
    /// An answer that cannot be used.
    pub fn files(&self, limits: &Limits) -> Result<Vec<StarterFile>, StarterError> {
        self.check_answers()?;
        let appspec = StarterFile { path: "appspec.yml", text: self.appspec()?, executable: false };
        let reading = read(appspec.path, appspec.text.as_bytes(), limits);
        if let Some(found) = reading.diagnostics.into_iter().min_by_key(|found| found.severity != Severity::Error) {
            return Err(StarterError::Wrong(Box::new(found)));
        }
        let scripts = self.service.iter().flat_map(|service| {
            let unit = quoted_for_shell(&unit_name(service));
            [script("hooks/stop.sh", STOP, &unit), script("hooks/start.sh", START, &unit)]
        });
        Ok([appspec].into_iter().chain(scripts).collect())
    }

    fn check_answers(&self) -> Result<(), StarterError> {
        let unfit = |what, needed, given: &str| Err(StarterError::Unfit { what, needed, given: given.to_owned() });
        if !self.destination.starts_with('/') || self.destination.chars().any(char::is_control) {
            return unfit("the destination", "an absolute path", &self.destination);
        }
        let is_unit = |name: &String| name.chars().all(|c| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c));
        if let Some(name) = self.service.as_ref().filter(|name| name.is_empty() || !is_unit(name)) {
            return unfit("the service", "the name of a systemd unit", name);
        }
        let is_user = |name: &String| name.chars().all(|c| c.is_ascii_alphanumeric() || "._-$".contains(c));
        if let Some(name) = self.user.as_ref().filter(|name| name.is_empty() || !is_user(name)) {
            return unfit("the user", "the name of a user", name);
        }
        Ok(())
    }

    fn appspec(&self) -> Result<String, StarterError> {
        let (source, destination) = (quoted_for_yaml(&self.source), quoted_for_yaml(&self.destination));
        let mut text = format!(
            "# What hostler does with this bundle. Check it with `hostler validate .`\n\
             version: 0.0\nos: linux\n\n\
             # What the directory `source` of this bundle holds is installed below `destination`.\n\
             files:\n  - source: {source}\n    destination: {destination}\n"
        );
        if let Some(user) = &self.user {
            text.push_str(&format!(
                "\n# Who owns what is installed.\npermissions:\n  - object: {destination}\n    pattern: \"**\"\n    \
                 type: [file, directory]\n    owner: {}\n",
                quoted_for_yaml(user)
            ));
        }
        if self.service.is_some() {
            text.push_str(
                "\n# In the order in which they run. The stop script is the old revision's; a script that fails, or takes longer\n\
                 # than its timeout in seconds, fails the deployment.\n\
                 hooks:\n  ApplicationStop:\n    - location: hooks/stop.sh\n      timeout: 60\n  ApplicationStart:\n    \
                 - location: hooks/start.sh\n      timeout: 60\n",
            );
        }
        if let Some(check) = &self.check {
            text.push_str(&format!(
                "\n# ValidateService waits until this check is healthy, and the daemon goes on asking.\n\
                 hostler:\n  health:\n    {}\n",
                health(check)?
            ));
        }
        Ok(text)
    }
}

/// The health check of an answer: an address, or a port.
fn health(check: &str) -> Result<String, StarterError> {
    let is_address = check.starts_with("http://") || check.starts_with("https://");
    match (is_address, check.parse::<u16>()) {
        (true, _) if !check.contains(char::is_whitespace) => Ok(format!("- http: {{url: {}}}", quoted_for_yaml(check))),
        (false, Ok(port)) if port > 0 => Ok(format!("- tcp: '127.0.0.1:{port}'")),
        _ => {
            let needed = "an address that begins with http:// or https://, or a port";
            Err(StarterError::Unfit { what: "the check", needed, given: check.to_owned() })
        }
    }
}

fn unit_name(service: &str) -> String {
    let kinds = [".service", ".socket", ".target", ".timer", ".path"];
    if kinds.iter().any(|kind| service.ends_with(kind)) { service.to_owned() } else { format!("{service}.service") }
}

fn quoted_for_yaml(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    if begins && text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}

fn quoted_for_shell(text: &str) -> String {
    if text.contains('\\') { format!("'{text}'") } else { text.to_owned() }
}

fn script(path: &'static str, text: &str, unit: &str) -> StarterFile {
    StarterFile { path, text: text.replace("UNIT", unit), executable: true }
}

const STOP: &str = "\
#!/bin/sh
# Runs before the files change, from the bundle of the revision that is replaced.
set -eu
if [ -n \"${HOSTLER_ROOT-}\" ]; then
	echo \"below $HOSTLER_ROOT: UNIT of the machine is not stopped\"
elif [ -d /run/systemd/system ]; then
	systemctl stop UNIT
else
	echo \"no systemd runs here: UNIT is not stopped\"
fi
";

const START: &str = "\
#!/bin/sh
# Runs once the new files are in place.
set -eu
if [ -n \"${HOSTLER_ROOT-}\" ]; then
	echo \"below $HOSTLER_ROOT: UNIT of the machine is not started\"
elif [ -d /run/systemd/system ]; then
	systemctl restart UNIT
else
	echo \"no systemd runs here: UNIT is not started\"
fi
";

#[cfg(test)]
mod tests {
    use super::*;

    fn starter() -> Starter {
        let (source, destination) = ("app".to_owned(), "/srv/web".to_owned());
        Starter { source, destination, service: None, user: None, check: None }
    }

    #[test]
    fn every_answer_leads_to_an_appspec_without_a_finding() {
        let services = [None, Some("web"), Some("web@1.service"), Some("a\\x2db.timer")];
        let checks = [None, Some("8080"), Some("http://127.0.0.1:8080/it's?a=b#c"), Some("https://localhost/")];
        for (service, check) in services.iter().flat_map(|service| checks.iter().map(move |check| (service, check))) {
            for (source, destination) in [("app", "/srv/web"), ("/", "/opt/my app"), ("yes", "/srv/it's")] {
                let starter = Starter {
                    source: source.to_owned(),
                    destination: destination.to_owned(),
                    service: service.map(str::to_owned),
                    user: Some("www-data".to_owned()),
                    check: check.map(str::to_owned),
                };
                let files = starter.files(&Limits::default()).unwrap();
                let spec = read("appspec.yml", files[0].text.as_bytes(), &Limits::default()).spec.unwrap();
                assert_eq!((spec.files[0].source.as_str(), spec.files[0].destination.as_str()), (source, destination));
                assert_eq!(spec.hooks.len(), if service.is_some() { 2 } else { 0 });
                assert_eq!(spec.extension.health.len(), usize::from(check.is_some()));
                assert_eq!(spec.permissions[0].owner.as_deref(), Some("www-data"));
                assert_eq!(files.len(), if service.is_some() { 3 } else { 1 });
            }
        }
    }

    #[test]
    fn the_scripts_name_the_unit() {
        let files = Starter { service: Some("web".to_owned()), ..starter() }.files(&Limits::default()).unwrap();
        assert!(files[1].text.contains("systemctl stop web.service\n") && files[1].executable);
        assert!(files[2].text.contains("systemctl restart web.service\n") && !files[0].executable);
    }

    #[test]
    fn below_a_root_prefix_the_scripts_leave_the_units_of_the_machine_alone() {
        let files = Starter { service: Some("web".to_owned()), ..starter() }.files(&Limits::default()).unwrap();
        for (file, done) in files[1..].iter().zip(["stopped", "started"]) {
            let (guard, act) = (file.text.find("HOSTLER_ROOT"), file.text.find("systemctl"));
            assert!(guard.is_some() && guard < act, "{}", file.text);
            assert!(file.text.contains(&format!("below $HOSTLER_ROOT: web.service of the machine is not {done}")));
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let refused = |starter: Starter| starter.files(&Limits::default()).unwrap_err().to_string();
        let named = |name: &str| Some(name.to_owned());
        assert!(
            refused(Starter { destination: "srv".to_owned(), ..starter() }).contains("an absolute path, not `srv`")
        );
        assert!(refused(Starter { service: named("a; rm -rf /"), ..starter() }).contains("a systemd unit"));
        assert!(refused(Starter { user: named(""), ..starter() }).contains("the name of a user"));
        for check in ["0", "65536", "127.0.0.1:80", "ftp://x", "http://a b"] {
            assert!(refused(Starter { check: named(check), ..starter() }).contains("or a port"), "{check}");
        }
        assert!(refused(Starter { source: "../x".to_owned(), ..starter() }).contains("would not be good"));
    }
}
