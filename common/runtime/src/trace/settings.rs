//! The standard variables of OpenTelemetry: where spans go, which requests are traced, and who says so.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanContext;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

use tonic::metadata::{AsciiMetadataKey, MetadataMap};

use crate::config::{
    Confidential, ConfigError, Environment, Fault, Number, OneOf, Parsed, Preset, Table, Text,
    Variable, percent_decoded,
};
use crate::entropy::Entropy;

pub(super) const ENDPOINT: Variable<Parsed<String>> = Variable {
    name: "OTEL_EXPORTER_OTLP_ENDPOINT",
    kind: Parsed { read: endpoint, accepted: "http://HOST:PORT", placeholder: "URL" },
    default: Preset::Described("none"),
    help: "the collector that spans are sent to, by OTLP over gRPC; without one there are none",
};
const TRACES_ENDPOINT: Variable<Parsed<String>> = Variable {
    name: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    help: "the same for traces, and wins",
    ..ENDPOINT
};
const PROTOCOL: Variable<OneOf> = Variable {
    name: "OTEL_EXPORTER_OTLP_PROTOCOL",
    kind: OneOf(&["grpc"]),
    default: Preset::Value("grpc"),
    help: "how spans are sent",
};
const TIMEOUT: Variable<Number<u64>> = Variable {
    name: "OTEL_EXPORTER_OTLP_TIMEOUT",
    kind: Number { min: 1, max: 60_000, note: "" },
    default: Preset::Value("10000"),
    help: "how long the collector may take, in milliseconds",
};
const HEADERS: Variable<Confidential<Parsed<MetadataMap>>> = Variable {
    name: "OTEL_EXPORTER_OTLP_HEADERS",
    kind: Confidential(Parsed {
        read: headers,
        accepted: "NAME=VALUE, several separated by commas, percent-encoded",
        placeholder: "LIST",
    }),
    default: Preset::Described("none"),
    help: "what the collector is sent with every message, such as a key that lets in",
};
const TRACES_HEADERS: Variable<Confidential<Parsed<MetadataMap>>> = Variable {
    name: "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    help: "the same for traces, and wins",
    ..HEADERS
};
const SAMPLER: Variable<OneOf> = Variable {
    name: "OTEL_TRACES_SAMPLER",
    kind: OneOf(&[
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ]),
    default: Preset::Value("parentbased_traceidratio"),
    help: "which requests are traced; parentbased: those too whose client traces them",
};
const SAMPLER_ARG: Variable<Parsed<f64>> = Variable {
    name: "OTEL_TRACES_SAMPLER_ARG",
    kind: Parsed { read: share, accepted: "0 to 1", placeholder: "SHARE" },
    default: Preset::Described("0.01; where OTEL_TRACES_SAMPLER is set, 1"),
    help: "the share of requests that is traced",
};
const SERVICE_NAME: Variable<Text> = Variable {
    name: "OTEL_SERVICE_NAME",
    kind: Text { accepted: "any text" },
    default: Preset::Described("the program's name"),
    help: "the service's name in traces",
};
const ATTRIBUTES: Variable<Parsed<Vec<KeyValue>>> = Variable {
    name: "OTEL_RESOURCE_ATTRIBUTES",
    kind: Parsed {
        read: attributes,
        accepted: "NAME=VALUE, several separated by commas, percent-encoded",
        placeholder: "LIST",
    },
    default: Preset::Described("none"),
    help: "further attributes of the process in traces",
};
const DISABLED: Variable<Parsed<bool>> = Variable {
    name: "OTEL_SDK_DISABLED",
    // Everything that is not "true" means false, by the specification.
    kind: Parsed {
        read: |text| Ok(text.eq_ignore_ascii_case("true")),
        accepted: "true or false",
        placeholder: "BOOL",
    },
    default: Preset::Value("false"),
    help: "switches traces off",
};

/// The variables about traces.
#[must_use]
pub fn table() -> Table {
    Table::new(
        "Traces",
        &[
            &ENDPOINT,
            &TRACES_ENDPOINT,
            &PROTOCOL,
            &TIMEOUT,
            &HEADERS,
            &TRACES_HEADERS,
            &SAMPLER,
            &SAMPLER_ARG,
            &SERVICE_NAME,
            &ATTRIBUTES,
            &DISABLED,
        ],
    )
}

/// The share of requests that is traced where nothing is said.
const DEFAULT_RATIO: f64 = 0.01;

/// What the variables say.
pub(super) struct Settings {
    /// The collector.
    pub(super) endpoint: String,
    /// How long it may take.
    pub(super) timeout: Duration,
    /// What it is sent with every message.
    pub(super) headers: MetadataMap,
    /// Which requests are traced.
    pub(super) sampler: Sampler,
    /// Who this process is.
    pub(super) resource: Resource,
}

/// Which requests are traced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampler {
    /// None.
    Never,
    /// So many of all, whatever the client does.
    Share(f64),
    /// Those that the client traces, none that it says not to trace, and so many of the others.
    ParentOr(f64),
}

impl Settings {
    /// Reads the variables; `None` where they name no collector or switch traces off.
    pub(super) fn read(
        environment: &Environment,
        service: &'static str,
        version: &'static str,
        entropy: &Entropy,
    ) -> Result<Option<Self>, ConfigError> {
        let sampler = sampler(environment)?;
        let attributes = environment.find(&ATTRIBUTES)?.unwrap_or_default();
        let timeout = environment.read(&TIMEOUT)?;
        environment.read(&PROTOCOL)?;
        let endpoint = environment.find(&TRACES_ENDPOINT)?.or(environment.find(&ENDPOINT)?);
        let headers = environment.find(&TRACES_HEADERS)?.or(environment.find(&HEADERS)?);
        let is_disabled = environment.read(&DISABLED)?;
        let name = environment.find(&SERVICE_NAME)?;
        let Some(endpoint) = endpoint.filter(|_| !is_disabled) else { return Ok(None) };
        let resource = resource(service, version, entropy, attributes, name);
        let (timeout, headers) = (Duration::from_millis(timeout), headers.unwrap_or_default());
        Ok(Some(Self { endpoint, timeout, headers, sampler, resource }))
    }
}

impl Sampler {
    /// Whether a request is traced whose client sent `parent`.
    #[must_use]
    pub fn takes(self, parent: Option<&SpanContext>) -> bool {
        match (self, parent) {
            (Self::Never, _) => false,
            (Self::ParentOr(_), Some(parent)) => parent.is_sampled(),
            (Self::Share(share), Some(parent)) => falls_within(share, parent.trace_id()),
            (Self::Share(share) | Self::ParentOr(share), None) => {
                falls_within(share, RandomIdGenerator::default().new_trace_id())
            }
        }
    }
}

/// As every OpenTelemetry SDK does it: the last 8 bytes of the id as a number, below the share of all.
fn falls_within(share: f64, id: opentelemetry::TraceId) -> bool {
    // 53 bits are what a number of this kind holds exactly.
    let low = (u128::from_be_bytes(id.to_bytes()) >> 11) & ((1 << 53) - 1);
    #[expect(clippy::cast_precision_loss, reason = "both are at most 2^53")]
    let place = low as f64 / (1_u64 << 53) as f64;
    place < share
}

fn sampler(environment: &Environment) -> Result<Sampler, ConfigError> {
    let share = environment.find(&SAMPLER_ARG)?;
    Ok(match environment.find(&SAMPLER)? {
        None => Sampler::ParentOr(share.unwrap_or(DEFAULT_RATIO)),
        Some("always_on") => Sampler::Share(1.0),
        Some("always_off") => Sampler::Never,
        // By the specification the share is all where it is not given.
        Some("traceidratio") => Sampler::Share(share.unwrap_or(1.0)),
        Some("parentbased_always_on") => Sampler::ParentOr(1.0),
        Some("parentbased_always_off") => Sampler::ParentOr(0.0),
        Some(_parentbased_traceidratio) => Sampler::ParentOr(share.unwrap_or(1.0)),
    })
}

fn share(text: &str) -> Result<f64, Fault> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or(Fault::Unusable)
}

fn endpoint(text: &str) -> Result<String, Fault> {
    let place = text.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    let is_good = place.is_some_and(|place| {
        !place.is_empty()
            && !place.contains(['/', '@', '?', '#', '%'])
            && !place.contains(char::is_whitespace)
    });
    // It may hold a user's password: it is not repeated.
    let fault = || Fault::Because("not an address of a collector".to_owned());
    is_good.then(|| text.to_owned()).ok_or_else(fault)
}

fn resource(
    service: &'static str,
    version: &'static str,
    entropy: &Entropy,
    attributes: Vec<KeyValue>,
    name: Option<String>,
) -> Resource {
    let instance = format!("{:032x}", u128::from_be_bytes(entropy.bytes()));
    let own = [
        KeyValue::new("service.name", service),
        KeyValue::new("service.version", version),
        KeyValue::new("service.instance.id", instance),
        KeyValue::new("telemetry.sdk.name", "opentelemetry"),
        KeyValue::new("telemetry.sdk.language", "rust"),
    ];
    // The later one of two with the same name wins.
    Resource::builder_empty()
        .with_attributes(own)
        .with_attributes(attributes)
        .with_attributes(name.map(|name| KeyValue::new("service.name", name)))
        .build()
}

fn attributes(text: &str) -> Result<Vec<KeyValue>, Fault> {
    let pairs = pairs(text).map(|pair| pair.map(|(name, value)| KeyValue::new(name, value)));
    pairs.collect::<Option<_>>().ok_or(Fault::Unusable)
}

/// They may hold secrets: none of them is repeated.
fn headers(text: &str) -> Result<MetadataMap, Fault> {
    let fault = || Fault::Because("not headers of a request".to_owned());
    let mut headers = MetadataMap::new();
    for pair in pairs(text) {
        let (name, value) = pair.ok_or_else(fault)?;
        let name = name.to_ascii_lowercase().parse::<AsciiMetadataKey>().ok().ok_or_else(fault)?;
        headers.insert(name, value.parse().ok().ok_or_else(fault)?);
    }
    Ok(headers)
}

/// What `NAME=VALUE,NAME=VALUE` holds; `None` for what is no such pair.
fn pairs(text: &str) -> impl Iterator<Item = Option<(String, String)>> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let (name, value) = (percent_decoded(name.trim())?, percent_decoded(value.trim())?);
        (!name.is_empty()).then_some((name, value))
    };
    text.split(',').filter(|part| !part.trim().is_empty()).map(pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&str, &str)]) -> Result<Option<Settings>, ConfigError> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment = Environment::of(values.iter().map(own));
        Settings::read(&environment, "latchkey-edge", "1.2.3", &Entropy::System)
    }

    const AT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317");

    #[test]
    fn without_a_collector_there_are_no_traces() {
        assert!(read(&[]).unwrap().is_none());
        assert!(read(&[AT, ("OTEL_SDK_DISABLED", "TRUE")]).unwrap().is_none());
        assert!(read(&[AT, ("OTEL_SDK_DISABLED", "1")]).unwrap().is_some());
    }

    #[test]
    fn the_endpoint_of_traces_wins() {
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4317");
        assert_eq!(read(&[AT, own]).unwrap().unwrap().endpoint, "http://traces:4317");
    }

    #[test]
    fn one_request_in_a_hundred_is_traced_where_nothing_is_said() {
        let sampler = |values: &[(&str, &str)]| {
            read(&[&[AT], values].concat()).unwrap().map(|settings| settings.sampler)
        };
        assert_eq!(sampler(&[]), Some(Sampler::ParentOr(0.01)));
        assert_eq!(sampler(&[("OTEL_TRACES_SAMPLER_ARG", "0.5")]), Some(Sampler::ParentOr(0.5)));
        assert_eq!(sampler(&[("OTEL_TRACES_SAMPLER", "always_on")]), Some(Sampler::Share(1.0)));
        assert_eq!(sampler(&[("OTEL_TRACES_SAMPLER", "traceidratio")]), Some(Sampler::Share(1.0)));
    }

    #[test]
    fn what_cannot_be_used_names_its_variable() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4317"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:hunter2@collector:4317"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:12?hunter2@collector:4317"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:12#hunter2"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
            ("OTEL_RESOURCE_ATTRIBUTES", "no value"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=hunter2"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=hunter2%0A"),
        ] {
            let error = read(&[(name, value)]).err().map(|error| error.to_string());
            assert!(error.as_ref().is_some_and(|text| text.starts_with(name)), "{error:?}");
            assert!(error.is_none_or(|text| !text.contains("hunter2")));
        }
    }

    #[test]
    fn the_resource_says_who_this_is() {
        let own = ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=a%2Cb, x=1");
        let resource = read(&[AT, own]).unwrap().unwrap().resource;
        let get = |name: &'static str| resource.get(&name.into()).map(|value| value.to_string());
        assert_eq!(get("service.name").as_deref(), Some("latchkey-edge"));
        assert_eq!(get("service.version").as_deref(), Some("1.2.3"));
        assert_eq!(get("service.instance.id").map(|id| id.len()), Some(32));
        assert_eq!(get("deployment.environment.name").as_deref(), Some("a,b"));
        let sent = [AT, ("OTEL_EXPORTER_OTLP_HEADERS", "Api-Key=a%2Cb, x=1")];
        let headers = read(&sent).unwrap().unwrap().headers;
        assert_eq!(headers.get("api-key").unwrap(), "a,b");
        assert_eq!(headers.get("x").unwrap(), "1");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "y=2");
        let headers = read(&[sent[0], sent[1], own]).unwrap().unwrap().headers;
        assert_eq!(headers.get("y").unwrap(), "2");
        assert_eq!(headers.len(), 1);
        let named = read(&[AT, ("OTEL_SERVICE_NAME", "mine")]).unwrap().unwrap().resource;
        assert_eq!(
            named.get(&"service.name".into()).map(|it| it.to_string()).as_deref(),
            Some("mine")
        );
    }

    #[test]
    fn a_share_is_a_share() {
        let taken = (0..10_000).filter(|_| Sampler::ParentOr(0.1).takes(None)).count();
        // 1000 are expected; 16 standard deviations of 30 below and above.
        assert!((520..1_480).contains(&taken), "{taken}");
        assert_eq!((0..1_000).filter(|_| Sampler::ParentOr(0.0).takes(None)).count(), 0);
        assert_eq!((0..1_000).filter(|_| Sampler::Share(1.0).takes(None)).count(), 1_000);
    }
}
