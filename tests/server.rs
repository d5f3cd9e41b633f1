//! `rsafe serve` as a program on a port of its own, asked over HTTP.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The rule decides what the tests are about: a threshold that no text here reaches keeps the model's opinion out.
pub const POLICY: &str = "
name: house
categories:
  - {id: locks, name: Opening locks, threshold: 0.999}
rules:
  - {id: house-7, literal: pick a lock}
";

/// Longer than anything here takes on a busy machine, and shorter than for ever.
pub const WAIT: Duration = Duration::from_secs(600);

/// A server, ended with the test.
pub struct Server {
    pub child: Child,
    /// `127.0.0.1:PORT`.
    pub address: String,
    _policy: tempfile::TempDir,
}

pub struct Reply {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub text: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The error's status and code, in the shape that clients of OpenAI know.
    #[track_caller]
    pub fn error(&self) -> (u16, String) {
        let body = self.json();
        let error = body["error"].as_object().unwrap_or_else(|| panic!("an error but {}", self.text));
        let fields: Vec<&str> = error.keys().map(String::as_str).collect();
        assert_eq!(fields, ["message", "type", "param", "code"], "{}", self.text);
        assert!(!self.text.contains("\"allow\""), "{}", self.text);
        (self.status, error["code"].as_str().unwrap().to_owned())
    }

    /// The names and data of a stream's events.
    pub fn events(&self) -> Vec<(String, Value)> {
        let event = |text: &str| {
            let (name, data) = text.split_once('\n').unwrap();
            let name = name.strip_prefix("event: ").unwrap().to_owned();
            (name, serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap())
        };
        self.text.split_terminator("\n\n").map(event).collect()
    }
}

impl Server {
    pub fn start(args: &[&str]) -> Self {
        Self::with_key(None, args)
    }

    pub fn with_key(key: Option<&str>, args: &[&str]) -> Self {
        let key = key.map(|key| ("RSAFE_API_KEY", key));
        Self::with(key.as_slice(), args)
    }

    /// With these keys in the environment, and no others.
    pub fn with(keys: &[(&str, &str)], args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("house.yaml");
        fs::write(&policy, POLICY).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_rsafe"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--reasoning", "never"]);
        command.arg("--policy").arg(&policy).args(args).stdout(Stdio::piped());
        command.env_remove("RSAFE_API_KEY").env_remove("RSAFE_UPSTREAM_KEY").env("NO_PROXY", "127.0.0.1");
        command.envs(keys.iter().copied());
        // Machines that run tests may be slow; limits of time have tests of their own.
        for patient in ["--check-ms", "--drain-ms", "--upstream-ms"].into_iter().filter(|flag| !args.contains(flag)) {
            command.args([patient, "600000"]);
        }
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("rsafe listens on http://").expect("the address").to_owned();
        Self { child, address, _policy: folder }
    }

    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Reply {
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let mut request = ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let agent = config.new_agent();
        let answered = match body {
            Some(body) => agent.run(request.body(body).unwrap()),
            None => agent.run(request.body(()).unwrap()),
        };
        let mut response = answered.unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        Reply { status: response.status().as_u16(), headers: response.headers().clone(), text }
    }

    pub fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], None)
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.ask("POST", path, &[], Some(&body.to_string()))
    }

    #[track_caller]
    pub fn check(&self, body: Value) -> Value {
        let reply = self.post("/v1/check", &body);
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json()
    }

    /// The number behind a metric's name and labels; 0 where it has not been counted.
    pub fn count(&self, metric: &str) -> f64 {
        let text = self.get("/metrics").text;
        let line = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
        line.map_or(0.0, |number| number.parse().unwrap())
    }

    /// Waits until a metric has this number.
    #[track_caller]
    pub fn until(&self, metric: &str, number: f64) {
        let began = Instant::now();
        while self.count(metric) != number {
            assert!(began.elapsed() < WAIT, "{metric} never was {number}: {}", self.get("/metrics").text);
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until no connection is taken.
    #[cfg(unix)]
    #[track_caller]
    pub fn until_closed(&self) {
        let began = Instant::now();
        while TcpStream::connect(&self.address).is_ok() {
            assert!(began.elapsed() < WAIT, "it takes connections still");
            thread::sleep(Duration::from_millis(2));
        }
    }

    #[cfg(unix)]
    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap().success());
    }

    #[cfg(unix)]
    pub fn ended(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
