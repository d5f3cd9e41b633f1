"""Judges rows on every machine of a Spark cluster, each batch by a run of `rsafe check`.

    pip install pyspark pandas pyarrow
    python spark_mapinpandas.py --rows rows-*.jsonl.gz --out verdicts -- --policy policy.yaml

Rows are JSON lines (also .gz), as `rsafe check --help` says, or Parquet files with text columns of those names. `rsafe`, and
the files that options behind `--` name, must be on every machine. The output is Parquet: id, decision, score, and the answer
as JSON text. A row that cannot be judged blocks.
"""

import argparse
import json
import subprocess

import pandas
from pyspark.sql import SparkSession
from pyspark.sql.functions import struct, to_json

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rows", nargs="+", required=True, help="files of rows, or folders of them")
parser.add_argument("--out", required=True, help="the folder of the verdicts")
parser.add_argument("--workers", type=int, help="parts that the rows are dealt to [default: as Spark splits the files]")
parser.add_argument("--batch", type=int, default=4096, help="rows of a batch: each loads the model once")
parser.add_argument("--rsafe", default="rsafe", help="the program")
parser.add_argument("options", nargs="*", help="behind `--`: options of `rsafe check`")


def judge(rows, command):
    """The answers to a batch of rows. If they are not as many as the rows, the job ends: none passes unjudged."""
    rows = [row for row in rows if row.strip()]
    run = subprocess.run(command, input="\n".join(rows), capture_output=True, encoding="utf-8")
    answers = [line for line in run.stdout.split("\n") if line]
    if len(answers) != len(rows):
        raise RuntimeError(f"rsafe gave {len(answers)} answers to {len(rows)} rows: {run.stderr}")
    read = [json.loads(answer) for answer in answers]
    return pandas.DataFrame({
        "id": [str(answer.get("id")) for answer in read],
        "decision": [answer["decision"] for answer in read],
        "score": [answer["score"] for answer in read],
        "answer": answers,
    })


def main(args):
    command = [args.rsafe, "check", "--input", "rows", "--on-error", "block", "--threads", "1", *args.options]
    spark = SparkSession.builder.config("spark.sql.execution.arrow.maxRecordsPerBatch", args.batch).getOrCreate()
    if args.rows[0].endswith(".parquet"):
        rows = spark.read.parquet(*args.rows).select(to_json(struct("*")).alias("value"))
    else:
        rows = spark.read.text(args.rows)
    if args.workers:
        rows = rows.repartition(args.workers)
    verdicts = rows.mapInPandas(
        lambda batches: (judge(batch["value"], command) for batch in batches),
        "id string, decision string, score double, answer string",
    )
    verdicts.write.parquet(args.out)
    spark.stop()


if __name__ == "__main__":
    main(parser.parse_args())
