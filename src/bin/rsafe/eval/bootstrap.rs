//! How intervals are asked for.

use rsafe::eval::interval::Bootstrap;

/// How intervals are made.
#[derive(clap::Args)]
pub struct BootstrapArgs {
    /// Resamples of the rows for the 95 % intervals, always the same ones; 0: no intervals
    #[arg(long = "bootstrap", value_name = "N", default_value_t = Bootstrap::default().resamples)]
    resamples: usize,
}

impl BootstrapArgs {
    pub fn bootstrap(&self) -> Bootstrap {
        Bootstrap { resamples: self.resamples, ..Bootstrap::default() }
    }
}
