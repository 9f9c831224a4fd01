//! Whether a machine is an EC2 instance, from its firmware's data ("Detect EC2 instances", EC2 User Guide), so that
//! hosts elsewhere never wait for a metadata service.

/// Data of the firmware and the hypervisor; each is absent where the kernel hides it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineFacts {
    /// DMI: the system's manufacturer.
    pub sys_vendor: Option<String>,
    /// DMI: the board's asset tag; on Nitro the instance id.
    pub board_asset_tag: Option<String>,
    /// DMI: the system's UUID; root alone may read it.
    pub product_uuid: Option<String>,
    /// Xen: the domain's UUID.
    pub hypervisor_uuid: Option<String>,
}

impl MachineFacts {
    /// Whether it is an EC2 instance. On Nitro and bare metal the vendor says so. On Xen the UUIDs begin with `ec2`,
    /// which some firmware writes in little-endian order (`xx2E….` with `ec2` at its end).
    pub fn is_ec2(&self) -> bool {
        let is = |value: &Option<String>, test: fn(&str) -> bool| {
            value.as_deref().is_some_and(|text| test(text.trim().to_ascii_lowercase().as_str()))
        };
        is(&self.sys_vendor, |vendor| vendor == "amazon ec2")
            || is(&self.board_asset_tag, is_instance_id)
            || is(&self.hypervisor_uuid, |uuid| uuid.starts_with("ec2"))
            || is(&self.product_uuid, |uuid| uuid.starts_with("ec2") || little_endian_ec2(uuid))
    }
}

fn is_instance_id(text: &str) -> bool {
    let digits = text.strip_prefix("i-");
    digits.is_some_and(|d| matches!(d.len(), 8 | 17) && d.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The first four bytes of a UUID in the other order: `45e12aec` for `ec2ae145`.
fn little_endian_ec2(uuid: &str) -> bool {
    let Some((first, _)) = uuid.split_once('-') else { return false };
    first.len() == 8 && first.get(6..8) == Some("ec") && first.get(4..5) == Some("2")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(sys_vendor: &str, board_asset_tag: &str, product_uuid: &str, hypervisor_uuid: &str) -> MachineFacts {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        MachineFacts {
            sys_vendor: some(sys_vendor),
            board_asset_tag: some(board_asset_tag),
            product_uuid: some(product_uuid),
            hypervisor_uuid: some(hypervisor_uuid),
        }
    }

    #[test]
    fn instances_of_every_generation_are_known() {
        assert!(facts("Amazon EC2\n", "", "", "").is_ec2());
        assert!(facts("", "i-0123456789abcdef0\n", "", "").is_ec2());
        assert!(facts("Xen", "", "EC2AE145-D1DC-13B2-94ED-01234ABCDEF0", "").is_ec2());
        assert!(facts("Xen", "", "45E12AEC-DCD1-B213-94ED-01234ABCDEF0", "").is_ec2());
        assert!(facts("Xen", "", "", "ec2e1916-9099-7caf-fd21-012345abcdef\n").is_ec2());
    }

    #[test]
    fn other_machines_are_not() {
        assert!(!MachineFacts::default().is_ec2());
        assert!(!facts("QEMU", "Not Specified", "3b6e2a6c-0000-4000-8000-000000000000", "").is_ec2());
        assert!(!facts("Dell Inc.", "i-am-a-tag", "4c4c4544-0000-2010-8020-80c04f202020", "").is_ec2());
        assert!(!facts("Xen", "", "", "00000000-0000-0000-0000-000000000000").is_ec2());
    }
}
