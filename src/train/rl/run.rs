//! A whole run from what is on disk: which rows, under which policies, with which network.

use std::path::PathBuf;

use burn::tensor::Device;
use serde::Serialize;

use super::decoder::{DecoderNetwork, DecoderOptions};
use super::dpo::{self, DpoOptions, DpoReport};
use super::grpo;
use super::labelled::LabelledTasks;
use super::mine::{Found, MineOptions, mine};
use super::options::GrpoOptions;
use super::pairs::{self, PairTasks};
use super::recipe_tasks::{RecipeTasks, RowStream};
use super::report::Report;
use super::slots::SlotNetwork;
use super::supervision::{RecipeSlots, Supervision, TaskSlots};
use super::task::Tasks;
use crate::data::recipe::Recipe;
use crate::engine::Steps;
use crate::error::{Error, Result};
use crate::policy::Policy;
use crate::train::examples::Examples;
use crate::train::files::keep_options;
use crate::train::policies::Policies;
use crate::train::reward::Rewards;
use crate::train::samples::Samples;

/// Where tasks come from, and what learns from them.
#[derive(Debug, Clone, Serialize)]
pub struct Setup {
    /// A bundle's folder, or the folder that an earlier training run wrote.
    pub init: PathBuf,
    /// Labelled rows: with a recipe the folder of its sets, else files or folders of rows.
    pub data: Vec<PathBuf>,
    #[serde(flatten)]
    pub source: TaskSource,
    /// The share of tasks that are answered without reasoning, in [0, 1].
    pub answer_first: f64,
    /// The share of a recipe's tasks that are asked under the policy of the bundle which trains, at its own thresholds, in
    /// [0, 1]; without such a bundle all are under drawn policies.
    pub own_policy: f64,
    /// Examples of the supervised term in each step, for each core.
    pub slots_examples: usize,
    /// Who decides what an answer of the slot model says of a category: the category's score, which then learns from the
    /// reward, or the model as it writes.
    #[serde(rename = "claims")]
    pub steps: Steps,
    /// How a decoder is tuned, where `init` is one.
    pub decoder: DecoderOptions,
    /// Where the network is trained.
    #[serde(skip)]
    pub device: Device,
}

/// Under which policies rows are judged.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum TaskSource {
    /// Policies drawn from a recipe's concepts.
    Recipe { recipe: PathBuf },
    /// Those of the tasks of a file of pairs.
    Pairs { tasks_of: PathBuf },
    /// One policy.
    Policy {
        #[serde(serialize_with = "name")]
        policy: Box<Policy>,
        /// The share of rows in [0, 1] that is kept out of training.
        held_out: f64,
    },
}

/// A policy's name, and what tells it from another of that name.
fn name<S: serde::Serializer>(policy: &Policy, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{} {}", policy.name, policy.fingerprint()))
}

/// All that a run is made of, as it is kept beside what it gave.
#[derive(Serialize)]
struct Whole<'a, O> {
    #[serde(flatten)]
    setup: &'a Setup,
    #[serde(flatten)]
    options: &'a O,
}

impl Setup {
    /// What trains and under which policies; the rest as it is by default: no rows, no answers without reasoning, no
    /// supervised term, the CPU.
    pub fn new(init: PathBuf, source: TaskSource) -> Self {
        Self {
            init,
            data: Vec::new(),
            source,
            answer_first: 0.0,
            own_policy: 0.0,
            slots_examples: 0,
            steps: Steps::default(),
            decoder: DecoderOptions::default(),
            device: Device::flex(),
        }
    }

    fn check(&self) -> Result<()> {
        let mut shares = vec![("answer_first", self.answer_first), ("own_policy", self.own_policy)];
        if let TaskSource::Policy { held_out, .. } = self.source {
            shares.push(("held_out", held_out));
        }
        for (name, found) in shares {
            if !(0.0..=1.0).contains(&found) {
                return Err(Error::BadInput(format!("{name}: expected a share from 0 to 1, found {found}")));
            }
        }
        Ok(())
    }

    /// Calls `work` with the network on its device, its tasks, and the supervised term.
    fn open<R>(
        &self,
        seed: u64,
        work: impl FnOnce(SlotNetwork, &Device, &dyn Tasks, &dyn Supervision<SlotNetwork>) -> Result<R>,
    ) -> Result<R> {
        let device = self.device.clone().autodiff();
        let mut network = SlotNetwork::load(&self.init, &device)?;
        if !self.decoder.untouched() {
            let what = "rsafe-mini has one prompt and is tuned whole; leave out what is for decoders (template, length of the \
                        reasoning, LoRA, pack)";
            return Err(Error::BadInput(format!("{}: {what}", self.init.display())));
        }
        network.steps = self.steps;
        match &self.source {
            TaskSource::Pairs { tasks_of } => {
                let pairs = pairs::read(tasks_of)?;
                let tasks = PairTasks::new(&pairs, seed);
                work(network, &device, &tasks, &TaskSlots::new(&tasks, self.slots_examples))
            }
            TaskSource::Policy { policy, held_out } => {
                let policy = network.source.as_decided((**policy).clone());
                let tasks = self.labelled(policy, *held_out, seed)?;
                work(network, &device, &tasks, &TaskSlots::new(&tasks, self.slots_examples))
            }
            TaskSource::Recipe { recipe: path } => {
                let recipe = Recipe::load(path)?;
                let samples = Samples::load(&recipe, Recipe::folder(&self.data)?, seed, &network.source.tokenizer)?;
                let examples = Examples::new(&samples, &network.source.tokenizer, network.model.vocab_size())?;
                let mut tasks = RecipeTasks::new(&samples, &examples.policies, seed, self.answer_first);
                if let Some(own) = network.own_policy() {
                    tasks = tasks.under(own.clone(), self.own_policy);
                }
                // Rows of their own: in an order that has nothing to do with that of the tasks.
                let rows = RowStream::new(&samples, seed.wrapping_add(1));
                let slots = RecipeSlots::new(rows, &examples, seed, self.slots_examples);
                work(network.clone(), &device, &tasks, &slots)
            }
        }
    }

    /// Calls `work` with a decoder and its tasks.
    fn with_decoder<R>(
        &self,
        network: DecoderNetwork,
        seed: u64,
        work: impl FnOnce(DecoderNetwork, &dyn Tasks) -> Result<R>,
    ) -> Result<R> {
        match &self.source {
            TaskSource::Pairs { tasks_of } => work(network, &PairTasks::new(&pairs::read(tasks_of)?, seed)),
            TaskSource::Policy { policy, held_out } => {
                work(network, &self.labelled((**policy).clone(), *held_out, seed)?)
            }
            TaskSource::Recipe { recipe: path } => {
                let recipe = Recipe::load(path)?;
                let samples = Samples::load(&recipe, Recipe::folder(&self.data)?, seed, network.tokenizer())?;
                let policies = Policies { recipe: &recipe, frequency: samples.frequency(recipe.concepts.len()) };
                work(network, &RecipeTasks::new(&samples, &policies, seed, self.answer_first))
            }
        }
    }

    fn labelled(&self, policy: Policy, held_out: f64, seed: u64) -> Result<LabelledTasks> {
        LabelledTasks::load(&self.data, policy, held_out, seed, self.answer_first)
    }

    /// The decoder that trains, if it is one.
    fn decoder(&self) -> Result<Option<DecoderNetwork>> {
        let open = || DecoderNetwork::open(&self.init, &self.decoder, &self.device);
        DecoderNetwork::reads(&self.init).then(open).transpose()
    }
}

/// Trains, calling `on_step` with each report. A run found in `options.out` is resumed.
///
/// # Errors
/// Whatever the setup, the options or the disk have wrong.
pub fn run(setup: &Setup, rewards: Rewards, options: &GrpoOptions, on_step: impl FnMut(&Report)) -> Result<()> {
    setup.check()?;
    options.check()?;
    if let TaskSource::Policy { policy, .. } = &setup.source {
        rewards.check(policy)?;
    }
    keep_options(&options.out, &Whole { setup, options }, &MAY_CHANGE)?;
    if let Some(network) = setup.decoder()? {
        return setup.with_decoder(network, options.seed, |network, tasks| {
            grpo::run(network, &setup.device, tasks, &(), rewards, options, on_step).map(|_| ())
        });
    }
    setup.open(options.seed, |network, device, tasks, slots| {
        grpo::run(network, device, tasks, slots, rewards, options, on_step).map(|_| ())
    })
}

/// What a run that goes on may change: how far it goes and what is seen of it, not what it learns.
const MAY_CHANGE: [&str; 5] = ["out", "steps", "checkpoint_every", "watched", "watch_every"];

/// Mines pairs, calling `on_tasks` as it goes.
///
/// # Errors
/// Whatever the setup, the options or the disk have wrong.
pub fn mine_pairs(
    setup: &Setup,
    rewards: Rewards,
    options: &MineOptions,
    on_tasks: impl FnMut(&Found),
) -> Result<Found> {
    setup.check()?;
    if let Some(network) = setup.decoder()? {
        return setup
            .with_decoder(network, options.seed, |network, tasks| mine(&network, tasks, rewards, options, on_tasks));
    }
    setup.open(options.seed, |network, _, tasks, _| mine(&network, tasks, rewards, options, on_tasks))
}

/// Trains on pairs, calling `on_step` with each report; `watched` rows at most are looked at that the setup keeps out of
/// training. A run found in `options.out` is resumed.
///
/// # Errors
/// Whatever the setup, the pairs, the options or the disk have wrong.
pub fn run_dpo(setup: &Setup, watched: usize, options: &DpoOptions, on_step: impl FnMut(&DpoReport)) -> Result<()> {
    setup.check()?;
    options.check()?;
    keep_options(&options.out, &Whole { setup, options }, &MAY_CHANGE)?;
    let pairs = pairs::read(&options.pairs)?;
    if let Some(network) = setup.decoder()? {
        return setup.with_decoder(network, options.seed, |network, tasks| {
            dpo::run(network, &setup.device, &pairs, &tasks.watched(watched)?, &(), options, on_step).map(|_| ())
        });
    }
    setup.open(options.seed, |network, device, tasks, slots| {
        dpo::run(network, device, &pairs, &tasks.watched(watched)?, slots, options, on_step).map(|_| ())
    })
}
