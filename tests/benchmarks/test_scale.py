"""The cost of many scans from the figures of two, in closed form."""

import runpy
import sys

import pytest

from tests.conftest import REPOSITORY

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def benchmark(path, seconds: float, cpu: float, memory_mb: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEADER}{seconds}\t0\t{memory_mb}\t0\t0\t0\t0\t0\t0\t{cpu}\n")


@pytest.fixture
def results(tmp_path):
    """Return results of two scans: 30 and 50 CPU seconds, 3 MB each, and files that are of no scan."""
    for name, cpu in (("sub-01", 20), ("sub-02", 40)):
        benchmark(tmp_path / "benchmarks" / "denoise" / f"{name}_csrd.tsv", 2 * cpu, cpu, 1000)
        benchmark(tmp_path / "benchmarks" / "align" / f"{name}.tsv", 15, 10, 500)
        for folder, size in (("recon", 1_000_000), ("derivatives/csrd", 2_000_000), ("logs", 7_000_000)):
            (tmp_path / folder / name).mkdir(parents=True)
            (tmp_path / folder / name / "file").write_bytes(bytes(size))
        (tmp_path / "recon" / name / "scan").symlink_to(tmp_path / "recon" / name / "file")
    benchmark(tmp_path / "benchmarks" / "fit" / "csrd.tsv", 1e6, 1e6, 9000)
    (tmp_path / "report.html").write_bytes(bytes(5_000_000))
    return tmp_path


def test_ten_thousand_scans(results, monkeypatch, capsys):
    prices = "--cores", "10", "--core-hour", "0.1", "--gb-month", "0.5"
    monkeypatch.setattr(sys, "argv", ["scale.py", str(results), *prices])
    runpy.run_path(str(REPOSITORY / "benchmarks" / "scale.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert "| denoise | 1 | 60.0 | 30.0 | 1.05 |" in said and "fit" not in said
    assert "a scan: 75.0 s, 40.0 CPU seconds, 1.05 GB of memory, 0.0030 GB kept" in said
    assert "10000 scans: 111 core-hours, 30 GB kept, 20.8 hours on 10 cores" in said
    assert "at 0.1 a core-hour: 11; at 0.5 a GB and month: 15 a month" in said
