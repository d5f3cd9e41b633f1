//! From logits to the next token, on the CPU.
