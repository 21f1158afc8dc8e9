"""The classification heads: estimators with scikit-learn's interface.

To add a head, in the order in which its pieces are used:

1. An estimator with `fit(X, y)`, `predict_proba(X)` and `classes_`, X float (N, D): a subclass of `base.HeadClassifier`
   in a module here, or a class of scikit-learn.
2. A function in `baselines.py` that returns it unfitted, with its defaults and the keyword `calibration`, and an entry
   in `baselines.BASELINES`. (The two Keras heads, `dense` and `finetune`, are built in `evaluation/fit.py` instead.)
3. Its kind in `heads/kinds.py`: in DEFAULT_HEADS, or in ONLY_NAMED when it is too slow to be compared by default.
4. Its conversion to ONNX in `deploy/onnx/head.py`, unless skl2onnx converts the estimator.
5. Its search space in `evaluation/search_spaces.py`, unless it has nothing to tune.

The tests of heads and of their export run over all kinds in `heads/kinds.py`.
"""
