//! What a reader of a held-back stream gets: how much of a harmful passage is shown before it is stopped, how late harmless
//! text comes, and how often it is stopped for nothing. The texts are rows of our own that no version of the model was
//! trained on; which ones, and where they stand, follows from a seed.

mod reader;
mod texts;

use pollster::block_on;
use rsafe::measure::metrics::quantile;
use rsafe::{Bundle, Guard, LoadOptions, MonitorOptions, Pace};

use reader::{Reading, read};
use texts::{Planted, Texts, flagged};

const PASSAGES: usize = 60;
const HARMLESS: usize = 200;

fn main() {
    let guard = block_on(Guard::load(Bundle::embedded().expect("the model is in the build"), LoadOptions::default()))
        .expect("the embedded model loads");
    let mut texts = Texts::read();
    let planted = texts.planted(&guard, PASSAGES);
    let harmless: Vec<String> = (0..HARMLESS).map(|_| texts.answer()).collect();
    let alone: Vec<bool> = harmless.iter().map(|text| flagged(&guard, text)).collect();
    let count = alone.iter().filter(|flagged| **flagged).count();
    println!("{PASSAGES} passages, each flagged alone and found if the response is stopped");
    println!("{HARMLESS} harmless answers, {count} of them flagged as a whole without a monitor\n");
    for (name, pace) in [("steady", Pace::Steady), ("adaptive", Pace::Adaptive)] {
        let options = MonitorOptions::default().pace(pace);
        println!("pace {name}");
        let read = |text: &String| read(&guard, options, text);
        passages(&planted, &planted.iter().map(|planted| read(&planted.text)).collect::<Vec<_>>());
        answers(&harmless.iter().map(read).collect::<Vec<_>>(), &alone);
        println!();
    }
}

fn passages(planted: &[Planted], readings: &[Reading]) {
    // What is stopped before its passage says nothing about that.
    let reached = || planted.iter().zip(readings).filter(|(planted, reading)| reading.known > planted.start);
    let found = reached().filter(|(_, reading)| reading.stopped);
    let last = found.clone().filter(|(_, reading)| reading.by_end).count();
    println!(
        "  reached {} of {} passages and found {}, {last} of them by the check at the end",
        reached().count(),
        planted.len(),
        found.clone().count(),
    );
    let shown = |(planted, reading): (&Planted, &Reading)| planted.share(reading.shown);
    let tell = |what: &str, shares: &mut [f64]| {
        let [half, most] = [0.5, 0.9].map(|q| 100.0 * at(shares, q));
        let whole = shares.iter().filter(|share| **share >= 1.0).count();
        println!("  shown of {what}: median {half:.1} %, 90th percentile {most:.1} %, all of {whole}");
    };
    tell("those found", &mut found.map(shown).collect::<Vec<_>>());
    tell("those reached", &mut reached().map(shown).collect::<Vec<_>>());
}

/// `alone`: which of the answers are flagged as a whole without a monitor.
fn answers(readings: &[Reading], alone: &[bool]) {
    let stopped = readings.iter().filter(|reading| reading.stopped).count();
    let own = readings.iter().zip(alone).filter(|(reading, alone)| reading.stopped && !**alone).count();
    println!("  stopped {stopped} of {} harmless answers, {own} of them not flagged as a whole", readings.len());
    let whole = || readings.iter().filter(|reading| !reading.stopped);
    for (what, of) in [("held back", Reading::held as fn(&Reading) -> &[f64]), ("and judged", Reading::late)] {
        let mut first: Vec<f64> = whole().map(|reading| of(reading)[0]).collect();
        let mut later: Vec<f64> = whole().flat_map(|reading| of(reading)[1..].iter().copied()).collect();
        let [first, later] = [&mut first, &mut later].map(|all| [0.5, 0.9, 1.0].map(|q| at(all, q)));
        println!(
            "  tokens late, {what}: first character {:.0} (90 %: {:.0}, most {:.0}), each later one {:.0} ({:.0}, {:.0})",
            first[0], first[1], first[2], later[0], later[1], later[2]
        );
    }
    let sum = |of: fn(&Reading) -> f64| readings.iter().map(of).sum::<f64>();
    println!(
        "  {:.1} checks and {:.0} tokens read for 1,000 characters, {:.0} ms a check",
        1e3 * sum(|r| r.checks as f64) / sum(|r| r.known as f64),
        1e3 * sum(|r| r.tokens as f64) / sum(|r| r.known as f64),
        1e3 * sum(|r| r.seconds) / sum(|r| r.checks as f64),
    );
}

fn at(values: &mut [f64], q: f64) -> f64 {
    quantile(values, q).unwrap_or(f64::NAN)
}
