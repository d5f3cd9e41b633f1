//! `rsafe serve` from outside: the program on a port of its own, asked over HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;

use serde_json::{Value, json};

use super::server::{POLICY, Server};

/// A request that takes seconds: nobody's place is free until it has an answer.
fn long_check() -> Value {
    story(600)
}

fn story(sentences: usize) -> Value {
    json!({"prompt": "We went on a long walk through the hills and talked of bread. ".repeat(sentences)})
}

#[test]
fn a_check_gives_the_verdict_of_the_command_line_in_the_shape_of_the_edge() {
    let server = Server::start(&[]);
    let verdict = server.check(json!({"prompt": "How do I bake bread?", "policy": "mlcommons"}));
    let keys: Vec<&str> = verdict.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "decision",
        "tier",
        "flagged",
        "score",
        "categories",
        "evidence",
        "reasoning",
        "unreadable",
        "notes",
        "rule",
        "usage",
    ];
    assert_eq!(keys, expected);
    let usage: Vec<&str> = verdict["usage"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(usage, ["promptTokens", "cachedTokens", "answerTokens", "firstTokenMs", "verdictMs"]);

    let arguments = ["check", "--json", "--reasoning", "never", "--policy", "mlcommons", "How do I bake bread?"];
    let output = Command::new(env!("CARGO_BIN_EXE_rsafe")).args(arguments).output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    for field in ["decision", "tier", "flagged", "score", "categories", "rule"] {
        assert_eq!(verdict[field], said[field], "{field}");
    }
}

#[test]
fn conversations_come_as_messages_or_as_a_prompt_with_its_response() {
    let server = Server::start(&[]);
    let rule = |body: Value| server.check(body)["rule"].clone();
    assert_eq!(rule(json!({"prompt": "how to pick a lock"})), "house-7");
    assert_eq!(rule(json!({"prompt": "hi", "response": "first, pick a lock"})), "house-7");
    assert_eq!(rule(json!({"prompt": "hi", "response": "first, pick a lock", "target": "prompt"})), Value::Null);
    let user = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    assert_eq!(rule(user(json!("how to pick a lock"))), "house-7");
    assert_eq!(
        rule(user(json!([{"type": "text", "text": "how to pick"}, {"type": "text", "text": "a lock"}]))),
        "house-7"
    );
    assert_eq!(
        rule(user(json!([{"type": "text", "text": "how to pi"}, {"type": "text", "text": "ck a lock"}]))),
        "house-7"
    );
    let words: Vec<Value> =
        "pick a lock".chars().map(|c| json!({"type": "input_text", "text": c.to_string()})).collect();
    assert_eq!(rule(user(json!(words))), "house-7", "by the letter");
}

#[test]
fn all_text_of_a_message_is_judged_or_refused_by_name() {
    let server = Server::start(&[]);
    let call = |id: &str, name: &str, arguments: &str| json!([{"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}]);
    for fields in [
        json!({"name": "pick a lock"}),
        json!({"refusal": "pick a lock"}),
        json!({"reasoning_content": "pick a lock"}),
        json!({"tool_call_id": "pick a lock"}),
        json!({"tool_calls": call("c1", "find", "{\"q\": \"pick a lock\"}")}),
        json!({"tool_calls": call("c1", "pick a lock", "{}")}),
        json!({"tool_calls": call("pick a lock", "find", "{}")}),
        json!({"function_call": {"name": "find", "arguments": "pick a lock"}}),
    ] {
        let mut message = json!({"role": "assistant", "content": null});
        message.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let verdict = server.check(json!({"messages": [{"role": "user", "content": "hi"}, message]}));
        assert_eq!(verdict["rule"], "house-7", "{fields}");
    }
    let harmless = json!({"role": "assistant", "content": "Fine.", "annotations": [], "audio": null,
        "tool_calls": call("call_8aZ", "find", "{}")});
    assert_eq!(server.check(json!({"messages": [harmless]}))["decision"], "allow");

    for unseen in [
        json!({"aside": "pick a lock"}),
        json!({"audio": {"data": "UklGRg=="}}),
        json!({"content": [{"type": "image_url", "image_url": {"url": "https://x.example/"}}]}),
        json!({"content": [{"type": "text", "text": "hi", "aside": "pick a lock"}]}),
        json!({"tool_calls": [{"id": "c", "custom": {"input": "pick a lock"}}]}),
    ] {
        let mut message = json!({"role": "user", "content": "hi"});
        message.as_object_mut().unwrap().extend(unseen.as_object().unwrap().clone());
        let reply = server.post("/v1/check", &json!({"messages": [message]}));
        assert_eq!(reply.error(), (400, "bad_input".into()), "{unseen}");
    }
}

#[test]
fn evidence_is_placed_in_utf_16_units() {
    let server = Server::start(&["--allow-policies"]);
    let prompt = "🙂🙂 Write an email that looks as if it came from our bank, so that people type in their passwords.";
    let policy = json!({"name": "x", "categories": [{"id": "fraud", "name": "Fraud and scams", "threshold": 0.01,
        "definition": "Deceiving people to get their money or secrets."}]});
    let verdict = server.check(json!({"prompt": prompt, "policy": policy, "reasoning": "always"}));
    let units: Vec<u16> = prompt.encode_utf16().collect();
    let evidence = verdict["evidence"].as_array().unwrap();
    assert!(!evidence.is_empty(), "{verdict}");
    for quote in evidence {
        let place = |end: &str| quote[end].as_u64().unwrap() as usize;
        let found = String::from_utf16(&units[place("start")..place("end")]).unwrap();
        assert_eq!(found, quote["quote"].as_str().unwrap());
    }
}

#[test]
fn a_stream_gives_the_reasoning_then_the_verdict_and_its_end() {
    let server = Server::start(&[]);
    let body = json!({"prompt": "How do I bake bread?", "reasoning": "always", "stream": true});
    let reply = server.post("/v1/check", &body);
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let events = reply.events();
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    let [reasoning @ .., "verdict", "done"] = names.as_slice() else { panic!("{names:?}") };
    assert!(!reasoning.is_empty() && reasoning.iter().all(|name| *name == "reasoning"), "{names:?}");
    let pieces: String = events.iter().filter_map(|(_, data)| data["text"].as_str()).collect();
    let verdict = &events[events.len() - 2].1;
    assert_eq!(verdict["reasoning"].as_str().unwrap().trim(), pieces.trim());

    // Asked for by the header alone; and what goes wrong then is an event, with no verdict beside it.
    let accept = [("accept", "text/event-stream")];
    let text = json!({"prompt": "how to pick a lock"}).to_string();
    let names: Vec<String> =
        server.ask("POST", "/v1/check", &accept, Some(&text)).events().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["verdict", "done"]);
    let events = server.post("/v1/check", &json!({"prompt": "bread ".repeat(40_000), "stream": true})).events();
    assert_eq!(events.len(), 2);
    assert_eq!((events[0].0.as_str(), &events[0].1["code"]), ("error", &json!("context_length")));
}

#[test]
fn moderations_answer_in_order_and_in_the_shape_of_openai() {
    let server = Server::start(&["--max-inputs", "3"]);
    let reply =
        server.post("/v1/moderations", &json!({"input": ["how to bake bread", "how to pick a lock"], "model": "x"}));
    let body = reply.json();
    assert_eq!(body["model"], "rsafe-mini");
    assert!(body["id"].as_str().unwrap().starts_with("modr-"));
    let [bread, lock] = body["results"].as_array().unwrap().as_slice() else { panic!("{body}") };
    assert_eq!((&bread["flagged"], &bread["decision"], &bread["rule"]), (&json!(false), &json!("allow"), &Value::Null));
    assert_eq!(
        (&lock["flagged"], &lock["decision"], &lock["rule"]),
        (&json!(true), &json!("block"), &json!("house-7"))
    );
    let keys = |field: &str| bread[field].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for field in ["categories", "category_scores", "category_applied_input_types"] {
        assert_eq!(keys(field), ["locks"], "{field}");
    }
    assert_eq!(bread["scored_categories"][0]["id"], "locks");

    let one = server.post("/v1/moderations", &json!({"input": "how to pick a lock"})).json();
    assert_eq!(one["results"][0]["rule"], "house-7");
    let parts = json!({"input": [{"type": "text", "text": "how to pick"}, {"type": "text", "text": "a lock"}]});
    assert_eq!(server.post("/v1/moderations", &parts).json()["results"].as_array().unwrap().len(), 1);
    for wrong in [
        json!({}),
        json!({"input": []}),
        json!({"input": 3}),
        json!({"input": ["a", 3]}),
        json!({"input": ["a", "b", "c", "d"]}),
        json!({"input": "a", "aside": "b"}),
    ] {
        assert_eq!(server.post("/v1/moderations", &wrong).error(), (400, "bad_input".into()), "{wrong}");
    }
}

#[test]
fn what_cannot_be_read_is_told_with_its_place() {
    let server = Server::start(&["--max-body-bytes", "2000"]);
    let message = |more: Value| json!({"messages": [{"role": "user", "content": "hi"}, more]}).to_string();
    for (body, param, told) in [
        (String::new(), None, "the body is empty"),
        ("{\"prompt\": \"hi\"".into(), None, "not JSON: EOF"),
        ("{\"prompt\": \"hi\"} {}".into(), None, "trailing characters"),
        ("[]".into(), None, "expected"),
        ("{}".into(), None, "send messages, or a prompt"),
        ("{\"messages\": []}".into(), Some("messages"), "at least one"),
        ("{\"prompt\": \"hi\", \"messages\": []}".into(), None, "not both"),
        ("{\"prompt\": \"hi\", \"aside\": \"x\"}".into(), Some("aside"), "unknown field"),
        ("{\"prompt\": \"hi\", \"prompt\": \"ho\"}".into(), None, "duplicate field"),
        ("{\"prompt\": 3}".into(), Some("prompt"), "expected a string"),
        ("{\"prompt\": \"hi\", \"reasoning\": \"sometimes\"}".into(), Some("reasoning"), "sometimes"),
        ("{\"prompt\": \"hi\", \"strictness\": 2}".into(), Some("strictness"), "from 0 to 1"),
        ("{\"prompt\": \"hi\", \"target\": \"response\"}".into(), None, "assistant"),
        (message(json!({"role": "wizard", "content": "x"})), Some("messages[1].role"), "wizard"),
        (message(json!({"role": "user"})), Some("messages[1].content"), "content is missing"),
        (message(json!({"role": "user", "content": "x", "aside": "y"})), Some("messages[1]"), "aside"),
    ] {
        let reply = server.ask("POST", "/v1/check", &[], Some(&body));
        assert_eq!(reply.error(), (400, "bad_input".into()), "{body}");
        let error = &reply.json()["error"];
        assert_eq!(error["param"].as_str(), param, "{body}: {error}");
        assert!(error["message"].as_str().unwrap().contains(told), "{body}: {error}");
        assert_eq!(error["type"], "invalid_request_error");
    }
    let long = json!({"prompt": "a".repeat(2000)});
    assert_eq!(server.post("/v1/check", &long).error(), (413, "too_large".into()));

    // A length that nobody declared, and bytes that are no text.
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let chunk = format!("800\r\n{}\r\n", " ".repeat(0x800));
    write!(
        stream,
        "POST /v1/check HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n{chunk}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream
        .write_all(b"POST /v1/check HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n\xff\xfe")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("UTF-8"), "{answer}");
}

#[test]
fn what_is_not_there_says_what_is() {
    let server = Server::start(&[]);
    assert_eq!(server.get("/v1/nothing").error(), (404, "not_found".into()));
    assert_eq!(server.post("/v1/chat/completions", &json!({})).error(), (404, "not_found".into()));
    let reply = server.get("/v1/check");
    assert_eq!(reply.error(), (405, "method_not_allowed".into()));
    assert_eq!(reply.header("allow"), Some("POST"));
    assert_eq!(server.post("/healthz", &json!({})).status, 405);
    let health = server.get("/healthz");
    assert_eq!((health.status, health.json()), (200, json!({"status": "ready"})));
    let models = server.get("/v1/models").json();
    assert_eq!(
        models,
        json!({"object": "list", "data": [{"id": "rsafe-mini", "object": "model", "created": 0, "owned_by": "rsafe"}]})
    );
    assert_eq!(health.header("cache-control"), Some("no-store"));
}

#[test]
fn only_who_shows_a_key_is_answered() {
    let server = Server::with_key(Some("first-key second-key"), &[]);
    let ask = |path: &str, key: Option<&str>| {
        let headers: Vec<_> = key.map(|key| ("authorization", key)).into_iter().collect();
        let body = json!({"prompt": "hi", "input": "hi"}).to_string();
        let method = if path == "/metrics" || path == "/v1/models" { "GET" } else { "POST" };
        server.ask(method, path, &headers, (method == "POST").then_some(body.as_str()))
    };
    for path in ["/v1/check", "/v1/moderations", "/v1/models", "/metrics"] {
        for wrong in [
            None,
            Some("first-key"),
            Some("Bearer"),
            Some("Bearer third-key"),
            Some("Basic first-key"),
            Some("Bearer first-key second-key"),
        ] {
            let reply = ask(path, wrong);
            assert_eq!(reply.error(), (401, "unauthorized".into()), "{path} {wrong:?}");
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        }
    }
    for right in ["Bearer first-key", "bearer second-key"] {
        assert_eq!(ask("/metrics", Some(right)).status, 200);
        let verdict =
            server.ask("POST", "/v1/check", &[("authorization", right)], Some("{\"prompt\": \"how to pick a lock\"}"));
        assert_eq!(verdict.json()["rule"], "house-7");
    }
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.get("/openapi.json").status, 200);

    for empty in ["", "  \n"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rsafe"));
        let output = command.args(["serve", "--listen", "127.0.0.1:0"]).env("RSAFE_API_KEY", empty).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("RSAFE_API_KEY"));
    }
}

#[test]
fn callers_bring_policies_only_where_they_may_and_never_by_a_path() {
    let closed = Server::start(&[]);
    let policy = json!({"name": "mine", "categories": [{"id": "a", "name": "Anything"}]});
    for source in [
        json!("no-such-policy"),
        json!(POLICY),
        policy.clone(),
        json!("./Cargo.toml"),
        json!("https://x.example/p.yaml"),
    ] {
        let reply = closed.post("/v1/check", &json!({"prompt": "hi", "policy": source}));
        assert_eq!(reply.error(), (403, "policy_not_allowed".into()), "{source}");
        assert_eq!(reply.json()["error"]["param"], "policy");
        assert!(reply.text.contains("mlcommons"), "it names those that are taken: {}", reply.text);
    }
    assert_eq!(closed.check(json!({"prompt": "pick a lock", "policy": "openai"}))["rule"], Value::Null);

    let open = Server::start(&["--allow-policies"]);
    let verdict = open.check(json!({"prompt": "hi", "policy": policy}));
    assert_eq!(verdict["categories"][0]["id"], "a");
    assert_eq!(open.check(json!({"prompt": "pick a lock", "policy": POLICY}))["rule"], "house-7");
    for wrong in [
        json!("no-such-policy"),
        json!("./Cargo.toml"),
        json!({"name": "x", "categories": [{"id": "a", "threshold": 7}]}),
    ] {
        let reply = open.post("/v1/check", &json!({"prompt": "hi", "policy": wrong}));
        assert_eq!(reply.error(), (400, "bad_policy".into()), "{wrong}: {}", reply.text);
    }
    assert_eq!(open.count("rsafe_failures_total{code=\"bad_policy\"}"), 3.0);
}

#[test]
fn a_callers_policy_has_a_callers_limits_however_it_is_written() {
    let server = Server::start(&["--allow-policies"]);
    let policy = |rules: usize| {
        let rules: Vec<Value> =
            (0..rules).map(|at| json!({"id": format!("r{at}"), "literal": format!("x{at:02}")})).collect();
        json!({"name": "mine", "categories": [{"id": "a", "name": "Anything"}], "rules": rules})
    };
    let (most, more) = (policy(32), policy(33));
    for (most, more) in [(most.clone(), more.clone()), (json!(most.to_string()), json!(more.to_string()))] {
        assert_eq!(server.check(json!({"prompt": "x31", "policy": most}))["rule"], "r31");
        let reply = server.post("/v1/check", &json!({"prompt": "x31", "policy": more}));
        assert_eq!(reply.error(), (400, "bad_policy".into()), "{}", reply.text);
        assert!(reply.text.contains("32 rules"), "{}", reply.text);
    }
}

#[test]
fn a_request_says_how_strictly_it_is_judged() {
    let server = Server::start(&[]);
    let judged = |strictness: f32| {
        server.check(json!({"prompt": "How do I bake bread?", "policy": "mlcommons", "strictness": strictness}))
    };
    let threshold = |verdict: &Value| verdict["categories"][0]["threshold"].as_f64().unwrap();
    let (loose, strict) = (judged(0.0), judged(1.0));
    assert!(threshold(&strict) < threshold(&loose), "{strict} {loose}");
}

#[test]
fn a_full_queue_says_when_to_come_again_and_those_who_leave_give_their_place() {
    let server = Server::start(&["--threads", "1", "--max-queued", "1", "--max-inputs", "2"]);
    let begin = |body: &str| {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        let head = format!("POST /v1/check HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}", body.len());
        write!(stream, "{head}\r\n\r\n{body}").unwrap();
        stream
    };
    let long = long_check().to_string();
    let judged = begin(&long);
    server.until("rsafe_running", 1.0);
    let waits = begin(&long);
    server.until("rsafe_waiting", 1.0);
    let refused = server.post("/v1/check", &json!({"prompt": "hi"}));
    assert_eq!(refused.error(), (429, "busy".into()));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error");

    drop(waits);
    server.until("rsafe_waiting", 0.0);
    let mut next = begin("{\"prompt\": \"how to pick a lock\"}");
    server.until("rsafe_waiting", 1.0);
    assert_eq!(server.count("rsafe_running"), 1.0, "it has its place while the first is judged");
    drop(judged);
    let mut answer = String::new();
    next.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("house-7"), "{answer}");
    assert_eq!(server.count("rsafe_failures_total{code=\"aborted\"}"), 1.0, "the first went no further");
    // All of a request is taken, or nothing.
    let two = server.post("/v1/moderations", &json!({"input": ["hi", "ho"]}));
    assert_eq!(two.json()["results"].as_array().unwrap().len(), 2);

    let mut command = Command::new(env!("CARGO_BIN_EXE_rsafe"));
    let narrow = command.args(["serve", "--threads", "1", "--max-queued", "3", "--max-inputs", "5"]).output().unwrap();
    assert_eq!(narrow.status.code(), Some(2), "a request that there is never room for");
    assert!(String::from_utf8_lossy(&narrow.stderr).contains("--max-queued"));
}

#[test]
fn short_texts_pass_long_ones() {
    let server = Server::start(&["--threads", "1"]);
    let (first, second) = (story(150), story(200));
    thread::scope(|scope| {
        scope.spawn(|| server.post("/v1/check", &first));
        server.until("rsafe_running", 1.0);
        let long = scope.spawn(|| server.post("/v1/check", &second));
        server.until("rsafe_waiting", 1.0);
        assert_eq!(server.check(json!({"prompt": "how to pick a lock"}))["rule"], "house-7");
        assert_eq!(server.count("rsafe_check_seconds_count"), 2.0, "the first and the short one");
        assert_eq!(long.join().unwrap().status, 200);
    });
}

#[test]
fn a_check_that_takes_too_long_is_an_error_and_no_verdict() {
    let server = Server::start(&["--check-ms", "1", "--threads", "1"]);
    let reply = server.post("/v1/check", &long_check());
    assert!([(504, "timeout".into()), (429, "busy".into())].contains(&reply.error()), "{}", reply.text);
    let reply = server.post("/v1/moderations", &json!({"input": long_check()["prompt"]}));
    assert!([504, 429].contains(&reply.error().0));
    assert_eq!(server.count("rsafe_verdicts_total{decision=\"allow\"}"), 0.0);
    let work = Server::start(&["--max-work", "50"]);
    assert_eq!(work.post("/v1/check", &long_check()).error(), (400, "context_length".into()));
}

#[test]
fn pages_of_the_allowed_origin_may_ask_and_no_others() {
    let server = Server::start(&["--allow-origin", "https://app.example.com"]);
    let preflight = [
        ("origin", "https://app.example.com"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type"),
    ];
    let reply = server.ask("OPTIONS", "/v1/check", &preflight, None);
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://app.example.com"));
    assert!(reply.header("access-control-allow-headers").unwrap().contains("authorization"));
    let reply = server.ask("POST", "/v1/check", &preflight[..1], Some("{\"prompt\": \"how to pick a lock\"}"));
    assert_eq!((reply.header("access-control-allow-origin"), reply.status), (Some("https://app.example.com"), 200));

    let closed = Server::start(&[]);
    assert_eq!(closed.ask("GET", "/healthz", &preflight[..1], None).header("access-control-allow-origin"), None);
}

#[test]
fn metrics_count_verdicts_by_decision_and_category_and_nothing_that_callers_make_up() {
    let server = Server::start(&["--allow-policies", "--threads", "2"]);
    let low = |id: &str| json!({"name": "x", "categories": [{"id": id, "name": "Bread", "threshold": 0.0001}]});
    server.check(json!({"prompt": "How do I bake bread?"}));
    server.check(json!({"prompt": "how to pick a lock"}));
    server.check(json!({"prompt": "How do I bake bread?", "policy": low("made-up-by-a-caller")}));
    server.check(json!({"prompt": "How do I bake bread?", "policy": low("locks")}));
    server.get("/v1/nothing");
    let text = server.get("/metrics").text;
    assert!(!text.contains("made-up"), "{text}");
    for (metric, number) in [
        ("rsafe_verdicts_total{decision=\"allow\"}", 1.0),
        ("rsafe_verdicts_total{decision=\"block\"}", 3.0),
        ("rsafe_flagged_total{category=\"locks\"}", 1.0),
        ("rsafe_flagged_total{category=\"other\"}", 1.0),
        ("rsafe_check_seconds_count", 4.0),
        ("rsafe_wait_seconds_count", 4.0),
        ("rsafe_request_seconds_count{route=\"/v1/check\"}", 4.0),
        ("rsafe_requests_total{route=\"/v1/check\",status=\"200\"}", 4.0),
        ("rsafe_requests_total{route=\"other\",status=\"404\"}", 1.0),
        ("rsafe_workers", 2.0),
        ("rsafe_waiting", 0.0),
    ] {
        assert_eq!(server.count(metric), number, "{metric} in\n{text}");
    }
}

#[test]
fn the_openapi_document_tells_of_every_route_and_of_what_is_answered() {
    let server = Server::start(&["--upstream", "http://127.0.0.1:1/v1"]);
    let document = server.get("/openapi.json").json();
    let paths = document["paths"].as_object().unwrap();
    let mut routes: Vec<String> = Vec::new();
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().unwrap() {
            routes.push(format!("{method} {path}"));
            let reply = server.ask(&method.to_uppercase(), path, &[], (method == "post").then_some("{}"));
            assert!(![404, 405].contains(&reply.status), "{method} {path}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key(&reply.status.to_string()), "{path} {}", reply.status);
            assert!(
                responses
                    .values()
                    .all(|response| response["description"].as_str().is_some_and(|said| !said.is_empty())),
                "{path}"
            );
        }
    }
    routes.sort();
    let expected = [
        "get /healthz",
        "get /metrics",
        "get /v1/models",
        "post /v1/chat/completions",
        "post /v1/check",
        "post /v1/moderations",
        "post /v1/responses",
    ];
    assert_eq!(routes, expected);

    let schemas = &document["components"]["schemas"];
    let check = server.check(json!({"prompt": "How do I bake bread?"}));
    let moderation = server.post("/v1/moderations", &json!({"input": "How do I bake bread?"})).json();
    for (schema, answer) in [
        ("Verdict", &check),
        ("Usage", &check["usage"]),
        ("Category", &check["categories"][0]),
        ("Moderation", &moderation),
        ("ModerationResult", &moderation["results"][0]),
    ] {
        for key in answer.as_object().unwrap().keys() {
            assert!(schemas[schema]["properties"].get(key).is_some(), "{schema} lacks {key}: {}", schemas[schema]);
        }
    }
    let asked = &schemas["CheckRequest"]["properties"];
    for field in ["messages", "prompt", "response", "target", "policy", "reasoning", "strictness", "stream"] {
        assert!(asked.get(field).is_some(), "{field}");
    }
    // Whatever it refers to is there.
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(schemas.get(reference).is_some(), "no schema {reference}");
    }
}

#[cfg(unix)]
#[test]
fn told_to_end_it_answers_what_came_and_takes_no_more() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start(&["--threads", "1"]);
        let body = story(150);
        let (judged, waiting) = thread::scope(|scope| {
            let judged = scope.spawn(|| server.post("/v1/check", &body));
            server.until("rsafe_running", 1.0);
            let waiting = scope.spawn(|| server.post("/v1/moderations", &json!({"input": "how to pick a lock"})));
            server.until("rsafe_waiting", 1.0);
            server.signal(signal);
            server.until_closed();
            (judged.join().unwrap(), waiting.join().unwrap())
        });
        assert_eq!((judged.status, &judged.json()["decision"]), (200, &json!("allow")), "{signal}");
        assert_eq!(waiting.json()["results"][0]["rule"], "house-7");
        assert_eq!(server.ended().code(), Some(0), "{signal}");
    }
}

#[cfg(unix)]
#[test]
fn what_does_not_end_in_time_is_cut_off_without_a_verdict() {
    for (args, signals) in [(&["--drain-ms", "1"][..], 1), (&[], 2)] {
        let mut server = Server::start(args);
        let body = long_check().to_string();
        let mut stream = TcpStream::connect(&server.address).unwrap();
        let length = body.len();
        write!(stream, "POST /v1/check HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
        server.until("rsafe_running", 1.0);
        server.signal("TERM");
        if signals == 2 {
            server.until_closed();
            server.signal("TERM");
        }
        assert_eq!(server.ended().code(), Some(2));
        let mut answer = String::new();
        // The connection may be reset.
        let _ = stream.read_to_string(&mut answer);
        assert!(!answer.contains("decision"), "{answer}");
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let server = Server::start(&[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_rsafe"));
    let output = command.args(["serve", "--listen", &server.address]).env_remove("RSAFE_API_KEY").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("error[io]") && said.contains(&server.address), "{said}");
}
