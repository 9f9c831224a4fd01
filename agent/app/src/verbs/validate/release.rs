//! What `validate` looked at where that is a release document.

use hostler_core::ids::{GroupKey, Sha256Digest};
use hostler_core::label::{Label, Message};
use hostler_core::release::Document;
use hostler_core::text::counted;
use serde::Serialize;

/// A release, as far as people tell releases apart.
#[derive(Debug, Serialize)]
pub struct Looked {
    sequence: u64,
    key_policy: u64,
    #[serde(flatten)]
    group: GroupKey,
    revision: Sha256Digest,
    label: Option<Label>,
    message: Option<Message>,
    /// How many signatures the document has; whether they are good is another question.
    signatures: usize,
    #[serde(skip)]
    name: String,
}

impl Looked {
    /// What a document holds.
    pub fn of(document: &Document) -> Self {
        let release = &document.release;
        Self {
            sequence: release.sequence,
            key_policy: release.key_policy,
            group: release.group_key(),
            revision: release.revision.content.sha256,
            label: release.revision.label.clone(),
            message: release.message.clone(),
            signatures: document.envelope.signatures().len(),
            name: release.revision.name(),
        }
    }

    /// One line. `checked` says whether keys were there to check the signatures with.
    pub fn text(&self, checked: bool) -> String {
        let signatures = match self.signatures {
            0 => "unsigned".to_owned(),
            number if checked => counted(number, "signature"),
            number => format!("{}, not checked: no key is configured or named", counted(number, "signature")),
        };
        let message = self.message.as_ref().map_or_else(String::new, |message| format!("; message: {message}"));
        format!("release {} of {}: {}, {signatures}{message}\n", self.sequence, self.group, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(signatures: usize, message: Option<&str>) -> Looked {
        Looked {
            sequence: 3,
            key_policy: 1,
            group: GroupKey::new("web".parse().unwrap(), "production".parse().unwrap()),
            revision: Sha256Digest::of(b""),
            label: Some("1.4.2".parse().unwrap()),
            message: message.map(|message| message.parse().unwrap()),
            signatures,
            name: "1.4.2 (e3b0c442)".to_owned(),
        }
    }

    #[test]
    fn a_release_is_told_with_its_sequence_group_revision_and_number_of_signatures() {
        let told = "release 3 of web/production: 1.4.2 (e3b0c442)";
        assert_eq!(looked(0, None).text(false), format!("{told}, unsigned\n"));
        assert_eq!(looked(2, Some("the sale")).text(true), format!("{told}, 2 signatures; message: the sale\n"));
        let unchecked = looked(1, None).text(false);
        assert_eq!(unchecked, format!("{told}, 1 signature, not checked: no key is configured or named\n"));
        let json = serde_json::to_value(looked(2, None)).unwrap();
        let group = (&json["application"], &json["group"], &json["signatures"], &json["message"]);
        assert_eq!(group, (&"web".into(), &"production".into(), &2.into(), &serde_json::Value::Null));
    }
}
