"""The picture of the rules shows the rules that there are."""

import re
import subprocess
import sys

from tests.conftest import REPOSITORY
from tests.deploy.conftest import environment


def test_the_picture_has_the_rules_of_the_default_run(study):
    words = "--quiet", "all", "--forceall", "--rulegraph", "dot"
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *words],
        cwd=study,
        env=environment(),
        capture_output=True,
        text=True,
    )
    rules = set(re.findall(r'\[label = "(\w+)"', done.stdout))
    shown = set(re.findall(r"<text[^>]*>(\w+)</text>", (REPOSITORY / "docs/images/rules.svg").read_text()))
    assert len(rules) > 20 and shown == rules, "renew docs/images/rules.svg: make graph"
