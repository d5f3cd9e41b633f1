"""Judges rows on every machine of a Ray cluster, each batch by a run of `rsafe check`.

    pip install "ray[data]"
    python ray_data.py --rows rows-*.jsonl.gz --out verdicts -- --policy policy.yaml

Rows are JSON lines (also .gz), as `rsafe check --help` says, or Parquet files with text columns of those names. `rsafe`, and
the files that options behind `--` name, must be on every machine. The output is Parquet: id, decision, score, and the answer
as JSON text. A row that cannot be judged blocks.
"""

import argparse
import json
import subprocess

import ray

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rows", nargs="+", required=True, help="files of rows, or folders of them")
parser.add_argument("--out", required=True, help="the folder of the verdicts")
parser.add_argument("--workers", type=int, help="batches at the same time [default: as many as there are cores]")
parser.add_argument("--batch", type=int, default=4096, help="rows of a batch: each loads the model once")
parser.add_argument("--rsafe", default="rsafe", help="the program")
parser.add_argument("options", nargs="*", help="behind `--`: options of `rsafe check`")


def judge(batch, command):
    """The answers to a batch of rows. If they are not as many as the rows, the job ends: none passes unjudged."""
    table = batch.to_pylist()
    rows = [row["text"] for row in table] if batch.column_names == ["text"] else [json.dumps(row) for row in table]
    rows = [row for row in rows if row.strip()]
    run = subprocess.run(command, input="\n".join(rows), capture_output=True, encoding="utf-8")
    answers = [line for line in run.stdout.split("\n") if line]
    if len(answers) != len(rows):
        raise RuntimeError(f"rsafe gave {len(answers)} answers to {len(rows)} rows: {run.stderr}")
    read = [json.loads(answer) for answer in answers]
    return {
        "id": [str(answer.get("id")) for answer in read],
        "decision": [answer["decision"] for answer in read],
        "score": [answer["score"] for answer in read],
        "answer": answers,
    }


def main(args):
    command = [args.rsafe, "check", "--input", "rows", "--on-error", "block", "--threads", "1", *args.options]
    is_table = args.rows[0].endswith(".parquet")
    rows = ray.data.read_parquet(args.rows) if is_table else ray.data.read_text(args.rows)
    judged = rows.map_batches(
        judge, fn_args=[command], batch_format="pyarrow", batch_size=args.batch, concurrency=args.workers
    )
    judged.write_parquet(args.out)


if __name__ == "__main__":
    main(parser.parse_args())
