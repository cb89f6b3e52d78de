//! The region check: requests that are signed for another region than the bucket's.

use bytes::Bytes;
use hyper::{Response, StatusCode, header::HeaderValue};

use super::{request::Request, response::error_response, state::State};

/// How the store rejects a request that is signed for the wrong region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WrongRegion {
    /// 400 AuthorizationHeaderMalformed, like the endpoint that serves all regions.
    Malformed,
    /// The same without a header that names the region, like Garage and MinIO.
    Unheaded,
    /// 301 PermanentRedirect, like the endpoint of another region.
    Redirect,
}

/// The error response to a request, if it is signed for the wrong region.
pub(super) fn rejection(state: &State, request: &Request) -> Option<Response<Bytes>> {
    let bucket = &request.bucket;
    let region = state.buckets.get(bucket)?.region.as_deref()?;
    let signed = request.region()?;
    // S3 returns a bucket's location in every region.
    if request.operation == "GetBucketLocation" || signed == region {
        return None;
    }
    let mut response = match state.wrong_region {
        WrongRegion::Malformed | WrongRegion::Unheaded => {
            let message = format!(
                "The authorization header is malformed; the region '{signed}' is wrong; \
                 expecting '{region}'"
            );
            let details = format!("<Region>{region}</Region>");
            let code = "AuthorizationHeaderMalformed";
            error_response(StatusCode::BAD_REQUEST, code, &message, &details)
        }
        WrongRegion::Redirect => {
            let message = "The bucket you are attempting to access must be addressed using the \
                           specified endpoint. Please send all future requests to this endpoint.";
            let details =
                format!("<Endpoint>s3.{region}.amazonaws.com</Endpoint><Bucket>{bucket}</Bucket>");
            let status = StatusCode::MOVED_PERMANENTLY;
            error_response(status, "PermanentRedirect", message, &details)
        }
    };
    if state.wrong_region != WrongRegion::Unheaded {
        let region = HeaderValue::try_from(region).expect("a region's name is ASCII");
        response.headers_mut().insert("x-amz-bucket-region", region);
    }
    Some(response)
}
