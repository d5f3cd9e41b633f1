"""Writes eval_stats.json: intervals, paired tests and operating points, for tests/eval_stats.rs.

    python -m venv v && v/bin/pip install scikit-learn scipy statsmodels && v/bin/python tests/golden/eval_stats.py

scikit-learn measures resamples as weighted rows, numpy takes the percentiles, scipy makes an interval of its own draws,
statsmodels has Wilson's interval and McNemar's test.
"""

import json
from pathlib import Path

import numpy as np
from scipy import stats
from sklearn import metrics
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

LIMITS = [0.01, 0.05, 0.1]
RESAMPLES = 25


def rows(rng, count, unsafe, decimals):
    labels = (rng.random(count) < unsafe).astype(int)
    labels[:2] = [0, 1]
    scores = np.round(np.clip(rng.normal(0.35 + 0.25 * labels, 0.25), 0, 1), decimals)
    return labels, scores.astype(np.float32).astype(np.float64)


def headline(labels, scores, weights):
    """F1, recall, FPR, accuracy, AUROC and AUPRC of weighted rows, flagged from 0.5 on."""
    flagged = scores >= 0.5
    safe = labels == 0
    return [
        metrics.f1_score(labels, flagged, sample_weight=weights),
        metrics.recall_score(labels, flagged, sample_weight=weights),
        float(np.average(flagged[safe], weights=weights[safe])),
        metrics.accuracy_score(labels, flagged, sample_weight=weights),
        metrics.roc_auc_score(labels, scores, sample_weight=weights),
        metrics.average_precision_score(labels, scores, sample_weight=weights),
    ]


def sample(rng, count, unsafe, decimals):
    labels, scores = rows(rng, count, unsafe, decimals)
    draws = [np.bincount(rng.integers(0, count, count), minlength=count) for _ in range(RESAMPLES)]
    values = [headline(labels, scores, draw) for draw in draws]
    fpr, tpr, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    return {
        "labels": labels.tolist(),
        "scores": scores.tolist(),
        "draws": [draw.tolist() for draw in draws],
        "values": values,
        "intervals": np.percentile(values, [2.5, 97.5], axis=0).T.tolist(),
        "recall_at_fpr": [[limit, float(tpr[fpr <= limit].max())] for limit in LIMITS],
    }


def bootstrap(rng):
    """Intervals by scipy, from draws of its own: ours must be close, not equal."""
    labels, scores = rows(rng, 400, 0.4, 3)
    flagged = scores >= 0.5
    intervals = {}
    for name, measure in {
        "f1": lambda l, s: metrics.f1_score(l, s >= 0.5),
        "auroc": metrics.roc_auc_score,
        "auprc": metrics.average_precision_score,
        "accuracy": lambda l, s: metrics.accuracy_score(l, s >= 0.5),
    }.items():
        found = stats.bootstrap(
            (labels, scores), measure, paired=True, vectorized=False, n_resamples=4000, method="percentile", rng=rng
        ).confidence_interval
        intervals[name] = [found.low, found.high]
    return {"labels": labels.tolist(), "scores": scores.tolist(), "flagged": flagged.tolist(), "intervals": intervals}


def main():
    rng = np.random.default_rng(11)
    pairs = [(0, 0), (0, 1), (5, 0), (3, 3), (2, 9), (10, 25), (120, 90), (800, 700)]
    tests = []
    for fixed, broken in pairs:
        exact = mcnemar([[0, fixed], [broken, 0]], exact=True).pvalue
        fewer, both = min(fixed, broken), fixed + broken
        mid = 2 * stats.binom.cdf(fewer, both, 0.5) - stats.binom.pmf(fewer, both, 0.5)
        tests.append([fixed, broken, float(min(exact, 1)), float(min(mid, 1))])
    golden = {
        "samples": [sample(rng, 40, 0.5, 6), sample(rng, 90, 0.15, 1), sample(rng, 150, 0.5, 2)],
        "bootstrap": bootstrap(rng),
        "wilson": [
            [part, whole, *map(float, proportion_confint(part, whole, method="wilson"))]
            for part, whole in [(0, 3), (3, 3), (1, 1), (7, 20), (480, 500), (0, 1000)]
        ],
        "mcnemar": tests,
    }
    Path(__file__).with_name("eval_stats.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
