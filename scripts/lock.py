"""Update the pinned requirements of every variant of the generated project: ``make lock``."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
VARIANTS = TEMPLATE / ".variants"


def main() -> None:
    """Bake a project for each framework, run its ``make lock``, and copy the files back."""
    for framework in sorted(path.name for path in (VARIANTS / "model_framework").iterdir()):
        print(f"== {framework}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            # Ignore the user's configuration, and leave no replay file there.
            configuration = Path(folder) / "cookiecutter.json"
            folders = ("replay_dir", "cookiecutters_dir")
            configuration.write_text(json.dumps({name: f"{folder}/{name}" for name in folders}))
            project = Path(
                cookiecutter(
                    str(ROOT),
                    no_input=True,
                    output_dir=folder,
                    extra_context={"model_framework": framework, "deploy_tool": "cloudformation"},
                    config_file=str(configuration),
                )
            )
            subprocess.run(
                [
                    "make",
                    "--assume-old=setup",
                    "lock",
                    "UPGRADE=--upgrade",
                    f"BIN={Path(sys.executable).parent}",
                ],
                cwd=project,
                check=True,
            )
            locks = [
                (TEMPLATE, TEMPLATE / name)
                for name in ("requirements/uv.txt", "rehearsal/requirements.txt")
            ]
            for variant in VARIANTS.glob("*/*"):
                if is_chosen(variant, project):
                    locks += [(variant, lock) for lock in variant.rglob("*.txt")]
            for root, lock in locks:
                shutil.copy(project / lock.relative_to(root), lock)


def is_chosen(variant: Path, project: Path) -> bool:
    """Whether the project has the ``.in`` files of this variant."""
    return all(
        (project / file.relative_to(variant)).read_bytes() == file.read_bytes()
        for file in variant.rglob("*.in")
    )


if __name__ == "__main__":
    main()
