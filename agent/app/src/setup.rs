//! What every verb starts from: the flags and the configuration, turned into paths and settings.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use hostler_core::codes::ExitCode;
use hostler_core::config::settings::{DEFAULT_POLL_SECONDS, GroupSettings, Settings};
use hostler_core::ids::{GroupKey, InstanceId};
use hostler_core::limits::Limits;
use hostler_core::machine::state::Policy;
use hostler_host::layout::Layout;

use crate::cli::Shared;
use crate::drop_in::DropIn;
use crate::failure::Failure;
use crate::sources::store::Stores;

/// Paths, settings and bounds of this run.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where everything lies.
    pub layout: Layout,
    /// The configuration with the flags on top.
    pub settings: Settings,
    /// Every bound.
    pub limits: Limits,
    /// Whether JSON is printed.
    pub json: bool,
    /// The stores that are in use, and the way to AWS.
    pub stores: Arc<Stores>,
    /// What the CodeDeploy agent left here, where hostler is in its place.
    pub drop_in: Option<Arc<DropIn>>,
}

impl Setup {
    /// Reads the configuration and puts the flags on top. Nothing is made or changed.
    ///
    /// # Errors
    /// A usage failure for a configuration that is wrong and for flags that do not fit together.
    pub fn new(shared: &Shared) -> Result<Self, Failure> {
        Self::adjusted(shared, |_| {})
    }

    /// The same, with settings that a verb needs whatever the configuration says.
    ///
    /// # Errors
    /// As above.
    pub fn adjusted(shared: &Shared, adjust: impl FnOnce(&mut Settings)) -> Result<Self, Failure> {
        let absolute =
            |path: &Path| std::path::absolute(path).with_context(|| format!("{} is not a path", path.display()));
        let root = absolute(&shared.root)?;
        let state_dir = shared.state_dir.as_deref().map(absolute).transpose()?;
        let limits = Limits::default();
        let mut settings = crate::config_files::load(&root, shared.config.as_deref(), &limits)?;
        add_group_of_flags(&mut settings, shared)?;
        adjust(&mut settings);
        let mut layout = Layout::new(&root, state_dir.as_deref());
        let mut drop_in = None;
        if settings.codedeploy.enabled {
            let found = DropIn::load(&settings, &layout, &limits)?;
            found.complete(&mut settings);
            layout = layout.with_codedeploy_root(&found.agent.root_dir);
            drop_in = Some(Arc::new(found));
        }
        let on_premises = drop_in.as_ref().and_then(|found| found.on_premises.as_ref());
        let stores = Arc::new(Stores::new(&settings, &limits, on_premises.map(|host| host.credentials.clone())));
        Ok(Self { layout, settings, limits, json: shared.json, stores, drop_in })
    }

    /// The name of this host: the configuration's, else its host name.
    ///
    /// # Errors
    /// A usage failure when the host name is no identifier.
    pub fn instance(&self) -> Result<InstanceId, Failure> {
        if let Some(id) = &self.settings.instance_id {
            return Ok(id.clone());
        }
        let name = hostler_host::clock::host_name();
        name.parse().map_err(|e| {
            Failure::new(ExitCode::Usage, anyhow::Error::new(e).context("the host name cannot name this host"))
                .hint("give it a name with --instance-id or instance_id in the configuration")
        })
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
            (None, _) => Err(Failure::say(ExitCode::Usage, "no deployment group is named")
                .hint("name it with --application and --group")),
            (Some(_), Some(_)) => {
                let names: Vec<String> = self.settings.groups.iter().map(|g| g.key.to_string()).collect();
                Err(Failure::say(ExitCode::Usage, format!("several groups are configured: {}", names.join(", ")))
                    .hint("name one with --application and --group"))
            }
        }
    }
}

/// `--channel` follows the named group; without a name it changes the one group that is configured.
fn add_group_of_flags(settings: &mut Settings, shared: &Shared) -> Result<(), Failure> {
    let Some(channel) = &shared.channel else { return Ok(()) };
    let (Some(application), Some(group)) = (&shared.application, &shared.group) else {
        return Err(Failure::say(ExitCode::Usage, "--channel needs --application and --group beside it"));
    };
    let key = GroupKey::new(application.clone(), group.clone());
    match settings.groups.iter_mut().find(|g| g.key == key) {
        Some(configured) => configured.channel = Some(channel.clone()),
        None => settings.groups.push(GroupSettings {
            key,
            channel: Some(channel.clone()),
            poll_seconds: DEFAULT_POLL_SECONDS,
            wake_up_queue: None,
            minimum_sequence: None,
            policy: Policy::default(),
        }),
    }
    Ok(())
}

/// An absolute path of something that exists.
///
/// # Errors
/// Not found when there is nothing.
pub fn existing(path: &Path) -> Result<PathBuf, Failure> {
    std::fs::canonicalize(path).map_err(|e| {
        let code = if e.kind() == std::io::ErrorKind::NotFound { ExitCode::NotFound } else { ExitCode::Failed };
        Failure::new(code, anyhow::Error::new(e).context(format!("cannot open {}", path.display())))
    })
}
