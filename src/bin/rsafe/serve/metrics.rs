//! What the server counts, for Prometheus: numbers and words of our own or of the owner's policy, nothing of a text.

use std::collections::HashSet;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};
use rsafe::{Decision, Policy, Target, Verdict};
use serde::Serialize;

use super::errors::Problem;
use crate::library::Loaded;

/// From a rule's decision to the longest check, in seconds.
const SECONDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    verdicts: IntCounterVec,
    flagged: IntCounterVec,
    failures: IntCounterVec,
    relayed: IntCounterVec,
    check_seconds: Histogram,
    wait_seconds: Histogram,
    waiting: IntGauge,
    running: IntGauge,
    /// Categories of policies that callers did not bring: those could be any number.
    known: HashSet<String>,
}

impl Metrics {
    pub fn new(loaded: &Loaded, workers: usize) -> Self {
        let registry = Registry::new();
        let counter = |name, help, labels: &[&str]| added(&registry, IntCounterVec::new(Opts::new(name, help), labels));
        let gauge = |name, help| added(&registry, IntGauge::new(name, help));
        let timed = |name, help| HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        let histogram = |name, help| added(&registry, Histogram::with_opts(timed(name, help)));
        gauge("rsafe_workers", "Texts that can be judged at the same time.").set(workers as i64);
        let policies = Policy::builtin_names().map(Policy::builtin);
        let policies = policies.iter().flatten().chain([loaded.policy.as_ref().unwrap_or(loaded.guard.policy())]);
        Self {
            requests: counter("rsafe_requests_total", "Requests by route and status.", &["route", "status"]),
            request_seconds: added(
                &registry,
                HistogramVec::new(timed("rsafe_request_seconds", "From a request to its answer's head."), &["route"]),
            ),
            verdicts: counter("rsafe_verdicts_total", "Verdicts by decision.", &["decision"]),
            flagged: counter(
                "rsafe_flagged_total",
                "Verdicts that flag a category; `other` are those of callers' own policies.",
                &["category"],
            ),
            failures: counter("rsafe_failures_total", "Texts that were not judged, by the error's code.", &["code"]),
            relayed: counter(
                "rsafe_relayed_total",
                "Prompts that were withheld, and choices of answers, by what was decided; `error` is what could not be judged.",
                &["target", "decision"],
            ),
            check_seconds: histogram("rsafe_check_seconds", "Time to judge a text."),
            wait_seconds: histogram("rsafe_wait_seconds", "Time that a text waited to be judged."),
            waiting: gauge("rsafe_waiting", "Texts that wait to be judged."),
            running: gauge("rsafe_running", "Texts that are being judged."),
            known: policies.flat_map(|policy| &policy.categories).map(|category| category.id.clone()).collect(),
            registry,
        }
    }

    pub fn answered(&self, route: &str, status: u16, took: Duration) {
        self.requests.with_label_values(&[route, &status.to_string()]).inc();
        self.request_seconds.with_label_values(&[route]).observe(took.as_secs_f64());
    }

    pub fn waited(&self, time: Duration) {
        self.wait_seconds.observe(time.as_secs_f64());
    }

    pub fn judged(&self, time: Duration, result: Result<&Verdict, &Problem>) {
        self.check_seconds.observe(time.as_secs_f64());
        match result {
            Ok(verdict) => {
                self.verdicts.with_label_values(&[&word(verdict.decision)]).inc();
                for category in verdict.categories.iter().filter(|category| category.flagged) {
                    let id = self.known.get(&category.id).map_or("other", String::as_str);
                    self.flagged.with_label_values(&[id]).inc();
                }
            }
            Err(problem) => self.failures.with_label_values(&[problem.code()]).inc(),
        }
    }

    /// `decision` is none where it could not be judged.
    pub fn relayed(&self, target: Target, decision: Option<Decision>) {
        let decision = decision.map_or("error".into(), word);
        self.relayed.with_label_values(&[&word(target), &decision]).inc();
    }

    /// Everything, as Prometheus reads it.
    pub fn text(&self, (waiting, running): (usize, usize)) -> prometheus::Result<(String, Vec<u8>)> {
        self.waiting.set(waiting as i64);
        self.running.set(running as i64);
        let mut text = Vec::new();
        let encoder = TextEncoder::new();
        encoder.encode(&self.registry.gather(), &mut text)?;
        Ok((encoder.format_type().to_owned(), text))
    }
}

fn added<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let collector = made.expect("names and buckets are constants");
    registry.register(Box::new(collector.clone())).expect("each name is used once");
    collector
}

/// A word as serde writes it.
fn word(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}
