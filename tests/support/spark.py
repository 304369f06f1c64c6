"""How a test starts Spark soonest."""

from tests.support.blocks import ROOT

JAVA = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}
"""Environment in which Java is up soonest."""
WARM = JAVA | {
    "PYTHONPATH": str(ROOT),
    "PYSPARK_SUBMIT_ARGS": "--conf spark.python.daemon.module=tests.support.spark_daemon "
    "pyspark-shell",
}
"""The same, with workers that find their imports made (spark_daemon.py)."""
