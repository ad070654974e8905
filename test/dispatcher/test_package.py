"""What `pip install ./dispatcher` gives: the package, its types and the command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "dispatcher"
PIP = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


class PackageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        shutil.copytree(SOURCE, folder / "source", ignore=shutil.ignore_patterns("build", "*.egg-info"))
        cls.target = folder / "target"
        # Offline: what it depends on is in this environment, as is the setuptools that builds it.
        options = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(cls.target)]
        subprocess.run([*PIP, *options, str(folder / "source")], check=True, capture_output=True, text=True)

    def test_every_module_and_the_mark_of_types_are_there(self) -> None:
        names = {path.name for path in (SOURCE / "gvisor_dispatch").iterdir() if path.is_file()}
        self.assertIn("py.typed", names)
        self.assertLessEqual(names, {path.name for path in (self.target / "gvisor_dispatch").iterdir()})

    def test_its_licence_permissions_and_recipes_are_there(self) -> None:
        [licence] = self.target.glob("gvisor_dispatch-*.dist-info/licenses/LICENSE")
        self.assertIn("Apache License", licence.read_text())
        share = self.target / "share/gvisor-dispatch"
        for path in (SOURCE / "rbac.yaml", *(SOURCE / "recipes").glob("*.*")):
            self.assertEqual((share / path.relative_to(SOURCE)).read_bytes(), path.read_bytes())

    def test_the_command_runs(self) -> None:
        env = {**os.environ, "PYTHONPATH": str(self.target)}
        command = [str(self.target / "bin/gvisor-dispatch"), "--help"]
        done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
        self.assertIn("exit codes", done.stdout)

    def test_requirements_are_ranges(self) -> None:
        [metadata] = self.target.glob("gvisor_dispatch-*.dist-info/METADATA")
        needs = [line for line in metadata.read_text().splitlines() if line.startswith("Requires-Dist: ")]
        self.assertEqual(len(needs), 5)
        self.assertFalse([line for line in needs if "==" in line.partition(";")[0]])

    def test_inspect_finds_its_sandbox_only_as_an_extra(self) -> None:
        [folder] = self.target.glob("gvisor_dispatch-*.dist-info")
        self.assertIn('inspect-k8s-sandbox<0.15,>=0.14; extra == "inspect"', (folder / "METADATA").read_text())
        entry = "[inspect_ai]\ngvisor-dispatch = gvisor_dispatch.inspect_sandbox\n"
        self.assertIn(entry, (folder / "entry_points.txt").read_text())
