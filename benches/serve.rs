//! Load on `rsafe serve`: one client, then many at once, on 127.0.0.1. Prints what was answered a second, how long it took,
//! what went wrong and what memory the server held. `cargo bench --bench serve -- [SECONDS [CLIENTS]]`, else 20 and 64.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Words of the texts, from a line to a page; each text is another one, so that nothing is known of it.
const LENGTHS: [usize; 8] = [6, 10, 14, 20, 30, 45, 80, 200];
const WORDS: [&str; 10] = ["bread", "rises", "when", "yeast", "and", "warm", "water", "meet", "slowly", "at"];

fn main() {
    let mut given = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let seconds = Duration::from_secs(given.next().unwrap_or(20));
    let clients = given.next().unwrap_or(64) as usize;
    let (mut child, address) = start();
    let texts = AtomicU64::new(0);

    println!("clients  seconds  answers  errors  answers/s  median ms  99th ms  MiB before  half  after");
    for clients in [1, clients] {
        let before = memory(&child);
        let began = Instant::now();
        let (address, texts) = (&address, &texts);
        let (half, results) = thread::scope(|scope| {
            let all: Vec<_> =
                (0..clients).map(|_| scope.spawn(move || client(address, texts, began + seconds))).collect();
            thread::sleep(seconds / 2);
            let half = memory(&child);
            (half, all.into_iter().map(|client| client.join().expect("a client panicked")).collect::<Vec<_>>())
        });
        let took = began.elapsed().as_secs_f64();
        let errors: u64 = results.iter().map(|(_, errors)| errors).sum();
        let mut times: Vec<Duration> = results.into_iter().flat_map(|(times, _)| times).collect();
        times.sort_unstable();
        let at =
            |share: f64| times.get((times.len() as f64 * share) as usize).map_or(f64::NAN, |it| it.as_secs_f64() * 1e3);
        println!(
            "{clients:7}  {took:7.1}  {:7}  {errors:6}  {:9.1}  {:9.1}  {:7.1}  {before:10.1}  {half:4.1}  {:5.1}",
            times.len(),
            times.len() as f64 / took,
            at(0.5),
            at(0.99),
            memory(&child)
        );
    }
    child.kill().expect("the server runs still");
    child.wait().expect("it ends");
}

fn start() -> (Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rsafe"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--reasoning", "never"]).env_remove("RSAFE_API_KEY");
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the server starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line).expect("it says where it listens");
    let address = line.trim().rsplit(' ').next().expect("an address").to_owned();
    (child, address)
}

/// Asks again and again; how long each answer took, and how many were none.
fn client(address: &str, texts: &AtomicU64, until: Instant) -> (Vec<Duration>, u64) {
    let agent = ureq::Agent::new_with_defaults();
    let (mut times, mut errors) = (Vec::new(), 0);
    while Instant::now() < until {
        let number = texts.fetch_add(1, Ordering::Relaxed) as usize;
        let words = (0..LENGTHS[number % LENGTHS.len()]).map(|at| WORDS[(at * at + number) % WORDS.len()]);
        let text = words.collect::<Vec<_>>().join(" ");
        let asked = Instant::now();
        let answer = agent.post(format!("{address}/v1/check")).send(format!("{{\"prompt\": \"{number} {text}\"}}"));
        match answer.and_then(|mut response| response.body_mut().read_to_string()) {
            Ok(body) if body.contains("\"decision\"") => times.push(asked.elapsed()),
            _ => errors += 1,
        }
    }
    (times, errors)
}

/// Resident MiB of the server, where the system tells.
fn memory(child: &Child) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok()).map_or(f64::NAN, |kib| kib / 1024.0)
}
