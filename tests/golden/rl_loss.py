"""Writes rl_loss.json: policy and preference losses with their gradients by PyTorch, for tests/rl_loss.rs.

    python -m venv v && v/bin/pip install torch numpy && v/bin/python tests/golden/rl_loss.py

Everything is computed in float64 on padded batches `[sequences, time]` with masks; what is written is flat, so that
the test also shows that padding never counts. Padded places hold large random numbers.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F

TIME = 6
VOCABULARY = 7


def numbers(tensor):
    return [round(x, 7) if isinstance(x, float) else x for x in tensor.tolist()]


def distribution(logits, allowed, temperature):
    """Log-probabilities of every token, and the entropy, over the allowed tokens."""
    log_probs = F.log_softmax((logits / temperature).masked_fill(~allowed, -torch.inf), dim=-1)
    finite = log_probs.masked_fill(~allowed, 0)
    return finite, -(finite.exp() * finite * allowed).sum(-1)


def world(rng, sequences):
    """Random logits, grammars, choices and lengths, rounded as they are written."""
    shape = (sequences, TIME, VOCABULARY)
    logits = (torch.randn(shape, generator=rng, dtype=torch.float64) * 1.5).mul(1e4).round().div(1e4)
    allowed = torch.rand(shape, generator=rng) < 0.6
    allowed[..., 0] = allowed[..., 1] = True
    weights = allowed.double() * torch.rand(shape, generator=rng, dtype=torch.float64)
    chosen = weights.argmax(-1)
    lengths = torch.randint(1, TIME + 1, (sequences,), generator=rng)
    mask = torch.arange(TIME)[None, :] < lengths[:, None]
    logits[~mask] = 1e3 * torch.randn((int((~mask).sum()), VOCABULARY), generator=rng, dtype=torch.float64)
    return logits, allowed, chosen, mask


def group_advantages(rewards, kind):
    if len(rewards) == 1:
        mean, std = 0.0, 1.0
    else:
        mean, std = rewards.mean(), rewards.std()
    return (rewards - mean) / (std + 1e-6) if kind == "group" else rewards - mean


def aggregate(values, mask, how):
    values = values.masked_fill(~mask, 0)
    if how == "token_mean":
        return values.sum() / mask.sum()
    if how == "sequence_mean":
        lengths = mask.sum(-1)
        present = lengths > 0
        return (values.sum(-1)[present] / lengths[present]).mean()
    return values.sum() / (mask.shape[0] * how["fixed_length"])


def policy_case(name, rng, *, drift, low=0.2, high=0.2, dual=3.0, entropy=0.0, kl=0.0, how="token_mean", temperature=1.0,
                far=False, empty=False):
    sequences = 8
    logits, allowed, chosen, mask = world(rng, sequences)
    if empty:
        mask[2] = False
    rewards = torch.rand(sequences, generator=rng, dtype=torch.float64).round(decimals=1)
    advantages = torch.cat([group_advantages(group, "group") for group in rewards.split(4)])
    advantages = advantages.round(decimals=6)[:, None].expand(sequences, TIME)
    logits.requires_grad_()

    every, entropies = distribution(logits, allowed, temperature)
    log_probs = every.gather(-1, chosen[..., None])[..., 0]
    noise = lambda: torch.randn((sequences, TIME), generator=rng, dtype=torch.float64)
    old = (log_probs.detach() + drift * noise()).round(decimals=6)
    if far:
        old[:, 0] = log_probs.detach()[:, 0].round(decimals=6) - 30
        old[:, 1] = log_probs.detach()[:, 1].round(decimals=6) + 30
    reference = (log_probs.detach() + 0.7 * noise()).round(decimals=6)

    log_ratio = (log_probs - old).clamp(-20, 20)
    ratio = log_ratio.exp()
    # PPO maximises the smaller of the two; dual clip bounds what is lost on a negative advantage.
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages)
    clipped = surrogate < ratio * advantages
    held = torch.zeros_like(clipped)
    if dual is not None:
        held = (advantages < 0) & (surrogate < dual * advantages)
        surrogate = torch.where(advantages < 0, torch.maximum(surrogate, dual * advantages), surrogate)
    behind = (reference - log_probs).clamp(-20, 20)

    policy = aggregate(-surrogate, mask, how)
    bonus = aggregate(entropies, mask, how)
    divergence = aggregate(behind.exp() - behind - 1, mask, how) if kl else torch.zeros(())
    loss = policy - entropy * bonus + kl * divergence
    loss.backward()

    share = lambda condition: float(condition[mask].double().mean())
    sequence = torch.arange(sequences)[:, None].expand(sequences, TIME)
    positive = advantages > 0
    return {
        "name": name,
        "vocabulary": VOCABULARY,
        "temperature": temperature,
        "logits": numbers(logits.detach()[mask].flatten()),
        "allowed": allowed[mask].flatten().tolist(),
        "chosen": chosen[mask].tolist(),
        "sequence": sequence[mask].tolist(),
        "sequences": sequences,
        "old_log_probs": numbers(old[mask]),
        "advantages": numbers(advantages[mask]),
        "reference_log_probs": numbers(reference[mask]) if kl else None,
        "options": {"clip": {"low": low, "high": high, "dual": dual}, "entropy": entropy, "kl": kl, "aggregation": how},
        "loss": float(loss.detach()),
        "report": {
            "policy": float(policy.detach()),
            "entropy": float(bonus.detach()),
            "kl": float(divergence.detach()),
            "clip_fraction": share(clipped),
            "dual_clip_fraction": share(held),
            "approx_kl": float((-log_ratio.detach())[mask].mean()),
        },
        "gradient": numbers(logits.grad[mask].flatten()),
        "clipped_above": share(clipped & positive),
        "clipped_below": share(clipped & ~positive),
    }


def preference_case(name, rng, *, beta, margins, scale=1.0):
    pairs = len(margins)
    logits, allowed, chosen, mask = world(rng, 2 * pairs)
    logits.requires_grad_()
    every, _ = distribution(logits, allowed, 1.0)
    log_probs = every.gather(-1, chosen[..., None])[..., 0].masked_fill(~mask, 0).sum(-1)
    drift = torch.randn(2 * pairs, generator=rng, dtype=torch.float64) * scale
    reference = (log_probs.detach() + drift).round(decimals=6)
    # The first half are the chosen answers, the second half the rejected ones.
    rewards = beta * (log_probs - reference)
    ahead = rewards[:pairs] - rewards[pairs:] - torch.tensor(margins, dtype=torch.float64)
    loss = -F.logsigmoid(ahead).mean()
    loss.backward()
    sequence = torch.arange(2 * pairs)[:, None].expand(2 * pairs, TIME)
    return {
        "name": name,
        "vocabulary": VOCABULARY,
        "logits": numbers(logits.detach()[mask].flatten()),
        "allowed": allowed[mask].flatten().tolist(),
        "chosen": chosen[mask].tolist(),
        "sequence": sequence[mask].tolist(),
        "ref_chosen": numbers(reference[:pairs]),
        "ref_rejected": numbers(reference[pairs:]),
        "beta": beta,
        "safety_margin": margins,
        "loss": float(loss.detach()),
        "gradient": numbers(logits.grad[mask].flatten()),
    }


def main():
    rng = torch.Generator().manual_seed(11)
    full = {"drift": 0.8, "entropy": 0.01, "kl": 0.05, "low": 0.2, "high": 0.28}
    fixed = {"fixed_length": 12}
    policy = [
        policy_case("first update", rng, drift=0.0),
        policy_case("clip both ways", rng, drift=0.6),
        policy_case("clip higher", rng, drift=0.6, low=0.1, high=0.4),
        policy_case("dual clip", rng, drift=1.5),
        policy_case("tight dual clip", rng, drift=0.6, dual=1.5),
        policy_case("no dual clip", rng, drift=1.5, dual=None),
        policy_case("entropy", rng, drift=0.3, entropy=0.1),
        policy_case("divergence from a reference", rng, drift=0.3, kl=0.2),
        policy_case("temperature", rng, drift=0.4, entropy=0.05, temperature=0.7),
        policy_case("ratios out of bounds", rng, drift=0.4, far=True),
        policy_case("token mean", rng, **full),
        policy_case("sequence mean", rng, how="sequence_mean", **full),
        policy_case("fixed length", rng, how=fixed, **full),
        policy_case("sequence mean, one without tokens", rng, how="sequence_mean", empty=True, **full),
        policy_case("fixed length, one without tokens", rng, how=fixed, empty=True, **full),
    ]
    for case in policy:
        if case["name"] in ("clip both ways", "clip higher", "token mean"):
            assert case["clipped_above"] > 0 and case["clipped_below"] > 0, case["name"]
        if "dual" in case["name"] and case["options"]["clip"]["dual"]:
            assert case["report"]["dual_clip_fraction"] > 0, case["name"]
        del case["clipped_above"], case["clipped_below"]

    preference = [
        preference_case("no margin", rng, beta=0.1, margins=[0.0] * 4),
        preference_case("margins", rng, beta=0.1, margins=[0.0, 5.0, 2.5, 0.0, 10.0]),
        preference_case("high beta", rng, beta=1.0, margins=[0.0, 1.0, 0.0]),
        preference_case("far apart", rng, beta=1.0, margins=[0.0] * 6, scale=80.0),
        preference_case("one pair", rng, beta=0.5, margins=[0.5]),
    ]

    groups = []
    for rewards in [[1.0, 0.0], [0.1, 1.0, 1.0, 0.0], [0.9, 0.9, 0.9, 0.9], [0.3], [0.25, -1.5, 4.0, 0.25, 0.26]]:
        for kind in ["group", "centred"]:
            found = group_advantages(torch.tensor(rewards, dtype=torch.float64), kind)
            groups.append({"rewards": rewards, "kind": kind, "advantages": numbers(found)})

    path = Path(__file__).with_name("rl_loss.json")
    lines = [f'"{key}": [\n' + ",\n".join(json.dumps(case) for case in cases) + "\n]"
             for key, cases in [("policy", policy), ("preference", preference), ("advantages", groups)]]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
