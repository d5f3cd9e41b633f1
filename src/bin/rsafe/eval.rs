pub struct EvalArgs;
