//! How a decoder is tuned, and where a model trains: what the commands that align have in common.

use burn::tensor::Device;
use rsafe::Result;
use rsafe::bundle::Checkpoint;
use rsafe::model::decoder::training::{LoraOptions, TARGETS};
use rsafe::prompt::Template;
use rsafe::train::rl::Setup;
use rsafe::train::rl::decoder::{DecoderNetwork, DecoderOptions};

use crate::convert::template;
use crate::output;

#[derive(clap::Args)]
#[command(next_help_heading = "Decoders (Qwen2, Qwen3, Llama)")]
pub struct DecoderArgs {
    /// The prompt and the form of the answers; guessed from the checkpoint without this
    #[arg(long, value_name = "TEMPLATE", value_parser = template())]
    template: Option<Template>,
    /// The longest reasoning, in tokens
    #[arg(long, value_name = "N", default_value_t = DecoderOptions::default().reasoning_tokens)]
    reasoning_tokens: usize,
    /// Rank of the low-rank adapters that are trained beside frozen weights; 0 trains every weight
    #[arg(long, value_name = "RANK", default_value_t = LoraOptions::default().rank)]
    lora_rank: usize,
    /// The adapters count ALPHA / RANK
    #[arg(long, value_name = "ALPHA", default_value_t = LoraOptions::default().alpha)]
    lora_alpha: f32,
    /// The projections that get an adapter, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_values_t = TARGETS.map(String::from))]
    lora_targets: Vec<String>,
    /// Tokens of a prompt with some of its answers that are differentiated together; memory grows with it
    #[arg(long, value_name = "N", default_value_t = DecoderOptions::default().pack_tokens)]
    pack_tokens: usize,
    /// Where to train: cpu; wgpu (Vulkan, Metal or DirectX 12) in a build with the feature `webgpu`, cuda in one with `cuda`
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: DeviceName,
}

impl DecoderArgs {
    /// `seed` decides what adapters begin with. What of a decoder is left out is told.
    pub fn apply(self, setup: &mut Setup, seed: u64) -> Result<()> {
        setup.decoder = DecoderOptions {
            template: self.template,
            reasoning_tokens: self.reasoning_tokens,
            lora: (self.lora_rank > 0).then_some(LoraOptions {
                rank: self.lora_rank,
                alpha: self.lora_alpha,
                targets: self.lora_targets,
                seed,
            }),
            pack_tokens: self.pack_tokens,
        };
        setup.device = self.device.device();
        if DecoderNetwork::reads(&setup.init) {
            Checkpoint::open(&setup.init)?.warnings()?.iter().for_each(|told| output::warning(told));
        }
        Ok(())
    }
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum DeviceName {
    Cpu,
    #[cfg(feature = "webgpu")]
    Wgpu,
    #[cfg(feature = "cuda")]
    Cuda,
}

impl DeviceName {
    fn device(self) -> Device {
        match self {
            DeviceName::Cpu => Device::flex(),
            #[cfg(feature = "webgpu")]
            DeviceName::Wgpu => Device::wgpu(Default::default()),
            #[cfg(feature = "cuda")]
            DeviceName::Cuda => Device::cuda(0),
        }
    }
}
