"""scikit-learn's MLPClassifier with its training done by this core.

The class derives from scikit-learn's own, so what it takes, checks, tells and
predicts is theirs; only the epochs of stochastic descent are ours. Both draw
from `random_state` in the same order, so the same arguments lead to the same
weights, to rounding.
"""

import math
import threading
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn import neural_network
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, BaseOptimizer, SGDOptimizer
from sklearn.utils import shuffle
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_info, threadpool_limits

from mnistcore.engine import shared_memory
from mnistcore.engine.division import Division, evenly
from mnistcore.engine.evaluator import Evaluator
from mnistcore.engine.single_example import SingleExampleStepper
from mnistcore.engine.stepper import Draws, Stepper
from mnistcore.engine.team import Team
from mnistcore.engine.update import Descent, UpdateRule
from mnistcore.errors import InputError
from mnistcore.network.losses import LOSSES
from mnistcore.network.network import Dense, Network
from mnistcore.training.augmentation import Augmentation, Augmenter
from mnistcore.training.optimizers import SGD, Adam, Momentum, Nesterov
from mnistcore.training.run import augmentation, draw_masks
from mnistcore.training.schedules import Schedule

ACTIVATIONS = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
OUTPUTS = {"softmax": ("softmax", "cross-entropy"), "logistic": ("sigmoid", "binary-cross-entropy")}
STEPS = 64  # from one evaluation of the losses to the next
# Multiplications of a step that several workers share unasked, and how many workers at most.
WORTH_SHARING, MOST_WORKERS = 1 << 21, 4


class Unsupported(InputError, ValueError):
    """A parameter that scikit-learn's estimator has and this one has not, or two that do not go together."""


@dataclass
class _Optimizer:
    """What descends, and what it remembers from one call of `partial_fit` to the next.

    schedule : scikit-learn's, for how the learning rate changes from epoch to epoch, and when that ends
    rule : how a gradient moves the parameters
    slots : (slots, P) its memory; None before the first step
    steps, epochs : done so far
    clean_loss : after the last epoch, without dropout; inf if no schedule goes by it
    """

    schedule: BaseOptimizer
    rule: UpdateRule
    slots: np.ndarray | None = None
    steps: int = 0
    epochs: int = 0
    clean_loss: float = math.inf

    @property
    def learning_rate(self) -> float:
        return self.schedule.learning_rate


class MLPClassifier(neural_network.MLPClassifier):
    """A multi-layer perceptron, in place of `sklearn.neural_network.MLPClassifier` and faster.

    All parameters, attributes and methods of that class mean here what they mean there, except that
    `solver="lbfgs"` is refused (so `max_fun`, which is of that solver, has no effect), that training ends with the
    epoch in which the loss is no finite number, and that with `warm_start` and `early_stopping` a second fit leaves
    the best weights of the first as they are, until it finds better ones. It has these parameters besides.

    Parameters
    ----------
    precision : {"float32", "float64"}, default=None
        What to compute in. None: in that of X, and in float64 if X is neither. The weights keep theirs where
        training goes on from them (`warm_start`, `partial_fit`).

    drop_rate : float or array-like of shape (n_layers - 2,), default=0.0
        The part of the units of each hidden layer that is dropped in training (inverted dropout), in [0, 1).

    augmentation : mnistcore.training.augmentation.Augmentation, default=None
        How far each example, taken as a square image, is distorted each time that it is met in training.

    schedule : of mnistcore.training.schedules, default=None
        What the learning rate is multiplied by over the `max_iter` epochs, with either solver, on top of what
        `learning_rate` does to it. Each call of `partial_fit` is the next epoch.

    workers : int, default=None
        Processes that share the work of each step; they change the weights by rounding alone. With 1, the work is
        done in the calling process, and matrix products take as many threads as the process allows BLAS. With
        several, forked from the calling process, each takes one thread. None: as many as BLAS may take threads, up
        to 4, where a step is long enough to share and no other thread of Python runs. (A fork waits for BLAS to end
        what it does in another thread, and may wait for ever. In a notebook, whose kernel has threads that only wait
        for input, ask for several.) In any thread but the main one, and where processes cannot be forked, one does
        the work. With `drop_rate` or `augmentation`, 4 is the most.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from mnistcore.interop import MLPClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> float(MLPClassifier(random_state=0, max_iter=50).fit(X[:1200] / 16, y[:1200]).score(X[1200:] / 16, y[1200:]))
    0.9
    """

    _parameter_constraints = neural_network.MLPClassifier._parameter_constraints | {
        "precision": [StrOptions({"float32", "float64"}), None],
        "drop_rate": [Interval(Real, 0, 1, closed="left"), "array-like"],
        "augmentation": [Augmentation, None],
        "schedule": [Schedule, None],
        "workers": [Interval(Integral, 1, None, closed="left"), None],
    }

    coefs_: list[np.ndarray]
    intercepts_: list[np.ndarray]

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        precision=None,
        drop_rate=0.0,
        augmentation=None,
        schedule=None,
        workers=None,
    ):
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
        )
        self.precision = precision
        self.drop_rate = drop_rate
        self.augmentation = augmentation
        self.schedule = schedule
        self.workers = workers

    def to_network(self) -> Network:
        """The fitted network, with a copy of its parameters, for what `mnistcore` does with networks.

        Of two classes it has one output, the probability of the second.
        """
        check_is_fitted(self, "coefs_")
        *hidden, last = (len(intercepts) for intercepts in self.intercepts_)
        output, loss = OUTPUTS[self.out_activation_]
        rates = np.broadcast_to(self.drop_rate, len(hidden)).tolist()
        activation = ACTIVATIONS[self.activation]
        layers = [
            *(Dense(units, activation, drop_rate=rate) for units, rate in zip(hidden, rates, strict=True)),
            Dense(last, output),
        ]
        each = zip(self.coefs_, self.intercepts_, strict=True)
        parameters = np.concatenate([np.ravel(array) for pair in each for array in pair])
        return Network(len(self.coefs_[0]), layers, loss, parameters.dtype.name, parameters)

    def _validate_params(self) -> None:
        super()._validate_params()
        if self.solver == "lbfgs":
            raise Unsupported(
                "MLPClassifier: solver='lbfgs' is not one of this core's; use 'adam' or 'sgd', or "
                "sklearn.neural_network.MLPClassifier"
            )
        hidden, rates = np.atleast_1d(self.hidden_layer_sizes), np.asarray(self.drop_rate)
        fits = rates.shape in ((), hidden.shape) and rates.dtype.kind in "fiu"
        if not fits or not ((rates >= 0) & (rates < 1)).all():
            raise Unsupported(
                "MLPClassifier: drop_rate should be a number in [0, 1), or one for each of the "
                f"{len(hidden)} hidden layers, is {self.drop_rate!r}"
            )
        if isinstance(self.schedule, type):
            raise Unsupported(f"MLPClassifier: schedule should be made, such as {self.schedule.__name__}(…)")

    def _validate_input(self, X, y, incremental, reset):
        checked: Any = super()._validate_input(X, y, incremental, reset)  # scikit-learn has no types
        X, y = checked
        if self.augmentation is not None and math.isqrt(X.shape[1]) ** 2 != X.shape[1]:
            raise Unsupported(
                f"MLPClassifier: augmentation distorts square images, and {X.shape[1]} features make none"
            )
        if self.precision is not None:
            X = X.astype(self.precision, copy=False)
        return X, y

    def _fit_stochastic(
        self, X, y, sample_weight, activations, deltas, coef_grads, intercept_grads, layer_units, incremental
    ):
        if not incremental or not hasattr(self, "_optimizer"):
            self._optimizer = self._new_optimizer()
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        X_val = y_val = weight_val = None
        if self.early_stopping:
            split: Any = self._hold_out(X, y, sample_weight)
            X, X_val, y, y_val, sample_weight, weight_val = split
        epochs = _Epochs(self, X, y, sample_weight)
        restricted = threadpool_limits(1, "blas") if epochs.team.workers > 1 else nullcontext()
        self.n_iter_, diverged = 0, False
        # The forward pass of each score reads the parameters where they are trained.
        self.coefs_ = [layer.weights for layer in epochs.network.layers]
        self.intercepts_ = [layer.biases for layer in epochs.network.layers if layer.biases is not None]
        try:
            with restricted, np.errstate(all="ignore"), epochs.team as team:  # every worker runs this
                if not team.leads:
                    self.verbose = False
                while not self._over(epochs.run(), X_val, y_val, weight_val, incremental):
                    team.barrier()  # until all have looked at the epoch's figures
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        else:
            diverged = not math.isfinite(self.loss_)
            if self.n_iter_ == self.max_iter and not self._converged and not incremental:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization "
                    "hasn't converged yet.",
                    ConvergenceWarning,
                    stacklevel=4,
                )
        self._optimizer.slots, self._optimizer.steps = epochs.memory()
        self.coefs_ = [weights.copy() for weights in self.coefs_]
        self.intercepts_ = [biases.copy() for biases in self.intercepts_]
        if self.early_stopping:
            self.coefs_, self.intercepts_ = self._best_coefs, self._best_intercepts
        if diverged:
            if not self.early_stopping:
                raise ValueError(
                    "Solver produced non-finite parameter weights. The input data may contain large values and need "
                    "to be preprocessed."
                )
            warnings.warn(
                f"Stochastic Optimizer: the loss became {self.loss_} in epoch {self.n_iter_}, and training ended; "
                "the weights are those of the best validation score before.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _new_optimizer(self) -> _Optimizer:
        rate = self.learning_rate_init
        if self.solver == "adam":
            schedule: BaseOptimizer = AdamOptimizer([], rate, self.beta_1, self.beta_2, self.epsilon)
            return _Optimizer(schedule, Adam(rate, self.beta_1, self.beta_2, self.epsilon))
        schedule = SGDOptimizer([], rate, self.learning_rate, power_t=self.power_t)
        if not self.momentum:
            return _Optimizer(schedule, SGD(rate))
        rule = (
            Nesterov if self.nesterovs_momentum else Momentum
        )  # whose momentum is below 1; here it may be 1
        return _Optimizer(schedule, rule(rate, min(self.momentum, math.nextafter(1, 0))))

    def _hold_out(self, X, y, sample_weight):
        """Set examples aside for validation, as scikit-learn does: X, X_val, y, y_val (labels), both weights."""
        given = [X, y] if sample_weight is None else [X, y, sample_weight]
        split: Any = train_test_split(
            *given,
            random_state=self._random_state,
            test_size=self.validation_fraction,
            stratify=y if self.n_outputs_ == 1 else None,
        )
        X, X_val, y, y_val, *weights = split
        if X_val.shape[0] < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        return X, X_val, y, self._label_binarizer.inverse_transform(y_val), *(weights or [None, None])

    def _over(self, loss: float, X_val, y_val, weight_val, incremental: bool) -> bool:
        """Take note of an epoch and its loss, and say whether it was the last; every worker comes to the same."""
        self.n_iter_ += 1
        self.loss_ = loss
        self.loss_curve_.append(loss)
        if self.verbose:
            print(f"Iteration {self.n_iter_}, loss = {loss:.8f}")
        self._update_no_improvement_count(self.early_stopping, X_val, y_val, weight_val)
        self._optimizer.schedule.iteration_ends(self.t_)
        self._converged = False
        if self._no_improvement_count > self.n_iter_no_change:
            what = "Validation score" if self.early_stopping else "Training loss"
            message = f"{what} did not improve more than tol={self.tol:f}"
            message += f" for {self.n_iter_no_change} consecutive epochs."
            self._converged = self._optimizer.schedule.trigger_stopping(message, self.verbose)
            if not self._converged:
                self._no_improvement_count = 0
        return self._converged or incremental or self.n_iter_ == self.max_iter or not math.isfinite(loss)


class _Epochs:
    """Epochs of training the network of an estimator, on the engine; each worker of the team has its own."""

    def __init__(self, estimator: MLPClassifier, X, y: np.ndarray, weights: np.ndarray | None) -> None:
        self.estimator, self.weights = estimator, weights
        optimizer, count = estimator._optimizer, X.shape[0]
        network = estimator.to_network()
        X = X.astype(network.precision, copy=False)
        self.X = X.tocsr() if issparse(X) else np.ascontiguousarray(X)
        multiclass = estimator.out_activation_ == "softmax"
        self.targets = y.argmax(axis=1) if multiclass else y
        self.size = self._batch_size(count)
        starts = np.arange(0, count, self.size)
        self.starts, self.group = starts, max(1, min(STEPS, len(starts)))
        self.sizes = np.diff(starts, append=count)

        plain = isinstance(optimizer.rule, SGD) and not estimator.alpha
        single = self.size == 1 and plain
        workers = _workers(estimator.workers, self.size * len(network.parameters))
        # Each shard and part has random numbers of its own, so where some are drawn, workers may not decide how many.
        draws = estimator.augmentation is not None or np.any(estimator.drop_rate)
        division = Division(network, self.size, 1 if single else MOST_WORKERS if draws else workers)
        self.team = Team(min(workers, division.shards))
        self.network = network = network if self.team.workers == 1 else shared_memory.shared(network)
        weighted = weights is not None
        descent = Descent(optimizer.rule, l2=estimator.alpha, weighted=weighted, l2_reduced=True)
        # It names the draws that scikit-learn does not make; its own are as if there were none.
        seed = int(estimator._random_state.randint(2**31)) if draws else 0
        self.stepper = (_SingleExampleStepper if single else _Stepper)(
            network, self.X, division, descent, self.team, self.group,
            Draws(draw_masks(network, division, seed), augmentation(self._augmenter(), division, seed)),
        )  # fmt: skip
        if optimizer.slots is not None:
            self.stepper.update.slots[...] = optimizer.slots
        self.stepper.update.steps = optimizer.steps
        self.evaluator = Evaluator(self.team, division.shards)
        # Of the examples of the epoch, in its order; and of its steps, in shares of the shards.
        self.losses = shared_memory.zeros((count,), network.precision)
        self.squares = shared_memory.zeros((len(starts), division.shards), np.float64)
        self.decaying = [
            [network.parameters[block.start : block.biases] for block in blocks] for blocks in division.blocks
        ]
        self.order = shared_memory.zeros((count,), np.intp)
        self.order[:] = np.arange(count)

    def _batch_size(self, count: int) -> int:
        size = self.estimator.batch_size
        if size == "auto":
            return min(200, count)
        if size > count:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
                stacklevel=6,
            )
        return min(max(size, 1), count)

    def _augmenter(self):
        if self.estimator.augmentation is None:
            return None
        side = math.isqrt(self.X.shape[1])
        return partial(Augmenter, self.estimator.augmentation, (side, side), self.network.precision)

    def run(self) -> float:
        """Go through the examples once: the mean loss, with the decay in it, of the weights that each step met."""
        estimator, stepper, size = self.estimator, self.stepper, self.size
        if estimator.shuffle:
            # Another thread may draw from the same numbers meanwhile, and a fork would not notice.
            if self.team.leads:
                self.order[:] = shuffle(self.order, random_state=estimator._random_state)
            self.team.barrier()
        number, count = len(estimator.loss_curve_) + 1, len(self.order)
        for first in range(0, count, self.group * size):
            rows = self.order[first : first + self.group * size]
            stepper.begin(self.targets[rows])
            for start in range(0, len(rows), size):
                step, chosen = (first + start) // size, rows[start : start + size]
                if estimator.alpha:
                    self._square(step)
                weights = None if self.weights is None else self.weights[chosen]
                if weights is not None and not weights.sum():
                    raise ZeroDivisionError("Weights sum to zero, can't be normalized")
                stepper.step(chosen, self._rate(step), (number, step), weights)
            stepper.write_losses(self.losses[first : first + len(rows)])
        estimator.t_ += count
        optimizer = estimator._optimizer
        optimizer.epochs += 1
        if estimator.schedule is not None and estimator.schedule.needs_clean_loss:
            optimizer.clean_loss, _ = self.evaluator.evaluate(self.network, self.X, self.targets)
        return self._loss()

    def _square(self, step: int) -> None:
        for shard in self.team.own(len(self.decaying)):
            self.squares[step, shard] = sum(np.dot(weights, weights) for weights in self.decaying[shard])

    def _rate(self, step: int) -> float:
        estimator, optimizer = self.estimator, self.estimator._optimizer
        if estimator.schedule is None:
            return optimizer.learning_rate
        progress = optimizer.epochs + (step + 0.5) / len(self.starts)
        multiplier = estimator.schedule.multiplier(progress, estimator.max_iter, optimizer.clean_loss)
        return optimizer.learning_rate * multiplier

    def _loss(self) -> float:
        """scikit-learn's: the mean over the epoch of each batch's weighted mean, to which the decay is added."""
        losses, totals = self.losses.astype(np.float64), self.sizes
        if self.weights is not None:
            weights = self.weights[self.order]
            losses, totals = losses * weights, np.add.reduceat(weights, self.starts)
        sums = np.add.reduceat(losses, self.starts) + 0.5 * self.estimator.alpha * self.squares.sum(axis=1)
        return float(np.sum(self.sizes * sums / totals) / len(losses))

    def memory(self) -> tuple[np.ndarray, int]:
        """What the optimiser remembers, and its steps so far."""
        return self.stepper.update.slots.copy(), self.stepper.update.steps


class _Stepper(Stepper):
    """Finds the losses that scikit-learn does: of probabilities that it keeps a little away from 0 and 1."""

    def write_losses(self, losses: np.ndarray) -> None:
        """Write each example's loss of the group so far, (n,), as its step met it; each worker finds a share."""
        size, activation = self._division.batch_size, self.network.layers[-1].dense.activation
        shares, tiny = evenly(self._begun, self._division.shards), np.finfo(self.network.precision).eps
        for steps in (shares[shard] for shard in self._shards):
            place = slice(steps.start * size, min(steps.stop * size, len(losses)))
            z, targets, _ = self._workspace.outputs_of_steps(steps)
            if activation == "sigmoid":  # of each label
                np.clip(z, math.log(tiny), -math.log(tiny), out=z)
            found = LOSSES[self.network.loss].losses(z, targets, activation)
            if activation == "softmax":
                np.clip(found, -math.log1p(-tiny), -math.log(tiny), out=found)
            losses[place] = found[: place.stop - place.start]
        self._team.barrier()


class _SingleExampleStepper(_Stepper, SingleExampleStepper):
    """The same for batches of one example."""


def _workers(asked: int | None, multiplications: int) -> int:
    """How many share a step; unasked as many as BLAS may take threads, so that whoever limits those limits these.

    Only the main thread forks: a limit to BLAS's threads is the whole process's, and two fits at a time would not
    find it as it was.
    """
    if threading.current_thread() is not threading.main_thread():
        return 1
    if asked is not None:
        return asked
    if multiplications < WORTH_SHARING or threading.active_count() > 1:
        return 1
    threads = [found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"]
    return min(max(threads, default=1), MOST_WORKERS)
