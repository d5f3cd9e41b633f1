"""What the exported `reward.py` says of the cases of `rewards.json`: how it reads each answer, and what it gives.

    python3 check_rewards.py FOLDER CASES

FOLDER holds a folder for each set of rewards, with reward.py and rewards.json as `rsafe train export` writes them. Each
case loads the module anew and calls it, as veRL does. The test `rewards` runs this and compares.
"""

import importlib.util
import json
import sys

folder, cases = sys.argv[1:]

with open(cases, encoding="utf-8") as file:
    golden = json.load(file)


def load(name):
    spec = importlib.util.spec_from_file_location("custom_module", f"{folder}/{name}/reward.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


answers = []
for case in golden["cases"]:
    reward = load(case["rewards"])
    truth, policy = golden["truths"][case["truth"]], golden["policies"][case["policy"]]
    conversation = golden["conversations"][case["conversation"]]

    def score(text, split):
        extra_info = {
            "split": split,
            "policy": json.dumps(policy),
            "conversation": json.dumps(conversation),
            "answer_tokens": case["tokens"],
        }
        return reward.compute_score("golden", text, json.dumps(truth), extra_info, observe_every=1)

    for text in case.get("observed", []):
        score(text, "train")
    outcome = reward.Outcome(case["answer"], truth, policy, conversation)
    answers.append({
        "verdict": outcome.verdict,
        "categories": outcome.named,
        "quotes": outcome.quotes,
        "invented": len(outcome.invented),
        "well_formed": outcome.well_formed,
        "parts": score(case["answer"], "validation"),
    })
json.dump(answers, sys.stdout)
