"""The ledger: where PyTorch and TensorFlow/Keras disagree, what is done here, and the test that proves it."""

from dataclasses import dataclass

_PROOFS = "tests/contract/test_differences_"


@dataclass(frozen=True)
class Difference:
    """A row; code refers to its key with `# differs: <key>`.

    Attributes:
        torch: what PyTorch does.
        tensorflow: what TensorFlow or Keras does.
        rule: what both engines do.
        proof: the pytest node that measures the frameworks and holds the engines to the rule.
    """

    key: str
    torch: str
    tensorflow: str
    rule: str
    proof: str


LEDGER: tuple[Difference, ...] = (
    Difference(
        "image-layout",
        torch="Maps are (N, C, H, W).",
        tensorflow="Maps are (N, H, W, C).",
        rule="Images are (N, H, W, C); a transposed view, never a copy, reaches PyTorch.",
        proof=_PROOFS + "layout.py::test_images_are_nhwc_outside_and_reach_pytorch_without_a_copy",
    ),
    Difference(
        "conv-kernel-axes",
        torch="(out, in / groups, height, width).",
        tensorflow="(height, width, in / groups, out); depthwise (height, width, in, multiplier).",
        rule="PyTorch's outside; the TensorFlow engine maps.",
        proof=_PROOFS + "layout.py::test_convolution_kernels_are_oihw_outside",
    ),
    Difference(
        "dense-kernel-axes",
        torch="(out, in).",
        tensorflow="(in, out).",
        rule="PyTorch's outside; the TensorFlow engine maps.",
        proof=_PROOFS + "layout.py::test_dense_kernels_are_outputs_by_inputs_outside",
    ),
    Difference(
        "flatten-order",
        torch="Channel, height, width.",
        tensorflow="Height, width, channel.",
        rule="PyTorch's outside; the rows of a Dense kernel after a Flatten follow Keras's order inside.",
        proof=_PROOFS + "layout.py::test_flattened_maps_are_in_channel_height_width_order",
    ),
    Difference(
        "same-padding",
        torch="Refuses 'same' with a stride; an amount pads opposite sides alike.",
        tensorflow="'same' with a stride puts the odd pixel at the bottom and the right.",
        rule="Specs say how much goes on each side, and no engine says 'same' with a stride.",
        proof=_PROOFS + "layout.py::test_convolutions_are_padded_by_explicit_amounts",
    ),
    Difference(
        "max-pool-padding",
        torch="Minus infinity, on opposite sides alike.",
        tensorflow="Minus infinity, more of it at the bottom and the right.",
        rule="Explicit amounts of minus infinity, on opposite sides alike.",
        proof=_PROOFS + "layout.py::test_max_pooling_pads_with_minus_infinity_on_both_sides",
    ),
    Difference(
        "avg-pool-padding",
        torch="Padding counts in the divisor.",
        tensorflow="Padding is left out of the divisor.",
        rule="Padding is left out of the divisor.",
        proof=_PROOFS + "layout.py::test_average_pooling_leaves_padding_out_of_the_divisor",
    ),
    Difference(
        "norm-epsilon",
        torch="1e-5.",
        tensorflow="1e-3.",
        rule="The spec's.",
        proof=_PROOFS + "layers.py::test_a_norms_epsilon_is_the_specs",
    ),
    Difference(
        "norm-momentum",
        torch="The share of the new statistics: 0.1.",
        tensorflow="The share of the old statistics: 0.99.",
        rule="The spec's decay, the share of the old.",
        proof=_PROOFS + "layers.py::test_a_norms_decay_is_the_share_of_the_old_statistics",
    ),
    Difference(
        "norm-running-variance",
        torch="Unbiased, n / (n - 1).",
        tensorflow="The Keras layer's is biased; the fused kernel's is unbiased and 3 times as fast on a CPU.",
        rule="Unbiased: the fused kernel, and its arithmetic by hand in float64, which it lacks.",
        proof=_PROOFS + "layers.py::test_a_norms_running_variance_is_the_unbiased_one",
    ),
    Difference(
        "norm-one-value",
        torch="A norm over a single value raises.",
        tensorflow="It gives zeros.",
        rule="A last sample on its own joins the batch before it.",
        proof=_PROOFS + "data.py::test_a_last_sample_on_its_own_joins_the_batch_before",
    ),
    Difference(
        "leaky-relu",
        torch="Slope 0.01.",
        tensorflow="Slope 0.3 as a layer, 0.2 as a function.",
        rule="The spec's.",
        proof=_PROOFS + "layers.py::test_leaky_relus_slope_is_the_specs",
    ),
    Difference(
        "gelu",
        torch="Exact.",
        tensorflow="Exact as an activation, its tanh approximation as `keras.ops.gelu`.",
        rule="Exact.",
        proof=_PROOFS + "layers.py::test_gelu_is_the_exact_one",
    ),
    Difference(
        "rescaling-constants",
        torch="A tensor of the module keeps its digits.",
        tensorflow="Rescaling reads Python numbers as float32, even for float64.",
        rule="Arrays of the layer's own number format.",
        proof=_PROOFS + "layers.py::test_normalisation_constants_keep_their_last_digits",
    ),
    Difference(
        "constant-cast",
        torch="Python numbers meet a float64 tensor as float64.",
        tensorflow="`tf.cast` takes them through float32; so do the √2 of gelu and the slope of leaky_relu.",
        rule="`tf.constant` with a type; both activations by hand in float64.",
        proof=_PROOFS + "layers.py::test_constants_keep_their_float64_digits",
    ),
    Difference(
        "dropout-stream",
        torch="Masks from PyTorch's generator.",
        tensorflow="Masks from Keras's counter.",
        rule="Each engine's own, from seed and step alone; what must be exact uses rate 0.",
        proof=_PROOFS + "layers.py::test_dropout_masks_differ_but_rate_and_scale_do_not",
    ),
    Difference(
        "train-mode",
        torch="A state of the module, training at first.",
        tensorflow="An argument of the call, inference by default.",
        rule="Each verb settles it for itself.",
        proof=_PROOFS + "layers.py::test_training_and_inference_are_never_a_state_left_behind",
    ),
    Difference(
        "initial-weights",
        torch="U(±1/√fan_in), biases too; He's normal reaches as far as it likes.",
        tensorflow="Glorot's uniform, biases zero; He's normal is cut at two deviations.",
        rule="Drawn in NumPy by the rule that the spec names, from the seed and the array's name.",
        proof=_PROOFS + "layers.py::test_initial_weights_are_drawn_by_the_spec_for_both",
    ),
    Difference(
        "mixed-precision",
        torch="autocast decides operation by operation.",
        tensorflow="A policy decides layer by layer.",
        rule="Weights, first and last layer stay float32; agreement is statistical, never exact.",
        proof=_PROOFS + "layers.py::test_bfloat16_is_arithmetic_and_weights_and_logits_stay_float32",
    ),
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
        tensorflow="buffer = m · buffer - rate · gradient; weight += buffer.",
        rule="PyTorch's: the two part as soon as the rate changes.",
        proof=_PROOFS + "optimizers.py::test_the_learning_rate_stays_outside_sgds_buffer",
    ),
    Difference(
        "adam-epsilon",
        torch="1e-8, added after bias correction.",
        tensorflow="1e-7, added before it.",
        rule="The recipe's, after: Keras's form takes epsilon · √(1 - beta2^t) to match.",
        proof=_PROOFS + "optimizers.py::test_adams_epsilon_is_added_after_bias_correction",
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
        rule="The recipe's, outside.",
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
        "compile",
        torch="Eager.",
        tensorflow="Keras leaves XLA to 'auto'.",
        rule="PyTorch eager, TensorFlow in a `tf.function`, XLA in neither; the run records it.",
        proof=_PROOFS + "runtime.py::test_compilation_is_a_recorded_choice",
    ),
    Difference(
        "decode",
        torch="Pillow, by way of torchvision: accurate, EXIF ignored.",
        tensorflow="A fast, less accurate transform; EXIF ignored.",
        rule="Decoded once, in `data/decode`: accurate and turned upright.",
        proof=_PROOFS + "data.py::test_images_are_decoded_once_and_turned_upright",
    ),
    Difference(
        "resize",
        torch="Pillow antialiases; `interpolate` does not, and has its own bicubic.",
        tensorflow="No antialiasing.",
        rule="Resized once, in `data/preprocess`: area when shrinking, linear when growing.",
        proof=_PROOFS + "data.py::test_images_are_resized_once_by_area",
    ),
    Difference(
        "shuffle",
        torch="A permutation from a generator that moves on.",
        tensorflow="A draw from a window that slides over the data.",
        rule="A permutation that follows from seed and epoch alone.",
        proof=_PROOFS + "data.py::test_the_order_of_samples_follows_from_seed_and_epoch_alone",
    ),
    Difference(
        "augmentation",
        torch="torchvision's transforms, a sample at a time, from the loading worker's generator.",
        tensorflow="Layers, from Keras's counter; RandomCrop cuts a whole batch alike.",
        rule="NumPy, a whole batch at once; a sample's change follows from seed, epoch and index alone.",
        proof=_PROOFS + "data.py::test_each_sample_is_augmented_on_its_own_whatever_its_batch",
    ),
)
