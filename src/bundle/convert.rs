//! From a Hugging Face checkpoint to a bundle, a few rows at a time: memory holds one shard, however large the model.

use std::path::Path;

use super::checkpoint::{Checkpoint, not_in_index, read_small};
use super::manifest::{DefaultPolicy, Manifest, SCORES, Scores};
use super::shard::{Shard, TensorHeader};
use super::writer::Writer;
use crate::error::{Error, Result};
use crate::kernels::Encoding;
use crate::prompt::Template;
use crate::verdict::Thresholds;

/// How a checkpoint is converted. What is `None` is taken or guessed from the checkpoint.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConvertOptions {
    /// How matrices are stored; vectors stay f32.
    pub dtype: Encoding,
    pub template: Option<Template>,
    /// The folder's name if `None`.
    pub name: Option<String>,
    /// Where the checkpoint comes from; the folder's name if `None`.
    pub source: Option<String>,
    /// `unknown` if `None`.
    pub licence: Option<String>,
    /// What it was trained on.
    pub data: Option<String>,
    pub policy: Option<DefaultPolicy>,
    /// Write into a folder that is not empty.
    pub overwrite: bool,
}

impl Default for ConvertOptions {
    fn default() -> Self {
        Self {
            dtype: Encoding::Q8,
            template: None,
            name: None,
            source: None,
            licence: None,
            data: None,
            policy: None,
            overwrite: false,
        }
    }
}

impl ConvertOptions {
    /// See [the field](field@Self::dtype).
    pub fn dtype(mut self, dtype: Encoding) -> Self {
        self.dtype = dtype;
        self
    }

    /// The prompt format that the model was trained with.
    pub fn template(mut self, template: Template) -> Self {
        self.template = Some(template);
        self
    }

    /// What the bundle is called.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Where the checkpoint comes from.
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// An SPDX expression.
    pub fn licence(mut self, licence: impl Into<String>) -> Self {
        self.licence = Some(licence.into());
        self
    }

    /// What the checkpoint was trained on.
    pub fn data(mut self, data: impl Into<String>) -> Self {
        self.data = Some(data.into());
        self
    }

    /// The policy of a request that brings none.
    pub fn policy(mut self, policy: DefaultPolicy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// See [the field](field@Self::overwrite).
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }
}

/// A bundle that was written.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Converted {
    pub manifest: Manifest,
    /// [`Checkpoint::warnings`].
    pub warnings: Vec<String>,
}

/// Writes the checkpoint in `from` as a bundle to `to` and gives its manifest, which has no self-test yet:
/// [`renew_self_test`](crate::guard::renew_self_test) comes next. Where training left [`Scores`] beside the weights, the
/// bundle has its calibration and thresholds.
///
/// # Errors
/// [`Error::BadInput`] if `to` is not empty and overwriting was not asked for, or is `from`; [`Error::Unsupported`] if
/// the template cannot be guessed; [`Error::BadModel`] for a checkpoint that is broken or has a NaN; [`Error::Io`].
pub fn convert(from: impl AsRef<Path>, to: impl AsRef<Path>, options: &ConvertOptions) -> Result<Converted> {
    let (from, to) = (from.as_ref(), to.as_ref());
    if let (Ok(from), Ok(to)) = (from.canonicalize(), to.canonicalize())
        && from == to
    {
        return Err(Error::BadInput("a checkpoint cannot be converted into its own folder".into()));
    }
    let checkpoint = Checkpoint::open(from)?;
    let mut manifest = describe(&checkpoint, options)?;
    manifest.generation = checkpoint.generation.clone();
    manifest.system = checkpoint.system_message();
    let mut writer = Writer::create(to, options.overwrite)?;
    writer.file(&manifest.tokenizer, &checkpoint.tokenizer)?;
    let mut seen = std::collections::HashSet::new();
    let (shards, naming) = checkpoint.shards()?;
    for mut shard in shards {
        while let Some(tensor) = shard.next()? {
            if checkpoint.skips(&tensor.name) {
                shard.take(tensor.bytes)?;
            } else {
                copy(&mut shard, &tensor, &mut writer, options.dtype)?;
                seen.insert(tensor.name);
            }
        }
    }
    if let Some((name, file)) = checkpoint.promised(naming).find(|(name, _)| !seen.contains(name)) {
        return Err(not_in_index(&name, file));
    }
    Ok(Converted { manifest: writer.finish(manifest)?, warnings: checkpoint.warnings()? })
}

/// Reads, decodes and encodes one tensor row by row.
fn copy(shard: &mut Shard, tensor: &TensorHeader, writer: &mut Writer, dtype: Encoding) -> Result<()> {
    let mut out = writer.tensor(&tensor.name, &tensor.shape, dtype)?;
    shard.rows(tensor, |row| out.row(row))?;
    out.finish()
}

fn describe(checkpoint: &Checkpoint, options: &ConvertOptions) -> Result<Manifest> {
    let folder = checkpoint.folder().canonicalize().map_err(Error::io(checkpoint.folder()))?;
    let folder = folder.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned());
    let name = options.name.clone().unwrap_or_else(|| folder.clone());
    let template = match options.template {
        Some(template) => template,
        None => checkpoint.guess_template(&name)?,
    };
    let mut manifest = Manifest::new(name, checkpoint.architecture()?, checkpoint.config.clone(), template);
    if let Some(policy) = &options.policy {
        manifest.policy = policy.clone();
    }
    manifest.provenance.source = options.source.clone().unwrap_or(folder);
    if let Some(licence) = &options.licence {
        manifest.provenance.licence = licence.clone();
    }
    manifest.provenance.data = options.data.clone();
    if let Some(scores) = scores(checkpoint.folder())? {
        manifest.calibration = scores.calibration;
        manifest.thresholds = match scores.policy == manifest.policy {
            true => scores.thresholds,
            // What is the bundle's own now was not when the weights were trained.
            false => Thresholds {
                global: scores.thresholds.custom.unwrap_or(scores.thresholds.global),
                categories: Default::default(),
                ..scores.thresholds
            },
        };
    }
    Ok(manifest)
}

fn scores(folder: &Path) -> Result<Option<Scores>> {
    let path = folder.join(SCORES);
    match read_small(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Error::BadModel(format!("{}: {error}", path.display()))),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
