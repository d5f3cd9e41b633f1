"""Writes metrics.json: measures of random scores by scikit-learn, for tests/metrics.rs.

    python -m venv v && v/bin/pip install scikit-learn && v/bin/python tests/golden/make_metrics.py
"""

import json
from pathlib import Path

import numpy as np
from sklearn import metrics
from sklearn.calibration import calibration_curve

BINS = 15


def case(name, labels, scores, threshold):
    # f32 is what the guard gives; scikit-learn gets exactly those values.
    scores = scores.astype(np.float32).astype(np.float64)
    flagged = scores >= np.float64(np.float32(threshold))
    tn, fp, fn, tp = (int(x) for x in metrics.confusion_matrix(labels, flagged, labels=[0, 1]).ravel())
    precision, recall, thresholds = metrics.precision_recall_curve(labels, scores)
    with np.errstate(invalid="ignore"):
        f1 = np.nan_to_num(2 * precision * recall / (precision + recall))[:-1]
    best = max(range(len(f1)), key=lambda i: (round(f1[i], 12), thresholds[i]))
    share, mean = calibration_curve(labels, scores, n_bins=BINS, strategy="uniform")
    bins = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], scores)
    weights = np.bincount(bins, minlength=BINS)
    weights = weights[weights > 0] / len(scores)
    return {
        "name": name,
        "labels": [int(x) for x in labels],
        "scores": [float(x) for x in scores],
        "threshold": float(np.float32(threshold)),
        "counts": [tp, fp, tn, fn],
        "precision": metrics.precision_score(labels, flagged),
        "recall": metrics.recall_score(labels, flagged),
        "f1": metrics.f1_score(labels, flagged),
        "fpr": fp / (fp + tn),
        "accuracy": metrics.accuracy_score(labels, flagged),
        "auroc": metrics.roc_auc_score(labels, scores),
        "auprc": metrics.average_precision_score(labels, scores),
        "best_f1": float(f1[best]),
        "best_threshold": float(thresholds[best]),
        "ece": float(np.sum(weights * np.abs(share - mean))),
    }


def main():
    rng = np.random.default_rng(7)
    cases = []
    for name, rows, unsafe, decimals in [
        ("balanced", 60, 0.5, 6),
        ("rare", 120, 0.08, 6),
        ("many ties", 80, 0.4, 1),
        ("edges of bins", 45, 0.5, None),
    ]:
        labels = (rng.random(rows) < unsafe).astype(int)
        labels[:2] = [0, 1]
        if decimals is None:
            scores = rng.integers(0, BINS + 1, rows) / BINS
        else:
            scores = np.round(np.clip(rng.normal(0.35 + 0.3 * labels, 0.25), 0, 1), decimals)
        cases.append(case(name, labels, scores, 0.5))
    path = Path(__file__).with_name("metrics.json")
    path.write_text(json.dumps(cases, indent=None).replace('{"name"', '\n{"name"') + "\n")


if __name__ == "__main__":
    main()
