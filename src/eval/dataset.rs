//! Labelled rows in the JSONL form of the project.
