"""Results in an S3 bucket, of a server on this machine: the same as in a folder, and complete in the bucket.

make test-deploy
"""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.deploy.conftest import NOT_TESTED, snakemake

boto3 = pytest.importorskip("boto3", reason=f"S3: {NOT_TESTED}")
pytest.importorskip("moto", reason=f"S3: {NOT_TESTED}")
pytest.importorskip("snakemake_storage_plugin_s3", reason=f"S3: {NOT_TESTED}")
pytestmark = pytest.mark.long

BUCKET, PREFIX = "pet", "study"
KEYS = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
SAME = (
    *("metrics/metrics.csv", "metrics/coverage.csv", "metrics/regions.csv"),
    *("tables/table1.csv", "tables/statistics.csv", "models/csrd/weights.safetensors"),
)
EVALUATION = ("metrics/", "tables/", "figures/sub", "report.html", "run.json", "derivatives/csrd/sub-03/pet/")
PATIENCE_S = 60


@pytest.fixture(scope="module")
def server():
    """Return the address of an S3 server that forgets, with one bucket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "moto.server", "--port", str(port)]
    run = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + PATIENCE_S
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert run.poll() is None and time.monotonic() < until, "the server did not start"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        run.terminate()
        run.wait()


@pytest.fixture(scope="module")
def bucket(server):
    bucket = boto3.resource("s3", endpoint_url=server, **KEYS).Bucket(BUCKET)
    bucket.create()
    return bucket


def clone(folder: Path) -> Path:
    """Return a folder that looks like a clone."""
    folder.mkdir()
    for name in ("workflow", "config"):
        (folder / name).symlink_to(REPOSITORY / name)
    return folder


def run(folder: Path, settings: Path, *words: object) -> str:
    variables = {f"SNAKEMAKE_STORAGE_S3_{name}_KEY": "test" for name in ("ACCESS", "SECRET")}
    return snakemake(folder, "--cores", 1, "--configfile", "config/test.yaml", settings, *words, **variables)


def in_bucket(server: str) -> list[str]:
    """Return the profile for a bucket, with what a site edits in it."""
    return [
        *("--workflow-profile", "workflow/profiles/s3", "--storage-s3-endpoint-url", server),
        *("--default-storage-prefix", f"s3://{BUCKET}/{PREFIX}"),
    ]


def keys(bucket) -> set[str]:
    return {item.key.removeprefix(f"{PREFIX}/results/") for item in bucket.objects.all()}


def content(bucket, name: str) -> bytes:
    return bucket.Object(f"{PREFIX}/results/{name}").get()["Body"].read()


def test_a_bucket_holds_what_a_folder_does(server, bucket, smallest, tmp_path):
    local = clone(tmp_path / "local") / "results"
    run(local.parent, smallest)
    first = clone(tmp_path / "first")
    run(first, smallest, *in_bucket(server))
    for name in SAME:
        assert content(bucket, name) == (local / name).read_bytes(), name
    files = {str(path.relative_to(local)) for path in local.rglob("*") if path.is_file()}
    stored = {name for name in files if not name.startswith("models/.")}  # the state of a training is local
    assert len(stored) > 100 and stored - keys(bucket) == set(), "a file that no rule names as its own"
    assert not (first / "results").exists() or not [*(first / "results").rglob("*.nii.gz")]

    # another machine has nothing but the bucket, from which it makes again what was lost there
    kept = {name: content(bucket, name) for name in SAME}
    for name in keys(bucket):
        if name.startswith(EVALUATION) and "reference" not in name and "lowdose" not in name:
            bucket.Object(f"{PREFIX}/results/{name}").delete()
    second = clone(tmp_path / "second")
    said = run(second, smallest, *in_bucket(server))
    assert "denoise" in said and not [line for line in said.splitlines() if line.startswith("fit ")]
    assert {name: content(bucket, name) for name in SAME} == kept
