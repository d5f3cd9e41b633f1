//! `manifest.json`: what a bundle is, what it needs, and the sha256 of every other file.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::self_test::{self, SelfTest};
use crate::error::{Error, Result};
use crate::mistaken::no_json;
use crate::prompt::Template;
use crate::verdict::{Calibration, Operating, Thresholds};

/// The manifest's name in every bundle.
pub const MANIFEST: &str = "manifest.json";
/// The value of the manifest's `format` field.
pub const FORMAT: &str = "rsafe-bundle";
/// The only version so far.
pub const VERSION: u32 = 1;

/// The name of [`Scores`] beside a checkpoint's weights.
pub const SCORES: &str = "scores.json";

const MAX_MANIFEST: usize = 4 << 20;
const MAX_FILES: usize = 1024;
/// Shards are at most 64 MB as `rsafe convert` writes them; a bundle from elsewhere may have larger ones, within reason.
const MAX_FILE: u64 = 4 << 30;

/// The content of `manifest.json`. Unknown fields are errors, so that a misspelt one is never silently ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Manifest {
    /// Always [`FORMAT`].
    pub format: String,
    /// Always [`VERSION`].
    pub version: u32,
    pub name: String,
    /// As in Hugging Face's `architectures`, e.g. `Qwen2ForCausalLM`; `RsafeSlots` for rsafe-mini.
    pub architecture: String,
    /// The model's `config.json`, verbatim.
    pub config: serde_json::Value,
    /// The model's `generation_config.json`, verbatim, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<serde_json::Value>,
    /// The prompt format that the model was trained with.
    pub template: Template,
    /// The system message that the model's chat template gives to chats without one, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The languages that the model reads, as primary subtags of BCP 47, e.g. `en`: verdicts tell of texts in others.
    /// None: nothing is told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub languages: Vec<String>,
    /// The policy of a request that brings none.
    pub policy: DefaultPolicy,
    /// How the logits of category slots become scores.
    #[serde(default)]
    pub calibration: Calibration,
    #[serde(default)]
    pub thresholds: Thresholds,
    /// What thresholds do, as measured by `rsafe train calibrate`: what a strictness moves along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operating: Option<Operating>,
    pub provenance: Provenance,
    /// The file that holds the `tokenizer.json`.
    pub tokenizer: String,
    /// What the model must answer before it is trusted; a guard refuses a bundle that has none, unless its owner allows it.
    #[serde(default, deserialize_with = "self_test::read", skip_serializing_if = "Option::is_none")]
    pub self_test: Option<SelfTest>,
    /// Every file of the bundle but the manifest.
    pub files: Vec<FileEntry>,
}

/// How the logits of weights count: kept beside weights that were trained against it, so that the bundle made of them
/// decides as they were rewarded for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Scores {
    /// The policy that the thresholds take for the bundle's own.
    pub policy: DefaultPolicy,
    pub calibration: Calibration,
    pub thresholds: Thresholds,
}

/// Where the default policy comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DefaultPolicy {
    /// One of the policies compiled into rsafe, by name.
    Builtin(String),
    /// A file of the bundle.
    File(String),
}

/// Where the weights come from and under which terms.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Provenance {
    /// The checkpoint's name, address or recipe.
    pub source: String,
    /// An SPDX expression, or `unknown`.
    pub licence: String,
    /// The program and version that wrote the bundle.
    pub converted_by: String,
    /// What it was trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

/// A file of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FileEntry {
    /// A plain name: letters, digits, `.`, `_`, `-`; no folders.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// 64 lower-case hexadecimal digits.
    pub sha256: String,
}

impl Manifest {
    /// A manifest without files yet, with the default policy and thresholds.
    pub fn new(
        name: impl Into<String>,
        architecture: impl Into<String>,
        config: serde_json::Value,
        template: Template,
    ) -> Self {
        let policy = match template {
            Template::LlamaGuard3 => "mlcommons",
            Template::Slots => "general",
            Template::Rsafe | Template::Qwen3guard => "rsafe",
        };
        // rsafe-mini's vocabulary is English, whatever it is trained on.
        let languages = if template == Template::Slots { vec!["en".to_owned()] } else { Vec::new() };
        Self {
            format: FORMAT.into(),
            version: VERSION,
            name: name.into(),
            architecture: architecture.into(),
            config,
            generation: None,
            template,
            system: None,
            languages,
            policy: DefaultPolicy::Builtin(policy.into()),
            calibration: Calibration::default(),
            thresholds: Thresholds::default(),
            operating: None,
            provenance: Provenance {
                source: "unknown".into(),
                licence: "unknown".into(),
                converted_by: concat!("rsafe ", env!("CARGO_PKG_VERSION")).into(),
                data: None,
            },
            tokenizer: "tokenizer.json".into(),
            self_test: None,
            files: Vec::new(),
        }
    }

    /// Reads and checks a `manifest.json`.
    ///
    /// # Errors
    /// [`Error::BadModel`] with line and column of a syntax error or unknown field, or the field that makes no sense.
    pub fn parse(json: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
            version: u32,
        }
        if json.len() > MAX_MANIFEST {
            return Err(bad(format!("expected at most {MAX_MANIFEST} bytes but got {}", json.len())));
        }
        // Before the fields: those of another version may be unknown here, which is not what is wrong with it.
        let head: Head = serde_json::from_slice(json).map_err(|error| bad(no_json(json, &error)))?;
        if head.format != FORMAT {
            return Err(bad(format!("`format`: expected `{FORMAT}` but got `{}`", head.format)));
        }
        if head.version != VERSION {
            return Err(bad(format!(
                "`version`: this rsafe reads version {VERSION} but got {}; update rsafe or convert the model again",
                head.version
            )));
        }
        let manifest: Self = serde_json::from_slice(json).map_err(bad)?;
        manifest.validate()?;
        Ok(manifest)
    }

    /// The manifest as pretty JSON.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(bad)
    }

    /// The entry of a file.
    ///
    /// # Errors
    /// [`Error::BadModel`] if the manifest does not list it.
    pub fn file(&self, name: &str) -> Result<&FileEntry> {
        self.files.iter().find(|file| file.name == name).ok_or_else(|| bad(format!("`files` does not list `{name}`")))
    }

    /// The self-test that a model must pass.
    ///
    /// # Errors
    /// [`Error::BadModel`] if there is none, or one that says too little to count.
    pub fn self_test(&self) -> Result<&SelfTest> {
        let none = "expected known answers in logits but got none, or those of an older version";
        let found = self.self_test.as_ref().ok_or_else(|| none.to_owned());
        found.and_then(|test| test.says_enough().map(|()| test)).map_err(|what| {
            bad(format!(
                "`self_test`: {what}; nothing then tells whether the model is whole: `rsafe self-test --renew DIR` gives a \
                 bundle that you trust a new one, and `allow_untested` (`--allow-untested`) loads it as it is"
            ))
        })
    }

    /// The weight files, in order.
    pub fn shards(&self) -> impl Iterator<Item = &FileEntry> {
        self.files.iter().filter(|file| file.name.ends_with(".safetensors"))
    }

    /// Checks what the types do not say: names, sizes, hashes, ranges, and that named files are listed.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [("name", &self.name), ("architecture", &self.architecture)] {
            if value.trim().is_empty() || value.len() > 256 || value.chars().any(char::is_control) {
                return Err(bad(format!("`{field}`: expected 1 to 256 printable characters but got {value:?}")));
            }
        }
        if !self.config.is_object() {
            return Err(bad("`config`: expected the object of a config.json"));
        }
        let is_subtag = |tag: &str| (2..=8).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_lowercase());
        if let Some(tag) = self.languages.iter().find(|tag| !is_subtag(tag)) {
            return Err(bad(format!("`languages`: expected primary subtags of BCP 47 such as `en` but got {tag:?}")));
        }
        for scaling in [self.calibration.prompt, self.calibration.response] {
            if !(scaling.scale > 0.0 && scaling.scale.is_finite() && scaling.bias.is_finite()) {
                return Err(bad(format!(
                    "`calibration`: expected a scale above 0 and a finite bias but got {scaling:?}"
                )));
            }
        }
        check_thresholds(&self.thresholds)?;
        if let Some(operating) = &self.operating {
            for (field, curve) in [("own", &operating.own), ("custom", &operating.custom)] {
                curve.validate().map_err(|what| bad(format!("`operating`, `{field}`: {what}")))?;
            }
        }
        if let Some(test) = &self.self_test {
            test.validate(self.template)
                .map_err(|what| bad(format!("`self_test`: {what}; `rsafe self-test --renew` makes it anew")))?;
        }
        if self.files.len() > MAX_FILES {
            return Err(bad(format!("`files`: expected at most {MAX_FILES} entries but got {}", self.files.len())));
        }
        // Without case, because some file systems have none.
        let mut seen = HashSet::from([MANIFEST.to_owned()]);
        for file in &self.files {
            plain_name(&file.name)?;
            if !seen.insert(file.name.to_ascii_lowercase()) {
                return Err(bad(format!("`files`: `{}` is listed twice", file.name)));
            }
            if file.size > MAX_FILE {
                return Err(bad(format!("`{}`: expected at most {MAX_FILE} bytes but got {}", file.name, file.size)));
            }
            if file.sha256.len() != 64 || !file.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                return Err(bad(format!("`{}`: expected sha256 as 64 lower-case hexadecimal digits", file.name)));
            }
        }
        self.file(&self.tokenizer)?;
        if let DefaultPolicy::File(name) = &self.policy {
            self.file(name)?;
        }
        if self.shards().next().is_none() {
            return Err(bad("`files`: expected at least one `.safetensors` file"));
        }
        Ok(())
    }
}

/// Checks that thresholds are probabilities and the uncertain band is not upside down.
fn check_thresholds(thresholds: &Thresholds) -> Result<()> {
    let [low, high] = thresholds.uncertain;
    let all = [("global", thresholds.global), ("uncertain", low), ("uncertain", high)];
    let all = all.into_iter().chain(thresholds.custom.map(|value| ("custom", value)));
    let all = all.chain(thresholds.categories.iter().map(|(id, value)| (id.as_str(), *value)));
    for (field, value) in all {
        if !(0.0..=1.0).contains(&value) {
            return Err(bad(format!("`thresholds`, `{field}`: expected a number in 0..=1 but got {value}")));
        }
    }
    if low > high {
        return Err(bad(format!("`thresholds`, `uncertain`: expected [low, high] but got [{low}, {high}]")));
    }
    Ok(())
}

/// Refuses names that could leave the bundle's folder or mean something to a shell or file system.
pub(super) fn plain_name(name: &str) -> Result<()> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let first = name.as_bytes().first();
    if name.len() > 128 || !name.bytes().all(plain) || !first.is_some_and(u8::is_ascii_alphanumeric) {
        return Err(Error::BadModel(format!(
            "file name {name:?}: expected at most 128 letters, digits, `.`, `_`, `-`, the first a letter or digit"
        )));
    }
    Ok(())
}

fn bad(what: impl std::fmt::Display) -> Error {
    Error::BadModel(format!("{MANIFEST}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{OperatingCurve, OperatingPoint};

    fn example() -> Manifest {
        let mut manifest = Manifest::new("m", "Qwen2ForCausalLM", serde_json::json!({}), Template::Rsafe);
        for name in ["tokenizer.json", "model-00001.safetensors"] {
            manifest.files.push(FileEntry { name: name.into(), size: 1, sha256: "0".repeat(64) });
        }
        manifest
    }

    #[test]
    fn a_self_test_that_a_broken_model_could_pass_does_not_count() {
        type Change = fn(&mut SelfTest);
        let broken: [(&str, Change); 7] = [
            ("tolerance", |test| test.tolerance = 0.0),
            ("tolerance", |test| test.tolerance = 0.5),
            ("prompts", |test| test.cases.retain(|case| case.assistant.is_some())),
            ("responses", |test| drop(test.cases.pop())),
            ("differ", |test| test.cases[1].answer = test.cases[0].answer.clone()),
            ("differ", |test| test.cases[3].answer[0].logits = vec![1.01]),
            ("differ", |test| test.cases.push(test.cases[0].clone())),
        ];
        let mut manifest = example();
        assert!(manifest.self_test().unwrap_err().to_string().contains("none"));
        manifest.self_test = Some(self_test::sample());
        assert_eq!(manifest.self_test().unwrap(), &self_test::sample());
        for (named, break_it) in broken {
            let mut test = self_test::sample();
            break_it(&mut test);
            manifest.self_test = Some(test);
            // It is read all the same: whether an untested model is loaded is for its owner to say.
            let error = Manifest::parse(&manifest.to_json().unwrap()).unwrap().self_test().unwrap_err();
            assert_eq!(error.code(), "bad_model");
            assert!(error.to_string().contains(named), "{error} does not name {named}");
        }
    }

    #[test]
    fn a_self_test_of_probabilities_counts_as_none() {
        let mut json: serde_json::Value = serde_json::to_value(example()).unwrap();
        json["self_test"] =
            serde_json::json!({"ids": [1], "expected": [{"index": 0, "value": 0.5}], "tolerance": 0.05});
        let manifest = Manifest::parse(json.to_string().as_bytes()).unwrap();
        assert_eq!(manifest.self_test, None);
    }

    fn operating(thresholds: [f32; 2]) -> Operating {
        let point = |threshold, share| OperatingPoint { threshold, recall: share, fpr: share };
        let own = OperatingCurve(vec![point(thresholds[0], 0.25), point(thresholds[1], 0.5)]);
        Operating { own, custom: OperatingCurve::default() }
    }

    #[test]
    fn a_manifest_reads_what_it_wrote() {
        let mut manifest = example();
        manifest.thresholds.categories.insert("S1".into(), 0.25);
        manifest.languages = vec!["en".into(), "fil".into()];
        manifest.thresholds.custom = Some(0.1);
        manifest.operating = Some(operating([0.75, 0.5]));
        manifest.self_test = Some(self_test::sample());
        assert_eq!(Manifest::parse(&manifest.to_json().unwrap()).unwrap(), manifest);
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        for name in ["", ".", "..", "../x", "a/b", "a\\b", "/etc/x", ".hidden", "c:x", "a\0", "ü", &"a".repeat(129)] {
            let mut manifest = example();
            manifest.files[1].name = format!("{name}.safetensors");
            assert!(plain_name(name).is_err(), "{name:?}");
        }
        assert!(plain_name("model-00001.safetensors").is_ok());
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        type Change = fn(&mut Manifest);
        let broken: [(&str, Change); 22] = [
            ("format", |m| m.format = "zip".into()),
            ("version", |m| m.version = 2),
            ("name", |m| m.name = " ".into()),
            ("config", |m| m.config = 3.into()),
            ("languages", |m| m.languages = vec!["en".into(), "English".into()]),
            ("global", |m| m.thresholds.global = 1.5),
            ("uncertain", |m| m.thresholds.uncertain = [0.7, 0.3]),
            ("custom", |m| m.thresholds.custom = Some(2.0)),
            ("S1", |m| m.thresholds.categories.extend([("S1".into(), -0.1)])),
            ("calibration", |m| m.calibration.response.scale = 0.0),
            ("calibration", |m| m.calibration.prompt.scale = -1.0),
            ("operating", |m| m.operating = Some(operating([0.5, 0.75]))),
            ("self_test", |m| m.self_test = Some(SelfTest { categories: vec![], ..self_test::sample() })),
            ("twice", |m| m.files[1].name = "TOKENIZER.json".into()),
            ("cases", |m| {
                let cases = vec![self_test::sample().cases.remove(0); 17];
                m.self_test = Some(SelfTest { cases, ..self_test::sample() });
            }),
            ("sha256", |m| m.files[0].sha256 = "xyz".into()),
            ("sha256", |m| m.files[0].sha256 = "X".repeat(64)),
            ("bytes", |m| m.files[0].size = MAX_FILE + 1),
            ("entries", |m| m.files = vec![m.files[0].clone(); MAX_FILES + 1]),
            ("house.yaml", |m| m.policy = DefaultPolicy::File("house.yaml".into())),
            ("vocab.json", |m| m.tokenizer = "vocab.json".into()),
            (".safetensors", |m| m.files.truncate(1)),
        ];
        for (named, break_it) in broken {
            let mut manifest = example();
            break_it(&mut manifest);
            let error = Manifest::parse(&manifest.to_json().unwrap()).unwrap_err();
            assert_eq!(error.code(), "bad_model");
            assert!(error.to_string().contains(named), "{error} does not name {named}");
        }
    }

    #[test]
    fn a_manifest_beyond_every_bound_is_refused_before_it_is_read() {
        let error = Manifest::parse(&vec![b' '; MAX_MANIFEST + 1]).unwrap_err().to_string();
        assert!(error.contains("bytes"), "{error}");
    }

    #[test]
    fn an_unknown_field_is_an_error() {
        let mut json: serde_json::Value = serde_json::to_value(example()).unwrap();
        json["threshold"] = 1.into();
        let error = Manifest::parse(json.to_string().as_bytes()).unwrap_err().to_string();
        assert!(error.contains("unknown field `threshold`"), "{error}");
    }
}
