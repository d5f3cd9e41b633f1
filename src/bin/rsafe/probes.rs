//! The other ways in which `rsafe eval` asks: rewritten rows, random policies, unfinished responses.

use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use pollster::block_on;
use rsafe::data::owners::{Owner, owners};
use rsafe::data::recipe::Recipe;
use rsafe::data::rows::Row;
use rsafe::eval::adaptive::{AdaptiveOptions, AdaptiveReport, AdaptiveSets, Names, cases, evaluate_adaptive};
use rsafe::eval::evasion::{EvasionReport, Transform, evaluate_evasion};
use rsafe::eval::evidence::{EvidenceReport, Fall, evaluate_evidence};
use rsafe::eval::owners::evaluate_owners;
use rsafe::eval::prefixes::{PrefixReport, SHARES, evaluate_prefixes};
use rsafe::eval::{EvalOptions, Judgement};
use rsafe::{Error, Guard, Reasoning, Result};
use serde_json::{Value, json};

use crate::library::one_of;
use crate::progress::progress_bar;

#[derive(clap::Args)]
#[command(next_help_heading = "Other ways to ask (`--reasoning auto` then scores only)")]
pub struct ProbeArgs {
    /// Judge the rows as they are and rewritten by transforms that keep the label: leetspeak, spacing, homoglyphs,
    /// zero-width, case, base64, rot13, role-play, padding-before, padding-after; without names, by all
    #[arg(long, value_name = "NAME", num_args = 0.., value_delimiter = ',', value_parser = one_of(&Transform::ALL),
          hide_possible_values = true, conflicts_with_all = ["adaptive", "prefixes"])]
    evasion: Option<Vec<Transform>>,
    /// Judge each row under policies of random categories; the file says what the sets' categories mean
    #[arg(long, value_name = "FILE", requires = "recipe", conflicts_with_all = ["prefixes", "policy"])]
    adaptive: Option<PathBuf>,
    /// The taxonomy that random policies are drawn from: a training recipe
    #[arg(long, value_name = "FILE", requires = "adaptive")]
    recipe: Option<PathBuf>,
    /// Categories of a random policy
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=32))]
    categories: u16,
    /// Whether random policies call categories by names that training never shows, or by those it does
    #[arg(long, value_parser = one_of(&[Names::HeldOut, Names::Seen]), default_value = "held-out")]
    names: Names,
    /// Judge the messages of the owners in a folder whom training never saw, each under its owner's policy
    #[arg(long, value_name = "DIR", conflicts_with_all = ["data", "evasion", "adaptive", "prefixes", "policy"])]
    owners: Option<PathBuf>,
    /// Judge responses as they grow, at 10, 25, 50, 75 and 100 % of their characters; rows of prompts are left out
    #[arg(long)]
    prefixes: bool,
    /// Judge rows with reasoning, and then without the words that were quoted, and without as many others
    #[arg(long, conflicts_with_all = ["evasion", "adaptive", "owners", "prefixes"])]
    evidence: bool,
    /// Decides what transforms, policies and cuts choose at random
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// What was found: a table to show, and the same for a file.
pub struct Found {
    pub table: Table,
    /// The kind of evaluation and its settings; `sets` holds the reports.
    pub json: Value,
}

/// Rows to judge, by the names of their files.
type Sets = [(String, Vec<Row>)];

impl ProbeArgs {
    /// The files that are read.
    pub fn inputs(&self) -> impl Iterator<Item = &Path> {
        [&self.adaptive, &self.recipe, &self.owners].into_iter().filter_map(|path| path.as_deref())
    }

    /// Asks as the arguments say; `None` if they ask for nothing special. `keep` gets each judgement.
    pub fn run(
        &self,
        sets: &Sets,
        guard: &Guard,
        mut options: EvalOptions<'_>,
        keep: &mut dyn FnMut(&Judgement) -> Result<()>,
    ) -> Result<Option<Found>> {
        if options.reasoning == Reasoning::Auto {
            options.reasoning = Reasoning::Never;
        }
        if let Some(folder) = &self.owners {
            return of_owners(folder, guard, options, keep).map(Some);
        }
        match (&self.evasion, &self.adaptive, &self.recipe) {
            (Some(transforms), ..) => self.evasion(transforms, sets, guard, options, keep).map(Some),
            (_, Some(map), Some(recipe)) => self.adaptive(map, recipe, sets, guard, options, keep).map(Some),
            _ if self.prefixes => prefixes(sets, guard, options, keep).map(Some),
            _ if self.evidence => self.evidence(sets, guard, options, keep).map(Some),
            _ => Ok(None),
        }
    }

    fn evasion(
        &self,
        transforms: &[Transform],
        sets: &Sets,
        guard: &Guard,
        options: EvalOptions<'_>,
        keep: &mut dyn FnMut(&Judgement) -> Result<()>,
    ) -> Result<Found> {
        let transforms = if transforms.is_empty() { &Transform::ALL } else { transforms };
        let mut table = measures(&["set", "rewritten by", "recall", "drop", "FPR", "rise", "F1", "AUROC"]);
        let mut reports = Vec::with_capacity(sets.len());
        for (name, rows) in sets {
            let progress = progress_bar(name, rows.len() * (transforms.len() + 1));
            let report = evaluate_evasion(guard, name, rows, transforms, self.seed, options, |judgement| {
                progress.inc(1);
                keep(judgement)
            })?;
            progress.finish_and_clear();
            add_evasion(&mut table, &report);
            reports.push(report);
        }
        Ok(Found {
            table,
            json: json!({"evaluation": "evasion", "reasoning": options.reasoning, "seed": self.seed, "sets": reports}),
        })
    }

    fn evidence(
        &self,
        sets: &Sets,
        guard: &Guard,
        options: EvalOptions<'_>,
        keep: &mut dyn FnMut(&Judgement) -> Result<()>,
    ) -> Result<Found> {
        let mut table = measures(&[
            "set",
            "rows",
            "flagged",
            "quotes",
            "words",
            "fall without",
            "below threshold",
            "fall without others",
            "below threshold",
            "overlap",
            "of others",
        ]);
        let mut reports = Vec::with_capacity(sets.len());
        for (name, rows) in sets {
            let progress = progress_bar(name, rows.len());
            let report = evaluate_evidence(guard, name, rows, self.seed, options, |judgement| {
                progress.inc(1);
                keep(judgement)
            });
            let report = block_on(report)?;
            progress.finish_and_clear();
            add_evidence(&mut table, &report);
            reports.push(report);
        }
        let settings = json!({"evaluation": "evidence", "reasoning": "always", "seed": self.seed, "sets": reports});
        Ok(Found { table, json: settings })
    }

    fn adaptive(
        &self,
        map: &Path,
        recipe: &Path,
        sets: &Sets,
        guard: &Guard,
        options: EvalOptions<'_>,
        keep: &mut dyn FnMut(&Judgement) -> Result<()>,
    ) -> Result<Found> {
        let recipe = Recipe::load(recipe)?;
        let map = AdaptiveSets::load(map, &recipe)?;
        let asked = AdaptiveOptions { categories: self.categories.into(), names: self.names, seed: self.seed };
        // Every set is known before the first is judged.
        let mut prepared = Vec::with_capacity(sets.len());
        for (name, rows) in sets {
            let (cases, left_out) = cases(&recipe, map.set(name)?, rows, asked)?;
            if cases.is_empty() {
                return Err(Error::BadInput(format!("adaptive: no row of {name:?} can be labelled under a policy")));
            }
            prepared.push((cases, left_out));
        }
        let mut table = measures(&[
            "set",
            "rows",
            "cases",
            "left out",
            "F1",
            "best F1",
            "at",
            "recall",
            "FPR foreign",
            "FPR safe",
            "AUROC",
            "AUPRC",
        ]);
        let mut reports = Vec::with_capacity(sets.len());
        for ((name, rows), (cases, left_out)) in sets.iter().zip(&prepared) {
            let progress = progress_bar(name, cases.len());
            let report = evaluate_adaptive(guard, name, rows, (cases, *left_out), options, |judgement| {
                progress.inc(1);
                keep(judgement)
            })?;
            progress.finish_and_clear();
            add_adaptive(&mut table, &report);
            reports.push(report);
        }
        let settings = json!({
            "evaluation": "adaptive",
            "policy": null,
            "reasoning": options.reasoning,
            "seed": self.seed,
            "categories": self.categories,
            "names": asked.names,
            "sets": reports,
        });
        Ok(Found { table, json: settings })
    }
}

fn prefixes(
    sets: &Sets,
    guard: &Guard,
    options: EvalOptions<'_>,
    keep: &mut dyn FnMut(&Judgement) -> Result<()>,
) -> Result<Found> {
    let mut table =
        measures(&["set", "seen", "rows", "F1", "recall", "FPR", "AUROC", "caught so far", "safe stopped so far"]);
    let mut reports = Vec::with_capacity(sets.len());
    for (name, rows) in sets {
        let progress = progress_bar(name, rows.len() * SHARES.len());
        let report = evaluate_prefixes(guard, name, rows, &SHARES, options, |judgement| {
            progress.inc(1);
            keep(judgement)
        })?;
        progress.finish_and_clear();
        add_prefixes(&mut table, &report);
        reports.push(report);
    }
    Ok(Found { table, json: json!({"evaluation": "prefixes", "reasoning": options.reasoning, "sets": reports}) })
}

fn of_owners(
    folder: &Path,
    guard: &Guard,
    options: EvalOptions<'_>,
    keep: &mut dyn FnMut(&Judgement) -> Result<()>,
) -> Result<Found> {
    let owners = owners(folder)?;
    if !owners.iter().any(Owner::is_held_out) {
        return Err(Error::BadInput(format!(
            "{}: expected an owner of the split `dev`: those that training saw measure nothing",
            folder.display()
        )));
    }
    let progress = progress_bar("owners", owners.iter().filter(|o| o.is_held_out()).map(|o| o.rows.len()).sum());
    let report = evaluate_owners(guard, "owners", &owners, options, |judgement| {
        progress.inc(1);
        keep(judgement)
    })?;
    progress.finish_and_clear();
    let mut table = measures(&["set", "rows", "F1", "best F1", "recall", "FPR", "AUROC"]);
    let measured = &report.measures;
    table.add_row([
        report.name.clone(),
        report.rows.to_string(),
        shown(measured.f1),
        shown(measured.best.map(|best| best.f1)),
        shown(measured.recall),
        shown(measured.fpr),
        shown(measured.auroc),
    ]);
    Ok(Found { table, json: json!({"evaluation": "owners", "reasoning": options.reasoning, "sets": [report]}) })
}

fn measures(names: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(names.iter().copied());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A measure as tables show it; `–` where the rows cannot give it.
fn shown(value: Option<f64>) -> String {
    value.map_or("–".into(), |value| format!("{value:.3}"))
}

fn add_evasion(table: &mut Table, report: &EvasionReport) {
    let plain = (&report.plain, "nothing", None, None);
    let rewritten = report.transforms.iter().map(|t| (&t.report, t.transform.name(), t.recall_drop, t.fpr_rise));
    for (report, by, drop, rise) in std::iter::once(plain).chain(rewritten) {
        table.add_row([
            report.name.clone(),
            by.to_owned(),
            shown(report.measures.recall),
            shown(drop),
            shown(report.measures.fpr),
            shown(rise),
            shown(report.measures.f1),
            shown(report.measures.auroc),
        ]);
    }
}

/// Two lines: unsafe rows alone, where a guard that ignores its policy has an AUROC of 0.5, and all rows.
fn add_adaptive(table: &mut Table, report: &AdaptiveReport) {
    for (rows, measured, safe) in [("unsafe", &report.unsafe_rows, None), ("all", &report.all, report.fpr_safe)] {
        let best = measured.measures.best;
        table.add_row([
            measured.name.clone(),
            rows.to_owned(),
            measured.rows.to_string(),
            report.left_out.to_string(),
            shown(measured.measures.f1),
            shown(best.map(|best| best.f1)),
            shown(best.and_then(|best| best.threshold).map(f64::from)),
            shown(measured.measures.recall),
            shown(report.fpr_foreign),
            shown(safe),
            shown(measured.measures.auroc),
            shown(measured.measures.auprc),
        ]);
    }
}

fn add_evidence(table: &mut Table, report: &EvidenceReport) {
    let EvidenceReport { without_quote, without_others, .. } = report;
    let falls = [*without_quote, *without_others]
        .into_iter()
        .flat_map(|fall: Option<Fall>| [shown(fall.map(|fall| fall.mean)), shown(fall.map(|fall| fall.below))]);
    let counts = [report.rows, report.flagged, report.quotes].map(|count| count.to_string());
    let words = report.words.map_or("–".into(), |words| format!("{words:.1}"));
    let overlap = [report.overlap.map(|it| it.quotes), report.overlap.map(|it| it.others)].map(shown);
    table.add_row([report.name.clone()].into_iter().chain(counts).chain([words]).chain(falls).chain(overlap));
}

fn add_prefixes(table: &mut Table, report: &PrefixReport) {
    for at in &report.at {
        table.add_row([
            report.name.clone(),
            format!("{:.0} %", at.share * 100.0),
            report.rows.to_string(),
            shown(at.report.measures.f1),
            shown(at.report.measures.recall),
            shown(at.report.measures.fpr),
            shown(at.report.measures.auroc),
            shown(at.caught),
            shown(at.stopped),
        ]);
    }
    let first = report.median_first_flag.map_or("–".into(), |share| format!("{:.0} %", share * 100.0));
    table.add_row([report.name.clone(), format!("caught first at {first} (median)")]);
}
