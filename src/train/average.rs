//! Averaged weights: runs that begin at the same weights end near each other, and the mean of their ends is often better than
//! each ("Model soups", Wortsman et al., 2022, arXiv 2203.05482).

use std::fs;
use std::path::{Path, PathBuf};

use super::checkpoint::{read_tensors, write_tensors};
use crate::error::{Error, Result};
use crate::mini::network::training::NamedTensor;

const WEIGHTS: &str = "model.safetensors";
/// What a run writes beside its weights, the same for all runs that begin at the same ones.
const BESIDE: [&str; 2] = ["config.json", "tokenizer.json"];

/// Writes the mean of what the runs of rsafe-mini in `folders` wrote to `out`, as a run would: each tensor is
/// Σ wᵢ·tensorᵢ / Σ wᵢ, the sum taken in f64.
///
/// # Errors
/// [`Error::BadInput`] for fewer than two folders, or weights that are not one positive number for each;
/// [`Error::BadModel`] if the runs' tensors differ in name, shape or order of their axes; [`Error::Io`].
pub fn average(folders: &[PathBuf], weights: &[f64], out: &Path) -> Result<()> {
    let usable = |weight: &f64| weight.is_finite() && *weight > 0.0;
    if folders.len() < 2 || weights.len() != folders.len() || !weights.iter().all(usable) {
        return Err(Error::BadInput(format!(
            "expected two runs or more and a positive weight for each, found {} runs and the weights {weights:?}",
            folders.len()
        )));
    }
    let whole: f64 = weights.iter().sum();
    let mut sum: Vec<(String, Vec<usize>, Vec<f64>)> = Vec::new();
    for (folder, weight) in folders.iter().zip(weights) {
        let mut tensors = read_tensors(&folder.join(WEIGHTS))?;
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        if sum.is_empty() {
            sum = tensors.iter().map(|(name, shape, of)| (name.clone(), shape.clone(), vec![0.0; of.len()])).collect();
        }
        let alike = sum.len() == tensors.len() && sum.iter().zip(&tensors).all(|(a, b)| (&a.0, &a.1) == (&b.0, &b.1));
        if !alike {
            return Err(Error::BadModel(format!(
                "{}: expected the tensors of {}, found others; only runs that begin at the same weights have a mean",
                folder.display(),
                folders[0].display()
            )));
        }
        for ((.., sum), (.., values)) in sum.iter_mut().zip(&tensors) {
            sum.iter_mut().zip(values).for_each(|(sum, &value)| *sum += weight / whole * f64::from(value));
        }
    }
    fs::create_dir_all(out).map_err(Error::io(out))?;
    for file in BESIDE {
        let bytes = fs::read(folders[0].join(file)).map_err(Error::io(folders[0].join(file)))?;
        fs::write(out.join(file), bytes).map_err(Error::io(out.join(file)))?;
    }
    let narrowed = |(name, shape, values): (String, Vec<usize>, Vec<f64>)| -> NamedTensor {
        (name, shape, values.into_iter().map(|value| value as f32).collect())
    };
    write_tensors(&out.join(WEIGHTS), &sum.into_iter().map(narrowed).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(folder: &Path, name: &str, tensors: &[NamedTensor]) -> PathBuf {
        let run = folder.join(name);
        fs::create_dir(&run).unwrap();
        BESIDE.iter().for_each(|file| fs::write(run.join(file), name).unwrap());
        write_tensors(&run.join(WEIGHTS), tensors).unwrap();
        run
    }

    #[test]
    fn every_tensor_is_the_weighted_mean() {
        let folder = tempfile::tempdir().unwrap();
        let tensors = |a: f32, b: f32| -> Vec<NamedTensor> {
            vec![("a".into(), vec![2], vec![a, 1.0]), ("b".into(), vec![1, 1], vec![b])]
        };
        let runs = [run(folder.path(), "one", &tensors(1.0, -4.0)), run(folder.path(), "two", &tensors(5.0, 8.0))];
        let out = folder.path().join("mean");
        average(&runs, &[3.0, 1.0], &out).unwrap();
        let mut mean = read_tensors(&out.join(WEIGHTS)).unwrap();
        mean.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(mean, tensors(2.0, -1.0));
        assert_eq!(fs::read_to_string(out.join("config.json")).unwrap(), "one");
    }

    #[test]
    fn what_has_no_mean_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let one = run(folder.path(), "one", &[("a".into(), vec![1], vec![1.0])]);
        let two = run(folder.path(), "two", &[("a".into(), vec![1, 1], vec![1.0])]);
        let code = |runs: &[&PathBuf], weights: &[f64]| {
            let runs: Vec<PathBuf> = runs.iter().map(|&run| run.clone()).collect();
            average(&runs, weights, &folder.path().join("mean")).unwrap_err().code()
        };
        assert_eq!(code(&[&one, &two], &[1.0, 1.0]), "bad_model");
        assert_eq!(code(&[&one], &[1.0]), "bad_input");
        assert_eq!(code(&[&one, &one], &[1.0]), "bad_input");
        assert_eq!(code(&[&one, &one], &[1.0, 0.0]), "bad_input");
        assert!(!folder.path().join("mean").exists(), "nothing is written");
    }
}
