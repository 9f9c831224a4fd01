//! The lists of a bucket, and the way back, against moto.

use super::{S3Host, store};
use crate::releases::{Publisher, the_bundles, the_way_back};
use crate::support::moto::Moto;
use crate::support::s3_front::BUCKET;

fn publisher(moto: &Moto) -> Publisher {
    moto.make_bucket(BUCKET, false);
    let S3Host { host, environment } = S3Host::new(&moto.url());
    Publisher { host, environment, store: store() }
}

#[test]
fn a_bucket_leads_back() {
    let Some(moto) = Moto::start_or_skip() else { return };
    let publisher = publisher(&moto);
    the_way_back(&publisher, &|key| _ = moto.request("DELETE", &format!("/{BUCKET}/st/{key}"), b""));
}

#[test]
fn a_bucket_lists_its_bundles() {
    let Some(moto) = Moto::start_or_skip() else { return };
    the_bundles(&publisher(&moto));
}
