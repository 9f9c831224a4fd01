//! The content of a deployment (docs/protocols/codedeploy.md#specification).

use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::appspec::spec::FileExistsBehavior;
use crate::bundle::{BundlePath, BundleType};
use crate::ids::{DeploymentGroupId, DeploymentId, GroupKey};

/// A deployment as the service specifies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Specification {
    /// The deployment.
    pub deployment: DeploymentId,
    /// Its group, by names and by the service's id.
    pub group: GroupKey,
    /// Where the bundle is.
    pub revision: RevisionLocation,
    /// The token for a private GitHub repository. It is in no log and in no file of the agent.
    pub github_token: Option<Secret>,
    /// Whether the service itself began it, to roll a blue/green deployment back.
    pub blue_green_rollback: bool,
    /// Whether it is a blue/green deployment.
    pub blue_green: bool,
    /// Name of the appspec file in the bundle, if it is not the usual one.
    pub appspec_name: Option<String>,
    /// Whether the deployment uses no other appspec if the bundle lacks that one.
    pub appspec_only: bool,
    /// What to do with existing files; the appspec takes precedence.
    pub file_exists_behavior: FileExistsBehavior,
    /// The deployment whose unpacked bundle may be reused instead of a download (2.1's restarts).
    pub reuse_archive_from: Option<DeploymentId>,
}

/// Where a bundle is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RevisionLocation {
    /// An object in S3.
    S3 {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// The version, in a bucket that keeps versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
        /// The ETag that the object must have.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        etag: Option<String>,
        /// The type.
        bundle_type: BundleType,
    },
    /// A commit on GitHub.
    GitHub {
        /// The account.
        account: String,
        /// The repository.
        repository: String,
        /// The commit.
        commit: String,
        /// tar (GitHub's are compressed) or zip.
        bundle_type: BundleType,
        /// Whether the specification holds a token, which the agent then sends.
        private: bool,
    },
    /// A file or directory of this host.
    Local {
        /// Absolute path.
        path: PathBuf,
        /// The type.
        bundle_type: BundleType,
    },
}

impl fmt::Display for RevisionLocation {
    /// The place, for users.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, key, version: None, .. } => write!(f, "s3://{bucket}/{key}"),
            Self::S3 { bucket, key, version: Some(version), .. } => {
                write!(f, "s3://{bucket}/{key}?versionId={version}")
            }
            Self::GitHub { account, repository, commit, .. } => {
                write!(f, "https://github.com/{account}/{repository}/commit/{commit}")
            }
            Self::Local { path, .. } => write!(f, "{}", path.display()),
        }
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a secret.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

/// Why a specification cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the deployment specification {0}")]
pub struct InvalidSpecification(String);

fn invalid<T>(message: impl fmt::Display) -> Result<T, InvalidSpecification> {
    Err(InvalidSpecification(message.to_string()))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    deployment_id: Option<String>,
    deployment_group_id: Option<String>,
    deployment_group_name: Option<String>,
    application_name: Option<String>,
    revision: Option<WrittenRevision>,
    deployment_creator: Option<String>,
    deployment_type: Option<String>,
    app_spec_filename: Option<String>,
    agent_action_overrides: Option<WrittenOverrides>,
    #[serde(rename = "GitHubAccessToken")]
    github_access_token: Option<String>,
    reuse_archive_from_deployment_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WrittenOverrides {
    agent_overrides: Option<WrittenAgentOverrides>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WrittenAgentOverrides {
    file_exists_behavior: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WrittenRevision {
    revision_type: Option<String>,
    s3_revision: Option<WrittenS3>,
    #[serde(rename = "GitHubRevision")]
    github_revision: Option<WrittenGitHub>,
    local_revision: Option<WrittenLocal>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WrittenS3 {
    bucket: Option<String>,
    key: Option<String>,
    bundle_type: Option<String>,
    version: Option<String>,
    #[serde(rename = "ETag")]
    etag: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WrittenGitHub {
    account: Option<String>,
    repository: Option<String>,
    commit_id: Option<String>,
    bundle_type: Option<String>,
    /// Only `false` has a meaning, and it does not decide which token is sent.
    anonymous: Option<serde_json::Value>,
    #[serde(rename = "OAuthToken")]
    oauth_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WrittenLocal {
    location: Option<String>,
    bundle_type: Option<String>,
}

impl Specification {
    /// Reads the JSON of an envelope whose signature was verified.
    ///
    /// # Errors
    /// The text is not JSON, lacks a field, or holds a value that cannot be used. The message names it and shows no
    /// secret.
    pub fn parse(text: &str) -> Result<Self, InvalidSpecification> {
        let Ok(written) = serde_json::from_slice::<Written>(text.as_bytes()) else {
            // The parser's message quotes the text, and with it a token.
            return invalid("is not the JSON that it should be");
        };
        let deployment = required(written.deployment_id, "DeploymentId")?;
        // An ARN ends in `deployment/d-…`.
        let deployment = match deployment.strip_prefix("arn:").and_then(|rest| rest.rsplit_once("deployment/")) {
            Some((_, id)) => id.to_owned(),
            None => deployment,
        };
        let service_id: DeploymentGroupId = parsed(written.deployment_group_id, "DeploymentGroupId")?;
        let group = GroupKey {
            application: parsed(written.application_name, "ApplicationName")?,
            group: parsed(written.deployment_group_name, "DeploymentGroupName")?,
            codedeploy_group_id: Some(service_id),
        };
        let Some(revision) = written.revision else { return invalid("has no Revision") };
        let (revision, github_token) = revision.read(written.github_access_token)?;
        let creator = written.deployment_creator.as_deref().unwrap_or("user");
        let blue_green = written.deployment_type.as_deref() == Some("BLUE_GREEN");
        let overrides = written.agent_action_overrides.and_then(|o| o.agent_overrides);
        Ok(Self {
            deployment: parsed(Some(deployment), "DeploymentId")?,
            group,
            revision,
            github_token,
            blue_green_rollback: blue_green && creator == "codeDeployRollback",
            blue_green,
            appspec_name: appspec_name(written.app_spec_filename)?,
            appspec_only: false,
            file_exists_behavior: behavior(overrides.and_then(|o| o.file_exists_behavior))?,
            // An invalid deployment id is no reason to fail: the agent downloads the bundle then.
            reuse_archive_from: written.reuse_archive_from_deployment_id.and_then(|id| deployment_id(&id)),
        })
    }
}

impl Specification {
    /// Compares it with the identifier of its execution, if that names a deployment. A specification that was signed
    /// for another deployment must not run in its place.
    ///
    /// # Errors
    /// The identifier names another deployment.
    pub fn check_execution(&self, execution: &str) -> Result<(), InvalidSpecification> {
        let named: Vec<DeploymentId> = execution.split(['/', ':']).filter_map(deployment_id).collect();
        match named.first() {
            Some(other) if !named.contains(&self.deployment) => invalid(format!(
                "is that of {}, and the command is one of {other}: it was signed for another deployment",
                self.deployment
            )),
            _ => Ok(()),
        }
    }
}

impl WrittenRevision {
    /// The place, and the token to read it. Only the token decides whether one is sent, as with the CodeDeploy agent
    /// (docs/protocols/codedeploy.md#specification): the service's `Anonymous` does not say whether it sends one.
    fn read(self, access_token: Option<String>) -> Result<(RevisionLocation, Option<Secret>), InvalidSpecification> {
        let kind = required(self.revision_type, "RevisionType")?;
        let (s3, github, local) = (self.s3_revision, self.github_revision, self.local_revision);
        let mut token = None;
        let location = match (kind.as_str(), s3, github, local) {
            ("S3", Some(s3), ..) => RevisionLocation::S3 {
                bucket: required(s3.bucket, "S3Revision.Bucket")?,
                key: required(s3.key, "S3Revision.Key")?,
                version: s3.version.filter(|v| !v.is_empty()),
                etag: s3.etag.map(|etag| etag.trim_matches('"').to_owned()).filter(|e| !e.is_empty()),
                bundle_type: packed(s3.bundle_type, "S3Revision.BundleType")?,
            },
            ("GitHub", _, Some(github), _) => {
                token = github.token(access_token)?;
                RevisionLocation::GitHub {
                    account: plain(github.account, "GitHubRevision.Account")?,
                    repository: plain(github.repository, "GitHubRevision.Repository")?,
                    commit: plain(github.commit_id, "GitHubRevision.CommitId")?,
                    bundle_type: match github.bundle_type.as_deref() {
                        None | Some("tar") => BundleType::Tgz,
                        Some("zip") => BundleType::Zip,
                        Some(other) => {
                            return invalid(format!(
                                "has the GitHubRevision.BundleType {other:?} and GitHub has tar and zip"
                            ));
                        }
                    },
                    private: token.is_some(),
                }
            }
            ("Local File" | "Local Directory", _, _, Some(local)) => {
                let path = PathBuf::from(required(local.location, "LocalRevision.Location")?);
                if !path.is_absolute() {
                    return invalid(format!("has the LocalRevision.Location {path:?}, which is not an absolute path"));
                }
                let bundle_type = match kind.as_str() {
                    "Local Directory" => BundleType::Directory,
                    _ => packed(local.bundle_type, "LocalRevision.BundleType")?,
                };
                RevisionLocation::Local { path, bundle_type }
            }
            ("S3" | "GitHub" | "Local File" | "Local Directory", ..) => {
                return invalid(format!("has the RevisionType {kind:?} and not the object with its place"));
            }
            _ => {
                return invalid(format!(
                    "has the RevisionType {kind:?}; S3, GitHub, Local File and Local Directory are known"
                ));
            }
        };
        Ok((location, token))
    }
}

impl WrittenGitHub {
    /// The specification's own token, else the revision's.
    fn token(&self, access_token: Option<String>) -> Result<Option<Secret>, InvalidSpecification> {
        let tokens = access_token.into_iter().chain(self.oauth_token.clone());
        let token = tokens.filter(|token| !token.is_empty()).map(Secret).next();
        if token.is_none() && self.anonymous == Some(false.into()) {
            return invalid(
                "says that the GitHubRevision is not Anonymous, and holds neither a GitHubAccessToken nor a \
                 GitHubRevision.OAuthToken: connect CodeDeploy to GitHub again",
            );
        }
        Ok(token)
    }
}

fn required(value: Option<String>, field: &str) -> Result<String, InvalidSpecification> {
    match value {
        Some(value) if !value.is_empty() => Ok(value),
        Some(_) => invalid(format!("has an empty {field}")),
        None => invalid(format!("has no {field}")),
    }
}

fn parsed<T: std::str::FromStr<Err: fmt::Display>>(
    value: Option<String>,
    field: &str,
) -> Result<T, InvalidSpecification> {
    required(value, field)?.parse().or_else(|error| invalid(format!("has a bad {field}: {error}")))
}

/// A part of a GitHub address: it must stay one part.
fn plain(value: Option<String>, field: &str) -> Result<String, InvalidSpecification> {
    let value = required(value, field)?;
    let plain = value.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    // A repository may be called `.github`.
    let good = plain && ![".", ".."].contains(&value.as_str());
    if good {
        Ok(value)
    } else {
        invalid(format!("has the {field} {value:?}, which may hold only letters, digits and . _ -"))
    }
}

/// The agent looks for the file in the bundle, and the name must not lead out of it.
fn appspec_name(name: Option<String>) -> Result<Option<String>, InvalidSpecification> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(None) };
    // Users write `./deploy/appspec.yml` for `deploy/appspec.yml`.
    let plain: PathBuf = Path::new(&name).components().filter(|part| *part != Component::CurDir).collect();
    match BundlePath::new(plain).as_ref().and_then(|path| path.as_path().to_str()) {
        None => invalid(format!("has the AppSpecFilename {name:?}, which does not stay in the bundle")),
        Some(plain) => Ok(Some(plain.to_owned()).filter(|name| name != "appspec.yml")),
    }
}

fn packed(value: Option<String>, field: &str) -> Result<BundleType, InvalidSpecification> {
    match required(value, field)?.as_str() {
        "tar" => Ok(BundleType::Tar),
        "tgz" => Ok(BundleType::Tgz),
        "zip" => Ok(BundleType::Zip),
        other => invalid(format!("has the {field} {other:?}; tar, tgz and zip are known")),
    }
}

fn behavior(value: Option<String>) -> Result<FileExistsBehavior, InvalidSpecification> {
    match value.map(|v| v.to_uppercase()).as_deref() {
        None | Some("" | "DISALLOW") => Ok(FileExistsBehavior::Disallow),
        Some("OVERWRITE") => Ok(FileExistsBehavior::Overwrite),
        Some("RETAIN") => Ok(FileExistsBehavior::Retain),
        Some(other) => {
            invalid(format!("has the FileExistsBehavior {other:?}; DISALLOW, OVERWRITE and RETAIN are known"))
        }
    }
}

/// `d-` and upper-case letters and digits, at most 64 characters.
fn deployment_id(id: &str) -> Option<DeploymentId> {
    let rest = id.strip_prefix("d-")?;
    let good = !rest.is_empty() && id.len() <= 64 && rest.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if good { id.parse().ok() } else { None }
}

#[cfg(test)]
mod tests;
