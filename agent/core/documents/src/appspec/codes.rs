//! The kinds of findings. Names are stable: scripts and editors match on them.

use serde::Serialize;

use super::diagnose::Severity;

macro_rules! codes {
    ($(#[doc = $doc:literal] $name:ident $text:literal $severity:ident,)*) => {
        /// The kind of a finding.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum Code {
            $(#[doc = $doc] #[serde(rename = $text)] $name,)*
        }

        impl Code {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stable name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Its meaning, in one sentence.
            pub fn says(self) -> &'static str {
                match self { $(Self::$name => $doc,)* }
            }

            /// Whether the document can be used despite the finding.
            pub fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }
        }
    };
}

codes! {
    /// The file is larger than an appspec may be.
    TooLarge "too-large" Error,
    /// The bytes are not UTF-8.
    NotUtf8 "not-utf8" Error,
    /// The text is not YAML.
    YamlSyntax "yaml-syntax" Error,
    /// Too deep, too many values, or aliases that stand for too much.
    YamlLimit "yaml-limit" Error,
    /// A tag that changes the meaning of its value.
    UnknownTag "unknown-tag" Error,
    /// Nothing is in the file.
    Empty "empty" Error,
    /// A list where a mapping is needed, and the like.
    WrongType "wrong-type" Error,
    /// `version` is missing or not the number 0.0.
    UnsupportedVersion "unsupported-version" Error,
    /// A key that plainly means another one.
    MisspeltKey "misspelt-key" Error,
    /// The name of a lifecycle event, misspelt.
    MisspeltEvent "misspelt-event" Error,
    /// An appspec for ECS or Lambda.
    NotForHosts "not-for-hosts" Error,
    /// An appspec for Windows.
    WindowsAppspec "windows-appspec" Error,
    /// `os` is missing or not `linux`.
    UnsupportedOs "unsupported-os" Error,
    /// A files entry without source.
    MissingSource "missing-source" Error,
    /// A files entry without destination.
    MissingDestination "missing-destination" Error,
    /// A source or location that leads out of the bundle.
    LeavesBundle "leaves-bundle" Error,
    /// `file_exists_behavior` is none of the three.
    InvalidFileExistsBehavior "invalid-file-exists-behavior" Error,
    /// A hook without location.
    MissingLocation "missing-location" Error,
    /// A timeout that is no number of seconds above 0.
    InvalidTimeout "invalid-timeout" Error,
    /// A permission without object.
    MissingObject "missing-object" Error,
    /// A permission for something else than files and directories.
    InvalidObjectType "invalid-object-type" Error,
    /// A mode that is no octal number of one to four digits.
    InvalidMode "invalid-mode" Error,
    /// An access control list entry that cannot be read.
    InvalidAcl "invalid-acl" Error,
    /// An SELinux context that cannot be read.
    InvalidContext "invalid-context" Error,
    /// A key below `hostler:` that does not exist.
    UnknownExtensionKey "unknown-extension-key" Error,
    /// A value below `hostler:` that cannot be used.
    InvalidExtension "invalid-extension" Error,
    /// A files entry whose source the bundle does not hold.
    SourceAbsent "source-absent" Error,
    /// A hook whose script the bundle does not hold.
    ScriptAbsent "script-absent" Error,
    /// An interpreter in a `#!` line that ends in a carriage return.
    ScriptHasCarriageReturns "script-has-carriage-returns" Error,
    /// A key that the agent's configuration does not have.
    UnknownConfigurationKey "unknown-configuration-key" Error,
    /// A value of the agent's configuration that is missing or cannot be used.
    InvalidConfiguration "invalid-configuration" Error,

    /// A files entry whose source BeforeInstall is to make.
    SourceMadeLater "source-made-later" Warning,
    /// A hook whose script BeforeInstall is to make.
    ScriptMadeLater "script-made-later" Warning,
    /// Entries of an archive whose names begin with a slash.
    LeadingSlash "leading-slash" Warning,
    /// Files with capabilities, which a bundle does not keep.
    CapabilitiesLeftOut "capabilities-left-out" Warning,
    /// An archive with several owners, which a bundle does not keep.
    OwnersLeftOut "owners-left-out" Warning,
    /// Files of editors, version control and caches, and macOS' own.
    Leftovers "leftovers" Warning,
    /// The file begins with a byte-order mark.
    ByteOrderMark "byte-order-mark" Warning,
    /// Anchors and aliases.
    Aliases "aliases" Warning,
    /// A key before a merge key that brings another value for it.
    KeyBeforeMerge "key-before-merge" Warning,
    /// A key twice in one mapping.
    DuplicateKey "duplicate-key" Warning,
    /// A list or mapping as a key.
    KeyIsNotText "key-is-not-text" Warning,
    /// A second document in the file.
    AnotherDocument "another-document" Warning,
    /// A key of CodeDeploy's grammar that does not exist.
    UnknownKey "unknown-key" Warning,
    /// A key below `hostler:` that this version reads and does not act on.
    WithoutEffect "without-effect" Warning,
    /// A lifecycle event outside of `hooks`.
    MisplacedEvent "misplaced-event" Warning,
    /// `permissions`, `owner`, `mode` and the like inside a files entry.
    MisplacedPermission "misplaced-permission" Warning,
    /// `overwrite` in a files entry.
    OverwriteIgnored "overwrite-ignored" Warning,
    /// A lifecycle event that does not exist.
    UnknownEvent "unknown-event" Warning,
    /// Hooks of an event that has none.
    EventHasNoHooks "event-has-no-hooks" Warning,
    /// A name or path with a character that looks like another one.
    LookalikeCharacter "lookalike-character" Warning,
    /// A value that contains text like another key.
    KeyInValue "key-in-value" Warning,
    /// A destination that is not absolute.
    RelativeDestination "relative-destination" Warning,
    /// `~`, `$` or `*` where they mean nothing.
    NotExpanded "not-expanded" Warning,
    /// A destination inside another one, whose permissions reach into it.
    NestedDestination "nested-destination" Warning,
    /// A destination that ends in the name of the file that it receives.
    DestinationRepeatsName "destination-repeats-name" Warning,
    /// A mode that YAML readers take for another number.
    AmbiguousMode "ambiguous-mode" Warning,
    /// A timeout that is not plain decimal digits.
    AmbiguousTimeout "ambiguous-timeout" Warning,
    /// A timeout above one hour.
    LongTimeout "long-timeout" Warning,
    /// A `runas` that cannot be a user name.
    UnlikelyUser "unlikely-user" Warning,
    /// A `sudo` that is text or a number.
    AmbiguousSudo "ambiguous-sudo" Warning,
    /// An owner or group by number.
    OwnerByNumber "owner-by-number" Warning,
    /// A `pattern` or `except` that can match nothing.
    PatternMatchesNothing "pattern-matches-nothing" Warning,
    /// A permission whose object and pattern match nothing that is installed.
    PermissionMatchesNothing "permission-matches-nothing" Warning,
    /// A default access control list entry that would be put on files.
    DefaultAclOnFiles "default-acl-on-files" Warning,
    /// A context that the CodeDeploy agent reads in another way.
    ContextDiffers "context-differs" Warning,
    /// A value that looks like a secret, in clear text.
    PlainSecret "plain-secret" Warning,
    /// Options for a hook that does not exist.
    OptionsWithoutHook "options-without-hook" Warning,
    /// A script without the executable bit.
    ScriptNotExecutable "script-not-executable" Warning,
    /// A script without a `#!` line.
    ScriptWithoutInterpreter "script-without-interpreter" Warning,
    /// An argument in a `#!` line that ends in a carriage return.
    ArgumentHasCarriageReturn "argument-has-carriage-return" Warning,
    /// An empty script.
    ScriptEmpty "script-empty" Warning,
    /// A background process that keeps the hook's output open.
    BackgroundKeepsOutput "background-keeps-output" Warning,
    /// An interpreter that this host does not have.
    InterpreterMissing "interpreter-missing" Warning,
    /// A user that this host does not have.
    UserUnknown "user-unknown" Warning,
    /// A group that this host does not have.
    GroupUnknown "group-unknown" Warning,
}
