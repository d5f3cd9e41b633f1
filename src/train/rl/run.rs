//! A whole run from what is on disk: which rows, under which policies, with which network.

use std::path::PathBuf;

use burn::tensor::Device;
use serde::Serialize;

use super::decoder::{DecoderNetwork, DecoderOptions};
use super::grpo::{self, GrpoOptions};
use super::labelled::LabelledTasks;
use super::recipe_tasks::{RecipeTasks, RowStream};
use super::report::Report;
use super::slots::SlotNetwork;
use super::supervision::{RecipeSlots, TaskSlots};
use crate::train::examples::Examples;
use crate::train::recipe::Recipe;
use crate::train::reward::Rewards;
use crate::train::sft::Samples;
use crate::{Error, Policy, Result};

/// Where tasks come from, and what learns from them.
#[derive(Debug, Clone, Serialize)]
pub struct Setup {
    /// A bundle's folder, or the folder that an earlier training run wrote.
    pub init: PathBuf,
    /// Labelled rows: with a recipe the folder of its sets, else files or folders of rows.
    pub data: Vec<PathBuf>,
    #[serde(flatten)]
    pub source: Source,
    /// The share of tasks that are answered without reasoning, in [0, 1].
    pub answer_first: f64,
    /// Examples of the supervised term in each step, for each core.
    pub slots_examples: usize,
    /// How a decoder is tuned, where `init` is one.
    pub decoder: DecoderOptions,
    /// Where the network is trained.
    #[serde(skip)]
    pub device: Device,
}

/// Under which policies rows are judged.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Source {
    /// Policies drawn from a recipe's concepts.
    Recipe { recipe: PathBuf },
    /// One policy.
    Policy {
        #[serde(serialize_with = "name")]
        policy: Box<Policy>,
        /// The share of rows in [0, 1] that is kept out of training.
        held_out: f64,
    },
}

fn name<S: serde::Serializer>(policy: &Policy, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&policy.name)
}

/// All that a run is made of, as it is kept beside what it gave.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    setup: &'a Setup,
    #[serde(flatten)]
    options: &'a GrpoOptions,
}

/// Trains, calling `on_step` with each report. A run found in `options.out` is resumed.
///
/// # Errors
/// Whatever the setup, the options or the disk have wrong.
pub fn run(setup: &Setup, rewards: Rewards, options: &GrpoOptions, on_step: impl FnMut(&Report)) -> Result<()> {
    if !(0.0..=1.0).contains(&setup.answer_first) {
        let found = setup.answer_first;
        return Err(Error::BadInput(format!("answer_first: expected a share from 0 to 1, found {found}")));
    }
    std::fs::create_dir_all(&options.out).map_err(Error::io(&options.out))?;
    let path = options.out.join("options.json");
    let whole = serde_json::to_vec_pretty(&Whole { setup, options }).map_err(|e| Error::BadInput(e.to_string()))?;
    std::fs::write(&path, whole).map_err(Error::io(path))?;

    if DecoderNetwork::reads(&setup.init) {
        let Source::Policy { policy, held_out } = &setup.source else {
            return Err(Error::Unsupported("a recipe trains the slot model; give --policy to tune a decoder".into()));
        };
        let network = DecoderNetwork::open(&setup.init, &setup.decoder, &setup.device)?;
        let policy = (**policy).clone();
        let tasks = LabelledTasks::load(&setup.data, policy, *held_out, options.seed, setup.answer_first)?;
        grpo::run(network, &setup.device, &tasks, &(), rewards, options, on_step)?;
        return Ok(());
    }
    let device = setup.device.clone().autodiff();
    let network = SlotNetwork::load(&setup.init, &device)?;
    match &setup.source {
        Source::Policy { policy, held_out } => {
            let policy = (**policy).clone();
            let tasks = LabelledTasks::load(&setup.data, policy, *held_out, options.seed, setup.answer_first)?;
            let slots = TaskSlots::new(&tasks, setup.slots_examples);
            grpo::run(network, &device, &tasks, &slots, rewards, options, on_step)?;
        }
        Source::Recipe { recipe: path } => {
            let recipe = Recipe::load(path)?;
            let [folder] = setup.data.as_slice() else {
                return Err(Error::BadInput("with a recipe, --data is one folder: that of its sets".into()));
            };
            let samples = Samples::load(&recipe, folder, options.seed, network.tokenizer())?;
            let (frame, vocab_size) = (network.frame(), network.model.vocab_size());
            let lexicon = samples.lexicon(vocab_size, recipe.concepts.len());
            let frequency = samples.frequency(recipe.concepts.len());
            let examples = Examples::new(&recipe, &lexicon, network.tokenizer(), frame, vocab_size, frequency)?;
            let tasks = RecipeTasks::new(&samples, &examples, options.seed, setup.answer_first);
            // Rows of their own: in an order that has nothing to do with that of the tasks.
            let rows = RowStream::new(&samples, options.seed.wrapping_add(1));
            let slots = RecipeSlots::new(rows, &examples, options.seed, setup.slots_examples);
            grpo::run(network.clone(), &device, &tasks, &slots, rewards, options, on_step)?;
        }
    }
    Ok(())
}
