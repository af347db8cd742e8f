"""Rows about how a model learns: losses, update rules, schedules, the machine."""

from diptych.engines.differences.row import Difference

_PROOFS = "tests/contract/test_differences_"

TRAINING: tuple[Difference, ...] = (
    Difference(
        "loss-scale",
        torch="GradScaler begins at 65536.",
        tensorflow="LossScaleOptimizer begins at 32768.",
        rule="65536; an overflow halves it and is a step that counts and changes no weight.",
        proof=_PROOFS + "optimizers.py::test_float16s_loss_scale_starts_and_adapts_alike",
    ),
    Difference(
        "sgd-velocity",
        torch="buffer = m · buffer + gradient; weight -= rate · buffer.",
        tensorflow="buffer = m · buffer - rate · gradient; weight += buffer. RMSprop's holds the rate too.",
        rule="PyTorch's, or Keras's where the recipe says `update_form keras`; they part as soon as the rate changes.",
        proof=_PROOFS + "optimizers.py::test_the_learning_rate_stays_outside_sgds_buffer",
    ),
    Difference(
        "adam-epsilon",
        torch="1e-8, added after bias correction.",
        tensorflow="1e-7, added before it.",
        rule="PyTorch's form, or Keras's where the recipe says `update_form keras`: √(1 - beta2^t) lies between them.",
        proof=_PROOFS + "optimizers.py::test_adams_epsilon_is_added_after_bias_correction",
    ),
    Difference(
        "adam-complements",
        torch="1 - beta2 in float64.",
        tensorflow="The fused kernel takes 1 - beta2 in the weights' own format: 1.3e-5 off in float32.",
        rule="As each does: float64 agrees, in float32 the second moment is 1.3e-5 apart.",
        proof=_PROOFS + "optimizers.py::test_adams_second_moment_parts_in_float32_alone",
    ),
    Difference(
        "weight-decay",
        torch="A term of the gradient, except in AdamW.",
        tensorflow="Apart from the gradient, in every rule.",
        rule="Two fields, `l2` and `decoupled_decay`, which leave the roles in `no_decay` alone.",
        proof=_PROOFS + "optimizers.py::test_both_weight_decays_have_a_name",
    ),
    Difference(
        "rmsprop-epsilon",
        torch="1e-8 outside the root; decay 0.99.",
        tensorflow="1e-7 inside the root; decay 0.9.",
        rule="PyTorch's form, or Keras's where the recipe says `update_form keras`.",
        proof=_PROOFS + "optimizers.py::test_rmsprops_epsilon_is_outside_the_root",
    ),
    Difference(
        "gradient-clipping",
        torch="By the norm of all gradients, to which it adds 1e-6.",
        tensorflow="`clipnorm` by each variable's own norm; `global_clipnorm` adds nothing.",
        rule="By the norm of all, with PyTorch's 1e-6.",
        proof=_PROOFS + "optimizers.py::test_gradients_are_clipped_by_their_common_norm",
    ),
    Difference(
        "weight-average",
        torch="AveragedModel copies running statistics and averages the rest with 0.999.",
        tensorflow="`use_ema` averages trainable variables with 0.99 and leaves statistics out.",
        rule="Every array, with the recipe's decay, shorter at first.",
        proof=_PROOFS + "optimizers.py::test_running_averages_forget_early_weights_and_hold_statistics",
    ),
    Difference(
        "lr-clock",
        torch="A scheduler moves when it is called.",
        tensorflow="A schedule moves with every step, a callback with every epoch.",
        rule="Rates are numbers, one a step, from a function of the step.",
        proof=_PROOFS + "optimizers.py::test_each_step_takes_the_rate_it_is_handed",
    ),
    Difference(
        "plateau",
        torch="Drops the rate one epoch after its patience; better is relative.",
        tensorflow="Drops it when its patience is over; better is by 1e-4.",
        rule="When the patience is over; better is lower.",
        proof=_PROOFS + "optimizers.py::test_a_plateau_is_patience_epochs_without_a_lower_loss",
    ),
    Difference(
        "early-stopping",
        torch="Has none.",
        tensorflow="Stops when its patience is over.",
        rule="The same for both engines, outside them: stops when the patience is over.",
        proof=_PROOFS + "optimizers.py::test_early_stopping_waits_patience_epochs_for_a_lower_loss",
    ),
    Difference(
        "loss-input",
        torch="Logits.",
        tensorflow="Probabilities, unless told otherwise.",
        rule="Logits.",
        proof=_PROOFS + "losses.py::test_losses_read_logits",
    ),
    Difference(
        "label-smoothing",
        torch="On class indices and on soft targets.",
        tensorflow="On soft targets only.",
        rule="Targets reach the loss as soft ones, already smoothed.",
        proof=_PROOFS + "losses.py::test_smoothed_labels_reach_the_loss_as_soft_targets",
    ),
    Difference(
        "class-weights",
        torch="Divides by the sum of the weights.",
        tensorflow="Divides by the size of the batch.",
        rule="Divides by the sum of the weights.",
        proof=_PROOFS + "losses.py::test_weighted_losses_are_divided_by_the_sum_of_weights",
    ),
    Difference(
        "epoch-loss",
        torch="The user's code, often a mean of the batches' means.",
        tensorflow="`fit` weights each batch by its size.",
        rule="Every sample by its weight.",
        proof=_PROOFS + "losses.py::test_an_epochs_loss_counts_each_sample_by_its_weight",
    ),
    Difference(
        "tf32",
        torch="Off for matrix products, on for convolutions.",
        tensorflow="On for both.",
        rule="Off.",
        proof=_PROOFS + "runtime.py::test_tf32_is_off_in_both",
    ),
    Difference(
        "denormals",
        torch="Computes with numbers below the smallest normal one, slowly: moments of weights without a gradient.",
        tensorflow="Takes them for zero.",
        rule="Takes them for zero.",
        proof=_PROOFS + "runtime.py::test_denormal_numbers_are_zero_in_both",
    ),
    Difference(
        "compile",
        torch="Eager.",
        tensorflow="Keras leaves XLA to 'auto'.",
        rule="PyTorch eager, TensorFlow in a `tf.function`, XLA in neither; the run records it.",
        proof=_PROOFS + "runtime.py::test_compilation_is_a_recorded_choice",
    ),
)
