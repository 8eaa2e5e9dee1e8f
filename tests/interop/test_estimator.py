"""MLPClassifier stands in for scikit-learn's: the same weights from the same arguments, in all its tools."""

import os
import pickle
import random
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from joblib import Parallel, delayed
from scipy.sparse import csc_matrix, csr_array, csr_matrix
from sklearn import neural_network
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_info

from mnistcore.errors import InputError
from mnistcore.interop import MLPClassifier, estimator
from mnistcore.network import model
from mnistcore.training.augmentation import Augmentation
from mnistcore.training.schedules import Constant, Cosine, LossBands, Steps

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer", "ignore:Got `batch_size`")

X, Y = load_digits(return_X_y=True)
X, Y = X[:300] / 16, Y[:300]
COUNTS, SEVERAL = make_multilabel_classification(80, n_features=9, random_state=0)
MANY = COUNTS / 20, SEVERAL
OURS = {"precision", "drop_rate", "augmentation", "schedule", "workers"}


@parametrize_with_checks([MLPClassifier()])
def test_every_check_of_scikit_learn(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def test_the_parameters_are_theirs_and_a_few_more():
    theirs, ours = neural_network.MLPClassifier().get_params(), MLPClassifier().get_params()
    assert {name: ours[name] for name in theirs} == theirs
    assert set(ours) - set(theirs) == OURS


def same(ours, theirs, X):
    """Whether both have come to the same, to rounding."""
    assert ours.n_iter_ == theirs.n_iter_ and ours.t_ == theirs.t_
    assert ours._no_improvement_count == theirs._no_improvement_count
    tolerance = 1e-9 if ours.coefs_[0].dtype == np.float64 else 1e-4
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            assert a.dtype == b.dtype
            assert a == pytest.approx(b, rel=tolerance, abs=tolerance / 100)
    # Their loss takes the logarithm of a probability, which near 0 and 1 has few digits; ours is found from the logits.
    assert ours.loss_curve_ == pytest.approx(theirs.loss_curve_, rel=100 * tolerance)
    assert ours.validation_scores_ == theirs.validation_scores_
    assert ours.best_validation_score_ == theirs.best_validation_score_
    assert ours.best_loss_ == (None if theirs.best_loss_ is None else pytest.approx(theirs.best_loss_))
    assert ours.predict_proba(X) == pytest.approx(theirs.predict_proba(X), rel=tolerance, abs=tolerance)
    assert np.array_equal(ours.predict(X), theirs.predict(X))
    assert set(vars(theirs)) <= set(vars(ours))


def draw(seed):
    """Random settings, and what is done with them."""
    rng = random.Random(seed)
    settings = {
        "hidden_layer_sizes": rng.choice([(), 7, (12,), (9, 6), (5, 4, 3)]),
        "activation": rng.choice(["identity", "logistic", "tanh", "relu"]),
        "solver": rng.choice(["sgd", "adam"]),
        "alpha": rng.choice([0.0, 1e-4, 0.1, 1.0]),
        "batch_size": rng.choice(["auto", 1, 7, 32, 1000]),
        "learning_rate": rng.choice(["constant", "invscaling", "adaptive"]),
        "learning_rate_init": 10 ** rng.uniform(-3, -1.3),
        "power_t": rng.uniform(0.1, 0.9),
        "max_iter": rng.choice([1, 4, 12]),
        "shuffle": rng.random() < 0.8,
        "random_state": rng.randrange(1000),
        "tol": rng.choice([1e-4, 1e-2, 0.1]),
        "momentum": rng.choice([0.0, 0.5, 0.9, 1.0]),
        "nesterovs_momentum": rng.random() < 0.5,
        "early_stopping": rng.random() < 0.3,
        "validation_fraction": rng.choice([0.1, 0.3]),
        "beta_1": rng.choice([0.0, 0.9]),
        "beta_2": rng.choice([0.9, 0.999]),
        "epsilon": rng.choice([1e-8, 1e-4]),
        "n_iter_no_change": rng.choice([1, 2, 10]),
        "warm_start": rng.random() < 0.3,
    }
    return settings, {
        "targets": rng.choice(["classes", "two", "words", "many"]),
        "weighted": rng.random() < 0.3,
        "dtype": "float32" if rng.random() < 0.15 else "float64",
        "form": rng.choice([np.asarray, np.asarray, csr_matrix, csc_matrix, csr_array]),
        "calls": rng.choice(["fit", "fit", "fit fit", "partial partial partial", "fit partial"]),
    }


@pytest.mark.parametrize("seed", range(60))
def test_random_settings_give_their_weights(seed):
    settings, how = draw(seed)
    x, y = (X[:120], Y[:120]) if how["targets"] != "many" else MANY
    y = {"two": lambda: y % 2, "words": lambda: np.array(["ay", "bee", "see"])[y % 3]}.get(
        how["targets"], lambda: y
    )()
    x = how["form"](x.astype(how["dtype"]))
    weights = np.random.default_rng(seed).uniform(0.1, 3, len(y)) if how["weighted"] else None
    if how["calls"] != "fit":
        # partial_fit has no early stopping; and fitted twice, theirs goes on training the very arrays that it kept
        # as the best ones.
        settings["early_stopping"] = False
    if settings["batch_size"] == 1:
        settings["max_iter"] = 1  # theirs takes its time
    both = MLPClassifier(**settings), neural_network.MLPClassifier(**settings)
    for one in both:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for call in how["calls"].split():
                if call == "fit":
                    one.fit(x, y, sample_weight=weights)
                else:
                    classes = np.arange(y.shape[1]) if y.ndim == 2 else np.unique(y)
                    one.partial_fit(x, y, sample_weight=weights, classes=classes)
    same(*both, x)


def test_several_labels_in_more_steps_than_are_evaluated_at_once():
    settings = {"batch_size": 1, "max_iter": 2, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both = [kind(**settings).fit(*MANY) for kind in (MLPClassifier, neural_network.MLPClassifier)]
    assert estimator.STEPS < len(MANY[0]) < 2 * estimator.STEPS
    same(*both, MANY[0])


def test_their_losses_where_probabilities_are_extreme():
    settings = {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 8.0, "alpha": 0.0, "max_iter": 4}
    both = [
        kind(random_state=0, **settings).fit(X, Y) for kind in (MLPClassifier, neural_network.MLPClassifier)
    ]
    assert max(both[1].loss_curve_) > 5  # some are told with less than the smallest probability
    assert both[0].loss_curve_ == pytest.approx(both[1].loss_curve_, rel=1e-6)


def test_their_losses_where_the_probabilities_of_labels_are_extreme():
    settings = {"max_iter": 3, "random_state": 0}
    both = [
        kind(**settings).fit(COUNTS * 100, SEVERAL) for kind in (MLPClassifier, neural_network.MLPClassifier)
    ]
    assert both[1].loss_curve_[0] > 80  # of five labels; one certain of the wrong has 36
    assert both[0].loss_curve_ == pytest.approx(
        both[1].loss_curve_, rel=1e-3
    )  # theirs has few digits of 1 - p


def test_the_same_messages_and_warnings(capsys):
    said = []
    for kind in (MLPClassifier, neural_network.MLPClassifier):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            kind(max_iter=3, verbose=True, early_stopping=True, batch_size=900, random_state=0).fit(X, Y)
            kind(
                max_iter=60, verbose=True, solver="sgd", learning_rate="adaptive", tol=1, random_state=0
            ).fit(X, Y)
        said.append((capsys.readouterr().out, [(w.category, str(w.message)) for w in caught]))
    assert said[0] == said[1]
    assert "Validation score" in said[0][0] and "Setting learning rate" in said[0][0]


@pytest.mark.parametrize("early_stopping", [True, False])
def test_several_workers_come_to_the_same(early_stopping, capsys):
    x, y = np.tile(X, (3, 1)), np.tile(Y, 3)
    settings = {
        "hidden_layer_sizes": (200, 90),
        "max_iter": 3,
        "random_state": 0,
        "early_stopping": early_stopping,
    }
    alone = MLPClassifier(**settings, workers=1).fit(x, y)
    usual = MLPClassifier(**settings).fit(x, y)
    assert usual.coefs_[0] == pytest.approx(alone.coefs_[0], abs=1e-12)
    several = MLPClassifier(**settings, workers=2, verbose=True).fit(x, y)
    assert several.coefs_[0] == pytest.approx(alone.coefs_[0], abs=1e-12)
    assert several.loss_curve_ == pytest.approx(alone.loss_curve_)
    assert several.validation_scores_ == alone.validation_scores_
    assert capsys.readouterr().out.count("Iteration 2,") == 1


LARGE = {"hidden_layer_sizes": (200, 90), "max_iter": 6}


def blas_threads():
    return [found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"]


def test_another_thread_may_draw_from_the_same_numbers():
    """Workers that went through the examples in orders of their own would train on anything."""
    x, y, over = np.tile(X, (3, 1)), np.tile(Y, 3), threading.Event()

    def draw():
        while not over.is_set():
            np.random.rand()  # noqa: NPY002

    drawing = threading.Thread(target=draw)
    drawing.start()
    try:
        shared = MLPClassifier(**LARGE, workers=2).fit(x, y)
    finally:
        over.set()
        drawing.join()
    assert shared.loss_ == pytest.approx(MLPClassifier(**LARGE, random_state=0).fit(x, y).loss_, rel=0.3)


def test_fits_in_threads_at_once_train_and_leave_blas_as_it_was():
    x, y, before = np.tile(X, (3, 1)), np.tile(Y, 3), blas_threads()
    losses = Parallel(n_jobs=2, backend="threading")(
        delayed(lambda: MLPClassifier(**LARGE, workers=2).fit(x, y).loss_)() for _ in range(4)
    )
    expected = MLPClassifier(**LARGE, random_state=0).fit(x, y).loss_
    assert losses == pytest.approx([expected] * 4, rel=0.3)
    assert blas_threads() == before


def test_only_a_main_thread_that_is_alone_forks_unasked(monkeypatch):
    found = [{"user_api": "blas", "num_threads": 3}, {"user_api": "openmp", "num_threads": 8}]
    monkeypatch.setattr(estimator, "threadpool_info", lambda: found)
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    assert [estimator._workers(*given) for given in ((None, 1 << 22), (None, 1 << 20), (5, 1))] == [3, 1, 5]
    monkeypatch.setattr(threading, "active_count", lambda: 2)
    assert [estimator._workers(*given) for given in ((None, 1 << 22), (5, 1))] == [1, 5]
    with ThreadPoolExecutor(1) as elsewhere:
        assert elsewhere.submit(estimator._workers, 5, 1 << 22).result() == 1


@pytest.mark.parametrize("ours", [{"drop_rate": 0.3}, {"augmentation": Augmentation(rotation_degrees=20)}])
def test_what_is_drawn_does_not_depend_on_the_workers(ours):
    x, y = np.tile(X, (3, 1)), np.tile(Y, 3)
    one, two = (MLPClassifier(**LARGE, **ours, random_state=0, workers=n).fit(x, y) for n in (1, 2))
    assert two.coefs_[0] == pytest.approx(one.coefs_[0], abs=1e-10)


def test_precision():
    settings = {"max_iter": 3, "random_state": 0}
    in_half = MLPClassifier(**settings, precision="float32").fit(X, Y)
    theirs = neural_network.MLPClassifier(**settings).fit(X.astype("float32"), Y)
    assert in_half.coefs_[0].dtype == np.float32
    assert in_half.coefs_[0] == pytest.approx(theirs.coefs_[0], abs=1e-5)
    assert (
        MLPClassifier(**settings, precision="float64").fit(X.astype("float32"), Y).coefs_[0].dtype
        == np.float64
    )


def test_drop_rate():
    settings = {"hidden_layer_sizes": (40, 30), "max_iter": 30, "random_state": 0, "learning_rate_init": 0.01}
    plain, dropping = (MLPClassifier(**settings, drop_rate=rate).fit(X, Y) for rate in (0.0, [0.0, 0.5]))
    assert dropping.loss_ > 2 * plain.loss_  # it learns with half of its units, and predicts with all
    assert dropping.score(X, Y) > 0.97
    again = MLPClassifier(**settings, drop_rate=[0.0, 0.5]).fit(X, Y)
    assert np.array_equal(again.coefs_[0], dropping.coefs_[0])
    partial = MLPClassifier(10, drop_rate=0.5, learning_rate_init=1e-12, random_state=0)
    losses = [partial.partial_fit(X, Y, classes=range(10)).loss_ for _ in range(3)]
    assert len(set(losses)) == 3  # other units each time


def test_augmentation():
    settings = {"max_iter": 30, "random_state": 0, "learning_rate_init": 0.01}
    plain = MLPClassifier(**settings).fit(X, Y)
    moved = MLPClassifier(**settings, augmentation=Augmentation(rotation_degrees=20)).fit(csr_matrix(X), Y)
    still = MLPClassifier(**settings, augmentation=Augmentation()).fit(X, Y)
    assert moved.loss_ > 1.5 * plain.loss_ and moved.score(X, Y) > 0.9
    # An augmentation that moves nothing changes nothing but which numbers are drawn for the order.
    assert still.loss_ == pytest.approx(plain.loss_, rel=0.3)


def test_schedule():
    settings = {"max_iter": 10, "random_state": 0, "solver": "sgd", "learning_rate_init": 0.1}
    plain = neural_network.MLPClassifier(**settings).fit(X, Y)
    assert MLPClassifier(**settings, schedule=Constant()).fit(X, Y).loss_ == pytest.approx(plain.loss_)
    cosine = MLPClassifier(**settings, schedule=Cosine()).fit(X, Y)
    assert cosine.loss_curve_[0] == pytest.approx(plain.loss_curve_[0], rel=0.05)
    assert abs(cosine.loss_curve_[-1] - cosine.loss_curve_[-2]) < abs(
        plain.loss_curve_[-1] - plain.loss_curve_[-2]
    )
    resting = LossBands((99.0,), (0.0,))  # at rest once an epoch is done
    for x in (X, csr_matrix(X)):
        rested = MLPClassifier(**settings | {"momentum": 0.0}, schedule=resting).fit(x, Y)
        assert (
            rested.loss_curve_[0] > rested.loss_curve_[1] == pytest.approx(rested.loss_curve_[-1], rel=1e-12)
        )


@pytest.mark.parametrize(
    "schedule", [Cosine(warmup_epochs=3), Steps((2, 4), (0.3, 0.1)), LossBands((2.2,), (0.1,))]
)
def test_each_partial_fit_is_the_next_epoch_of_a_schedule(schedule):
    settings = {"max_iter": 6, "random_state": 0, "shuffle": False, "schedule": schedule}
    whole, steps = MLPClassifier(**settings).fit(X, Y), MLPClassifier(**settings)
    for _ in range(6):
        steps.partial_fit(X, Y, classes=range(10))
    assert steps.loss_curve_ == pytest.approx(whole.loss_curve_, rel=1e-12)


def test_a_diverged_training_says_so():
    with pytest.raises(ValueError, match="non-finite"):
        MLPClassifier(max_iter=50, random_state=0).fit(X * 1e308, Y)
    diverging = MLPClassifier(solver="sgd", early_stopping=True, max_iter=8, random_state=0)
    with pytest.warns(ConvergenceWarning, match=r"the loss became nan in epoch \d, and training ended"):
        diverging.fit(X * 1e100, Y)
    assert diverging.n_iter_ < 8 and all(np.isfinite(weights).all() for weights in diverging.coefs_)


@pytest.mark.parametrize("kind", [MLPClassifier, neural_network.MLPClassifier])
def test_a_batch_of_no_weight_has_no_mean(kind):
    with pytest.raises(ZeroDivisionError, match="Weights sum to zero"):
        kind(batch_size=2, random_state=0).fit(X, Y, sample_weight=np.arange(300) >= 100)


def test_parameters_changed_between_calls():
    grown = MLPClassifier(5, random_state=0, batch_size=10).partial_fit(X, Y, classes=range(10))
    theirs = neural_network.MLPClassifier(5, random_state=0, batch_size=10).partial_fit(
        X, Y, classes=range(10)
    )
    for one in (grown, theirs):
        one.set_params(batch_size=0, max_iter=1).partial_fit(X[:40], Y[:40])
    assert grown.coefs_[0] == pytest.approx(theirs.coefs_[0], abs=1e-12)


def test_what_is_not_fitted_has_no_network():
    unfitted = MLPClassifier(augmentation=Augmentation(shear=0.1))
    with pytest.raises(InputError, match="63 features make none"):
        unfitted.fit(X[:, :63], Y)
    with pytest.raises(NotFittedError):
        unfitted.to_network()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"schedule": Constant}, r"should be made, such as Constant\(…\)"),
        ({"solver": "lbfgs"}, "use 'adam' or 'sgd', or sklearn.neural_network.MLPClassifier"),
        ({"drop_rate": [0.1, 0.2]}, "one for each of the 1 hidden layers"),
        ({"drop_rate": [1.0]}, r"a number in \[0, 1\)"),
        ({"drop_rate": ["much"]}, r"a number in \[0, 1\)"),
        ({"augmentation": Augmentation(shear=0.1)}, "63 features make none"),
        ({"precision": "float16"}, "'float(32|64)', 'float(32|64)'"),
        ({"workers": 0}, "workers"),
        ({"schedule": 3}, "schedule"),
        ({"solver": "sgd", "learning_rate_init": 1e200}, "non-finite parameter weights"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(given, says):
    with pytest.raises(ValueError, match=says) as error:
        MLPClassifier(max_iter=3, **given).fit(X[:, :63], Y)
    assert "\n" not in str(error.value)
    if given.get("solver") == "lbfgs" or given.keys() & {"drop_rate", "augmentation"}:
        assert isinstance(error.value, InputError)


def test_in_scikit_learns_tools():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fast = MLPClassifier(20, max_iter=20, learning_rate_init=0.02, random_state=0)
        pipeline = make_pipeline(MinMaxScaler(), fast)
        search = GridSearchCV(pipeline, {"mlpclassifier__alpha": [1e-4, 10.0]}, cv=2, n_jobs=2).fit(X, Y)
        assert search.best_params_ == {"mlpclassifier__alpha": 1e-4}
        assert cross_val_score(pipeline, X, Y, cv=3).mean() > 0.8
        calibrated = CalibratedClassifierCV(fast, cv=2).fit(X, Y)
        assert calibrated.predict_proba(X).sum(axis=1) == pytest.approx(np.ones(len(X)))
        importance = permutation_importance(clone(fast).fit(X, Y), X, Y, n_repeats=2, random_state=0)
        assert (
            importance.importances_mean.max() > importance.importances_mean[0] == 0
        )  # a pixel that is always 0


def test_pickled_it_goes_on_where_it_was():
    first = MLPClassifier(10, random_state=np.random.RandomState(0)).partial_fit(X, Y, classes=range(10))
    second = pickle.loads(pickle.dumps(first))  # noqa: S301  (our own)
    for one in (first, second):
        one.partial_fit(X, Y)
    assert np.array_equal(first.coefs_[0], second.coefs_[0]) and first.t_ == 600
    assert not hasattr(clone(first), "coefs_")


def test_its_network_is_one_of_the_cores(tmp_path):
    fitted = MLPClassifier((12, 5), activation="tanh", max_iter=5, random_state=0).fit(X, Y)
    model.save(tmp_path / "model.npz", [0], [fitted.to_network()])
    network = model.load(tmp_path / "model.npz")[1][0]
    assert repr(network) == "64 → 12 tanh → 5 tanh → 10 softmax"
    assert network.probabilities(X) == pytest.approx(fitted.predict_proba(X))


def test_an_interrupt_keeps_what_was_learnt(monkeypatch):
    estimator, epochs = MLPClassifier(10, max_iter=50, random_state=0), []

    def interrupt(*arguments):
        epochs.append(arguments)
        if len(epochs) == 3:
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr(estimator, "_over", interrupt)
    with pytest.warns(UserWarning, match="interrupted"):
        estimator.fit(X, Y)
    theirs = neural_network.MLPClassifier(10, max_iter=3, random_state=0).fit(X, Y)
    assert estimator.coefs_[0] == pytest.approx(theirs.coefs_[0])


def test_onnx_and_predicting_need_no_scikit_learn():
    code = "import sys, mnistcore.interop, mnistcore.network.model; print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# Those of scikit-learn's own tests that train with lbfgs, or test the regressor.
NOT_OURS = (
    "lbfgs or regress or Regressor or poisson or test_gradient or test_multilabel_classification or "
    "test_predict_proba_multilabel or test_sparse_matrices or test_warm_start or test_shuffle"
)


@pytest.mark.slow
def test_scikit_learns_own_tests_hold():
    code = (
        "import sys, pytest, sklearn.neural_network as there\n"
        "from mnistcore.interop import MLPClassifier\n"
        "there.MLPClassifier = MLPClassifier\n"
        "import sklearn.neural_network.tests.test_mlp as tests\n"
        "assert tests.MLPClassifier is MLPClassifier\n"
        "kept = 'test_warm_start_full_iteration or (test_mlp_warm_start and not lbfgs and not Regressor)'\n"
        f"chosen = f'(not ({NOT_OURS})) or {{kept}}'\n"
        "sys.exit(pytest.main([tests.__file__, '-q', '-p', 'no:cacheprovider', '-k', chosen]))\n"
    )
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
