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
        check_source(&self.source)?;
        check_destination(&self.destination)?;
        self.service.iter().try_for_each(|name| check_service(name))?;
        self.user.iter().try_for_each(|name| check_user(name))?;
        self.check.iter().try_for_each(|check| check_check(check))
    }

    fn appspec(&self) -> Result<String, StarterError> {
        let (source, destination) = (quoted_for_yaml(&self.source), quoted_for_yaml(&self.destination));
        let what = match self.source.as_str() {
            "/" => "The whole bundle (`source: /`), this file too, is installed below `destination`.",
            _ => "What the directory `source` of this bundle holds is installed below `destination`.",
        };
        let mut text = format!(
            "# What hostler does with this bundle. Check it with `hostler validate .`\n\
             version: 0.0\nos: linux\n\n\
             # {what}\n\
             files:\n  - source: {source}\n    destination: {destination}\n"
        );
        if let Some(user) = &self.user {
            text.push_str(&format!(
                "\n# Who owns what is installed below `destination`. The directory itself stays root's.\npermissions:\n  - object: {destination}\n    pattern: \"**\"\n    \
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

fn unfit(what: &'static str, needed: &'static str, given: &str) -> Result<(), StarterError> {
    let given = given.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    Err(StarterError::Unfit { what, needed, given })
}

/// Whether this can be what is installed: a path of the bundle, or `/` for all of it.
///
/// # Errors
/// The form that is needed.
pub fn check_source(source: &str) -> Result<(), StarterError> {
    // An appspec takes `/etc/passwd` as the bundle's own etc/passwd, which no author means.
    let is_of_bundle = source == "/" || !source.is_empty() && !source.starts_with('/');
    let leads_out = source.split('/').any(|part| part == "..") || source.chars().any(char::is_control);
    match is_of_bundle && !leads_out {
        true => Ok(()),
        false => unfit("the source", "a path in the bundle, such as app, or . for the whole bundle", source),
    }
}

/// Whether files can be installed there: an absolute path of a directory that is the application's own.
///
/// # Errors
/// The form that is needed.
pub fn check_destination(destination: &str) -> Result<(), StarterError> {
    let what = "the destination";
    let mut parts = destination.split('/').filter(|part| !part.is_empty() && *part != ".");
    if !destination.starts_with('/') || destination.chars().any(char::is_control) {
        return unfit(what, "an absolute path", destination);
    }
    if parts.clone().any(|part| part == "..") {
        return unfit(what, "a path without `..`", destination);
    }
    let (top, is_top) = (parts.next().unwrap_or_default(), parts.next().is_none());
    if KERNELS.contains(&top) || is_top && (top.is_empty() || SYSTEMS.contains(&top)) {
        return unfit(what, "a directory of the application's own, such as /srv/web", destination);
    }
    Ok(())
}

/// Whether systemd can start and stop a unit of this name.
///
/// # Errors
/// The form that is needed.
pub fn check_service(name: &str) -> Result<(), StarterError> {
    let what = "the service";
    let is_unit = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let unit = unit_name(name);
    // `-x` would be an option of systemctl.
    if name.is_empty() || name.starts_with('-') || !name.chars().all(is_unit) || unit.len() > LONGEST_UNIT {
        return unfit(what, "the name of a systemd unit", name);
    }
    if unit.rsplit_once('.').is_some_and(|(unit, _)| unit.ends_with('@')) {
        return unfit(what, "an instance of the template, such as web@1", name);
    }
    Ok(())
}

/// Whether a user can have this name.
///
/// # Errors
/// The form that is needed.
pub fn check_user(name: &str) -> Result<(), StarterError> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._-$".contains(c);
    if name.is_empty() || name.starts_with('-') || name.len() > LONGEST_USER || !name.chars().all(is_name) {
        return unfit("the user", "the name of a user", name);
    }
    Ok(())
}

/// Whether this can be asked: an address, or a port of the host.
///
/// # Errors
/// The form that is needed.
pub fn check_check(check: &str) -> Result<(), StarterError> {
    health(check).map(drop)
}

/// The most characters of an answer in a message.
const SHOWN: usize = 80;

/// systemd takes no longer name (UNIT_NAME_MAX of systemd's unit-name.h, without its zero byte).
const LONGEST_UNIT: usize = 255;

/// The longest name of a user that Linux's tools make (`useradd` of shadow-utils).
const LONGEST_USER: usize = 32;

/// Directories of the kernel.
const KERNELS: [&str; 3] = ["dev", "proc", "sys"];

/// Directories that belong to the system as a whole.
const SYSTEMS: [&str; 15] =
    ["bin", "boot", "etc", "home", "lib", "lib64", "mnt", "opt", "root", "run", "sbin", "srv", "tmp", "usr", "var"];

/// The health check of an answer: an address, or a port.
fn health(check: &str) -> Result<String, StarterError> {
    let is_address = check.starts_with("http://") || check.starts_with("https://");
    match (is_address, check.parse::<u16>()) {
        (true, _) if !check.contains(char::is_whitespace) => Ok(format!("- http: {{url: {}}}", quoted_for_yaml(check))),
        (false, Ok(port)) if port > 0 => Ok(format!("- tcp: '127.0.0.1:{port}'")),
        _ => unfit("the check", "an address that begins with http:// or https://, or a port", check)
            .map(|()| String::new()),
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
    }

    #[test]
    fn what_cannot_work_on_a_host_is_refused() {
        let long = "x".repeat(300);
        for name in ["-x", "web service", "", &long, &format!("{}.service", "x".repeat(248))] {
            assert!(check_service(name).unwrap_err().to_string().contains("a systemd unit"), "{name}");
        }
        for name in ["web@", "web@.service", "a@.timer"] {
            assert!(check_service(name).unwrap_err().to_string().contains("an instance of the template"), "{name}");
        }
        assert!(
            ["web", "web@1", "web@1.service", "a-b.socket", &"x".repeat(247)].iter().all(|n| check_service(n).is_ok())
        );
        for destination in ["/srv/../etc", "/.."] {
            assert!(check_destination(destination).unwrap_err().to_string().contains("without `..`"), "{destination}");
        }
        for destination in ["/", "//", "/etc", "/etc/", "/./srv", "/proc/x", "/sys", "/dev/shm/x"] {
            let refused = check_destination(destination).unwrap_err().to_string();
            assert!(refused.contains("a directory of the application's own"), "{destination}");
        }
        assert!(["/srv/web", "/opt/a..b", "/etc/web", "/data"].iter().all(|path| check_destination(path).is_ok()));
        for source in ["/etc/passwd", "", "../x", "a/../../b"] {
            assert!(check_source(source).unwrap_err().to_string().contains("a path in the bundle"), "{source}");
        }
        assert!(["/", "app", "a/b", "it's"].iter().all(|source| check_source(source).is_ok()));
        assert!(check_user("-x").is_err() && check_user(&"x".repeat(33)).is_err() && check_user("www-data").is_ok());
        let shown = check_service(&long).unwrap_err().to_string();
        assert!(shown.len() < 150, "{shown}");
    }
}
