//! `hostler keygen`: make a key pair, or fetch the public key of a key in KMS.

use std::path::{Path, PathBuf};

use hostler_aws::kms::KmsKey;
use hostler_core::codes::ExitCode;
use hostler_core::release::{Algorithm, PublicKey};
use hostler_host::signature::{PrivateKey, write_public};

use crate::cli::{KeyAlgorithm, KeygenArgs, Shared};
use crate::failure::Outcome;
use crate::output;
use crate::setup::Setup;
use crate::signing;

impl From<KeyAlgorithm> for Algorithm {
    fn from(word: KeyAlgorithm) -> Self {
        match word {
            KeyAlgorithm::Ed25519 => Self::Ed25519,
            KeyAlgorithm::EcdsaP256 => Self::EcdsaP256,
        }
    }
}

pub fn run(shared: &Shared, arguments: &KeygenArgs) -> Outcome {
    match &arguments.kms_key {
        None => {
            let key = PrivateKey::generate(arguments.algorithm.into())?;
            let public = beside(&arguments.file);
            key.write(&arguments.file, &public)?;
            say(shared, key.public(), Some(&arguments.file), &public)
        }
        Some(name) => {
            let setup = Setup::new(shared)?;
            super::block_on(async {
                let calls = signing::signed_calls(&setup).await?;
                let key = KmsKey::open(&calls, name).await?;
                write_public(&arguments.file, key.public())?;
                say(shared, key.public(), None, &arguments.file)
            })
        }
    }
}

/// `ci.key` has its public key in `ci.key.pub`.
fn beside(private: &Path) -> PathBuf {
    let mut name = private.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}

fn say(shared: &Shared, key: &PublicKey, private: Option<&Path>, public: &Path) -> Outcome {
    if shared.json {
        output::json(&serde_json::json!({
            "version": 1,
            "key_id": key.id(),
            "algorithm": key.algorithm().name(),
            "public_key": key,
            "private_key_file": private,
            "public_key_file": public,
        }))?;
        return Ok(ExitCode::Ok);
    }
    let private = match private {
        Some(path) => format!("private key: {} (it signs releases; no host needs it)\n", path.display()),
        None => String::new(),
    };
    let public = public.display();
    output::text(&format!(
        "{private}public key:  {public}\nkey id:      {id}\n\n\
         hosts follow only releases that this key signed with these lines in their configuration:\n\n\
         signatures:\n  channel:\n    keys: [{key}]\n",
        id = key.id()
    ))?;
    Ok(ExitCode::Ok)
}
