"""What the exported `reward.py` says of the cases of `rewards.json`: a list of verdict, categories, quotes, form and parts.

    python3 check_rewards.py FOLDER CASES

FOLDER holds reward.py as `rsafe train export` writes it. The test `rewards` runs this and compares.
"""

import json
import sys

folder, cases = sys.argv[1:]
sys.path.insert(0, folder)
import reward  # noqa: E402

with open(cases, encoding="utf-8") as file:
    golden = json.load(file)

answers = []
for case in golden["cases"]:
    truth, policy = golden["truths"][case["truth"]], golden["policies"][case["policy"]]
    conversation = golden["conversations"][case["conversation"]]
    with open(f"{folder}/{case['rewards']}.json", encoding="utf-8") as file:
        rewards = reward.Rewards(json.load(file))
    for text in case.get("observed", []):
        rewards.observe([reward.Outcome(text, truth, policy, conversation, case["tokens"])])
    outcome = reward.Outcome(case["answer"], truth, policy, conversation, case["tokens"])
    answers.append({
        "verdict": outcome.verdict,
        "categories": outcome.named,
        "quotes": outcome.quotes,
        "well_formed": outcome.well_formed,
        "parts": rewards.score(outcome),
    })
json.dump(answers, sys.stdout)
