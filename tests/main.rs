mod grammar;
mod verdict;
