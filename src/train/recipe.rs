//! stub
use crate::Result; use crate::eval::dataset::Row;
pub struct Concept { pub names: Vec<String>, pub held_out_names: Vec<String>, pub definitions: Vec<String> }
pub struct Source {}
impl Source { pub fn rows_per_epoch(&self, _n: usize) -> usize { todo!() } }
pub struct Recipe {}
pub struct Facts { pub positive: Vec<usize>, pub general_unsafe: bool }
impl Facts { pub fn negative(&self, _c: usize) -> bool { todo!() } }
impl Recipe {
  pub fn load(_p: &std::path::Path) -> Result<Self> { todo!() }
  pub fn concepts(&self) -> &[Concept] { todo!() }
  pub fn sources(&self) -> impl Iterator<Item=(&str, &Source)> { std::iter::empty() }
  pub fn facts(&self, _s: &str, _r: &Row) -> Facts { todo!() }
  pub fn overlap(&self, _a: usize, _b: usize) -> bool { todo!() }
  pub fn covered(&self, _a: usize) -> &[usize] { todo!() }
  pub fn general(&self) -> Vec<usize> { todo!() }
  pub fn held_out_fraction(&self) -> f64 { todo!() }
}
