//! What is labelled: rows of data sets, owners' policies with their messages, and the recipe that says what the sets mean.
//! Both measuring and training read it.

pub mod owners;
pub mod recipe;
pub mod rows;
