//! A stub of the model behind `rsafe serve`: a real HTTP server that says what a test tells it to.

use std::convert::Infallible;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, Response};
use futures_util::stream::{self, StreamExt};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::server::Server;

/// A server, and the model behind it.
pub struct Pair {
    pub stub: Stub,
    pub server: Server,
}

impl Pair {
    pub fn start(args: &[&str]) -> Self {
        Self::with(&[], args)
    }

    pub fn with(keys: &[(&str, &str)], args: &[&str]) -> Self {
        let stub = Stub::start();
        let server = Server::with(keys, &[&["--upstream", &stub.address], args].concat());
        Self { stub, server }
    }
}

pub struct Asked {
    pub path: String,
    headers: HeaderMap,
    /// Null where there was no body.
    pub body: Value,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// What is answered.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, &'static str)>,
    /// The body, cut where the list is.
    pub pieces: Vec<Vec<u8>>,
    pub end: End,
}

/// What follows the last piece.
#[derive(Clone, Copy, PartialEq)]
pub enum End {
    Ends,
    /// The connection breaks in the middle of the body.
    Breaks,
    /// Nothing more comes.
    Hangs,
    /// Not even the head of an answer comes.
    NoAnswer,
}

pub struct Stub {
    /// The base of its API.
    pub address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    answer: Arc<Mutex<Answer>>,
    closed: Receiver<()>,
}

/// Tells that the body was given up or sent.
struct Told(Sender<()>);

impl Drop for Told {
    fn drop(&mut self) {
        // The test may be over.
        let _ = self.0.send(());
    }
}

impl Stub {
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = format!("http://{}/v1", listener.local_addr().unwrap());
        let (asked, answer) = (Arc::default(), Arc::new(Mutex::new(says(&["Flour, water, salt."]))));
        let (closes, closed) = channel();
        let stub = Self { address, asked: Arc::clone(&asked), answer: Arc::clone(&answer), closed };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // It ends with the tests.
        thread::spawn(move || runtime.block_on(listen(listener, asked, answer, closes)));
        stub
    }

    pub fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// Every request since this was called last.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// Waits until the body of an answer was given up or sent, for each time that this is called.
    pub fn until_closed(&self) {
        self.closed.recv().unwrap();
    }
}

async fn listen(
    listener: std::net::TcpListener,
    asked: Arc<Mutex<Vec<Asked>>>,
    answer: Arc<Mutex<Answer>>,
    closes: Sender<()>,
) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (asked, answer, closes) = (asked.clone(), answer.clone(), closes.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (asked, answer, told) = (asked.clone(), answer.clone(), Told(closes.clone()));
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let body = serde_json::from_slice(&body).unwrap_or_default();
                asked.lock().unwrap().push(Asked { path: head.uri.path().to_owned(), headers: head.headers, body });
                let answer = answer.lock().unwrap().clone();
                if answer.end == End::NoAnswer {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(respond(answer, told))
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn respond(answer: Answer, told: Told) -> Response<Body> {
    let Answer { status, headers, pieces, end } = answer;
    let end = stream::once(async move {
        let _told = told;
        match end {
            End::Hangs | End::NoAnswer => std::future::pending().await,
            End::Breaks => Some(Err(io::Error::other("it breaks"))),
            End::Ends => None,
        }
    });
    let pieces = stream::iter(pieces).then(async |piece| {
        // Each piece leaves by itself.
        tokio::task::yield_now().await;
        Ok(Bytes::from(piece))
    });
    let body = pieces.chain(end.filter_map(async |end| end));
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Body::from_stream(body)).unwrap()
}

/// Bytes at random places apart.
pub fn cut(mut bytes: &[u8], seed: u64) -> Vec<Vec<u8>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(random.random_range(1..=bytes.len().min(30)));
        pieces.push(piece.to_vec());
        bytes = rest;
    }
    pieces
}

pub fn words(text: &str) -> Vec<&str> {
    text.split_inclusive(' ').collect()
}

pub fn bytes(text: &str) -> Answer {
    let headers = vec![("content-type", "application/json")];
    Answer { status: 200, headers, pieces: vec![text.as_bytes().to_vec()], end: End::Ends }
}

pub fn whole(body: &Value) -> Answer {
    bytes(&body.to_string())
}

/// A completion that says these texts, one for each choice.
pub fn says(texts: &[&str]) -> Answer {
    let choice = |(index, text): (usize, &&str)| {
        let message = json!({"role": "assistant", "content": text, "refusal": null});
        json!({"index": index, "message": message, "logprobs": null, "finish_reason": "stop"})
    };
    let choices: Vec<Value> = texts.iter().enumerate().map(choice).collect();
    let head = json!({"id": "c1", "object": "chat.completion", "created": 1, "model": "stub"});
    let mut body = head.as_object().unwrap().clone();
    body.insert("choices".into(), choices.into());
    body.insert("system_fingerprint".into(), "fp".into());
    whole(&body.into())
}

/// A stream of these chunks as events, and its end.
pub fn streams(chunks: &[Value]) -> Answer {
    let mut answer = streams_open(chunks, End::Ends);
    answer.pieces.push(b"data: [DONE]\n\n".to_vec());
    answer
}

/// A stream of these chunks as events, without `[DONE]`.
pub fn streams_open(chunks: &[Value], end: End) -> Answer {
    let pieces = chunks.iter().map(|chunk| format!("data: {chunk}\n\n").into_bytes()).collect();
    Answer { status: 200, headers: vec![("content-type", "text/event-stream; charset=utf-8")], pieces, end }
}

/// A chunk as OpenAI sends it.
pub fn chunk(delta: Value) -> Value {
    chunk_of(0, delta, Value::Null)
}

pub fn last(reason: &str) -> Value {
    chunk_of(0, json!({}), reason.into())
}

pub fn chunk_of(index: usize, delta: Value, finish_reason: Value) -> Value {
    let choice = json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": finish_reason});
    json!({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "stub", "system_fingerprint": "fp", "choices": [choice]})
}
