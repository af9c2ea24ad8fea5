//! The collector at the other end of OTLP over gRPC: one call with the bytes of one message.

use std::time::Duration;

use prost::bytes::{Buf, BufMut, Bytes};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Extensions, Request, Status};

use super::otlp::Head;
use super::settings::{ENDPOINT, Settings};
use crate::config::ConfigError;

/// The one method of the service.
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// Attempts at one message: a connection that was closed while nothing was said on it is noticed by the first.
const ATTEMPTS: usize = 2;

/// Takes spans.
pub(super) trait Collector: Send + Sync + 'static {
    /// Sends spans, each as `otlp::span` has written it.
    ///
    /// # Errors
    /// Why they were not taken.
    fn send(&self, spans: &[Vec<u8>]) -> impl Future<Output = Result<(), String>> + Send;
}

/// The one that the variables name.
pub(super) struct Remote {
    client: Grpc<Channel>,
    timeout: Duration,
    headers: MetadataMap,
    head: Head,
}

impl Remote {
    /// Needs a runtime. The connection is made when it is needed.
    ///
    /// # Errors
    /// [`ConfigError`] where the address is none.
    pub(super) fn new(settings: &Settings) -> Result<Self, ConfigError> {
        let endpoint = Channel::from_shared(settings.endpoint.clone());
        let endpoint = endpoint.map_err(|error| ENDPOINT.wrong(error.to_string()))?;
        let client = Grpc::new(endpoint.connect_lazy());
        let (timeout, headers) = (settings.timeout, settings.headers.clone());
        Ok(Self { client, timeout, headers, head: Head::new(&settings.resource) })
    }

    async fn export(&self, message: Bytes) -> Result<(), Status> {
        let mut client = self.client.clone();
        let not_ready = |error: tonic::transport::Error| Status::unavailable(error.to_string());
        client.ready().await.map_err(not_ready)?;
        let request = Request::from_parts(self.headers.clone(), Extensions::new(), message);
        client.unary(request, PathAndQuery::from_static(EXPORT), Raw).await.map(drop)
    }

    async fn try_export(&self, message: Bytes) -> Result<(), Status> {
        for _ in 1..ATTEMPTS {
            match self.export(message.clone()).await {
                Err(status) if status.code() == Code::Unavailable => {}
                answered => return answered,
            }
        }
        self.export(message).await
    }
}

impl Collector for Remote {
    async fn send(&self, spans: &[Vec<u8>]) -> Result<(), String> {
        let message = Bytes::from(self.head.message(spans));
        match tokio::time::timeout(self.timeout, self.try_export(message)).await {
            // What else its answer says may be anything.
            Ok(answered) => answered.map_err(|status| status.code().to_string()),
            Err(_elapsed) => Err(Code::DeadlineExceeded.to_string()),
        }
    }
}

/// Bytes as they are, and of an answer nothing: that there is one says all.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        from.advance(from.remaining());
        Ok(Some(()))
    }
}
