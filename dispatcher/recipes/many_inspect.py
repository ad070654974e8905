"""200 samples with Inspect, each in a sandbox of its own: python many_inspect.py values.yaml

The sandbox "gvisor" hands out no pod that was not seen in gVisor, so a sample that has one needs no look at its kernel.
"""

import sys

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.util import sandbox


@solver
def work() -> Solver:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        state.output.completion = (await sandbox().exec(["echo", state.input_text])).stdout
        return state

    return solve


task = Task(
    dataset=[Sample(input=f"evaluation {at}", target=f"evaluation {at}") for at in range(200)],
    solver=work(),
    scorer=includes(),
    sandbox=("gvisor", sys.argv[1]),
)
[log] = eval(task, model="mockllm/model", max_samples=20, max_sandboxes=20, display="none", log_dir="logs")
correct = sum(one.scores["includes"].value == "C" for one in log.samples or [] if one.scores)
print(log.status, f"{correct} of {len(task.dataset)} in gVisor", log.error.message if log.error else "")
