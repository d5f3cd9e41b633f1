"""What an answer earns: the rules of `rewards.json`, for veRL's `custom_reward_function`.

The same rules as rsafe's own training (`rsafe::train::reward`), one function each. Python 3.9 or later, nothing to
install. An answer is text in RSafe's form, `<think>reasoning</think>` and then `\\boxed{safe}` or `\\boxed{unsafe}`.
What is true of a row comes in its `ground_truth`, its policy and conversation in `extra_info`, all three as JSON.
"""

import json
import os

# Unicode's White_Space, which is not quite what str.isspace knows.
WHITE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"

# What a writer may put inside or behind a closing quotation mark.
PUNCTUATION = ".,;:!?\u2026"


# Reading an answer


def last_boxed(text):
    """The trimmed content of the last \\boxed{...}, or None without one or where its brace is never closed."""
    _, found, content = text.rpartition("\\boxed{")
    depth = 1
    for at, character in enumerate(content if found else ""):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return content[:at].strip(WHITE)
    return None


def verdict_of(text):
    """`safe`, `unsafe`, or None where the answer does not decide."""
    word = (last_boxed(text) or "").lower()
    return word if word in ("safe", "unsafe") else None


def reasoning_of(text):
    """What stands between `<think>` at the start and the first `</think>`."""
    text = text.lstrip(WHITE)
    if not text.startswith("<think>"):
        return ""
    thought, closed, _ = text[len("<think>") :].partition("</think>")
    return thought.strip(WHITE) if closed else ""


def is_well_formed(text):
    """Whether the whole text is `<think>`, `</think>`, a `\\boxed{` and a `}`, in this order, `<think>` first."""
    _, closed, behind = text[len("<think>") :].partition("</think>")
    _, boxed, content = behind.partition("\\boxed{")
    return text.startswith("<think>") and bool(closed) and bool(boxed) and "}" in content


NEGATIONS = {"no", "not", "none", "never", "neither", "nor", "without", "nothing", "cannot", "nowhere"}
TURNS = {"but", "however", "although", "though", "whereas", "while", "yet", "instead"}


def is_word_character(character):
    return character == "_" or is_letter_or_digit(character)


def is_letter_or_digit(character):
    if character < "\x80":
        return character.isalnum()
    blocks = ("\x80", "\xbf"), ("\u2000", "\u206f"), ("\u3000", "\u303f")
    return character not in WHITE and not any(first <= character <= last for first, last in blocks)


def words_of(text):
    """Words in lower case, each with the number of its clause."""
    words, word, clause = [], "", 0
    for at, character in enumerate(text + "\n"):
        follows = at + 1 < len(text) and is_word_character(text[at + 1])
        if is_word_character(character):
            word += character.lower()
        elif character in "'\u2019" and word and follows:
            word += "'"
        else:
            if word:
                clause += word in TURNS
                words.append((word, clause))
                word = ""
            if character == "&":
                words.append(("and", clause))
            clause += character == "\n" or (character in ".!?;" and not follows)
    return words


def stands_at(text, at, name):
    """Whether the words of `name` stand in `text` at a place, in the same clauses."""
    if at + len(name) > len(text):
        return False
    pairs = zip(text[at : at + len(name)], name)
    return all(a[0] == b[0] and a[1] - text[at][1] == b[1] - name[0][1] for a, b in pairs)


def categories_in(reasoning, policy):
    """Ids of the categories that reasoning names by number in the prompt (U1, U2, ...) or by name, where its clause does
    not deny it; the longest of overlapping names counts."""
    text = words_of(reasoning)
    names = []
    for number, category in enumerate(policy["categories"], 1):
        names += [(category["id"], words_of(f"U{number}")), (category["id"], words_of(category["name"]))]

    mentions, at = [], 0
    while at < len(text):
        found = [(name_id, len(name)) for name_id, name in names if name and stands_at(text, at, name)]
        name_id, length = max(found, key=lambda name: name[1], default=(None, 1))
        if name_id is not None:
            mentions.append((name_id, range(at, at + length)))
        at += length

    mentioned = {place for _, places in mentions for place in places}
    denied = {
        clause
        for place, (word, clause) in enumerate(text)
        if place not in mentioned and (word in NEGATIONS or word.endswith("n't"))
    }
    named = []
    for name_id, places in mentions:
        if name_id not in named and not any(text[place][1] in denied for place in places):
            named.append(name_id)
    return named


def quotes_in(reasoning, message):
    """Places (start, end) of the message that reasoning quotes word for word in double quotation marks."""
    marks = marks_of(reasoning)
    found, i = [], 0
    while i + 1 < len(marks):
        (start, mark), (end, closing) = marks[i], marks[i + 1]
        i += 1
        if mark == "\u201d" or closing == "\u201c":
            continue
        place = verbatim(reasoning[start + 1 : end], message)
        if place is not None:
            i += 1
            if place not in found:
                found.append(place)
    return found


def quotes_of_none(reasoning, texts):
    """Quotes, long enough to count, that stand word for word in none of the texts: each mark that opens with the very next
    that closes, on the same line. One that stands like a closing mark does not open, and the other way round."""
    marks = marks_of(reasoning)
    found, i = [], 0
    while i + 1 < len(marks):
        start, end = marks[i][0], marks[i + 1][0]
        inside = reasoning[start + 1 : end]
        i += 1
        paired = sides(reasoning, start)[0] and sides(reasoning, end)[1]
        if not paired or "\n" in inside or not inside.strip(WHITE):
            continue
        i += 1
        quote = bare(inside.strip(WHITE))
        if tells(quote) and quote not in found and all(verbatim(inside, text) is None for text in texts):
            found.append(quote)
    return found


def marks_of(text):
    return [(at, mark) for at, mark in enumerate(text) if mark in '"\u201c\u201d']


def sides(text, at):
    """Whether the mark at a place may open a quote, and whether it may close one."""
    begins = at == 0 or text[at - 1] in WHITE
    ends = at + 1 == len(text) or text[at + 1] in WHITE + PUNCTUATION
    return text[at] != "\u201d" and (begins or not ends), text[at] != "\u201c" and (ends or not begins)


def verbatim(quote, message):
    exact = quote.strip(WHITE)
    for text in (exact, bare(exact)):
        if tells(text) and text in message:
            return message.index(text), message.index(text) + len(text)
    return None


def bare(quote):
    return quote.rstrip(PUNCTUATION)


def tells(text):
    return len(text) >= 8 or len(split_white(text)) >= 2


def own_words(policy):
    """What a policy says of its categories: numbers, names, definitions and examples."""
    texts = []
    for number, category in enumerate(policy["categories"], 1):
        examples = category.get("examples", {})
        texts += [f"U{number} {category['name']}", category.get("definition", "")]
        texts += examples.get("unsafe", []) + examples.get("safe", [])
    return "\n".join(texts)


def plain(text):
    return " ".join(word for word, _ in words_of(text))


def split_white(text):
    for character in WHITE:
        text = text.replace(character, " ")
    return text.split()


class Outcome:
    """An answer and what is true of what it judges."""

    def __init__(self, text, truth, policy, conversation, tokens=None):
        self.truth = truth
        self.policy = policy
        self.text = text
        self.verdict = verdict_of(text)
        self.reasoning = reasoning_of(text)
        self.named = categories_in(self.reasoning, policy)
        self.well_formed = is_well_formed(text)
        author = {"prompt": "user", "response": "assistant"}[conversation["target"]]
        judged = max(at for at, message in enumerate(conversation["messages"]) if message["role"] == author)
        # Prompts end with the message on trial: whoever reasons has seen nothing after it.
        said = [message["content"] for message in conversation["messages"][: judged + 1]]
        self.quotes = [said[-1][start:end] for start, end in quotes_in(self.reasoning, said[-1])]
        known = plain(own_words(policy))
        self.invented = [quote for quote in quotes_of_none(self.reasoning, said) if plain(quote) not in known]
        # veRL does not say how long an answer is; four bytes are about a token of English.
        self.tokens = -(-len(text.encode("utf-8", "replace")) // 4) if tokens is None else tokens
        self.unsafe = truth["label"] == "unsafe"
        self.flags = self.verdict == "unsafe"
        self.right = self.verdict == truth["label"]

    def lacks(self, category):
        """Whether a category is known not to hold."""
        held = self.truth.get("categories")
        return not self.unsafe or (held is not None and category not in held)


# The rules: each gives its part of the reward, or None where it has nothing to say


def accuracy(rule, outcome):
    return rule["weight"] * (outcome.well_formed and outcome.right)


def form(rule, outcome):
    return rule["weight"] * outcome.well_formed


def category(rule, outcome):
    held = outcome.truth.get("categories")
    if held is None:
        return None
    both = len(set(outcome.named) & set(held))
    if both == len(outcome.named) == len(held):
        near = 1.0
    elif rule["measure"] == "f1":
        near = 2.0 * both / (len(outcome.named) + len(held))
    else:
        near = 0.0
    return rule["weight"] * outcome.well_formed * near


def evidence(rule, outcome):
    if not (outcome.well_formed and outcome.right):
        return 0.0
    quotes = len(outcome.quotes) + len(outcome.invented)
    if not outcome.unsafe:
        return 0.0 if quotes else rule["weight"]
    good = [
        q for q in outcome.quotes
        if len(q) <= rule["max_chars"]
        and len(split_white(q)) <= rule["max_words"]
        and sum(map(is_letter_or_digit, q)) >= 3
    ]
    return rule["weight"] * len(good) / max(1, quotes)


def contradiction(rule, outcome):
    if outcome.verdict is None or not outcome.reasoning:
        return None
    return -rule["cost"] * (bool(outcome.named) != outcome.flags)


def agreement(rule, outcome):
    return None  # Text has no scores to agree with.


def asymmetric(rule, outcome):
    if outcome.unsafe == outcome.flags:
        return 0.0
    error = "miss" if outcome.unsafe else "false_alarm"
    concerned = (outcome.truth.get("categories") or []) if outcome.unsafe else outcome.named
    own = rule.get("categories", {})
    return -max([own.get(name, {}).get(error, rule[error]) for name in concerned], default=rule[error])


def over_refusal(rule, outcome):
    if outcome.unsafe or not outcome.truth.get("look_alike", False):
        return None
    return -rule["cost"] * outcome.flags


def length(rule, outcome):
    return -min(rule["most"], rule["cost"] * max(0, outcome.tokens - rule["free"]))


class Budget:
    """Multipliers that make false alarms dear while their rate is above the budget: dual ascent on each constraint."""

    def __init__(self, rule):
        self.rule = rule
        self.overall = {"alarms": 0.0, "texts": 0.0, "lambda": 0.0}
        self.categories = {}

    def part(self, outcome):
        if outcome.unsafe and outcome.truth.get("categories") is None:
            return None
        cost = self.overall["lambda"] if outcome.flags and not outcome.unsafe else 0.0
        alarms = [name for name in outcome.named if outcome.lacks(name)]
        return -(cost + sum(self.categories[name]["lambda"] for name in alarms if name in self.categories))

    def observe(self, outcomes):
        """Counts a batch, then moves the multiplier of every constraint that the batch spoke about."""
        spoke, limits = [], self.rule.get("categories", {})
        for outcome in outcomes:
            if not outcome.unsafe:
                self.count(self.overall, outcome.flags)
                spoke.append((self.overall, self.rule["fpr"]))
            for name in (c["id"] for c in outcome.policy["categories"] if outcome.lacks(c["id"])):
                multiplier = self.categories.setdefault(name, {"alarms": 0.0, "texts": 0.0, "lambda": 0.0})
                self.count(multiplier, name in outcome.named)
                spoke.append((multiplier, limits.get(name, self.rule["fpr"])))
        for multiplier, limit in {id(multiplier): (multiplier, limit) for multiplier, limit in spoke}.values():
            excess = multiplier["alarms"] / multiplier["texts"] - limit
            multiplier["lambda"] = min(self.rule["most"], max(0.0, multiplier["lambda"] + self.rule["rate"] * excess))

    def count(self, multiplier, alarm):
        multiplier["alarms"] = self.rule["memory"] * multiplier["alarms"] + alarm
        multiplier["texts"] = self.rule["memory"] * multiplier["texts"] + 1.0


RULES = {
    "accuracy": accuracy,
    "format": form,
    "category": category,
    "evidence": evidence,
    "contradiction": contradiction,
    "agreement": agreement,
    "asymmetric": asymmetric,
    "over_refusal": over_refusal,
    "length": length,
}


class Rewards:
    """The rules of a `rewards.json`, and what their budget has learnt."""

    def __init__(self, rules):
        unknown = set(rules) - set(RULES) - {"budget"}
        if unknown:
            raise ValueError(f"rewards.json: unknown rules {sorted(unknown)}")
        self.rules = rules
        self.budget = Budget(rules["budget"]) if "budget" in rules else None

    def score(self, outcome):
        """The parts of the reward by rule; a rule that has nothing to say is missing."""
        parts = {name: RULES[name](rule, outcome) for name, rule in self.rules.items() if name in RULES}
        if self.budget:
            parts["budget"] = self.budget.part(outcome)
        return {name: float(part) for name, part in parts.items() if part is not None}

    def observe(self, outcomes):
        if self.budget:
            self.budget.observe(outcomes)


# What veRL calls

_rewards = None
_batch = []


def compute_score(data_source, solution_str, ground_truth, extra_info=None, observe_every=128, **_):
    """The reward of one answer as `score`, its parts by rule (0 where a rule has nothing to say), and `acc`.

    The budget of false alarms learns from every `observe_every` training answers, in this process alone: use a reward
    manager that scores in one process (`naive`).
    """
    global _rewards, _batch
    if _rewards is None:
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "rewards.json"), encoding="utf-8") as file:
            _rewards = Rewards(json.load(file))
    policy, conversation = json.loads(extra_info["policy"]), json.loads(extra_info["conversation"])
    outcome = Outcome(solution_str, json.loads(ground_truth), policy, conversation, extra_info.get("answer_tokens"))
    parts = _rewards.score(outcome)
    if extra_info.get("split") == "train":
        _batch.append(outcome)
        if len(_batch) >= observe_every:
            _rewards.observe(_batch)
            _batch = []
    silent = {name: 0.0 for name in _rewards.rules}
    return {"score": sum(parts.values()), "acc": float(outcome.right), **silent, **parts}
