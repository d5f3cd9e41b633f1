//! Which tokens may come next in an answer.
