//! One or two examples for the help of each verb. A test holds that the command line takes them.

/// What the help of a verb ends with; empty for a verb that needs no example.
pub fn of(verb: &str) -> &'static str {
    match verb {
        "run" => {
            "Examples:\n  hostler run                                          as the service does: follow the configured channels\n  \
             hostler run --once                                   follow them once and exit with the outcome"
        }
        "deploy" => {
            "Examples:\n  hostler deploy web                                   the directory web, to this host\n  \
             hostler deploy web.tgz --no-rollback                 leave a failed revision as it is"
        }
        "rollback" => {
            "Examples:\n  hostler rollback                                     to the good revision before the installed one\n  \
             hostler rollback --to d-UVXDMG3NZ                    to one that `hostler status` lists (earlier:)"
        }
        "resume" => "Examples:\n  hostler resume --application web --group production",
        "remove" => "Examples:\n  hostler remove --application web --group production",
        "stop" => "Examples:\n  hostler stop",
        "reload" => "Examples:\n  hostler validate /etc/hostler/config.yaml && hostler reload",
        "status" => {
            "Examples:\n  hostler status                                       what runs, since when, and what failed\n  \
             hostler status --health                              exit code 1 if anything is wrong"
        }
        "history" => {
            "Examples:\n  hostler history -n 10                                the newest deployments, one line each\n  \
             hostler history --deployment d-UVXDMG3NZ             everything that one of them did"
        }
        "logs" => {
            "Examples:\n  hostler logs -n 50                                   the end of the newest or the failed deployment\n  \
             hostler logs -f --event ValidateService              what that event's scripts print from now on"
        }
        "init" => {
            "Examples:\n  hostler init web --service web.service --destination /srv/web\n  \
             hostler init web --service web.service --destination /srv/web --check http://127.0.0.1:8080/health"
        }
        "validate" => {
            "Examples:\n  hostler validate web --deny-warnings                 a bundle's directory, in CI\n  \
             hostler validate web --format sarif                  for a code scanning service\n  \
             hostler validate /etc/hostler/config.yaml            a configuration"
        }
        "plan" => "Examples:\n  hostler plan web\n  hostler plan web --application web --group production",
        "push" => {
            "Examples:\n  hostler push web s3://my-bucket/deploy               print the revision: sha256:…\n  \
             hostler push web s3://my-bucket/deploy --label 1.4.2\n  \
             hostler push web s3://my-bucket/deploy -t zip        hosts then fetch only what changed"
        }
        "release" => {
            "Examples:\n  hostler release s3://my-bucket/deploy sha256:739622ed --application web --group production\n  \
             hostler release s3://my-bucket/deploy --previous --application web --group production"
        }
        "releases" => "Examples:\n  hostler releases s3://my-bucket/deploy --application web --group production",
        "revisions" => "Examples:\n  hostler revisions s3://my-bucket/deploy -n 50",
        "sign" => {
            "Examples:\n  hostler sign s3://my-bucket/deploy sha256:739622ed --key ci.key --application web --group production"
        }
        "keygen" => "Examples:\n  hostler keygen ci.key\n  hostler keygen ci.pub --kms-key alias/releases",
        "rotate-keys" => {
            "Examples:\n  hostler rotate-keys s3://my-bucket/deploy --public-key new.key.pub --key old.key --key new.key \\\n    \
             --application web --group production"
        }
        "migrate" => {
            "Examples:\n  hostler migrate                                      look, and change nothing\n  \
             hostler migrate --apply                              take the CodeDeploy agent's place"
        }
        "doctor" => {
            "Examples:\n  sudo hostler doctor                                  everything that root may look at\n  \
             sudo hostler doctor --write                          also try conditional writes in the stores"
        }
        "signal" => {
            "Examples:\n  hostler signal --stack web --resource Fleet --exit-code $?\n  \
             hostler signal - < /run/wait-handle-url"
        }
        "seal" => "Examples:\n  systemctl disable --now hostler && hostler seal      then make the image",
        "completions" => "Examples:\n  hostler completions bash > /etc/bash_completion.d/hostler",
        _ => "",
    }
}
