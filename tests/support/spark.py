"""Environment variables that shorten the start of Spark in tests."""

from tests.support.blocks import ROOT

JAVA = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}
"""For a fast start of Java."""
WARM = JAVA | {
    "PYTHONPATH": str(ROOT),
    "PYSPARK_SUBMIT_ARGS": "--conf spark.python.daemon.module=tests.support.spark_daemon "
    "pyspark-shell",
}
"""The same, with Python workers that are forked after the imports (spark_daemon.py)."""
