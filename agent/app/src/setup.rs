//! The start of every verb: the flags and the configuration, turned into paths and settings.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use hostler_core::codes::ExitCode;
use hostler_core::config::settings::{GroupSettings, Settings};
use hostler_core::ids::GroupKey;
use hostler_core::limits::Limits;
use hostler_core::store::S3Location;
use hostler_host::layout::Layout;
use tokio::sync::watch;

use crate::cli::Shared;
use crate::codedeploy::compat::CodeDeployCompat;
use crate::config_files;
use crate::failure::Failure;
use crate::stores::Stores;

/// Paths, settings and bounds of this run.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The paths.
    pub layout: Layout,
    /// The configuration with the flags on top.
    pub settings: Settings,
    /// Every bound.
    pub limits: Limits,
    /// Whether JSON is printed.
    pub json: bool,
    /// The open stores, and the AWS clients.
    pub stores: Arc<Stores>,
    /// The CodeDeploy agent's files, if hostler is in its place.
    pub codedeploy_compat: Option<Arc<CodeDeployCompat>>,
    /// Why the configuration was left out, if this process's user may not read it.
    pub unread: Option<String>,
}

/// The setup in force, which a reload replaces.
#[derive(Debug, Clone)]
pub struct SetupWatch(watch::Receiver<Arc<Setup>>);

impl SetupWatch {
    /// A watch and its sender, which replaces the setup.
    pub fn new(setup: Arc<Setup>) -> (watch::Sender<Arc<Setup>>, Self) {
        let (sender, receiver) = watch::channel(setup);
        (sender, Self(receiver))
    }

    /// A watch on a setup that never changes.
    pub fn fixed(setup: Arc<Setup>) -> Self {
        Self::new(setup).1
    }

    /// The setup as it is now.
    pub fn now(&self) -> Arc<Setup> {
        Arc::clone(&self.0.borrow())
    }

    /// The setup as it is now; [`Self::changed`] waits for a later one.
    pub fn update(&mut self) -> Arc<Setup> {
        Arc::clone(&self.0.borrow_and_update())
    }

    /// Waits until it is replaced; forever if it never is.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Setup {
    /// Reads the configuration and puts the flags on top. Nothing on the host changes.
    ///
    /// # Errors
    /// A usage failure for an invalid configuration and for flags that do not fit together.
    pub fn new(shared: &Shared) -> Result<Self, Failure> {
        Self::adjusted(shared, |_| {})
    }

    /// As [`Self::new`], with settings that a verb needs whatever the configuration says.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn adjusted(shared: &Shared, adjust: impl FnOnce(&mut Settings)) -> Result<Self, Failure> {
        let mut setup = Self::of_flags(shared)?;
        setup.settings = config_files::load(setup.layout.root(), shared.config.as_deref(), &setup.limits)?;
        add_group_of_flags(&mut setup.settings, shared)?;
        adjust(&mut setup.settings);
        if setup.settings.codedeploy.enabled {
            let found = CodeDeployCompat::load(&setup.settings, &setup.layout, &setup.limits)?;
            found.complete(&mut setup.settings);
            setup.layout = setup.layout.with_codedeploy_root(&found.agent.root_dir);
            setup.codedeploy_compat = Some(Arc::new(found));
        }
        let on_premises = setup.codedeploy_compat.as_ref().and_then(|found| found.on_premises.as_ref());
        let credentials = on_premises.map(|host| host.credentials.clone());
        setup.stores = Arc::new(Stores::new(&setup.settings, &setup.limits, credentials));
        Ok(setup)
    }

    /// For verbs that the daemon carries out: it has the configuration, so users who may not read it can ask all the
    /// same.
    ///
    /// # Errors
    /// As [`Self::new`], except that an unreadable configuration of the host (only root and the service group read it)
    /// is no error.
    pub fn for_asking(shared: &Shared) -> Result<Self, Failure> {
        let failure = match Self::new(shared) {
            Err(failure) if shared.config.is_none() => failure,
            done => return done,
        };
        let mut setup = Self::of_flags(shared)?;
        if !config_files::is_closed(setup.layout.root()) {
            return Err(failure);
        }
        add_group_of_flags(&mut setup.settings, shared)?;
        setup.unread = Some(failure.one_line());
        Ok(setup)
    }

    /// Refuses an operation that needs the configuration.
    ///
    /// # Errors
    /// A usage failure if the configuration was left out.
    pub fn must_be_read(&self) -> Result<(), Failure> {
        match &self.unread {
            Some(why) => Err(Failure::say(ExitCode::Usage, why).hint(config_files::WHO_READS)),
            None => Ok(()),
        }
    }

    /// Leaves out the configuration, for verbs that only read the state or talk to the daemon: they also work when it
    /// is invalid.
    ///
    /// # Errors
    /// A usage failure for an invalid directory.
    pub fn of_flags(shared: &Shared) -> Result<Self, Failure> {
        let absolute =
            |path: &Path| std::path::absolute(path).with_context(|| format!("{} is not a path", path.display()));
        let root = absolute(&shared.root)?;
        let state_dir = shared.state_dir.as_deref().map(absolute).transpose()?;
        let (layout, limits) = (Layout::new(&root, state_dir.as_deref()), Limits::default());
        let settings = Settings::default();
        let stores = Arc::new(Stores::new(&settings, &limits, None));
        Ok(Self { layout, settings, limits, json: shared.json, stores, codedeploy_compat: None, unread: None })
    }

    /// The group that the flags or the configuration name.
    ///
    /// # Errors
    /// A usage failure when several groups are configured and none is named.
    pub fn group(&self, shared: &Shared) -> Result<GroupKey, Failure> {
        if let (Some(application), Some(group)) = (&shared.application, &shared.group) {
            return Ok(GroupKey::new(application.clone(), group.clone()));
        }
        let named = |key: &&GroupSettings| {
            shared.application.as_ref().is_none_or(|a| a == &key.key.application)
                && shared.group.as_ref().is_none_or(|g| g == &key.key.group)
        };
        let mut found = self.settings.groups.iter().filter(named);
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one.key.clone()),
            (None, _) if shared.application.is_some() != shared.group.is_some() => {
                let missing = if shared.group.is_none() { "--group" } else { "--application" };
                Err(Failure::say(ExitCode::Usage, format!("which deployment group? {missing} is missing"))
                    .hint("name it with --application and --group"))
            }
            (None, _) => Err(match &self.unread {
                None => Failure::say(ExitCode::Usage, "which deployment group? none is configured")
                    .hint("name it with --application and --group"),
                Some(why) => Failure::say(ExitCode::Refused, format!("no deployment group is named, and {why}"))
                    .hint("root and members of the group hostler may act; name it with --application and --group"),
            }),
            (Some(_), Some(_)) => {
                let names: Vec<String> = self.settings.groups.iter().map(|g| g.key.to_string()).collect();
                Err(Failure::say(ExitCode::Usage, format!("several groups are configured: {}", names.join(", ")))
                    .hint("name one with --application and --group"))
            }
        }
    }
}

/// `--channel` follows the named group; without a name it changes the one configured group.
fn add_group_of_flags(settings: &mut Settings, shared: &Shared) -> Result<(), Failure> {
    let Some(channel) = &shared.channel else { return Ok(()) };
    let (Some(application), Some(group)) = (&shared.application, &shared.group) else {
        return Err(Failure::say(ExitCode::Usage, "--channel needs --application and --group beside it"));
    };
    if channel.starts_with("s3://") {
        let store = channel.parse::<S3Location>().and_then(S3Location::into_store);
        store.map_err(|e| Failure::new(ExitCode::Usage, anyhow::Error::new(e).context("cannot use --channel")))?;
    }
    let key = GroupKey::new(application.clone(), group.clone());
    settings.group_mut(key).channel = Some(channel.clone());
    Ok(())
}

/// The absolute path of an existing file or directory.
///
/// # Errors
/// Not found when it does not exist.
pub fn existing(path: &Path) -> Result<PathBuf, Failure> {
    std::fs::canonicalize(path).map_err(|e| {
        let code = if e.kind() == std::io::ErrorKind::NotFound { ExitCode::NotFound } else { ExitCode::Failed };
        let failure = Failure::new(code, anyhow::Error::new(e).context(format!("cannot open {}", path.display())));
        // Two slashes are easily forgotten: s3:/BUCKET/KEY.
        let place = path.to_str().filter(|text| text.starts_with("s3:")).and_then(S3Location::meant_by);
        match place.filter(|_| code == ExitCode::NotFound) {
            Some(place) => failure.hint(format!("for an object of S3 write {place}")),
            None => failure,
        }
    })
}
