"""The way out: `MLPClassifier` for scikit-learn, and `mnistcore.interop.onnx`."""


def __getattr__(name: str) -> object:
    # Found when asked for, so that whoever exports to ONNX needs no scikit-learn.
    if name == "MLPClassifier":
        from mnistcore.interop.estimator import MLPClassifier

        return MLPClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
