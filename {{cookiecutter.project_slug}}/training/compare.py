"""Compare the trained model with the deployed one: ``python -m training.compare [MODEL] <METRICS``.

METRICS is the text of the deployed service's ``/metrics``. Exits with 1 where the trained model is worse in a
metric that both have by more than TOLERANCE, a share of the deployed model's value.
"""

import os
import sys

from prometheus_client.parser import text_string_to_metric_families

from inference.config import Settings
from inference.predictor import Predictor
from inference.runtime import artifact

# Of what training measures; of everything else, more is better.
LESS_IS_BETTER = {"mean_absolute_error"}


def deployed_metrics(text: str) -> dict[str, float]:
    """The metrics of the model behind a ``/metrics``, by name."""
    return {
        sample.labels["metric"]: sample.value
        for family in text_string_to_metric_families(text)
        if family.name == "inference_model_metric"
        for sample in family.samples
    }


def is_worse(name: str, trained: float, deployed: float, tolerance: float) -> bool:
    """Whether ``trained`` is worse than ``deployed`` by more than ``tolerance`` of it."""
    loss = trained - deployed if name in LESS_IS_BETTER else deployed - trained
    # A metric that is not a number is no better.
    return not loss <= tolerance * abs(deployed)


def compare(trained: dict[str, float], deployed: dict[str, float], tolerance: float) -> bool:
    """Print a table of what both models have; return whether the trained one got worse.

    Raises ValueError where they have no metric in common.
    """
    common = [name for name in trained if name in deployed]
    if not common:
        raise ValueError(
            f"nothing to compare: trained is {list(trained)}, deployed {list(deployed)}"
        )
    print(f"{'metric':20} {'deployed':>9} {'trained':>9}")
    worse = [name for name in common if is_worse(name, trained[name], deployed[name], tolerance)]
    for name in common:
        note = "  worse" if name in worse else ""
        print(f"{name:20} {deployed[name]:9.4g} {trained[name]:9.4g}{note}")
    return bool(worse)


def main() -> int:
    """Compare, and say whether the trained model may follow the deployed one."""
    tolerance = float(os.environ.get("TOLERANCE", "0.01"))
    model = artifact.read(sys.argv[1] if len(sys.argv) > 1 else Settings().model_path)
    trained = Predictor.load(model.content).card.metrics
    if compare(trained, deployed_metrics(sys.stdin.read()), tolerance):
        print(
            f"The trained model is worse by more than {tolerance:.1%} of a metric.", file=sys.stderr
        )
        return 1
    print("The trained model is as good as the deployed one.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
