//! Messages that were labelled under somebody's own policy, as training sees them.

use std::path::Path;

use indexmap::IndexMap;

use super::sample::{Asked, Sample};
use crate::data::owners::{Owner, owners};
use crate::data::recipe::{Facts, Origin, OwnerSource, Recipe, data_file};
use crate::data::rows::{Label, Rows};
use crate::error::Result;
use crate::policy::Category;
use crate::tokenizer::{TokenId, Tokenizer};

/// The samples of a source of owners' messages, those that are asked about the same categories together; none of an owner that
/// is held out.
///
/// # Errors
/// What the files or their rows have wrong.
pub fn samples(
    recipe: &Recipe,
    source: &OwnerSource,
    folder: &Path,
    tokenizer: &Tokenizer,
) -> Result<Vec<Vec<Sample>>> {
    match &source.origin {
        Origin::Own(_) => {
            let trained = owners(&recipe.own().join("policies"))?.into_iter().filter(|owner| !owner.is_held_out());
            trained.map(|owner| of_owner(owner, tokenizer)).collect()
        }
        Origin::Set(name) => of_set(recipe, name, folder, tokenizer),
    }
}

fn of_owner(owner: Owner, tokenizer: &Tokenizer) -> Result<Vec<Sample>> {
    let words = |category: &Category| asked(tokenizer, &category.name, &category.definition, None);
    let categories: Vec<Asked> = owner.policy.categories.iter().map(words).collect::<Result<_>>()?;
    let mut samples = Vec::new();
    for row in owner.rows {
        let target = |id: &String| match row.categories.contains(id) {
            false => 0.0,
            true if row.label == Label::Borderline => 0.5,
            true => 1.0,
        };
        let of = |(category, asked): (&Category, &Asked)| Asked { target: Some(target(&category.id)), ..asked.clone() };
        let asked = owner.policy.categories.iter().zip(&categories).map(of).collect();
        if let Some(found) = Sample::of(&row, Facts::default(), tokenizer)? {
            samples.push(Sample { asked, ..found });
        }
    }
    Ok(samples)
}

/// Rows of a set that name one rule each, by rule.
fn of_set(recipe: &Recipe, name: &str, folder: &Path, tokenizer: &Tokenizer) -> Result<Vec<Vec<Sample>>> {
    let mut rules: IndexMap<(String, String), Vec<Sample>> = IndexMap::new();
    for row in Rows::open(data_file(folder, name)?)? {
        let row = row?;
        let Some(rule) = row.policy.as_ref().filter(|_| !row.is_held_out(recipe.heldout_fraction)) else { continue };
        let target = match row.label {
            Label::Safe => 0.0,
            Label::Borderline => 0.5,
            Label::Unsafe => 1.0,
        };
        let asked = vec![asked(tokenizer, &rule.category, &rule.rule, Some(target))?];
        if let Some(found) = Sample::of(&row, Facts::default(), tokenizer)? {
            rules.entry((rule.category.clone(), rule.rule.clone())).or_default().push(Sample { asked, ..found });
        }
    }
    Ok(rules.into_values().collect())
}

fn asked(tokenizer: &Tokenizer, name: &str, definition: &str, target: Option<f32>) -> Result<Asked> {
    let ids = |text: &str| -> Result<Vec<TokenId>> { Ok(tokenizer.encode(text)?.iter().map(|span| span.id).collect()) };
    Ok(Asked { name: ids(name)?, definition: ids(definition)?, target })
}
