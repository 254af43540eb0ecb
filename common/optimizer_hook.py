"""Puts functions between the gradients and the optimizer, inside the compiled training step.

A Keras callback never sees gradients, and no work on the host may happen in each step. So the
callbacks wrap the `apply` method of the optimizer object, which every backend calls with the
gradients, and keep what they must remember in variables of the optimizer: JAX carries those, and
nothing else, from step to step.
"""

from collections.abc import Callable

import keras

from common.errors import UserError


def base_optimizer(model: keras.Model) -> keras.optimizers.Optimizer:
    """Returns the optimizer that changes the weights, built.

    Inside a `LossScaleOptimizer` that is the inner one, which gets the gradients unscaled.

    Raises:
        UserError: If the model is not compiled, or has no variables yet.
    """
    if getattr(model, "optimizer", None) is None:
        raise UserError(f"The model {model.name} has no optimizer: compile it first.")
    if not model.built:
        raise UserError(f"The model {model.name} has no variables yet: build it before training.")
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    if isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer):
        return model.optimizer.inner_optimizer
    return model.optimizer


def add_hook(model: keras.Model, kind: str, hook: Callable[[list], list]) -> None:
    """Has every training step pass its gradients through `hook`, right before the update.

    Hooks run in the order in which they were added.

    Args:
        model: Compiled and built.
        kind: What the hook is, in words; an optimizer has one hook of a kind.
        hook: Takes and returns a list of gradients, a None where a variable has no gradient. On
            TensorFlow the gradient of an embedding is a `tf.IndexedSlices`.

    Raises:
        UserError: If the optimizer has a hook of this kind.
    """
    optimizer = base_optimizer(model)
    hooks = getattr(optimizer.apply, "hooks", None)
    if hooks is None:
        hooks, update = {}, optimizer.apply

        def apply(grads, trainable_variables=None):
            grads = list(grads)
            for change in hooks.values():
                grads = change(grads)
            return update(grads, trainable_variables)

        apply.hooks = hooks
        optimizer.apply = apply
    if kind in hooks:
        raise UserError(
            f"The optimizer already has a {kind}: give `fit` the same callback object again, or"
            " compile the model with a new optimizer."
        )
    hooks[kind] = hook
    _trace_again(model)


def _trace_again(model: keras.Model) -> None:
    # A step that was traced before has the old `apply` built in. JAX shares traces between equal
    # functions, and every bound `train_step` is equal, so the old one has to go first.
    model.train_function = None
    model.make_train_function()
