"""The bare Git repository between driver and workers: through it go trials' experiments, and what became of them.

Three kinds of refs. The baseline, from which each worker clones; each finished trial's experiment, under the name
DVC has for it; and, beside it, a blob of JSON with the trial's outcome. An experiment and its outcome arrive
together or not at all, so that what is in the hub is finished, whether or not a driver is there to see it.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from dvc_sweep.git import GitError, git


@dataclass(frozen=True)
class Outcome:
    """What became of a trial that ended by itself."""

    number: int
    state: str  # complete or failed
    value: float | None = None
    commit: str | None = None  # of the experiment
    line: str = ""  # why it failed
    log: str = ""  # the end of what a failed trial printed
    seconds: float = 0.0
    worker: str = ""


@dataclass(frozen=True)
class Hub:
    """The hub at `url` (a path, or anything `git push` takes), as far as the sweep `sweep` is concerned."""

    url: str
    sweep: str  # a name no other sweep has ever had

    @property
    def baseline(self) -> str:
        return f"refs/dvc-sweep/{self.sweep}/baseline"

    def outcome_ref(self, number: int) -> str:
        return f"refs/dvc-sweep/{self.sweep}/trials/{number}"

    def create(self, repository: Path, commit: str) -> None:
        """Make the hub, if it is a path with nothing there, and put the baseline into it."""
        if "://" not in self.url and os.path.isabs(self.url) and not Path(self.url).exists():
            git("init", "--quiet", "--template=", "--bare", self.url, cwd=repository)
        git("push", "--quiet", self.url, f"{commit}:{self.baseline}", cwd=repository)

    def outcome(self, repository: Path, number: int) -> Outcome | None:
        """What the hub knows of a trial; read into `repository`."""
        ref = self.outcome_ref(number)
        found = git("ls-remote", self.url, ref, cwd=repository)
        if not found:
            return None
        self._fetch(repository, ref)
        return Outcome(**json.loads(git("cat-file", "blob", found.split()[0], cwd=repository)))

    def put(self, repository: Path, outcome: Outcome, experiment: str) -> Outcome:
        """Hand in an outcome and, if there is one, its experiment; return the outcome that counts.

        Where another run of the same trial was first, that is the other one.
        """
        text = json.dumps(asdict(outcome))
        blob = git("hash-object", "-w", "--stdin", cwd=repository, given=text)
        refs = [f"{blob}:{self.outcome_ref(outcome.number)}"]
        if outcome.commit:
            refs.append(f"{outcome.commit}:{experiment}")
        try:
            git("push", "--quiet", "--atomic", self.url, *refs, cwd=repository)
        except GitError:
            if (earlier := self.outcome(repository, outcome.number)) is None:
                raise
            return earlier
        return outcome

    def fetch_experiment(self, repository: Path, experiment: str) -> None:
        """Bring one experiment into `repository`, where DVC finds it."""
        self._fetch(repository, f"{experiment}:{experiment}")

    def _fetch(self, repository: Path, refspec: str) -> None:
        options = (
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            "--no-recurse-submodules",
        )
        git("fetch", *options, self.url, refspec, cwd=repository)
