//! Answers requests.

use std::fmt::Write as _;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Source;
use super::cache::Cache;
use super::exposition::Format;
use super::page::{self, Asset};
use super::server::MAX_STREAMS;

const PLAIN: &str = "text/plain; charset=utf-8";
/// Media type of server-sent events.
const EVENT_STREAM: &str = "text/event-stream";

/// Header that states whether pages of other sites may embed an answer.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The answer to a request.
pub(super) enum Answer {
    Complete(Response<Full<Bytes>>),
    /// The head of a stream of events, and a permit to hold until the stream ends.
    Stream(Response<()>, OwnedSemaphorePermit),
}

/// Answers a request. HEAD is answered like GET; hyper omits the body.
pub(super) async fn respond<B>(
    cache: &Cache<impl Source>,
    streams: &Arc<Semaphore>,
    request: &Request<B>,
) -> Answer {
    let path = request.uri().path();
    if path != "/events" {
        return Answer::Complete(complete(cache, request).await);
    }
    if !is_allowed(request.method()) {
        return Answer::Complete(not_allowed());
    }
    if request.method() == Method::HEAD {
        return Answer::Complete(answer(StatusCode::OK, EVENT_STREAM, ""));
    }
    if let Ok(permit) = Arc::clone(streams).try_acquire_owned() {
        let mut head = answer(StatusCode::OK, EVENT_STREAM, "");
        // Without this header, nginx buffers events instead of passing them on at once.
        head.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
        Answer::Stream(head.map(drop), permit)
    } else {
        // Status 200, because a browser does not pass the body of an error response to the script.
        let text = format!("event: problem\ndata: {MAX_STREAMS} other clients follow the page; retrying\n\n");
        Answer::Complete(answer(StatusCode::OK, EVENT_STREAM, text))
    }
}

/// Answers a request for anything but a stream.
async fn complete<B>(cache: &Cache<impl Source>, request: &Request<B>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let asset = page::asset(path);
    if asset.is_none() && !matches!(path, "/" | "/metrics" | "/healthz") {
        return answer(StatusCode::NOT_FOUND, PLAIN, "not found; try /, /metrics or /healthz\n");
    }
    if !is_allowed(request.method()) {
        return not_allowed();
    }
    if let Some(Asset { media_type, text }) = asset {
        return answer(StatusCode::OK, media_type, text);
    }
    let page = match cache.page().await {
        Ok(page) => page,
        Err(reason) if path == "/" => {
            return answer(StatusCode::SERVICE_UNAVAILABLE, page::HTML, page::unavailable(&reason));
        }
        Err(reason) => return answer(StatusCode::SERVICE_UNAVAILABLE, PLAIN, reason + "\n"),
    };
    if path == "/" {
        return answer(StatusCode::OK, page::HTML, page.document());
    }
    if path == "/metrics" {
        let format = format(request.headers());
        return answer(StatusCode::OK, format.media_type(), page.text(format));
    }
    let mut text = String::new();
    for problem in page.problems() {
        let _ = writeln!(text, "{}: {}", problem.instance, problem.reason);
    }
    if text.is_empty() {
        answer(StatusCode::OK, PLAIN, "ok\n")
    } else {
        answer(StatusCode::SERVICE_UNAVAILABLE, PLAIN, text)
    }
}

fn is_allowed(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn not_allowed() -> Response<Full<Bytes>> {
    let mut refusal = answer(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET and HEAD are allowed\n");
    refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    refusal
}

fn answer(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, media_type),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, page::CONTENT_SECURITY_POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (RESOURCE_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Returns the format that the client prefers. OpenMetrics is chosen only if the client's `Accept`
/// header names it.
fn format(headers: &HeaderMap) -> Format {
    let mut open_metrics = 0;
    let mut prometheus = 0;
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in values.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut version, mut quality) = (None, 1000);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim().to_ascii_lowercase().as_str() {
                "version" => version = Some(value.trim().trim_matches('"')),
                "q" => quality = per_mille(value.trim()),
                _ => {}
            }
        }
        let preferred = match (media_type.as_str(), version) {
            ("application/openmetrics-text", None | Some("1.0.0")) => &mut open_metrics,
            ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => &mut prometheus,
            _ => continue,
        };
        *preferred = quality.max(*preferred);
    }
    if open_metrics > 0 && open_metrics >= prometheus { Format::OpenMetrics } else { Format::Prometheus }
}

/// Parses a quality value from `0` to `1`, with up to three decimals (RFC 9110 section 12.4.2).
/// Returns 0 for any other text.
fn per_mille(quality: &str) -> u16 {
    let (whole, decimals) = quality.split_once('.').unwrap_or((quality, ""));
    let is_valid = decimals.len() <= 3 && decimals.bytes().all(|digit| digit.is_ascii_digit());
    match (whole, format!("{decimals:0<3}").parse::<u16>()) {
        ("0", Ok(per_mille)) if is_valid => per_mille,
        ("1", Ok(0)) if is_valid => 1000,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_is_negotiated() {
        use Format::{OpenMetrics, Prometheus};
        for (accept, expected) in [
            ("", Prometheus),
            ("*/*", Prometheus),
            ("text/html, */*;q=0.8", Prometheus),
            ("text/plain", Prometheus),
            ("application/openmetrics-text", OpenMetrics),
            ("application/openmetrics-text; version=1.0.0; charset=utf-8", OpenMetrics),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"", OpenMetrics),
            ("application/openmetrics-text;version=0.0.1", Prometheus),
            ("application/openmetrics-text;version=2.0.0, text/plain;q=0.1", Prometheus),
            ("application/openmetrics-text;q=0, */*", Prometheus),
            ("application/openmetrics-text;q=0", Prometheus),
            ("application/openmetrics-text;q=0.4, text/plain;q=0.5", Prometheus),
            ("application/openmetrics-text;q=0.5, text/plain;q=0.5", OpenMetrics),
            ("text/plain;version=0.0.4;q=0.25,application/openmetrics-text;q=0.3", OpenMetrics),
            // The `Accept` header of Prometheus 2.
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OpenMetrics,
            ),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_str(accept).expect("a header"));
            assert_eq!(format(&headers), expected, "{accept}");
        }
        let mut two = HeaderMap::new();
        two.append(ACCEPT, HeaderValue::from_static("text/plain;q=0.5"));
        two.append(ACCEPT, HeaderValue::from_static("application/openmetrics-text"));
        assert_eq!((format(&two), format(&HeaderMap::new())), (OpenMetrics, Prometheus));
    }

    #[test]
    fn qualities_have_up_to_three_decimals() {
        for (text, expected) in
            [("1", 1000), ("1.000", 1000), ("0.5", 500), ("0.001", 1), ("0.25", 250), ("0", 0), ("0.", 0)]
        {
            assert_eq!(per_mille(text), expected, "{text}");
        }
        for text in ["", "1.1", "2", "0.0001", "0.+1", "-0.5", ".5", "x"] {
            assert_eq!(per_mille(text), 0, "{text}");
        }
    }
}
