//! Elastic Load Balancing, version 2: an instance's registrations in target groups
//! (<https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/>).

use std::time::Duration;

use aws_smithy_xml::decode::{Document, ScopedDecoder, try_data};
use hostler_core::traffic::{Target, TargetHealth};

use crate::clients::Clients;
use crate::fault::{Fault, FaultKind};
use crate::signed_call::{Operation, Service, SignedCalls, SignedCallsError};

const VERSION: &str = "2015-12-01";
/// The most targets of one group, a few thousand, at some four hundred bytes each.
const HEALTH: Operation = operation("elasticloadbalancing:DescribeTargetHealth", 4 << 20);
const ATTRIBUTES: Operation = operation("elasticloadbalancing:DescribeTargetGroupAttributes", 256 << 10);
const REGISTER: Operation = operation("elasticloadbalancing:RegisterTargets", 64 << 10);
const DEREGISTER: Operation = operation("elasticloadbalancing:DeregisterTargets", 64 << 10);

const fn operation(action: &'static str, answer_bytes: usize) -> Operation {
    Operation {
        service: Service { endpoint_prefix: "elasticloadbalancing", signing_name: "elasticloadbalancing" },
        action,
        timeout: Duration::from_secs(30),
        answer_bytes,
    }
}

/// The service.
#[derive(Debug, Clone)]
pub struct LoadBalancing(SignedCalls);

impl LoadBalancing {
    /// Uses the SDK's credentials, region and endpoint.
    ///
    /// # Errors
    /// See [`SignedCallsError`].
    pub async fn of_clients(clients: &Clients) -> Result<Self, SignedCallsError> {
        SignedCalls::of_clients(clients).await.map(Self)
    }

    /// Every port under which a target group knows an instance, including draining ones.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn registrations(
        &self,
        target_group: &str,
        instance: &str,
    ) -> Result<Vec<(Target, TargetHealth)>, Fault> {
        let parameters = [("TargetGroupArn", target_group)];
        let answer = self.0.query(&HEALTH, VERSION, "DescribeTargetHealth", &parameters).await?;
        let found = descriptions(&answer).ok_or_else(|| not_understood(&HEALTH))?.into_iter();
        let own = found.filter(|description| description.id == instance);
        Ok(own.map(|d| (Target { target_group: target_group.to_owned(), port: d.port }, d.health)).collect())
    }

    /// The load balancer's state of one registration; `unused` if it does not know the registration.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn health(&self, target: &Target, instance: &str) -> Result<TargetHealth, Fault> {
        let answer = self.about(&HEALTH, "DescribeTargetHealth", target, instance).await?;
        let mut found = descriptions(&answer).ok_or_else(|| not_understood(&HEALTH))?.into_iter();
        let own = found.find(|description| description.id == instance && description.port == target.port);
        own.map(|description| description.health).ok_or_else(|| not_understood(&HEALTH))
    }

    /// How many seconds a target of the group drains after it was deregistered.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn deregistration_delay(&self, target_group: &str) -> Result<u64, Fault> {
        let parameters = [("TargetGroupArn", target_group)];
        let answer = self.0.query(&ATTRIBUTES, VERSION, "DescribeTargetGroupAttributes", &parameters).await?;
        attribute(&answer, "deregistration_delay.timeout_seconds")
            .and_then(|value| value.parse().ok())
            .ok_or_else(|| not_understood(&ATTRIBUTES))
    }

    /// Begins to register a target.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn register(&self, target: &Target, instance: &str) -> Result<(), Fault> {
        self.about(&REGISTER, "RegisterTargets", target, instance).await.map(drop)
    }

    /// Begins to deregister a target.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn deregister(&self, target: &Target, instance: &str) -> Result<(), Fault> {
        self.about(&DEREGISTER, "DeregisterTargets", target, instance).await.map(drop)
    }

    async fn about(&self, operation: &Operation, name: &str, target: &Target, instance: &str) -> Result<String, Fault> {
        let port = target.port.to_string();
        let parameters = [
            ("TargetGroupArn", target.target_group.as_str()),
            ("Targets.member.1.Id", instance),
            ("Targets.member.1.Port", port.as_str()),
        ];
        self.0.query(operation, VERSION, name, &parameters).await
    }
}

fn not_understood(operation: &Operation) -> Fault {
    Fault::without_answer(FaultKind::Fatal, format!("the answer to {} cannot be understood", operation.action))
}

/// One entry of `TargetHealthDescriptions`.
#[derive(Debug, Default, PartialEq)]
struct Description {
    id: String,
    port: u16,
    health: TargetHealth,
}

fn descriptions(xml: &str) -> Option<Vec<Description>> {
    let mut found = Vec::new();
    members(xml, "TargetHealthDescriptions", |member| {
        let mut description = Description::default();
        while let Some(mut part) = member.next_tag() {
            let name = part.start_el().local().to_owned();
            while let Some(mut leaf) = part.next_tag() {
                let text = match (name.as_str(), leaf.start_el().local()) {
                    ("Target", "Id") => &mut description.id,
                    ("Target", "Port") => {
                        description.port = try_data(&mut leaf).ok()?.trim().parse().ok()?;
                        continue;
                    }
                    ("TargetHealth", "State") => &mut description.health.state,
                    ("TargetHealth", "Reason") => &mut description.health.reason,
                    ("TargetHealth", "Description") => &mut description.health.description,
                    _ => continue,
                };
                *text = try_data(&mut leaf).ok()?.trim().to_owned();
            }
        }
        found.push(description);
        Some(())
    })?;
    Some(found)
}

fn attribute(xml: &str, name: &str) -> Option<String> {
    let mut found = None;
    members(xml, "Attributes", |member| {
        let (mut key, mut value) = (String::new(), String::new());
        while let Some(mut leaf) = member.next_tag() {
            let text = match leaf.start_el().local() {
                "Key" => &mut key,
                "Value" => &mut value,
                _ => continue,
            };
            *text = try_data(&mut leaf).ok()?.trim().to_owned();
        }
        if key == name {
            found = Some(value);
        }
        Some(())
    })?;
    found
}

/// Calls `take` with each member of the list `list` of an answer; `None` when the answer has no such list, or `take`
/// does not understand a member.
fn members(xml: &str, list: &str, mut take: impl FnMut(&mut ScopedDecoder<'_, '_>) -> Option<()>) -> Option<()> {
    let mut document = Document::new(xml);
    let mut root = document.root_element().ok()?;
    while let Some(mut result) = root.next_tag() {
        while let Some(mut found) = result.next_tag() {
            if found.start_el().local() != list {
                continue;
            }
            while let Some(mut member) = found.next_tag() {
                take(&mut member)?;
            }
            return Some(());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(list: &str) -> String {
        format!(
            "<DescribeTargetHealthResponse xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\">\
             <DescribeTargetHealthResult><TargetHealthDescriptions>{list}</TargetHealthDescriptions>\
             </DescribeTargetHealthResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>\
             </DescribeTargetHealthResponse>"
        )
    }

    #[test]
    fn the_health_of_a_target_is_its_own_and_not_that_of_a_part() {
        let found = descriptions(&answer(
            "<member><HealthCheckPort>8080</HealthCheckPort><Target><AvailabilityZone>a</AvailabilityZone><Port>80</Port>\
             <Id>i-1</Id></Target><TargetHealth><State>unhealthy</State><Reason>Target.Timeout</Reason>\
             <Description>Request timed out</Description></TargetHealth><AdministrativeOverride><State>no_override</State>\
             <Reason>x</Reason></AdministrativeOverride></member>\
             <member><Target><Id>i-2</Id><Port>81</Port></Target><TargetHealth><State>healthy</State></TargetHealth></member>",
        ));
        let found = found.unwrap();
        assert_eq!((found[0].id.as_str(), found[0].port), ("i-1", 80));
        assert_eq!(found[0].health.to_string(), "unhealthy (Target.Timeout: Request timed out)");
        assert_eq!((found[1].port, found[1].health.to_string().as_str()), (81, "healthy"));
        assert_eq!(descriptions(&answer("")), Some(vec![]));
        for wrong in ["", "<html>", "<a><b/></a>", "\u{0}<<"] {
            assert_eq!(descriptions(wrong), None, "{wrong:?}");
        }
        let no_port = "<member><Target><Id>i-1</Id><Port>many</Port></Target></member>";
        assert_eq!(descriptions(&answer(no_port)), None);
    }

    #[test]
    fn an_attribute_is_found_by_its_key() {
        let xml = "<R><S><Attributes><member><Key>a</Key><Value>1</Value></member><member><Value>30</Value>\
                   <Key>deregistration_delay.timeout_seconds</Key></member></Attributes></S></R>";
        assert_eq!(attribute(xml, "deregistration_delay.timeout_seconds").as_deref(), Some("30"));
        assert_eq!(attribute(xml, "b"), None);
    }
}
