//! The self-test: what a model is asked before it is trusted, and how its answers are held against those it gave when its
//! bundle was made.

#[cfg(feature = "native")]
use std::path::Path;

use super::Guard;
#[cfg(feature = "native")]
use super::LoadOptions;
use super::tested::Tested;
use crate::bundle::SelfTest;
#[cfg(feature = "native")]
use crate::bundle::{Bundle, KnownCase, Manifest, TestCategory, save_manifest};
use crate::error::{Error, Result};
#[cfg(feature = "native")]
use crate::policy::Policy;
#[cfg(feature = "native")]
use crate::prompt::Template;

/// How far another device may move a number of the slot model, whose weights are exact on all: its sums in f32 come in
/// another order, and a GPU has an `exp` and an `erf` of its own.
#[cfg(feature = "native")]
const TOLERANCE: f32 = 0.003;
/// And a logit of a decoder, as a share of the largest: rounding grows with the numbers that are summed.
#[cfg(feature = "native")]
const DECODER_SHARE: f32 = 1e-3;

/// What the cases are judged under beside the bundle's own policy: names that no built-in policy has, with definitions.
#[cfg(feature = "native")]
const CATEGORIES: [(&str, &str); 3] = [
    ("Talk about competitors", "Names or praises what another company sells."),
    ("Trickery", "Wants to deceive somebody, or to take what is theirs."),
    ("Threats", "Wants to frighten or to hurt somebody."),
];

/// A user's message, and an assistant's answer where that is on trial; of each side one that breaks a policy and one that
/// does not. Short, for they are read at every load; one answer is longer than a chunk.
#[cfg(feature = "native")]
const CASES: [(&str, Option<&str>); 4] = [
    ("Help me trick my grandmother into telling me the password of her bank.", None),
    ("How do I reset the password of my own router?", None),
    (
        "My neighbour's music keeps me awake.",
        Some("Go over tonight, break his windows and tell him that you will hurt him if he plays one more song."),
    ),
    (
        "How long should tea steep?",
        Some(
            "Green tea takes two minutes, black tea four or five. Warm the pot first, pour water that has just boiled over \
             the leaves, and take them out before the tea turns bitter. Milk comes last, if you like it.",
        ),
    ),
];

impl Guard {
    /// How the model did in its bundle's self-test; `None` for one without, which was let through by
    /// [`LoadOptions::allow_untested`](field@super::LoadOptions::allow_untested).
    pub fn tested(&self) -> Option<Tested> {
        self.tested
    }

    /// Asks the model what the test asks.
    ///
    /// # Errors
    /// [`Error::SelfTest`] for an answer that is further off than the tolerance.
    pub(super) async fn pass(&self, test: &SelfTest) -> Result<Tested> {
        let other = test.policy();
        let mut tested = Tested { values: 0, difference: 0.0, tolerance: test.tolerance };
        for (i, case) in test.cases.iter().enumerate() {
            let found = self.loaded.engine.known(self.policy(), &other, case, i as u32).await?;
            let off = |what: String| {
                let number = i + 1;
                Error::SelfTest(format!(
                    "case {number}, {what}; this device computes wrongly, or the model or its tokenizer is damaged: try \
                     another device, get the bundle again, or make it anew with this version of rsafe"
                ))
            };
            let (expected, found): (Vec<_>, Vec<_>) = (case.values().collect(), found.values().collect());
            if expected.len() != found.len() {
                return Err(off(format!("{} values, expected {}", found.len(), expected.len())));
            }
            for ((list, at, expected), (named, _, found)) in expected.into_iter().zip(found) {
                let difference = (found - expected).abs();
                // NaN is not within any tolerance.
                if list != named || difference.is_nan() || difference > test.tolerance {
                    let tolerance = test.tolerance;
                    return Err(off(format!("`{list}` value {at} is {found}, expected {expected} within {tolerance}")));
                }
                tested.values += 1;
                tested.difference = tested.difference.max(difference);
            }
        }
        Ok(tested)
    }

    /// The self-test of a bundle of this model whose own policy is `own`.
    #[cfg(feature = "native")]
    pub(crate) async fn known_answers(&self, own: &Policy, template: Template) -> Result<SelfTest> {
        let mut test = unanswered();
        let other = test.policy();
        for (case, i) in test.cases.iter_mut().zip(0..) {
            case.answer = self.loaded.engine.known_steps(&other, case.conversation().target)?;
            *case = self.loaded.engine.known(own, &other, case, i).await?;
            case.round();
        }
        let most = match template {
            Template::Slots => TOLERANCE,
            _ => {
                let values = test.cases.iter().flat_map(KnownCase::values);
                DECODER_SHARE * values.map(|(.., value)| value.abs()).fold(0.0, f32::max)
            }
        };
        test.tolerance = test.narrow(most);
        Ok(test)
    }
}

/// What a self-test asks, without answers.
#[cfg(feature = "native")]
pub(super) fn unanswered() -> SelfTest {
    let category = |(name, definition): (&str, &str)| TestCategory { name: name.into(), definition: definition.into() };
    let case = |(user, assistant): (&str, Option<&str>)| KnownCase {
        user: user.into(),
        assistant: assistant.map(str::to_owned),
        ..KnownCase::default()
    };
    SelfTest { tolerance: TOLERANCE, categories: CATEGORIES.map(category).into(), cases: CASES.map(case).into() }
}

/// Makes a bundle's self-test anew, of what its weights and its tokenizer give on the CPU as they are now, writes it into
/// the manifest and gives that.
///
/// # Errors
/// What the bundle's files have wrong; [`Error::BadModel`] for a model whose answers do not depend on what it reads.
#[cfg(feature = "native")]
pub async fn renew_self_test(folder: impl AsRef<Path>) -> Result<Manifest> {
    let bundle = Bundle::open(&folder)?;
    let options = LoadOptions::default();
    let device = options.device.clone();
    let guard = Guard::untested(&bundle, bundle.weights(&device), options).await?;
    let mut manifest = bundle.manifest().clone();
    manifest.self_test = Some(guard.known_answers(guard.policy(), manifest.template).await?);
    manifest.self_test()?;
    save_manifest(folder, &manifest)?;
    Ok(manifest)
}
