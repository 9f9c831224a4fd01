//! `hostler seal`: forget this instance before an image is made of its disk.

use hostler_core::codes::ExitCode;

use crate::cli::Shared;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::seal::seal_for_image;
use crate::setup::Setup;
use crate::state_file::LockedState;

pub fn run(shared: &Shared) -> Outcome {
    let setup = Setup::new(shared)?;
    if !setup.layout.state().exists() {
        return say(
            &setup,
            &[format!("{} does not exist: there is nothing to forget", setup.layout.state().display())],
        );
    }
    let hold = LockedState::take(&setup).map_err(|failure| match failure.code {
        ExitCode::LockHeld => Failure::say(ExitCode::Refused, format!("the agent runs: {}", failure.one_line()))
            .hint("stop it first: systemctl stop hostler (and disable nothing: the image shall start it)"),
        _ => failure,
    })?;
    if let Some((group, deployment)) = hold.state.all_active().next() {
        let message = format!("deployment {} of {} has not ended", deployment.id, group.key);
        return Err(Failure::say(ExitCode::Refused, message).hint("bring it to its end first: hostler run --once"));
    }
    let removed = seal_for_image(&setup, hold)?;
    if setup.json {
        output::json(&removed)?;
        return Ok(ExitCode::Ok);
    }
    let mut lines: Vec<String> = removed.warnings.iter().map(|warning| format!("warning: {warning}")).collect();
    lines.extend(removed.removed.iter().map(|path| format!("removed {}", path.display())));
    lines.push(match removed.former {
        Some(former) => format!(
            "what {former} did is forgotten; what is installed stays. Make the image before the agent starts again."
        ),
        None => "no instance was known; what is installed stays.".to_owned(),
    });
    say(&setup, &lines)
}

fn say(setup: &Setup, lines: &[String]) -> Outcome {
    if setup.json {
        output::json(&serde_json::json!({ "version": 1, "former": null, "removed": [], "warnings": lines }))?;
    } else {
        output::text(&format!("{}\n", lines.join("\n")))?;
    }
    Ok(ExitCode::Ok)
}
