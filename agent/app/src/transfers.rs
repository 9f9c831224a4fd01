//! The bytes of the transfers that go on now, by deployment: an effect counts, and users who wait look.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use hostler_core::ids::DeploymentId;
use hostler_core::transfer::{Meter, Transferred};

type Meters = Vec<(DeploymentId, Weak<Meter>)>;

/// The meters of the effects that run. All copies are the same.
#[derive(Debug, Clone, Default)]
pub struct Transfers(Arc<Mutex<Meters>>);

impl Transfers {
    /// A meter for an effect of this deployment. It is forgotten when the effect drops it.
    pub fn begin(&self, deployment: &DeploymentId) -> Arc<Meter> {
        let meter = Arc::new(Meter::default());
        let mut meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        meters.retain(|(other, meter)| other != deployment && meter.strong_count() > 0);
        meters.push((deployment.clone(), Arc::downgrade(&meter)));
        meter
    }

    /// What the deployment's meter shows; `None` while nothing is transferred.
    pub fn of(&self, deployment: &DeploymentId) -> Option<Transferred> {
        let meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        meters.iter().find(|(id, _)| id == deployment)?.1.upgrade()?.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_is_shown_as_long_as_its_effect_runs() {
        let transfers = Transfers::default();
        let [one, other] = ["d-1", "d-2"].map(|id| id.parse::<DeploymentId>().unwrap());
        let (of_one, of_other) = (transfers.begin(&one), transfers.begin(&other));
        assert_eq!(transfers.of(&one), None, "nothing came yet");
        of_one.begin(5, 10);
        of_other.begin(7, 20);
        assert_eq!(transfers.of(&one), Some(Transferred { bytes: 5, total: Some(10) }));
        assert_eq!(transfers.clone().of(&other), Some(Transferred { bytes: 7, total: Some(20) }));
        drop(of_one);
        assert_eq!(transfers.of(&one), None);
        transfers.begin(&one);
        assert_eq!(transfers.0.lock().unwrap().len(), 2);
    }
}
