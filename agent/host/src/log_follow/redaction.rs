//! The redaction of everything that leaves the host: patterns, and secrets whose files are read before each batch.

use hostler_core::logs::redact::{BadPattern, Redactor};

use crate::secret_files::{BadSecretFile, SecretFiles};

/// Milliseconds until files of secrets that cannot be read are tried again.
const RETRY_MS: u64 = 5000;

/// Patterns and values to take out. The default takes out nothing.
#[derive(Default)]
pub struct Redaction {
    patterns: Vec<String>,
    secrets: SecretFiles,
    redactor: Redactor,
    /// Nothing is shipped before.
    retry_ms: u64,
}

/// Why a pattern or a secret cannot be redacted.
#[derive(Debug, thiserror::Error)]
pub enum BadRedaction {
    /// A pattern that is no regular expression.
    #[error("redact: {0}")]
    Pattern(#[from] BadPattern),
    /// A file of secrets that cannot be read.
    #[error("redact_values_from: {0}")]
    Secrets(#[from] BadSecretFile),
}

impl std::fmt::Debug for Redaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redaction").field("patterns", &self.patterns).finish_non_exhaustive()
    }
}

impl Redaction {
    /// Patterns, and the lines of files.
    ///
    /// # Errors
    /// A pattern or a file cannot be used now.
    pub fn new(patterns: &[String], secrets: SecretFiles) -> Result<Self, BadRedaction> {
        let redactor = Redactor::new(patterns, &[])?;
        let mut redaction = Self { patterns: patterns.to_vec(), secrets, redactor, retry_ms: 0 };
        redaction.read()?;
        Ok(redaction)
    }

    fn read(&mut self) -> Result<(), BadRedaction> {
        if let Some(values) = self.secrets.refresh()? {
            self.redactor = Redactor::new(&self.patterns, &values)?;
        }
        Ok(())
    }

    /// Reads the secrets again, before a batch is made.
    ///
    /// # Errors
    /// The secrets cannot be read. Nothing may be shipped then, because they may have changed.
    pub(super) fn refresh(&mut self, now_ms: u64) -> Result<(), BadRedaction> {
        self.read().inspect_err(|_| self.retry_ms = now_ms + RETRY_MS)
    }

    /// Before which nothing is shipped.
    pub(super) fn retry_ms(&self) -> u64 {
        self.retry_ms
    }

    pub(super) fn redactor(&self) -> &Redactor {
        &self.redactor
    }
}
