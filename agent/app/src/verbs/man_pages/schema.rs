//! A JSON Schema, as far as a manual page shows it. Keys keep the order in which the schema has them.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    pub description: String,
    #[serde(rename = "type")]
    kinds: Value,
    #[serde(rename = "enum")]
    pub choices: Vec<Value>,
    #[serde(rename = "const")]
    pub only: Option<Value>,
    pub minimum: Option<u64>,
    pub maximum: Option<u64>,
    pub required: Vec<String>,
    pub properties: Nodes,
    pub items: Option<Box<Node>>,
    #[serde(rename = "$ref")]
    pub reference: Option<String>,
    #[serde(rename = "$defs")]
    pub definitions: Nodes,
    #[serde(rename = "additionalProperties")]
    any_name: Value,
}

impl Node {
    /// Its types by their names in JSON Schema.
    pub fn kinds(&self) -> Vec<&str> {
        match &self.kinds {
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            kind => kind.as_str().into_iter().collect(),
        }
    }

    /// What every name stands for that is not among the properties, if it has keys.
    pub fn of_any_name(&self) -> Option<Self> {
        let node = Self::deserialize(self.any_name.as_object().map(|_| &self.any_name)?).ok()?;
        let is_place = node.items.is_some() || !node.properties.0.is_empty() || node.any_name.is_object();
        is_place.then_some(node)
    }

    /// A definition by the reference to it.
    pub fn definition(&self, reference: &str) -> Option<&Self> {
        let name = reference.strip_prefix("#/$defs/")?;
        self.definitions.0.iter().find(|(known, _)| known == name).map(|(_, node)| node)
    }
}

/// Nodes by name.
#[derive(Debug, Clone, Default)]
pub struct Nodes(pub Vec<(String, Node)>);

impl<'de> Deserialize<'de> for Nodes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Nodes;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("nodes by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Nodes, A::Error> {
                let mut nodes = Nodes::default();
                while let Some(entry) = map.next_entry()? {
                    nodes.0.push(entry);
                }
                Ok(nodes)
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}
