//! The firmware's description of this machine.

use std::path::Path;

use hostler_core::identity::MachineFacts;

/// Reads the firmware's facts below `root`, which is `/` for this machine.
pub fn facts(root: &Path) -> MachineFacts {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok().map(|text| text.trim().to_owned());
    MachineFacts {
        sys_vendor: read("sys/class/dmi/id/sys_vendor"),
        board_asset_tag: read("sys/class/dmi/id/board_asset_tag"),
        product_uuid: read("sys/class/dmi/id/product_uuid"),
        hypervisor_uuid: read("sys/hypervisor/uuid"),
    }
}
