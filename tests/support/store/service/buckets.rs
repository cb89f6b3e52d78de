//! The operations on buckets.

use s3s::{S3Result, dto, s3_error};

use super::super::{REGION, server::Shared, state::Bucket, time::whole_seconds};

pub(super) fn list(store: &Shared) -> dto::ListBucketsOutput {
    let state = store.state();
    let buckets = state.buckets.iter().map(|(name, bucket)| dto::Bucket {
        name: Some(name.clone()),
        creation_date: Some(whole_seconds(bucket.created).into()),
        bucket_region: Some(bucket.region.as_deref().unwrap_or(REGION).to_owned()),
    });
    dto::ListBucketsOutput { buckets: Some(buckets.collect()), ..Default::default() }
}

pub(super) fn create(
    store: &Shared,
    input: dto::CreateBucketInput,
) -> S3Result<dto::CreateBucketOutput> {
    let mut state = store.state();
    if state.buckets.contains_key(&input.bucket) {
        return Err(s3_error!(
            BucketAlreadyOwnedByYou,
            "You already own the bucket that you want to create."
        ));
    }
    let mut bucket = Bucket::new(state.now());
    let region = input
        .create_bucket_configuration
        .and_then(|configuration| configuration.location_constraint);
    bucket.region = region.map(|region| region.as_str().to_owned());
    let location = Some(format!("/{}", input.bucket));
    state.buckets.insert(input.bucket, bucket);
    Ok(dto::CreateBucketOutput { location })
}

pub(super) fn head(store: &Shared, input: dto::HeadBucketInput) -> S3Result<dto::HeadBucketOutput> {
    let mut state = store.state();
    let region = state.bucket(&input.bucket)?.region.as_deref().unwrap_or(REGION);
    let bucket_region = Some(region.to_owned());
    Ok(dto::HeadBucketOutput { bucket_region, ..Default::default() })
}

pub(super) fn location(
    store: &Shared,
    input: dto::GetBucketLocationInput,
) -> S3Result<dto::GetBucketLocationOutput> {
    let mut state = store.state();
    let region = state.bucket(&input.bucket)?.region.clone();
    // S3 returns no location for its first region.
    let location_constraint = region.filter(|region| region != REGION).map(Into::into);
    Ok(dto::GetBucketLocationOutput { location_constraint })
}
