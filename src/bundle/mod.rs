//! A model as files: manifest, tokenizer, weights.

mod weights;

pub use weights::Weights;

/// A model's manifest and where its files are.
pub struct Bundle {}

impl Bundle {
    /// rsafe-mini, compiled into the library.
    #[cfg(feature = "embedded")]
    pub fn embedded() -> Self {
        todo!()
    }

    /// A bundle's folder, as `rsafe convert` writes it.
    #[cfg(feature = "native")]
    pub fn open(_folder: impl AsRef<std::path::Path>) -> crate::Result<Self> {
        todo!()
    }
}
